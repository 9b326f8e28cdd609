"""Why a customer is, or is not, shown a product: by what Redis holds, the rules, and what made the live lists.

The answer for each list is the first of these that holds: it is shown; the customer has no lists of their own, or those
of a control group; the product is hidden at once, sold out or dismissed; a rule leaves it out; it is spare; it does not
belong on the list; or it stands too low. For the last two the customer is scored again, by the model and from the
purchases that made the live lists, and with their rules: so an endless list begins with the one that is live.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from ncf_pipeline.columns import BUY_AGAIN, DISCOVER, FOR_YOU
from ncf_pipeline.errors import ArtifactError, DatabaseError, InputError, ListStoreError, NcfError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import SHARE
from ncf_pipeline.experiments.records import Experiment
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.model.families import family_of
from ncf_pipeline.model.lists.standing import Standing, standing
from ncf_pipeline.privacy import kept_out
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving.drafts import Basis, Draft
from ncf_pipeline.serving.hiding import HiddenProduct
from ncf_pipeline.serving.kept_lists import KeptList, lists_of
from ncf_pipeline.serving.products import below_limit
from ncf_pipeline.serving.publication import name_of
from ncf_pipeline.serving.publication.store import connected, now, number_of
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.serving.rules.values import LEAVES_OUT, Rule, canonical
from ncf_pipeline.serving.scoring import Scoring, is_control
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_records, query_rows, read_rows, transaction
from ncf_pipeline.storefront import Recommendation, Storefront

logger = logging.getLogger(__name__)


KEPT_SECONDS = 600
"""After the last question, what scores customers is kept in memory for so long."""

PATIENCE = 2.0
"""Seconds to wait for Redis to answer."""


@dataclass(frozen=True)
class Answer:
    """Why a product is, or is not, on one of a customer's lists.

    Attributes:
        list_name: of the list.
        cause: `shown`, `unknown customer`, `no lists`, `control`, `hidden`, `sold out`, `dismissed`, `rule`, `spare`,
            `bought`, `not bought`, `returned`, `not sold`, `family`, `kept out`, `too low`, `no candidate` or
            `not known`.
        words: a sentence or two.
        shown_at: its place as the shop reads the list now, from 1; None if it is not shown.
        kept_at: its place in the published list, spare places included; None if it is not on it.
        place: its place if the list did not end; None if it would not be on it, or the customer was not scored again.
        among: how many candidates compete for the list; None if the customer was not scored again.
    """

    list_name: str
    cause: str
    words: str
    shown_at: int | None = None
    kept_at: int | None = None
    place: int | None = None
    among: int | None = None


@dataclass(frozen=True)
class Why:
    """Why a customer is, or is not, shown a product.

    Attributes:
        stock_code: in canonical spelling.
        description: of the product.
        country: of the customer's newest invoice; None if it is unknown.
        publication: such as `p000007`; None if nothing is live.
        version: whose model made the lists, such as `v7`; None if nothing is live.
        answers: one for each list, `for_you` first.
        chance: that they buy it within four weeks, by the model; None if it states none, or was not asked.
        reproduced: whether the lists that were made again begin as the published ones do; None if none were made.
        notes: what else has to be known, in sentences.
    """

    stock_code: str
    description: str
    country: str | None
    publication: str | None
    version: str | None
    answers: tuple[Answer, ...]
    chance: float | None
    reproduced: bool | None
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def why(settings: Settings, customer_id: str, stock_code: str, *, most_customers: int | None = None) -> Why:
    """Says why a customer is, or is not, shown a product.

    Args:
        settings: of the shop.
        customer_id: of the customer, as somebody writes it.
        stock_code: of the product, in any case.
        most_customers: of shops with more customers, nobody is scored again; None: whatever it takes.

    Raises:
        InputError: it cannot be a customer's id, or the shop has no such product.
        DatabaseError: Postgres does not answer.
    """
    customer, code = spelled(customer_id), canonical(stock_code.replace("\x00", ""))
    if not is_possible(customer):
        raise InputError("This cannot be a customer's id.")
    with transaction(settings) as connection:
        described = query_rows(connection, "product_facts", stock_code=code)
        known = query_rows(connection, "shop_customer", customer_id=customer)
        hidden = query_records(connection, HiddenProduct, "hidden_products")
        limits = query_rows(connection, "list_limits")  # one row; without it there is no limit
    if not described:
        raise InputError(f"The shop has no product {code[:60]}.")
    country = known[0].country if known else None
    notes: list[str] = []
    read = _read_redis(settings, customer, code, country, notes)
    live = _live(settings, read)
    if live is None:
        none = [Answer(name, "not known", "No lists are live.") for name in settings.published_lists]
        return Why(code, described[0].description, country, None, None, tuple(none), None, None, tuple(notes))
    kept: Mapping[str, KeptList] = {}
    try:
        kept = lists_of(live, customer, with_reasons=False)
    except ArtifactError as error:
        logger.warning("%s", error)
        notes.append("The file of the live lists cannot be read, so this is from Redis alone.")
    hides = next((each for each in hidden if each.stock_code == code and each.country in (None, country)), None)
    lowest = limits[0].min_price if limits else None
    asked = _Question(
        settings, customer, code, described[0], country, bool(known), hides, lowest, live, read, kept, most_customers
    )
    answers = tuple(asked.answer(name) for name in settings.published_lists)
    return Why(
        code, described[0].description, country, name_of(live.number), f"v{live.version}", answers, asked.chance,
        asked.reproduced, (*notes, *asked.notes),
    )  # fmt: skip


@dataclass(frozen=True)
class _Read:
    """What Redis holds of a customer and a product.

    Attributes:
        publication: that is live.
        served: the lists as the shop reads them.
        whole: the lists as they were published.
        dismissed_until: when the customer's dismissal of the product ends; None if there is none.
        is_sold_out: whether the stock system says that the product is sold out.
    """

    publication: str | None
    served: Mapping[str, Recommendation]
    whole: Mapping[str, Recommendation]
    dismissed_until: datetime | None
    is_sold_out: bool


def _read_redis(settings: Settings, customer: str, code: str, country: str | None, notes: list[str]) -> _Read | None:
    """What Redis holds; None, and a note, if it does not answer."""
    both: list[Mapping[Any, Recommendation]] = []
    for whole in (False, True):
        with Storefront(
            settings.list_store(),
            prefix=settings.key_prefix,
            cluster=settings.redis_cluster,
            timeout=PATIENCE,
            whole=whole,
        ) as shop:
            both.append(shop.lists_of_customer(customer, country=country))
    served, published = both
    away = (
        "Redis does not answer, so this is from the file of the live lists. What they dismissed, and what is sold out, "
        "is not known."
    )
    if any(each.source == "unavailable" for each in (*served.values(), *published.values())):
        notes.append(away)
        return None
    try:
        with connected(settings, "what was dismissed or sold out is not known") as store:
            prefix = settings.key_prefix
            ends: Any = store.client.zscore(f"{prefix}:dismissed:customer:{customer}", code)
            is_sold_out = bool(store.client.sismember(f"{prefix}:sold_out", code))
            until = datetime.fromtimestamp(ends, UTC) if ends is not None and ends > now(store) // 1000 else None
    except ListStoreError as error:
        logger.warning("%s", error)
        notes.append(away)
        return None
    return _Read(served[FOR_YOU].publication, served, published, until, is_sold_out)


def _live(settings: Settings, read: _Read | None) -> Publication | None:
    """The publication that is live: as Redis says, or as it is recorded if Redis does not answer."""
    name = read.publication if read is not None else None
    if read is None:
        rows = read_rows(settings, "live_lists")
        name = name_of(rows[0].number) if rows else None
    try:
        return registry.publication(settings, number_of(name)) if name is not None else None
    except ValueError:  # somebody else's word in Redis
        return None


class _Question:
    """One customer and one product; the customer is scored once, when the first list needs it."""

    def __init__(
        self,
        settings: Settings,
        customer: str,
        code: str,
        product: Any,
        country: str | None,
        is_known: bool,
        hidden: HiddenProduct | None,
        lowest: float | None,
        live: Publication,
        read: _Read | None,
        kept: Mapping[str, KeptList],
        most_customers: int | None,
    ) -> None:
        self._settings, self._customer, self._code = settings, customer, code
        self._product, self._country, self._is_known = product, country, is_known
        self._hidden, self._lowest = hidden, lowest
        self._live, self._read, self._kept, self._most = live, read, kept, most_customers
        made = read_rows(settings, "draft_of_publication", number=live.number)
        self._draft = _draft(made[0]) if made else None
        self._shown = self._draft.shown if self._draft is not None else settings.top_n
        self._group = next((each.group for each in kept.values()), None)
        self._experiment = _experiment(settings, live)
        self._standing: Standing | None = None
        self._unscored: str | None = None
        self.chance: float | None = None
        self.reproduced: bool | None = None
        self.notes: list[str] = []

    def answer(self, name: str) -> Answer:
        """Why the product is, or is not, on this list."""
        kept_at, shown_at = self._kept_at(name), self._shown_at(name)
        cause, words = self._cause(name, kept_at, shown_at)
        scored = self._standing
        place, among = (scored.places[name], scored.among[name]) if scored is not None else (None, None)
        return Answer(name, cause, words, shown_at, kept_at, place, among)

    def _kept_at(self, name: str) -> int | None:
        codes: Sequence[str] = self._kept[name].stock_codes if name in self._kept else ()
        if self._read is not None and self._read.whole[name].source == "customer":
            codes = self._read.whole[name].stock_codes
        return codes.index(self._code) + 1 if self._code in codes else None

    def _shown_at(self, name: str) -> int | None:
        codes: Sequence[str] = self._kept[name].stock_codes[: self._shown] if name in self._kept else ()
        if self._read is not None:
            codes = self._read.served[name].stock_codes
        elif self._hidden is not None:
            codes = ()
        return codes.index(self._code) + 1 if self._code in codes else None

    def _cause(self, name: str, kept_at: int | None, shown_at: int | None) -> tuple[str, str]:
        own = self._has_own(name)
        if shown_at is not None:
            where = "" if own else " of the best sellers that they see in place of a list of their own"
            return "shown", f"It is shown: number {shown_at}{where}.{self._goes()}"
        for find in (self._no_own, self._taken_out, self._left_out):
            found = find(name)
            if found is not None:
                return found
        if kept_at is not None:
            return "spare", (
                f"It is number {kept_at} of their list, of which {self._shown} are shown. It moves up if products "
                "before it are hidden or sold out."
            )
        return self._stands(name)

    def _has_own(self, name: str) -> bool:
        return self._read.served[name].source == "customer" if self._read is not None else name in self._kept

    def _goes(self) -> str:
        """What is about to change, if a rule leaves out what is still shown."""
        rule = self._rule_now
        return f" With the next refresh it goes: {rule}" if rule is not None else ""

    def _no_own(self, name: str) -> tuple[str, str] | None:
        """Why the customer has no list of their own that the product could be on."""
        best = self._best_sellers(name)
        if self._group == SHARE and is_control(self._experiment):
            assert self._experiment is not None
            return "control", (
                f"They are in the control group of the experiment {self._experiment.design.name}, so they see best "
                "sellers in place of personal lists, and it is not among these."
            )
        if not self._is_known:
            return "unknown customer", f"The shop knows no purchase of this customer. {best}"
        if self._kept or self._has_own(name) or (self._read is not None and self._owns_any()):
            return None
        return "no lists", (
            f"The live lists have none for this customer: their first purchase is newer than {self._live.as_of}, or "
            "none of their purchases counts, because all were returned or are of codes that stand for no product. "
            f"{best}"
        )

    def _owns_any(self) -> bool:
        return self._read is not None and any(each.source == "customer" for each in self._read.whole.values())

    def _best_sellers(self, name: str) -> str:
        source = self._read.served[name].source if self._read is not None else "everywhere"
        where = f"of {self._country}" if source == "country" else "of all countries"
        return f"They see the best sellers {where}, and it is not among these."

    def _taken_out(self, name: str) -> tuple[str, str] | None:  # noqa: ARG002 - of any list
        """Why readers take the product out at this moment."""
        hidden = self._hidden
        if hidden is not None:
            where = (
                f"They are in {hidden.country}, and it is hidden there at once"
                if hidden.country
                else "It is hidden at once"
            )
            end = f" until {hidden.until:%Y-%m-%d %H:%M %Z}" if hidden.until else ""
            because = f": {hidden.why}" if hidden.why else ""
            return "hidden", f"{where}{end}, by {hidden.hidden_by}{because}."
        if self._read is not None and self._read.is_sold_out:
            return "sold out", "The stock system says that it is sold out."
        if self._read is not None and self._read.dismissed_until is not None:
            return "dismissed", f"They dismissed it; it may come back on {self._read.dismissed_until:%Y-%m-%d}."
        return None

    def _left_out(self, name: str) -> tuple[str, str] | None:  # noqa: ARG002
        """Which rule leaves the product out of the lists that are live."""
        rules = self._draft.basis.rules if self._draft is not None else None
        rule = self._rule_now
        if rules is None or self._product.is_excluded:
            return ("rule", rule) if rule is not None else None
        if rules.shows(self._code, self._country):
            return None
        if rule is not None:
            return "rule", rule
        if self._code in rules.at_once or self._code in rules.at_once_in.get(self._country or "", ()):
            return "rule", (
                "It was hidden at once, or sold out, when the live lists were made, and is not any more. The next "
                "refresh makes lists with it."
            )
        return (
            "rule",
            "A rule left it out when the live lists were made, and is gone or over. The next refresh may show it.",
        )

    @cached_property
    def _rule_now(self) -> str | None:
        """The rule of today that leaves the product out for this customer, in a sentence."""
        settings, code, today = self._settings, self._code, datetime.now(UTC).date()
        if self._product.is_excluded:
            return "Its code stands for no product (retail.excluded_stock_code)."
        of_it = [rule for rule in changes.rules(settings) if rule.stock_code == code and not rule.is_over(today)]
        for rule in of_it:
            if rule.kind in LEAVES_OUT:
                return f"A rule leaves it out everywhere ({rule.kind}{_end(rule)}{self._change()})."
        only = next((rule.countries for rule in of_it if rule.countries and rule.kind == "only in"), None)
        if only is not None and self._country not in only:
            theirs = self._country or "a country that is not known"
            return f"A rule shows it only in {', '.join(only)}, and they are in {theirs}{self._change(' (', ')')}."
        return below_limit(self._product.price, self._lowest, lambda amount: f"{amount:.2f} {settings.currency}")

    def _change(self, before: str = ", ", after: str = "") -> str:
        newest = changes.history(self._settings, stock_code=self._code, most=1)
        return f"{before}change {newest[0].change_id} by {newest[0].actor}{after}" if newest else ""

    def _stands(self, name: str) -> tuple[str, str]:
        """Where the model puts the product, and why that is not on the list."""
        found = self._scored()
        if found is None:
            return "not known", self._unscored or "It is not on their list."
        if name == DISCOVER and found.seen:
            return "bought", "They bought it before, and discover shows only what is new to them."
        if name == BUY_AGAIN and not found.bought:
            if found.seen:
                return "returned", "They returned what they bought of it."
            return "not bought", "They never bought it, and buy_again shows only what they bought."
        if not found.is_sold:
            return (
                "not sold",
                f"It was not sold before {self._live.as_of}, so the lists cannot know it.{self._new(name)}",
            )
        place, length = found.places[name], self._draft.top_n if self._draft is not None else self._shown
        if place is None:
            return "family", self._family(found.lists[name], length)
        if place <= length:
            return "kept out", self._kept_out(name, place)
        candidates = f"their {found.among[name]:,} candidates"
        keeps = f"lists keep {length} and show {self._shown}" if length > self._shown else f"lists show {self._shown}"
        if found.is_candidate and place <= found.among[name]:
            return "too low", f"It is number {place:,} of {candidates}; {keeps}."
        never = "They bought it before, and still it" if found.seen else "They never bought it, and it"
        return "no candidate", (
            f"{never} is not among {candidates}: neither what they bought nor what customers like them bought leads to "
            f"it. Best sellers come after the candidates; there it would be number {place:,}; {keeps}."
        )

    def _new(self, name: str) -> str:
        """What else is to say of a product that was not sold."""
        places = self._draft.basis.new_places if self._draft is not None else 0
        if name != DISCOVER or not places:
            return ""
        have = "1 place" if places == 1 else f"{places} places"
        return (
            f" {DISCOVER} has {have} for products that nobody has bought: others are more like what they "
            "buy, or it is not launched, not described or not in stock."
        )

    def _family(self, listed: Sequence[str], length: int) -> str:
        most = self._draft.basis.rules.max_per_family if self._draft is not None else None
        before = [code for code in listed[:length] if family_of(code) == family_of(self._code)]
        others = f": {', '.join(before)}" if before else ""
        return f"Lists show at most {most} of its family, and others of it come first{others}."

    def _kept_out(self, name: str, place: int) -> str:
        as_of = self._kept[name].as_of if name in self._kept else self._live.as_of
        if as_of < self._live.as_of:
            return (
                f"Made again now, it would be number {place}. Their lists are older than the others, as of {as_of}, "
                "because nothing had changed for them since."
            )
        return (
            f"By the model it would be number {place}. When the live lists were made, something kept it out, such as a "
            "dismissal that is over now. The next refresh makes lists with it."
        )

    def _scored(self) -> Standing | None:
        """Scores the customer, once; None, and why, if that cannot be."""
        if self._standing is not None or self._unscored is not None:
            return self._standing
        if self._draft is None:
            self._unscored = (
                "It is not on their list. From what the live lists were made is not recorded, as after a rollback: the "
                "next refresh records it."
            )
            return None
        if self._most is not None and self._live.customers > self._most:
            self._unscored = (
                f"It is not on their list. In a shop of more than {self._most:,} customers nobody is scored here: "
                "`ncf-pipeline why` does it."
            )
            return None
        try:
            found = _score(self._settings, self._live, self._draft, self._group, self._customer, self._code)
        except DatabaseError:
            raise
        except NcfError as error:
            logger.warning("%s", error)
            self._unscored = (
                f"It is not on their list. They cannot be scored again: {self._settings.without_secrets(str(error))}"
            )
            return None
        if found is None:
            self._unscored = "It is not on their list. They can no longer be scored: none of their purchases is left."
            return None
        self._standing, self.chance = found, found.chance
        self.reproduced = self._is_reproduced(found, self._draft.top_n)
        if not self.reproduced:
            self.notes.append(
                "Their lists are not quite what would be made of the same purchases now: they were taken over from an "
                "earlier publication, or something was dismissed meanwhile."
            )
        return found

    def _is_reproduced(self, found: Standing, length: int) -> bool:
        there = {name: kept.stock_codes for name, kept in self._kept.items()}
        return bool(there) and all(found.lists[name][:length] == codes for name, codes in there.items())


class _Kept:
    """What scores the customers of the live lists; kept for a while, because making it reads all purchases."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._key: Any = None
        self._scoring: Scoring | None = None
        self._timer: threading.Timer | None = None

    def of(self, key: Any, settings: Settings, draft: Draft) -> Scoring:
        """What scores by a draft; the caller holds the lock."""
        if self._key != key:
            self._key, self._scoring = None, None  # before the next is made, so that memory holds one
            self._key, self._scoring = key, Scoring(settings, draft)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(KEPT_SECONDS, self.drop)
        self._timer.daemon = True
        self._timer.start()
        assert self._scoring is not None
        return self._scoring

    def drop(self) -> None:
        """Forgets it."""
        with self.lock:
            self._key, self._scoring = None, None


_kept = _Kept()


def _score(
    settings: Settings, live: Publication, draft: Draft, group: str | None, customer: str, code: str
) -> Standing | None:
    with _kept.lock, kept_out(settings) as erased:
        key = (settings.database(), live.number, erased.sha256)
        maker = _kept.of(key, settings, draft).maker_for(group)
        return standing(maker, customer, code, draft.shown) if maker is not None else None


def _draft(made: Any) -> Draft:
    """The draft of a publication, as far as scoring needs it. Its parts are gone."""
    return Draft(
        draft_id=0, version=made.version, snapshot_id=made.snapshot_id, as_of=made.as_of, top_n=made.top_n, shards=1,
        basis=Basis.from_dict(made.basis), after=0, erased_sha256="", url="",
    )  # fmt: skip


def _experiment(settings: Settings, live: Publication) -> Experiment | None:
    if live.experiment is None:
        return None
    return next((each for each in experiment_registry.experiments(settings) if each.number == live.experiment), None)


def _end(rule: Rule) -> str:
    return f" until {rule.ends_on}" if rule.ends_on is not None else ""
