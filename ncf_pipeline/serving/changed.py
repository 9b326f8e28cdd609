"""Whom a refresh has to score (`NCF_REFRESH=changed`): those for whom something changed since the last publication.

The lists of the others are taken from there. They would not be quite the same if they were made again: how long ago
something was bought grows for everybody, and what others buy counts too. So a sample of these customers is scored
before, and says how much of their lists would differ. If that is more than `NCF_REFRESH_MAX_DIFFERENCE`, or cannot be
told, everybody is scored.
"""

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ncf_pipeline.columns import Catalogue, Interactions, Lists, Looks, Products
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import AnySnapshot, read_looks_of_snapshot, read_snapshot_by_parts
from ncf_pipeline.registry.versions import ModelVersion, Publication
from ncf_pipeline.serving.drafts import Basis
from ncf_pipeline.serving.merchandising import catalogue_of
from ncf_pipeline.serving.publication import name_of
from ncf_pipeline.serving.scoring import GONE, batches, maker_of, model_of, share_of, whole
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows
from ncf_pipeline.threads import prefetched

if TYPE_CHECKING:  # what scores imports torch, and a refresh that scores everybody does that elsewhere
    from ncf_pipeline.model.lists.assemble import ListMaker
    from ncf_pipeline.model.trained import TrainedModel

logger = logging.getLogger(__name__)

NEW, PURCHASES, LOOKED, PRODUCT = "new", "purchases", "looks", "product"
EXPERIMENT, AGE = "experiment", "age"
"""Why a customer is scored: has no lists yet; bought or returned, or an invoice was corrected; viewed, put into a
basket or wished something, and the model reads that; a product on a list may no longer be shown; is in the share of an
experiment that began or ended; the lists are old."""

SAMPLE = 500
"""Unchanged customers who are scored to see how much their lists would differ; all of them if there are no more."""

_DOUBT = 0.05
_READ = (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES, Lists.GROUP, Lists.AS_OF)
_HASHED = (
    Interactions.STOCK_CODE,
    Interactions.INVOICE_NO,
    Interactions.PURCHASED_AT,
    Interactions.QUANTITY,
    Interactions.UNIT_PRICE,
    Interactions.COUNTRY,
    Interactions.RETURNED_AT,
)


@dataclass(frozen=True)
class Plan:
    """Whom a refresh scores.

    Attributes:
        since: number of the publication from which the other lists are taken; None if everybody is scored.
        because: why everybody is scored, in words; None if not everybody is.
        scored: why each customer is scored, or `GONE`; empty if everybody is.
        taken_over: customers whose lists are taken from there.
        sample: how many of them were scored to see how much would differ.
        difference: mean share of the products on their lists that would be others; None if nobody was compared.
        at_most: what the mean of all of them is below, in 95 of 100 cases.
        maker: with all that customers share, if the sample was scored.
        model: of the maker.
    """

    since: int | None
    because: str | None = None
    scored: dict[str, str] = field(default_factory=dict)
    taken_over: int = 0
    sample: int = 0
    difference: float | None = None
    at_most: float | None = None
    maker: "ListMaker | None" = field(default=None, repr=False, compare=False)
    model: "TrainedModel | None" = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: counts, and no customer."""
        return {
            "since": self.since,
            "because": self.because,
            "scored": dict(sorted(Counter(self.scored.values()).items())),
            "taken_over": self.taken_over,
            "sample": self.sample,
            "difference": self.difference,
            "at_most": self.at_most,
        }

    def __str__(self) -> str:
        """In words, for the log."""
        compared = ""
        if self.difference is not None:
            compared = (
                f" Of {self.sample:,} of them, {self.difference:.1%} of the products on the lists would be others; of "
                f"all at most {self.at_most:.1%}."
            )
        if self.since is None:
            return f"Every customer is scored: {self.because}.{compared}"
        counts = Counter(self.scored.values())
        gone = counts.pop(GONE, 0)
        why = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items())) or "nothing changed"
        return (
            f"{counts.total():,} customers are scored ({why}). {self.taken_over:,} keep the lists of "
            f"{name_of(self.since)}; {gone:,} no longer have any.{compared}"
        )


@dataclass(frozen=True)
class _Last:
    """The last publication, and what its lists were made from."""

    publication: Publication
    basis: Basis
    snapshot_id: str


def plan_refresh(
    settings: Settings,
    model_version: ModelVersion,
    snapshot: AnySnapshot,
    basis: Basis,
    *,
    top_n: int,
    model: "TrainedModel | None" = None,
) -> Plan:
    """Decides whom a refresh scores.

    Args:
        settings: `lists_max_age_days` and `refresh_max_difference` are used.
        model_version: whose model scores, or version 0.
        snapshot: the purchases that the lists know.
        basis: what they depend on besides.
        top_n: length of a list.
        model: of the version, if it has been loaded.

    Raises:
        ArtifactError: the model is missing or damaged. If the last lists are, everybody is scored.
    """
    last = _comparable(settings, model_version, snapshot, basis, top_n)
    if isinstance(last, str):
        return Plan(None, last)
    hidden = newly_hidden(last.basis.rules, basis.rules)
    if hidden is None:
        return Plan(None, "a merchandiser's rules have changed otherwise than by products that are hidden")
    sold = {*snapshot.products[Products.STOCK_CODE], *(pin.stock_code for pin in basis.rules.pins)}
    if basis.new_places and (catalogue := catalogue_of(settings, basis.today)) is not None:
        sold.update(catalogue.loc[catalogue[Catalogue.IS_OFFERED], Catalogue.STOCK_CODE])
    model = model if model is not None else model_of(settings, model_version)
    now: dict[str, int] = {}
    with ThreadPoolExecutor(1) as beside:
        reading = beside.submit(_known_then, settings, last, hidden, sold)
        maker = maker_of(settings, model, snapshot, basis, parts=prefetched(_digested(snapshot, now)))
        known = list(maker.countries())
        try:
            before, looks_before, theirs = reading.result()
        except ArtifactError as error:
            because = f"what {name_of(last.publication.number)} was made from cannot be read ({error})"
            return Plan(None, because, maker=maker, model=model)
    recipe = maker.state.recipe
    looked = set[str]()
    if recipe.reads_looks or basis.experiment is not None:  # an experiment's challenger may read looks
        since = snapshot.cutoff - timedelta(days=recipe.look_days)
        looked = who_looked(looks_before, snapshot.looks, since)
    moved = _moved(settings, last.basis.experiment, basis.experiment, known)
    oldest = snapshot.cutoff - timedelta(days=settings.lists_max_age_days)
    why = dict.fromkeys(sorted(theirs.keys() - set(known)), GONE)
    for customer in known:
        listed = theirs.get(customer)
        if listed is None:
            why[customer] = NEW
        elif before.get(customer) != now.get(customer):
            why[customer] = PURCHASES
        elif customer in looked:
            why[customer] = LOOKED
        elif listed.shows_hidden:
            why[customer] = PRODUCT
        elif customer in moved:
            why[customer] = EXPERIMENT
        elif listed.as_of < oldest:
            why[customer] = AGE
    others = [customer for customer in known if customer not in why]
    if not others:
        return Plan(None, "something changed for each customer", maker=maker, model=model)
    plan = Plan(last.publication.number, None, why, len(others), maker=maker, model=model)
    # Those of an experiment's share may have lists of another version, or none of their own.
    compared = [customer for customer in others if not theirs[customer].in_share]
    return _proved(settings, plan, last.publication, compared, top_n)


def newly_hidden(before: Rules, now: Rules) -> set[str] | None:
    """The stock codes that lists may no longer show, or not in each country.

    Args:
        before: the rules that lists were made with.
        now: the rules of new ones.

    Returns:
        The codes; None if the rules differ otherwise, so that any list may be another one.
    """
    pins, pins_now = ([pin for pin in rules.pins if pin.beside is None] for rules in (before, now))
    if (pins, before.max_per_family) != (pins_now, now.max_per_family) or before.hidden - now.hidden:
        return None
    for code, countries in before.only_in.items():
        if not now.only_in.get(code, countries | {"and others"}) <= countries:
            return None
    narrower = {code for code, countries in now.only_in.items() if before.only_in.get(code) != countries}
    # What comes and goes within days is not worth new lists for everybody when it comes back.
    at_once = now.at_once.union(*now.at_once_in.values()) - before.at_once
    return set(now.hidden - before.hidden) | narrower | at_once


def digests(interactions: pd.DataFrame, as_of: datetime) -> dict[str, int]:
    """A number for each customer that is another one if a purchase or a return of theirs is.

    Args:
        interactions: columns of `columns.Interactions`, in any order.
        as_of: what was bought or returned from this instant on is not seen.

    Returns:
        By customer id: the sum of the hashes of their lines, whatever the order of these.
    """
    lines = pl.from_pandas(interactions[[Interactions.CUSTOMER_ID, *_HASHED]])
    returned_at = pl.col(Interactions.RETURNED_AT)
    sums = (
        lines.lazy()
        .filter(pl.col(Interactions.CUSTOMER_ID).is_not_null(), pl.col(Interactions.PURCHASED_AT) < as_of)
        .with_columns(pl.when(returned_at < as_of).then(returned_at))
        # 44 bits of each line, so that the sum of a million lines is exact.
        .group_by(Interactions.CUSTOMER_ID)
        .agg((pl.struct(_HASHED).hash(seed=0) // 2**20).sum())
        .collect()
    )
    return dict(sums.iter_rows())


def _digested(snapshot: AnySnapshot, found: dict[str, int]) -> Iterator[pd.DataFrame]:
    """The parts of a snapshot; the digests of their customers are put into `found` meanwhile."""
    for part in snapshot.parts():
        found |= digests(part, snapshot.cutoff)
        yield part


def who_looked(before: pd.DataFrame, now: pd.DataFrame, since: datetime) -> set[str]:
    """The customers of whom something else is known that they viewed, put into a basket or wished.

    Args:
        before: columns of `columns.Looks`, as the last lists know them.
        now: the same, as new lists do.
        since: older looks count for neither.
    """
    sums = []
    for looks in (before, now):
        late = looks[looks[Looks.LOOKED_AT] >= since]
        hashes = pd.util.hash_pandas_object(late[list(Looks.ALL)], index=False)
        sums.append(hashes.groupby(late[Looks.CUSTOMER_ID].to_numpy()).sum())
    then, today = (dict(zip(each.index, each.to_numpy(np.uint64), strict=True)) for each in sums)
    return {str(customer) for customer in then.keys() | today.keys() if then.get(customer) != today.get(customer)}


def difference(before: Sequence[str], now: Sequence[str]) -> float:
    """The share of a list's products that are others, whatever their order.

    >>> difference(["a", "b", "c", "d"], ["b", "a", "c", "x"])
    0.25
    """
    return 1 - len(set(before) & set(now)) / max(len(before), len(now), 1)


def upper_bound(differences: Sequence[float], of: int) -> float:
    """What the mean of all is below, in 95 of 100 samples.

    An empirical Bernstein bound (Maurer & Pontil 2009, "Empirical Bernstein Bounds and Sample Variance Penalization",
    theorem 4), because differences are between 0 and 1 and mostly 0: a sample without any proves that there are few,
    and not that there are none.

    Args:
        differences: of a random sample, at least two; each from 0 to 1.
        of: how many there are in all. If the sample is all of them, this is its mean.

    >>> upper_bound([0.0, 0.5], 2)
    0.25
    """
    mean, count = float(np.mean(differences)), len(differences)
    if count >= of:
        return mean
    doubt = math.log(2 / _DOUBT)
    spread = math.sqrt(2 * float(np.var(differences, ddof=1)) * doubt / count)
    return min(1.0, mean + spread + 7 * doubt / (3 * (count - 1)))


class _Listed(NamedTuple):
    """What counts of a customer's lists as they were published."""

    as_of: datetime
    in_share: bool
    shows_hidden: bool


def _comparable(
    settings: Settings, model_version: ModelVersion, snapshot: AnySnapshot, basis: Basis, top_n: int
) -> _Last | str:
    """The last publication, if lists can be taken from it; otherwise why not."""
    publications = registry.publications(settings)
    if not publications:
        return "nothing was published before"
    last, name = publications[0], name_of(publications[0].number)
    stored = read_rows(settings, "draft_of_publication", number=last.number)
    if not stored:
        return f"it is not known what {name} was made from"
    made = stored[0]
    if made.version != model_version.version:
        return f"{name} is of v{made.version}, and {model_version.title} serves"
    if made.as_of > snapshot.cutoff:
        return f"{name} is of later purchases"
    earlier = Basis.from_dict(made.basis)
    # What may differ, and is looked at customer by customer.
    alike = replace(earlier, today=basis.today, rules=basis.rules, experiment=basis.experiment)
    if made.top_n != top_n or alike != basis:
        return f"{name} was made with other settings, or something else was shown the week before"
    return _Last(last, earlier, made.snapshot_id)


def _known_then(
    settings: Settings, last: _Last, hidden: set[str], sold: set[str]
) -> tuple[dict[str, int], pd.DataFrame, dict[str, _Listed]]:
    """`digests` of the purchases that the last lists know, the looks that they know, and what counts of these lists.

    Raises:
        ArtifactError: something of that is no longer kept, or damaged.
    """
    known: dict[str, int] = {}
    # Part by part, so that memory does not hold all lines twice. All lines of a customer are in one part.
    for part in read_snapshot_by_parts(settings, last.snapshot_id):
        known |= digests(part, last.publication.as_of)
    return known, read_looks_of_snapshot(settings, last.snapshot_id), _listed(last.publication, hidden, sold)


def _listed(published: Publication, hidden: set[str], sold: set[str]) -> dict[str, _Listed]:
    """What counts of the lists of each customer of a publication. The lists themselves are read in batches.

    Args:
        published: the publication.
        hidden: stock codes that may no longer be shown.
        sold: stock codes that may.

    Raises:
        ArtifactError: they are no longer kept, or damaged.
    """
    found: dict[str, _Listed] = {}
    for batch in batches(published.url, _READ):
        lists = whole(batch)
        lists = lists.filter(pc.equal(lists[Lists.AUDIENCE], "customer")).combine_chunks()
        if not len(lists):
            continue
        codes = lists[Lists.STOCK_CODES].combine_chunks()
        listed = codes.flatten()
        may_be_shown = pc.is_in(listed, value_set=pa.array(sorted(sold - hidden), pa.string()))
        shows_hidden = np.zeros(len(lists), np.bool_)
        shows_hidden[codes.value_parent_indices().filter(pc.invert(may_be_shown)).to_numpy()] = True
        columns = {
            "key": lists[Lists.KEY],
            "as_of": lists[Lists.AS_OF],
            "in_share": pc.is_valid(lists[Lists.GROUP]),
            "shows_hidden": shows_hidden,
        }
        of_key = pl.first("as_of", "in_share"), pl.any("shows_hidden")
        rows = pl.DataFrame(pl.from_arrow(pa.table(columns))).group_by("key", maintain_order=True).agg(*of_key)
        for key, as_of, in_share, shows in rows.iter_rows():
            if (known := found.get(key)) is None:
                found[key] = _Listed(as_of or published.as_of, in_share, shows)
            elif shows and not known.shows_hidden:
                found[key] = known._replace(shows_hidden=True)
    return found


def _moved(settings: Settings, before: int | None, now: int | None, known: Collection[str]) -> set[str]:
    """The customers in the share of one of two experiments, if these differ."""
    if before == now:
        return set()
    both = [entry for entry in experiment_registry.experiments(settings) if entry.number in (before, now)]
    return set().union(*(share_of(entry, known) for entry in both))


def _proved(settings: Settings, plan: Plan, published: Publication, compared: list[str], top_n: int) -> Plan:
    """The plan with what a sample says; one that scores everybody if that is too much."""
    maker = plan.maker
    if maker is None or len(compared) < 2:
        because = "too few customers are left whose lists could be compared"
        return replace(plan, since=None, because=because, scored={}, taken_over=0)
    random = np.random.default_rng(plan.since)
    sample = random.choice(np.array(compared, dtype=object), min(SAMPLE, len(compared)), replace=False).tolist()
    theirs = {
        (row[Lists.KEY], row[Lists.LIST_NAME]): row[Lists.STOCK_CODES]
        for batch in batches(published.url, _READ)
        for row in _rows_of(whole(batch), sample)
    }
    of_customer: dict[str, list[float]] = {}
    for lists in maker.customers(top_n, chosen=sample):
        rows = zip(lists[Lists.KEY], lists[Lists.LIST_NAME], lists[Lists.STOCK_CODES], strict=True)
        for key, name, codes in rows:
            of_customer.setdefault(key, []).append(difference(theirs.get((key, name), ()), codes))
    differences = [float(np.mean(each)) for each in of_customer.values()]
    at_most = upper_bound(differences, len(compared))
    seen = replace(plan, sample=len(differences), difference=float(np.mean(differences)), at_most=at_most)
    if at_most <= settings.refresh_max_difference:
        return seen
    because = f"the lists of the others might differ by more than {settings.refresh_max_difference:.1%}"
    return replace(seen, since=None, because=because, scored={}, taken_over=0)


def _rows_of(lists: pa.Table, customers: list[str]) -> list[dict[str, Any]]:
    """The rows of some customers."""
    wanted = pc.and_(
        pc.equal(lists[Lists.AUDIENCE], "customer"), pc.is_in(lists[Lists.KEY], value_set=pa.array(customers))
    )
    rows: list[dict[str, Any]] = lists.filter(wanted).select(list(_READ)).to_pylist()
    return rows
