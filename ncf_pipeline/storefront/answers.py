"""Answers to a storefront: a list, where it comes from, and why each product is on it."""

import json
from dataclasses import dataclass
from typing import Literal, cast

CustomerList = Literal["for_you", "discover", "buy_again"]
ProductList = Literal["bought_together", "similar"]
VisitorList = Literal["for_you", "new_arrivals"]
Source = Literal["customer", "product", "country", "everywhere", "none", "unavailable"]
ReasonCode = Literal["bought", "goes_with", "popular_with", "new", "popular", "taste", "best_seller", "pinned"]


@dataclass(frozen=True)
class Reason:
    """Why a product is on a customer's list. Later versions may publish codes that are not named here.

    Attributes:
        code: `bought`: the customer bought it on `evidence` invoices; `goes_with`: often in one basket with the product
            `evidence`, which they bought; `popular_with`: many customers who bought the product `evidence`, as this one
            did, bought it; `new`: first sold within the last weeks; `popular`: a recent best seller; `pinned`: chosen
            by the shop; `taste`: chosen by the model from all that they bought; `best_seller`: comes next among the
            best sellers (only in lists that no model made).
        evidence: a number of invoices, or a stock code; None for the other codes.
    """

    code: ReasonCode
    evidence: int | str | None = None


@dataclass(frozen=True)
class Recommendation:
    """A list, best first, and where it comes from.

    Attributes:
        stock_codes: at most the publication's `top_n`.
        source: `customer` or `product`: an own list; `country`, `everywhere`: best sellers there; `none`: nothing is
            published, or the product has no list; `unavailable`: Redis did not answer.
        publication: e.g. `p000042`; None if nothing is published, or Redis did not answer.
        reasons: one for each stock code of a customer's own list; empty for other lists, and if the shop publishes
            none.
    """

    stock_codes: tuple[str, ...]
    source: Source
    publication: str | None
    reasons: tuple[Reason, ...] = ()


def reasons(text: str, count: int) -> tuple[Reason, ...]:
    """The reasons in a JSON text, or none if it is damaged: a list without reasons is better than no list.

    Args:
        text: as in Redis, e.g. `[["bought",3],["new"]]`.
        count: stock codes in the list.

    >>> reasons('[["bought",3],["new"]]', 2)
    (Reason(code='bought', evidence=3), Reason(code='new', evidence=None))
    >>> reasons('[["bought",3]]', 2)
    ()
    """
    try:
        entries = [(code, *evidence, None) for code, *evidence in json.loads(text)]
    except (TypeError, ValueError):
        return ()
    parsed = tuple(Reason(cast("ReasonCode", code), evidence) for code, evidence, *_ in entries)
    return parsed if len(parsed) == count else ()
