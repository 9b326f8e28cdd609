"""One rule, and how what a person writes becomes one. A mistake is a sentence."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ncf_pipeline.columns import BOUGHT_TOGETHER, DISCOVER, FOR_YOU, NEW_ARRIVALS
from ncf_pipeline.errors import InputError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

HIDDEN, OUT_OF_STOCK, DISCONTINUED, ONLY_IN, PINNED = "hidden", "out of stock", "discontinued", "only in", "pinned"
PINNED_BESIDE = "pinned beside"

LEAVES_OUT = {HIDDEN: "excluded", OUT_OF_STOCK: "out of stock", DISCONTINUED: "discontinued"}
"""Kinds that leave a product out of every list, and how `retail.unlisted_product` names them."""

KINDS = (*LEAVES_OUT, ONLY_IN, PINNED, PINNED_BESIDE)

PINS = (PINNED, PINNED_BESIDE)
"""Kinds that put a product at a place of lists: of customers and visitors, or of another product."""

PINNED_LISTS = (FOR_YOU, DISCOVER, NEW_ARRIVALS)
"""Lists in which a product can be pinned."""

MOST_POSITION, MOST_TEXT, MOST_PRICE = 100, 500, 1_000_000

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Rule:
    """A rule about a product.

    Attributes:
        kind: one of `KINDS`.
        stock_code: in canonical spelling.
        countries: of `only in`, the only ones; of a pin, one, or none if it is for everyone.
        list_name: of a pin: the list.
        position: of a pin: the place in the list, from 1.
        starts_on: of a pin: its first day.
        ends_on: the first day without the rule; None: no end.
        note: for people.
        pin_id: of a pin that is stored.
        beside: of a pinned pair, the product on whose list `stock_code` is.
    """

    kind: str
    stock_code: str
    countries: tuple[str, ...] = ()
    list_name: str | None = None
    position: int | None = None
    starts_on: date | None = None
    ends_on: date | None = None
    note: str | None = None
    pin_id: int | None = field(default=None, compare=False)
    beside: str | None = None

    @property
    def is_pin(self) -> bool:
        """Whether it puts a product at a place of lists."""
        return self.kind in PINS

    @property
    def products(self) -> tuple[str, ...]:
        """The products that it names: its own, and of a pinned pair the other one."""
        return (self.stock_code,) if self.beside is None else (self.stock_code, self.beside)

    @property
    def key(self) -> str:
        """What tells a stored rule from all others: `pin 7`, `out 85123A` or `only 85123A`."""
        if self.is_pin:
            return f"pin {self.pin_id}"
        return f"{'only' if self.kind == ONLY_IN else 'out'} {self.stock_code}"

    def is_over(self, today: date) -> bool:
        """Whether it had its last day before `today`."""
        return self.ends_on is not None and self.ends_on <= today

    def begins_later(self, today: date) -> bool:
        """Whether its first day is after `today`."""
        return self.starts_on is not None and self.starts_on > today

    def __str__(self) -> str:
        """In words: `85123A pinned to place 1 of for_you in France, until 2026-12-24`."""
        words = [self.stock_code, self.kind]
        if self.kind == ONLY_IN:
            words.append(", ".join(self.countries))
        if self.beside is not None:
            words.append(f"{self.beside} to place {self.position} of {self.list_name}")
        if self.kind == PINNED:
            words.append(f"to place {self.position} of {self.list_name}")
            words.append(f"in {self.countries[0]}" if self.countries else "for everyone")
        if self.starts_on is not None:
            words.append(f"from {self.starts_on}")
        if self.ends_on is not None:
            words.append(f"until {self.ends_on}")
        return " ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "kind": self.kind,
            "stock_code": self.stock_code,
            "countries": list(self.countries),
            "list_name": self.list_name,
            "position": self.position,
            "starts_on": self.starts_on.isoformat() if self.starts_on else None,
            "ends_on": self.ends_on.isoformat() if self.ends_on else None,
            "note": self.note,
            "pin_id": self.pin_id,
            "beside": self.beside,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Rule":
        """From the JSON of `as_dict`."""
        days = {name: date.fromisoformat(stored[name]) if stored[name] else None for name in ("starts_on", "ends_on")}
        return cls(**{**stored, **days, "countries": tuple(stored["countries"])})


@dataclass(frozen=True)
class Limits:
    """The limits on all lists.

    Attributes:
        max_per_family: most variants of one product in a list; None: no limit.
        min_price: lowest price of a product's newest sale, in the shop's currency; None: no limit.
    """

    max_per_family: int | None = None
    min_price: float | None = None


@dataclass(frozen=True)
class Known:
    """What the shop knows of what rules name.

    Attributes:
        unknown_products: those of the codes that were never sold, and are not described or in the catalogue.
        countries: in which somebody ordered.
        close: for unknown codes, those of products that are written nearly so.
    """

    unknown_products: frozenset[str]
    countries: tuple[str, ...]
    close: Mapping[str, str] = field(default_factory=dict)

    def doubts(self, rule: Rule) -> list[str]:
        """Why a rule would match nothing, or less than it says, in sentences; empty if it matches."""
        doubts = []
        for code in rule.products:
            if code in self.unknown_products:
                doubts.append(f"The shop never sold {code}, and has no description of it.")
                if code in self.close:
                    doubts[-1] += f" Did you mean {self.close[code]}?"
        for country in rule.countries:
            if country not in self.countries:
                doubts.append(f"Nobody orders from {country}.")
                meant = closest(country, self.countries)
                if meant is not None:
                    doubts[-1] += f" Did you mean {meant}?"
        if rule.kind == ONLY_IN and rule.countries and not set(rule.countries) & set(self.countries):
            doubts.append(f"So no list would show {rule.stock_code} anywhere.")
        return doubts


def known(settings: Settings, stock_codes: Iterable[str], countries: Sequence[str] | None = None) -> Known:
    """Asks what the shop knows of some products, and in which countries it sells.

    Args:
        settings: of the shop.
        stock_codes: of the products, in canonical spelling.
        countries: in which it sells, if that is known; to find it out reads every line of its invoices.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    codes = sorted(set(stock_codes))
    unknown = [row.stock_code for row in read_rows(settings, "unknown_products", stock_codes=codes)] if codes else []
    close = {}
    for code in unknown[:20]:
        similar = [row.stock_code for row in read_rows(settings, "similar_codes", begins=code[: max(1, len(code) - 2)])]
        if (meant := closest(code, similar)) is not None:
            close[code] = meant
    if countries is None:
        countries = [row.country for row in read_rows(settings, "shop_countries")]
    return Known(frozenset(unknown), tuple(countries), close)


def closest(word: str, words: Collection[str]) -> str | None:
    """The word that a person probably meant; None if none is like it.

    >>> closest("germany ", ["France", "Germany"])
    'Germany'
    """
    plain = {each.strip().casefold(): each for each in words}
    found = difflib.get_close_matches(word.strip().casefold(), plain, n=1, cutoff=0.6)
    return plain[found[0]] if found else None


def canonical(stock_code: str) -> str:
    """The spelling by which the shop tells products apart, as `retail.canonical_stock_code`."""
    return stock_code.strip(" ").upper()


def parsed(written: Mapping[str, str | Sequence[str]], *, today: date) -> Rule:
    """Makes a rule of what a person wrote.

    Args:
        written: `rule`, `stock_code`, `countries` (several), `list`, `position`, `from`, `until`, `note` and
            `beside`; what is missing or empty is not set.
        today: a rule that ended before is refused.

    Raises:
        InputError: it is no rule; one sentence for each mistake.
    """
    wrong: list[str] = []
    text = {name: value.strip() for name, value in written.items() if isinstance(value, str)}
    given = written.get("countries", ())
    listed = (given,) if isinstance(given, str) else given
    countries = tuple(sorted({each.strip() for each in listed} - {""}))
    kind = text.get("rule", "").casefold()
    if kind not in KINDS:
        raise InputError(f"rule: {_quoted(kind)} is not one of {', '.join(KINDS)}.")
    code = canonical(text.get("stock_code", ""))
    if not code or len(code) > MOST_TEXT or _UNPRINTABLE.search(code):
        wrong.append("stock_code: write the code of a product.")
    ends_on = _day(text, "until", wrong)
    if ends_on is not None and ends_on <= today:
        wrong.append(f"until: {ends_on} is not after today, {today}. The rule would have no effect.")
    note = text.get("note") or None
    if note is not None and (len(note) > MOST_TEXT or _UNPRINTABLE.search(note)):
        wrong.append(f"note: write up to {MOST_TEXT} printable characters in one line.")
    list_name = position = starts_on = beside = None
    if kind in PINS:
        lists, usual = (PINNED_LISTS, FOR_YOU) if kind == PINNED else ((BOUGHT_TOGETHER,), BOUGHT_TOGETHER)
        list_name = text.get("list") or usual
        if list_name not in lists:
            wrong.append(f"list: {_quoted(list_name)} is not one of {', '.join(lists)}.")
        place = text.get("position") or "1"
        if place.isascii() and place.isdecimal() and 1 <= int(place[:9]) <= MOST_POSITION:
            position = int(place)
        else:
            wrong.append(f"position: {_quoted(place)} is not a whole number from 1 to {MOST_POSITION}.")
        starts_on = _day(text, "from", wrong) or today
        if ends_on is not None and starts_on >= ends_on:
            wrong.append(f"until: {ends_on} is not after the first day, {starts_on}.")
        if kind == PINNED and len(countries) > 1:
            wrong.append("countries: a pin is for one country, or for everyone if there is none.")
    else:
        only = {"list": "a list", "position": "a position", "from": "a first day"}
        wrong += [f"{name}: only a pin has {what}." for name, what in only.items() if text.get(name)]
    if kind == PINNED_BESIDE:
        beside = _other(text, code, wrong)
        if countries:
            wrong.append("countries: the list of a product is the same in every country.")
    elif text.get("beside"):
        wrong.append(f"beside: only '{PINNED_BESIDE}' has another product.")
    if kind == ONLY_IN:
        if not countries:
            wrong.append("countries: name at least one country.")
        wrong += [f"{name}: '{ONLY_IN}' has none." for name in ("until", "note") if text.get(name)]
    if kind in LEAVES_OUT and countries:
        wrong.append(f"countries: '{kind}' is for every country. Use '{ONLY_IN}' for the countries that still show it.")
    if wrong:
        raise InputError(" ".join(wrong))
    return Rule(kind, code, countries, list_name, position, starts_on, ends_on, note, beside=beside)


def parsed_limits(written: Mapping[str, str]) -> Limits:
    """Makes limits of what a person wrote: `max_per_family` and `min_price`; empty means no limit.

    Raises:
        InputError: one of them is not valid; one sentence for each.
    """
    wrong: list[str] = []
    family, price = (written.get(name, "").strip() for name in ("max_per_family", "min_price"))
    limits = Limits()
    if family and not (family.isascii() and family.isdecimal() and 1 <= int(family[:9]) <= MOST_POSITION):
        wrong.append(f"max_per_family: {_quoted(family)} is not a whole number from 1 to {MOST_POSITION}.")
    if price and not (re.fullmatch(r"\d{1,7}(\.\d{1,4})?", price, re.ASCII) and float(price) <= MOST_PRICE):
        wrong.append(f"min_price: {_quoted(price)} is not a price: write 0.50, with a point.")
    if wrong:
        raise InputError(" ".join(wrong))
    return Limits(int(family) if family else limits.max_per_family, float(price) if price else limits.min_price)


def reason_of(text: str) -> str | None:
    """Why somebody changes a rule, as it is recorded; None if they say nothing.

    Raises:
        InputError: it is too long, or has more than one line.
    """
    reason = text.strip()
    if len(reason) > MOST_TEXT or _UNPRINTABLE.search(reason):
        raise InputError(f"reason: write up to {MOST_TEXT} printable characters in one line.")
    return reason or None


def _other(text: Mapping[str, str], code: str, wrong: list[str]) -> str:
    beside = canonical(text.get("beside", ""))
    if not beside or len(beside) > MOST_TEXT or _UNPRINTABLE.search(beside):
        wrong.append("beside: write the code of the product on whose list it is.")
    elif beside == code:
        wrong.append(f"beside: {code} cannot be on its own list.")
    return beside


def _day(text: Mapping[str, str], name: str, wrong: list[str]) -> date | None:
    written = text.get(name, "")
    if not written:
        return None
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", written):
        with suppress(ValueError):
            return date.fromisoformat(written)
    wrong.append(f"{name}: {_quoted(written)} is not a day: write it as 2026-12-24.")
    return None


def _quoted(text: str) -> str:
    """What somebody wrote, short enough for a sentence."""
    shown = _UNPRINTABLE.sub("?", text)
    return repr(shown if len(shown) <= 40 else f"{shown[:40]}…") if shown else "nothing"
