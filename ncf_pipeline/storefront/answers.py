"""What a storefront is told: a list, where it came from, and why each product is on it."""

import json
from dataclasses import dataclass
from typing import Literal, cast

CustomerList = Literal["for_you", "discover", "buy_again"]
ProductList = Literal["bought_together", "similar"]
VisitorList = Literal["for_you", "new_arrivals"]
Source = Literal["customer", "product", "country", "everywhere", "none", "unavailable"]
ReasonCode = Literal["bought", "goes_with", "popular_with", "new", "popular", "taste", "pinned"]


@dataclass(frozen=True)
class Reason:
    """Why a product is on a customer's list. A code that is not known here is no error: later ones may come.

    Attributes:
        code: `bought`: on `evidence` invoices before; `goes_with`: often in one basket with the product `evidence`,
            which they bought; `popular_with`: many who bought the product `evidence`, as they did, bought it;
            `new`: first sold within the last weeks; `popular`: a best seller of late; `pinned`: the shop's own
            choice; `taste`: all that they bought, taken together.
        evidence: a number of invoices, or a stock code; None for the others.
    """

    code: ReasonCode
    evidence: int | str | None = None


@dataclass(frozen=True)
class Recommendation:
    """A list, best first, and where it came from.

    Attributes:
        stock_codes: at most as many as the publication's `top_n`.
        source: `customer` or `product`: their own list; `country`, `everywhere`: best sellers there;
            `none`: nothing is published, or the product has no list; `unavailable`: Redis did not answer.
        publication: e.g. `p000042`; None where there is none.
        reasons: one for each stock code of a customer's own list; empty for other lists, and where the shop
            publishes none.
    """

    stock_codes: tuple[str, ...]
    source: Source
    publication: str | None
    reasons: tuple[Reason, ...] = ()


def reasons(text: str, count: int) -> tuple[Reason, ...]:
    """The reasons for so many stock codes, or none: a list without reasons is better than no list."""
    try:
        entries = [(code, *evidence, None) for code, *evidence in json.loads(text)]
    except (TypeError, ValueError):
        return ()
    found = tuple(Reason(cast("ReasonCode", code), evidence) for code, evidence, *_ in entries)
    return found if len(found) == count else ()
