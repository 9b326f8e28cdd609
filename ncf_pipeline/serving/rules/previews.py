"""What a change of rules would do to the lists, before anybody decides.

The lists of the newest publication are made twice, with the rules as they are and as they would be, by the same model
from the same purchases. So each difference comes from the change. Nothing is published, and no customer is named.

Every function here that takes settings raises DatabaseError if Postgres cannot be reached or refuses.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pandas as pd

from ncf_pipeline.columns import FOR_YOU, Lists
from ncf_pipeline.errors import InputError, NcfError
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.lists.rules import Pin, Rules
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot
from ncf_pipeline.serving.drafts import Basis
from ncf_pipeline.serving.merchandising import RuleTables, read_rule_tables, rules_for
from ncf_pipeline.serving.publication import name_of
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import LEAVES_OUT, ONLY_IN, Rule
from ncf_pipeline.serving.scoring import maker_of, model_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, read_rows, transaction, write

logger = logging.getLogger(__name__)

EVERYBODY = 5_000
"""Up to so many customers, each is scored; of more, a sample."""

SAMPLE = 1_000
"""Customers in a sample."""

EXAMPLES = 5
"""Lists that are shown before and after, of customers and as many of products."""

KEPT_DAYS = 30
"""Days after which a preview that has ended is removed."""


@dataclass(frozen=True)
class Example:
    """A list before and after.

    Attributes:
        whose: the country of the customer, the product's stock code, or the visitors' country.
        audience: `customer`, `product` or `fallback`.
        list_name: of the list.
        before: stock codes, best first.
        after: stock codes, best first.
    """

    whose: str | None
    audience: str
    list_name: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What a change of rules would do.

    Attributes:
        publication: whose lists were made again, such as `p000007`.
        version: whose model scored.
        on: the day whose rules were compared.
        top_n: how many products of a list are shown. Only these are compared.
        customers: who have lists.
        scored: how many of them were scored: all, or a sample.
        customers_changed: of those who were scored, how many have another list.
        products: that have lists.
        products_changed: how many of them have another one.
        countries: lists of visitors: one for each country, and one for everywhere else.
        countries_changed: how many of them are others.
        expected_before: purchases that customers would make from `for_you`, by the chances, per customer; None if the
            model states no chances.
        expected_after: the same with the change.
        examples: lists before and after.
    """

    publication: str
    version: str
    on: date
    top_n: int
    customers: int
    scored: int
    customers_changed: int
    products: int
    products_changed: int
    countries: int
    countries_changed: int
    expected_before: float | None
    expected_after: float | None
    examples: tuple[Example, ...]

    @property
    def lost(self) -> float | None:
        """The share of the expected purchases that is lost, negative if there are more; None if it is not known."""
        if not self.expected_before or self.expected_after is None:
            return None
        return 1 - self.expected_after / self.expected_before

    def sentences(
        self, count: Callable[[float], str] = "{:,}".format, percent: Callable[[float, int], str] = "{:.{}%}".format
    ) -> list[str]:
        """In words.

        Args:
            count: writes a number of things.
            percent: writes a share in percent, with so many decimal places.
        """
        told = []
        if self.scored < self.customers:
            share = self.customers_changed / max(self.scored, 1)
            told.append(
                f"Of a sample of {count(self.scored)} customers, {count(self.customers_changed)} would have other "
                f"lists ({percent(share, 1)}); of all {count(self.customers)}, that is about "
                f"{count(round(share * self.customers))}."
            )
        else:
            told.append(f"{count(self.customers_changed)} of {count(self.customers)} customers would have other lists.")
        told.append(f"{count(self.products_changed)} of {count(self.products)} products would have other lists.")
        visited = f"{count(self.countries_changed)} of {count(self.countries)} countries"
        told.append(f"Visitors of {visited} would see other lists.")
        told.append(self._loss_in_words(percent))
        return told

    def _loss_in_words(self, percent: Callable[[float, int], str]) -> str:
        if self.lost is None:
            return "How many purchases that costs is not known: what serves states no chances."
        if abs(self.lost) < 0.00005:
            return "The expected purchases from for_you stay the same."
        kind = "lost" if self.lost > 0 else "gained"
        share = percent(abs(self.lost), 2)
        return f"{share} of the expected purchases from for_you would be {kind}, by the chances of each product."

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "on": self.on.isoformat()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Result":
        """From the JSON of `as_dict`."""
        examples = tuple(
            Example(**{**each, "before": tuple(each["before"]), "after": tuple(each["after"])})
            for each in stored["examples"]
        )
        return cls(**{**stored, "on": date.fromisoformat(stored["on"]), "examples": examples})


@dataclass(frozen=True)
class Preview:
    """A change that somebody asked to see first.

    Attributes:
        preview_id: its number.
        change: what would be changed.
        asked_by: who asked.
        reason: why; None if they said nothing.
        asked_at: when.
        seen: the newest change of rules that they had seen.
        state: `waiting`, `running`, `ready`, `failed`, `saved` or `dropped`.
        result: what it would do; None before that is known.
        error: why it failed.
        saved_as: number of the change that it became.
    """

    preview_id: int
    change: Change
    asked_by: str
    reason: str | None
    asked_at: datetime
    seen: int
    state: str
    result: Result | None
    error: str | None
    saved_as: int | None

    @property
    def is_open(self) -> bool:
        """Whether somebody still has to decide."""
        return self.state in ("waiting", "running", "ready")


def ask(settings: Settings, change: Change, *, asked_by: str, reason: str | None, seen: int) -> int:
    """Asks to see what a change would do; returns the preview's number. `make` computes it.

    Previews that ended more than `KEPT_DAYS` days ago are removed.
    """
    text = json.dumps(change.as_dict())
    with transaction(settings) as connection:
        query_rows(connection, "remove_old_previews", days=KEPT_DAYS)
        (row,) = query_rows(connection, "ask_preview", change=text, asked_by=asked_by, reason=reason, seen=seen)
    return int(row.preview_id)


def preview(settings: Settings, preview_id: int) -> Preview:
    """A preview.

    Raises:
        InputError: there is none of this number.
    """
    rows = read_rows(settings, "rule_preview", preview_id=preview_id)
    if not rows:
        raise InputError(f"There is no preview {preview_id}. Previews are kept for {KEPT_DAYS} days.")
    return _preview(rows[0])


def open_previews(settings: Settings) -> list[Preview]:
    """The previews that somebody still has to decide about, the newest first; up to 20."""
    return [_preview(row) for row in read_rows(settings, "open_previews")]


def make(settings: Settings, preview_id: int) -> Result | None:
    """Computes a preview that somebody asked for, and stores the result. A second try computes it again.

    Returns:
        The result; None if somebody has decided meanwhile.

    Raises:
        NcfError: it could not be computed. The preview says why.
    """
    if not read_rows(settings, "begin_preview", preview_id=preview_id):
        logger.info("Preview %d is not computed: somebody has decided already.", preview_id)
        return None
    try:
        result = compute(settings, preview(settings, preview_id).change)
    except NcfError as error:
        write(settings, "fail_preview", preview_id=preview_id, error=settings.without_secrets(str(error)))
        raise
    write(settings, "finish_preview", preview_id=preview_id, result=json.dumps(result.as_dict()))
    for sentence in result.sentences():
        logger.info("Preview %d: %s", preview_id, sentence)
    return result


def save(settings: Settings, preview_id: int, *, actor: str) -> int | None:
    """Makes the change of a preview.

    Returns:
        The number of the change; None if everything was so already.

    Raises:
        ChangedMeanwhileError: somebody has changed the same rules since the preview was asked for.
        InputError: somebody has decided already, or a change cannot be undone any more.
    """
    asked = _undecided(settings, preview_id)
    if asked.change.undoes is not None:
        made: int | None = changes.undo(settings, asked.change.undoes, actor=actor, reason=asked.reason)
    else:
        made = changes.apply(settings, asked.change, actor=actor, reason=asked.reason, seen=asked.seen)
    write(settings, "decide_preview", preview_id=preview_id, state="saved", saved_as=made)
    return made


def drop(settings: Settings, preview_id: int) -> None:
    """Throws a preview away. The rules stay as they are.

    Raises:
        InputError: somebody has decided already.
    """
    _undecided(settings, preview_id)
    write(settings, "decide_preview", preview_id=preview_id, state="dropped", saved_as=None)


def compute(settings: Settings, change: Change, *, today: date | None = None) -> Result:
    """Says what a change would do to the lists of the newest publication. Nothing is written.

    Args:
        settings: whose rules, lists and model.
        change: of the rules.
        today: the day whose rules are compared; the present day in UTC if None. If the change begins later, its first
            day.

    Raises:
        InputError: nothing was published yet, or it is not known from what; or the change cannot be made.
        ArtifactError: the model or the snapshot is missing or damaged.
    """
    today = today or datetime.now(UTC).date()
    begin = [rule.starts_on for rule in change.put if rule.starts_on is not None]
    on = max(today, min(begin)) if begin and len(begin) == len(change.put) else today
    published = registry.publications(settings)
    made = read_rows(settings, "draft_of_publication", number=published[0].number) if published else []
    if not made:
        raise InputError(
            "There are no lists to compare with, or it is not known from what they were made: refresh first "
            "(`ncf-pipeline refresh`, or the DAG refresh_lists)."
        )
    basis, top_n, as_of = Basis.from_dict(made[0].basis), int(made[0].top_n), made[0].as_of
    shown = top_n - basis.spare
    snapshot = read_snapshot(settings, made[0].snapshot_id)
    interactions = snapshot.interactions
    before = rules_for(settings, read_rule_tables(settings, on), interactions, as_of)
    changed = rules_for(settings, tables_after(settings, change, on), interactions, as_of)

    version = registry.model_version(settings, made[0].version)
    model = model_of(settings, version)
    maker = maker_of(settings, model, snapshot, replace(basis, rules=before))
    known = maker.countries()
    chosen = _sample(sorted(known), published[0].number)
    customers = _Compared(shown)
    for pair in _pairs(maker, changed, shown, basis.spare, chosen):
        customers.add(*pair)
    products, visitors = _Compared(shown), _Compared(shown)
    products.add(maker.products(top_n), maker.with_rules(changed).products(top_n))
    visitors.add(
        fallback_lists(interactions, as_of, top_n, before), fallback_lists(interactions, as_of, top_n, changed)
    )
    has_chances = customers.has_chances
    return Result(
        publication=name_of(published[0].number),
        version=version.name,
        on=on,
        top_n=shown,
        customers=len(known),
        scored=len(chosen),
        customers_changed=len(customers.changed),
        products=len(products.seen),
        products_changed=len(products.changed),
        countries=len(visitors.seen),
        countries_changed=len(visitors.changed),
        expected_before=customers.expected[0] / max(len(chosen), 1) if has_chances else None,
        expected_after=customers.expected[1] / max(len(chosen), 1) if has_chances else None,
        examples=(
            *customers.examples(lambda customer: known[customer]),
            *products.examples(lambda code: code),
            *visitors.examples(lambda country: country),
        ),
    )


def tables_after(settings: Settings, change: Change, today: date) -> RuleTables:
    """The rules in force on a day as they would be after a change, in the form of `read_rule_tables`.

    Raises:
        InputError: a rule to remove does not exist.
    """
    rules = [rule for rule in after(changes.rules(settings), change) if not rule.is_over(today)]
    pins = [rule for rule in rules if rule.is_pin and not rule.begins_later(today)]
    pins.sort(key=lambda rule: (rule.position, rule.pin_id is None, rule.pin_id))  # of new ones, in the given order
    codes = sorted({rule.stock_code for rule in pins})
    described = {row.stock_code for row in read_rows(settings, "descriptions", stock_codes=codes)}
    limits = change.limits if change.limits is not None else changes.limits(settings)
    return RuleTables(
        unlisted=frozenset(rule.stock_code for rule in rules if rule.kind in LEAVES_OUT),
        only_in={rule.stock_code: frozenset(rule.countries) for rule in rules if rule.kind == ONLY_IN},
        pins=tuple(
            Pin(
                rule.stock_code,
                str(rule.list_name),
                rule.countries[0] if rule.countries else None,
                rule.position or 1,
                rule.beside,
            )
            for rule in pins
        ),
        undescribed=frozenset(codes) - described,
        max_per_family=limits.max_per_family,
        min_price=limits.min_price,
    )


def after(rules: Sequence[Rule], change: Change) -> list[Rule]:
    """The rules as `changes.apply` would leave them. Pure.

    >>> [str(rule) for rule in after([Rule("hidden", "22423")], Change(put=(Rule("discontinued", "22423"),)))]
    ['22423 discontinued']

    Raises:
        InputError: a rule to remove does not exist.
    """
    missing = set(change.remove) - {rule.key for rule in rules}
    if missing:
        raise InputError(f"There is no rule '{min(missing)}' any more: somebody removed it.")
    replaced = {_place(rule) for rule in change.put}
    kept = [
        rule
        for rule in rules
        if rule.key not in change.remove
        and (rule in change.put if rule.is_pin and change.replaces_all else not change.replaces_all)
        and _place(rule) not in replaced - {None}
    ]
    return [*kept, *(rule for rule in dict.fromkeys(change.put) if not rule.is_pin or rule not in kept)]


def _place(rule: Rule) -> tuple[bool, str] | None:
    """What a product has one rule of; None for a pin."""
    return None if rule.is_pin else (rule.kind in LEAVES_OUT, rule.stock_code)


class _Compared:
    """Lists of one audience, before and after, counted batch by batch.

    Args:
        shown: products of a list that are shown. What is spare is not compared.
    """

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self.seen: set[str] = set()
        self.changed: set[str] = set()
        self.expected = [0.0, 0.0]
        self.has_chances = False
        self._examples: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...]]] = {}

    def add(self, before: pd.DataFrame, after: pd.DataFrame) -> None:
        """Takes lists of the same keys and names, in the same order."""
        keys, names = before[Lists.KEY], before[Lists.LIST_NAME]
        codes = zip(before[Lists.STOCK_CODES], after[Lists.STOCK_CODES], strict=True)
        for audience, key, name, both in zip(before[Lists.AUDIENCE], keys, names, codes, strict=True):
            self.seen.add(key)
            was, is_now = (tuple(each[: self._shown]) for each in both)
            if was != is_now:
                self.changed.add(key)
                if len(self._examples) < EXAMPLES and key not in self._examples:
                    self._examples[key] = (audience, name, was, is_now)
        for side, lists in enumerate((before, after)):
            if Lists.CHANCES in lists:
                for text in lists.loc[(names == FOR_YOU).to_numpy(), Lists.CHANCES].dropna():
                    self.has_chances = True
                    self.expected[side] += sum(chance or 0.0 for chance in json.loads(text)[: self._shown])

    def examples(self, whose: Callable[[str], str | None]) -> Iterator[Example]:
        """The first lists that changed, one of a key; `whose` says what the page shows in place of the key."""
        for key, (audience, name, was, is_now) in self._examples.items():
            yield Example(whose(key), audience, name, was, is_now)


def _pairs(
    maker: ListMaker, changed: Rules, shown: int, spare: int, chosen: Sequence[str]
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    """The lists of some customers with both rules, a batch at a time."""
    both = (
        each.customers(shown, spare=spare, chosen=chosen, with_chances=True)
        for each in (maker, maker.with_rules(changed))
    )
    yield from zip(*both, strict=True)


def _sample(customers: Sequence[str], seed: int) -> list[str]:
    """All customers, or, if there are many, some at random: the same for the same publication."""
    if len(customers) <= EVERYBODY:
        return list(customers)
    drawn = np.random.default_rng(seed).choice(len(customers), SAMPLE, replace=False)
    return [customers[place] for place in sorted(drawn.tolist())]


def _undecided(settings: Settings, preview_id: int) -> Preview:
    asked = preview(settings, preview_id)
    if asked.state in ("saved", "dropped"):
        done = f"saved as change {asked.saved_as}" if asked.state == "saved" else "thrown away"
        raise InputError(f"Preview {preview_id} was {done} already.")
    return asked


def _preview(row: Any) -> Preview:
    stored = row._asdict()
    result = stored.pop("result")
    return Preview(
        **{**stored, "change": Change.from_dict(stored["change"])},
        result=None if result is None else Result.from_dict(result),
    )
