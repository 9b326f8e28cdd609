"""Answers to a storefront: a list, where it comes from, and why each product is on it."""

import json
import math
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Literal, cast

CustomerList = Literal["for_you", "discover", "buy_again"]
ProductList = Literal["bought_together", "similar"]
VisitorList = Literal["for_you", "new_arrivals"]
PageList = Literal["for_you", "discover", "buy_again", "bought_together", "similar", "new_arrivals"]
Source = Literal["customer", "product", "basket", "category", "country", "everywhere", "none", "unavailable"]
ReasonCode = Literal[
    "bought", "carted", "wished", "viewed", "goes_with", "popular_with", "new", "popular", "taste", "best_seller",
    "pinned", "same_category", "same_brand", "alike",
]  # fmt: skip

_decode = json.JSONDecoder().raw_decode  # faster than `json.loads`


@dataclass(frozen=True)
class Reason:
    """Why a product is on a list. Later versions may publish codes that are not named here.

    Attributes:
        code: `bought`: the customer bought it on `evidence` invoices; `carted`, `wished`, `viewed`: they put it into a
            basket or on a wish list, or looked at it, lately, and have not bought it since; `goes_with`: often in one
            basket with the product `evidence`, which they bought; `popular_with`: many customers who bought the product
            `evidence`, as this one did, bought it; `new`: first sold within the last weeks; `popular`: a recent best
            seller; `pinned`: chosen by the shop; `taste`: chosen by the model from all that they bought; `best_seller`:
            comes next among the best sellers (only in lists that no model made). Of the products in `similar`:
            `same_category`, `same_brand`: of the category, or the brand, `evidence`, as the product whose list it is;
            `alike`: described with the same words (in `discover`: the customer bought the product `evidence`, which it
            is like, and hardly anybody has bought it); `goes_with`: often in one basket with it.
        evidence: a number of invoices, a stock code, a category or a brand; None for the other codes.
    """

    code: ReasonCode
    evidence: int | str | None = None


@dataclass(frozen=True)
class Recommendation:
    """A list, best first, and where it comes from.

    Attributes:
        stock_codes: at most as many as were asked for, or the publication's `top_n`. What is hidden, or was dismissed
            by the customer, is not among them.
        source: `customer` or `product`: an own list; `basket`: what goes with a basket; `category`: best
            sellers of the category that was asked for; `country`, `everywhere`: best
            sellers there; `none`: nothing is published, or the product has no list; `unavailable`: Redis did not
            answer.
        publication: e.g. `p000042`; None if nothing is published, or Redis did not answer.
        reasons: one for each stock code of a customer's own list, and of a `similar` that the shop's catalogue made or
            filled up; empty for other lists, and if the shop publishes none.
        chances: for each stock code of a customer's own `for_you`, the chance that they buy it within four weeks; None
            for a product that the model did not score. Empty for other lists, if the client was not asked to read
            them, and if the shop publishes none.
        due: for each stock code of a customer's `buy_again`, the day by whose end half of such customers have bought it
            again; None if there is no such day. Empty for other lists, and likewise.
    """

    stock_codes: tuple[str, ...]
    source: Source
    publication: str | None
    reasons: tuple[Reason, ...] = ()
    chances: tuple[float | None, ...] = ()
    due: tuple[date | None, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """How often one client met something that it could not use, since it was made. A page never notices.

    Attributes:
        broken_lists: what should be a list is no JSON array of stock codes, or its key is of another type. It counts as
            missing.
        broken_reasons: reasons that are not one for each product. The list is shown without reasons.
        broken_chances: chances or days that are not one for each product. The list is shown without them.
        broken_pointers: `ncf:current` names no publication. The one that was live before stays live for this client.
        broken_meta: the live publication's meta, or a field of it, cannot be read.
        broken_hidden: what is hidden cannot be read: a key is of another type, or this user may not read it. What this
            client has seen hidden stays hidden.
        broken_dismissals: what a customer dismissed cannot be read, likewise. It is shown.
        unusable_ids: the page asked for something that cannot be an id, such as None or NaN.
        failures: Redis did not answer, or refused.
    """

    broken_lists: int = 0
    broken_reasons: int = 0
    broken_chances: int = 0
    broken_pointers: int = 0
    broken_meta: int = 0
    broken_hidden: int = 0
    broken_dismissals: int = 0
    unusable_ids: int = 0
    failures: int = 0


def stock_codes_of(text: object) -> tuple[str, ...] | None:
    """The stock codes in a value of Redis; None if it is no list of them.

    >>> stock_codes_of('["23084","22423"]'), stock_codes_of("[]")
    (('23084', '22423'), ())
    >>> [stock_codes_of(text) for text in ("null", "7", '"abc"', '["x"', "[7]", '{"a":1}')]
    [None, None, None, None, None, None]
    """
    # A page waits: the usual list passes with as few steps as can be.
    try:
        codes, end = _decode(text)  # type: ignore[arg-type]
        joined = "".join(codes)
    except (TypeError, ValueError, RecursionError):  # the last for `[[[[[...`
        return None
    if type(codes) is not list or not all(codes) or end != len(text):  # type: ignore[arg-type]
        return None
    return tuple(codes) if joined.isascii() or is_text(joined) else None


def is_text(text: str) -> bool:
    """Whether a page can show a text. Bytes that are not UTF-8, and half characters of JSON, are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def reasons_in(text: object, count: int) -> tuple[Reason, ...] | None:
    """The reasons in a value of Redis; None if it is damaged: a list without reasons is better than no list.

    Args:
        text: as in Redis, e.g. `[["bought",3],["new"]]`.
        count: stock codes in the list.

    >>> reasons_in('[["bought",3],["new"]]', 2)
    (Reason(code='bought', evidence=3), Reason(code='new', evidence=None))
    >>> reasons_in('[["bought",3]]', 2)
    """
    try:
        entries = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return None
    if type(entries) is not list or len(entries) != count:
        return None
    reasons = []
    for entry in entries:
        # Later versions may add more after the evidence.
        if type(entry) is not list or not entry or type(entry[0]) is not str:
            return None
        evidence = entry[1] if len(entry) > 1 else None
        if evidence is not None and type(evidence) is not int and type(evidence) is not str:
            return None
        reasons.append(_reason(entry[0], evidence))
    return tuple(reasons) if (str(text).isascii() and "\\u" not in str(text)) or _are_text(reasons) else None


@lru_cache(maxsize=10_000)
def _reason(code: str, evidence: int | str | None) -> Reason:
    """The same reason is met again and again, and takes longer to make than to find."""
    return Reason(cast("ReasonCode", code), evidence)


def _are_text(reasons: list[Reason]) -> bool:
    return all(is_text(f"{reason.code}{reason.evidence}") for reason in reasons)


def chances_in(text: object, count: int) -> tuple[float | None, ...] | None:
    """The chances in a value of Redis; None if it is damaged.

    Args:
        text: as in Redis, e.g. `[0.31,null]`.
        count: stock codes in the list.

    >>> chances_in("[0.31,null]", 2), chances_in("[1.5,0]", 2), chances_in("[0.3]", 2)
    ((0.31, None), None, None)
    """
    values = _values_in(text, count)
    if values is None or not all(value is None or _is_chance(value) for value in values):
        return None
    return tuple(None if value is None else float(value) for value in values)


def days_in(text: object, count: int) -> tuple[date | None, ...] | None:
    """The days in a value of Redis; None if it is damaged.

    Args:
        text: as in Redis, e.g. `["2011-12-20",null]`.
        count: stock codes in the list.

    >>> days_in('["2011-12-20",null]', 2), days_in('["soon"]', 1)
    ((datetime.date(2011, 12, 20), None), None)
    """
    values = _values_in(text, count)
    try:
        return None if values is None else tuple(None if day is None else date.fromisoformat(day) for day in values)
    except (TypeError, ValueError):
        return None


def _values_in(text: object, count: int) -> list[Any] | None:
    try:
        values = json.loads(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, RecursionError):
        return None
    return values if type(values) is list and len(values) == count else None


def _is_chance(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value <= 1  # type: ignore[arg-type,operator]
