"""Whom a campaign should tell: the customers for one product, and the products that customers are due to buy again.

The first asks the model that serves for its scores of one product for each customer; the second reads the days that are
published. Both leave out what readers would not show, and who must see no recommendations while an experiment runs.
Consent is the shop's: nothing here knows who may be written to.
"""

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline.columns import BUY_AGAIN, Interactions, Lists
from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.lists.assemble import BATCH_CUSTOMERS, ListMaker
from ncf_pipeline.model.lists.listed_chances import ListedChances
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.model.lists.scoring import Candidates
from ncf_pipeline.privacy import Erased, kept_out, refuse_if_erased_since
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.dismissals import dismissed
from ncf_pipeline.serving.hiding import hidden_now
from ncf_pipeline.serving.merchandising import read_rule_tables, rules_for
from ncf_pipeline.serving.scoring import is_control, kept_lists, model_of, share_of
from ncf_pipeline.serving.spreadsheets import unrun
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.storage.files import new_file

logger = logging.getLogger(__name__)

ENDINGS = (".csv", ".parquet")
"""Of files that are written."""

HIDDEN = "hidden now"
CONTROL = "in the control group of the experiment"
NOT_SHOWN = "in a country whose lists may not show it"
DISMISSED = "dismissed it"
NOT_SCORED = "the model did not score it for them"


@dataclass(frozen=True)
class ForProduct:
    """A customer for a product.

    Attributes:
        customer_id: as on invoices.
        chance: that they buy it within `NCF_HOLDOUT_DAYS`, from 0 to 1; None for version 0, and for a model without
            chances.
        place: of the product among all that were scored for this customer, from 1.
        bought: whether they bought it before, and have not returned it.
        country: of their last invoice; None if it has none.
    """

    customer_id: str
    chance: float | None
    place: int
    bought: bool
    country: str | None


@dataclass(frozen=True)
class Campaign:
    """The customers for a product.

    Attributes:
        stock_code: in canonical spelling.
        version: whose model scored.
        as_of: the first instant whose purchases it does not know.
        customers: the best first: by chance, without chances by place; ties by place, then id.
        asked: how many customers there are with purchases.
        left_out: how many of them were left out, by why.
    """

    stock_code: str
    version: int
    as_of: datetime
    customers: list[ForProduct]
    asked: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Due:
    """A product that a customer is due to buy again.

    Attributes:
        customer_id: as on invoices.
        stock_code: of the product.
        due: the day by whose end half of such customers have bought it again.
        place: in the customer's `buy_again`, from 1.
    """

    customer_id: str
    stock_code: str
    due: date
    place: int


@dataclass(frozen=True)
class DueWeek:
    """What is due within seven days.

    Attributes:
        begins: its first day.
        publication: whose days they are.
        products: by day, customer and place.
        left_out: how many products that are due were left out, by why.
    """

    begins: date
    publication: str
    products: list[Due]
    left_out: Mapping[str, int]


def customers_for(settings: Settings, stock_code: str, *, top: int) -> Campaign:
    """Orders customers by the chance that they buy a product.

    Every customer with a purchase is scored by the model that serves, on the newest purchases, with the features and
    chances of a refresh: not only those whose list has the product. That takes as long as a refresh scores.

    Args:
        settings: of the shop.
        stock_code: in any case.
        top: most customers to return.

    Raises:
        InputError: nothing serves yet, the product was never sold, or no list may show it.
        ErasedMeanwhileError: a customer was erased while the purchases were read. Try again.
        ArtifactError: the model or the purchases are missing or damaged.
        ListStoreError: Redis does not answer, so it is not known who dismissed the product.
    """
    code = stock_code.strip().upper()
    champion = registry.champion(settings)
    if champion is None:
        raise InputError("Nothing serves yet, so nothing is scored: `ncf-pipeline refresh` makes the first lists.")
    with kept_out(settings) as erased:
        snapshot = read_snapshot(settings, take_snapshot(settings, None))
        tables = read_rule_tables(settings, datetime.now(UTC).date())
        rules = rules_for(settings, tables, snapshot.interactions, snapshot.cutoff)
        if code not in set(snapshot.interactions[Interactions.STOCK_CODE]):
            raise InputError(f"{code} was never sold, so it is scored for nobody. Is it misspelled?")
        now = hidden_now(settings)
        if code in rules.hidden or code in now.everywhere:
            raise InputError(
                f"{code} is hidden, so it is shown to nobody. `ncf-pipeline hidden` and `rules list` say why."
            )
        if champion.recommender == registry.BASELINES:
            logger.info("Version 0 serves, which has no chances: customers are ordered by the product's place.")
        model = model_of(settings, champion)
        maker = ListMaker(model, snapshot.interactions, snapshot.cutoff, looks=snapshot.looks)
        who = _Chosen(settings, code, rules, now.by_country, maker.countries())
        scored = list(_scored(maker, code, who.customers))
        _refuse_if_erased(settings, erased)
    scored.sort(key=lambda each: (-(each.chance or 0.0), each.place, each.customer_id))
    left_out = Counter(who.left_out)
    if missing := len(who.customers) - len(scored):
        left_out[NOT_SCORED] = missing
    return Campaign(code, champion.version, snapshot.cutoff, scored[:top], who.asked, dict(left_out))


def due_in(settings: Settings, begins: date) -> DueWeek:
    """The products of the live lists that customers are due to buy again within seven days.

    Args:
        settings: of the shop.
        begins: the first day, on the shop's clock.

    Raises:
        InputError: nothing is published, or without due days.
        ArtifactError: the lists are no longer kept, or damaged.
        ListStoreError: Redis does not answer.
    """
    live = publication.live_publication(settings)
    name = live["name"] if live is not None else None
    entry = next((each for each in registry.publications(settings) if publication.name_of(each.number) == name), None)
    if name is None or entry is None:
        raise InputError("Nothing is published yet: `ncf-pipeline refresh` makes the first lists.")
    with kept_out(settings) as erased:
        due = list(_due_of(entry.url, begins))
        if not due and not _has_days(entry.url):
            raise InputError(
                f"The live lists ({name}) have no due days. Set NCF_DUE=true, then run `ncf-pipeline refresh`."
            )
        customers = {each.customer_id for each in due}
        control = _control_group(settings, customers)
        gone, now = dismissed(settings), hidden_now(settings)
        countries: dict[str, str] = {}
        if now.by_country:
            rows = read_rows(settings, "customer_countries", customers=sorted(customers))
            countries = {row.customer_id: row.country for row in rows}
        found, left_out = list[Due](), Counter[str]()
        for each in due:
            why = None
            if each.customer_id in control:
                why = CONTROL
            elif each.stock_code in now.everywhere:
                why = HIDDEN
            elif each.stock_code in now.by_country.get(countries.get(each.customer_id, ""), ()):
                why = NOT_SHOWN
            elif each.stock_code in gone.get(each.customer_id, ()):
                why = DISMISSED
            if why is None:
                found.append(each)
            else:
                left_out[why] += 1
        _refuse_if_erased(settings, erased)
    found.sort(key=lambda each: (each.due, each.customer_id, each.place))
    return DueWeek(begins, name, found, dict(left_out))


def _due_of(url: str, begins: date) -> Iterator[Due]:
    ends = begins + timedelta(days=7)
    for lists in kept_lists(url, (Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES, Lists.DUE)):
        rows = lists[(lists[Lists.LIST_NAME] == BUY_AGAIN) & lists[Lists.DUE].notna()]
        for customer, codes, text in zip(rows[Lists.KEY], rows[Lists.STOCK_CODES], rows[Lists.DUE], strict=True):
            for place, (code, day) in enumerate(zip(codes, json.loads(text), strict=True), start=1):
                if day is not None and begins <= date.fromisoformat(day) < ends:
                    yield Due(customer, code, date.fromisoformat(day), place)


def _has_days(url: str) -> bool:
    return any(lists[Lists.DUE].notna().any() for lists in kept_lists(url, (Lists.DUE,)))


def _control_group(settings: Settings, customers: Collection[str]) -> set[str]:
    """Those of the customers who must see no recommendations while an experiment runs."""
    experiment = experiment_registry.running(settings)
    return share_of(experiment, customers) if is_control(experiment) else set()


def check_ending(path: Path) -> Path:
    """Returns the path of a file that can be written.

    Raises:
        InputError: it has another ending than `ENDINGS`.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path.name} ends neither with .csv nor with .parquet, so its form is not known.")
    return path


def write(path: Path, kind: type[ForProduct] | type[Due], rows: Sequence[ForProduct | Due]) -> None:
    """Writes rows as CSV or Parquet, by the file's ending. It takes the place of one that is there when it is whole.

    Args:
        path: as `check_ending` accepts it.
        kind: of the rows.
        rows: in their order.

    Raises:
        ArtifactError: there is no room, or this user may not write there.
    """
    names = [field.name for field in fields(kind)]
    with new_file(path.resolve().as_uri()) as file:
        if path.suffix.lower() == ".parquet":
            pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], _SCHEMAS[kind]), file)
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows([unrun(cell) for cell in asdict(row).values()] for row in rows)
        text.detach()  # the file is closed by whoever opened it


_SCHEMAS: dict[type, pa.Schema] = {
    ForProduct: pa.schema(
        [
            ("customer_id", pa.string()),
            ("chance", pa.float64()),
            ("place", pa.int32()),
            ("bought", pa.bool_()),
            ("country", pa.string()),
        ]
    ),
    Due: pa.schema(
        [("customer_id", pa.string()), ("stock_code", pa.string()), ("due", pa.date32()), ("place", pa.int32())]
    ),
}


class _Chosen:
    """Which customers are scored, and why others are not.

    Args:
        settings: of the shop.
        code: of the product.
        rules: of a merchandiser.
        hidden_in: by country, what is hidden there at once.
        countries: of all customers with purchases.
    """

    def __init__(
        self,
        settings: Settings,
        code: str,
        rules: Rules,
        hidden_in: Mapping[str, frozenset[str]],
        countries: Mapping[str, str | None],
    ) -> None:
        self.asked = len(countries)
        control = _control_group(settings, countries)
        gone = {customer for customer, codes in dismissed(settings).items() if code in codes}
        self.left_out: dict[str, int] = {}
        self.customers: dict[str, str | None] = {}
        for customer, country in countries.items():
            why = None
            if customer in control:
                why = CONTROL
            elif not rules.shows(code, country) or code in hidden_in.get(country or "", ()):
                why = NOT_SHOWN
            elif customer in gone:
                why = DISMISSED
            if why is None:
                self.customers[customer] = country
            else:
                self.left_out[why] = self.left_out.get(why, 0) + 1


def _scored(maker: ListMaker, code: str, customers: Mapping[str, str | None]) -> Iterator[ForProduct]:
    """The customers for whom a product was scored, a batch at a time, in the order of the events."""
    events = maker.state.events
    product = int(np.flatnonzero(events.products == code)[0])
    known = np.intersect1d(maker.state.known_customers, events.index_of(list(customers)))
    chances = maker.listed_chances
    for begin in range(0, len(known), BATCH_CUSTOMERS):
        for candidates in maker.scorer.candidates(known[begin : begin + BATCH_CUSTOMERS]):
            yield from _of_chunk(candidates, product, code, chances, events.customers, customers)


def _of_chunk(
    scored: Candidates,
    product: int,
    code: str,
    chances: ListedChances | None,
    names: npt.NDArray[np.object_],
    customers: Mapping[str, str | None],
) -> Iterator[ForProduct]:
    rows: IntArray = np.flatnonzero(scored.product == product)
    owners = np.searchsorted(scored.start, rows, side="right") - 1
    size = np.diff(scored.start)
    mine = np.full(len(size), np.nan)
    mine[owners] = scored.for_you[rows]
    # Ties as in lists: by stock code, which is the order of candidates.
    own = np.repeat(mine, size)
    before = np.arange(len(scored.product)) < np.repeat(_places(len(size), owners, rows), size)
    ahead = (scored.for_you > own) | ((scored.for_you == own) & before)
    place = 1 + np.bincount(np.repeat(np.arange(len(size)), size)[ahead], minlength=len(size))
    of_all = chances.of([[code]] * len(size), scored) if chances is not None else None
    for owner, row in zip(owners.tolist(), rows.tolist(), strict=True):
        name = names[int(scored.customer[owner])]
        chance = of_all[owner][0] if of_all is not None else None
        yield ForProduct(name, chance, int(place[owner]), bool(scored.bought[row]), customers[name])


def _places(count: int, owners: IntArray, rows: IntArray) -> IntArray:
    places = np.full(count, -1, np.int64)
    places[owners] = rows
    return places


def _refuse_if_erased(settings: Settings, erased: Erased) -> None:
    with transaction(settings) as connection:
        refuse_if_erased_since(connection, settings, erased)
