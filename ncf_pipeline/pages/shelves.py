"""What a page shows: products with their names, prices and the reason why they are there, in words."""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ncf_pipeline.pages.purchases import Product
from ncf_pipeline.storefront import Reason, Recommendation

HUES = 12
"""Colours of the tiles that stand for pictures; style.css has as many."""

_SOURCES = {
    "customer": "made for this customer",
    "product": "made for this product",
    "country": "best sellers of the country: no list of their own",
    "everywhere": "best sellers everywhere: no list of their own",
    "none": "no list",
    "unavailable": "the list store does not answer",
}
_EMPTY = {
    "none": "There is no list for this yet.",
    "unavailable": "Recommendations are away for a moment. Everything else works.",
}


@dataclass(frozen=True)
class Item:
    """One product on a shelf.

    Attributes:
        stock_code: the shop's.
        name: its description; its stock code where it has none.
        price: of one piece, where it is known.
        reason: why it is there, in words; None where nobody says.
    """

    stock_code: str
    name: str
    price: float | None
    reason: str | None = None

    @property
    def initials(self) -> str:
        """What its tile shows instead of a picture."""
        words = [word for word in self.name.split() if word[0].isalpha()]
        return "".join(word[0] for word in words[:2]).upper() or self.stock_code[:2]

    @property
    def hue(self) -> int:
        """Its tile's colour: always the same one."""
        return zlib.crc32(self.stock_code.encode()) % HUES


@dataclass(frozen=True)
class Shelf:
    """A list as a page shows it.

    Attributes:
        anchor: its id on the page.
        title: its heading.
        items: best first.
        source: where it came from, in words.
        empty: what to say if there is nothing on it.
    """

    anchor: str
    title: str
    items: tuple[Item, ...]
    source: str
    empty: str


def shelf(anchor: str, title: str, found: Recommendation, known: Mapping[str, Product], *, empty: str = "") -> Shelf:
    """A recommendation as a shelf.

    Args:
        anchor: its id on the page.
        title: its heading.
        found: as the client read it.
        known: names and prices by stock code; what is missing is shown by its code.
        empty: what to say where its own list is there, and empty.
    """
    reasons: Iterable[Reason | None] = found.reasons or (None,) * len(found.stock_codes)
    items = tuple(
        item(code, known, None if reason is None else in_words(reason, known))
        for code, reason in zip(found.stock_codes, reasons, strict=True)
    )
    return Shelf(anchor, title, items, _SOURCES[found.source], _EMPTY.get(found.source) or empty)


def item(stock_code: str, known: Mapping[str, Product], reason: str | None = None) -> Item:
    """A product by its code."""
    product = known.get(stock_code)
    if product is None:
        return Item(stock_code, stock_code, None, reason)
    return Item(stock_code, _spoken(product.description), product.price, reason)


def in_words(reason: Reason, known: Mapping[str, Product]) -> str | None:
    """A reason as a shopper reads it; None for one that this version has no words for."""
    other = item(str(reason.evidence), known).name if isinstance(reason.evidence, str) else ""
    match reason.code:
        case "bought":
            times = int(reason.evidence or 1)
            return "You bought this before" if times == 1 else f"You bought this {times} times"
        case "goes_with":
            return f"Goes with {other}"
        case "popular_with":
            return f"Popular with buyers of {other}"
        case "new":
            return "New in the shop"
        case "popular":
            return "A best seller of late"
        case "pinned":
            return "Chosen by the shop"
        case "taste":
            return "Fits what you buy"
    return None


def codes_of(lists: Iterable[Recommendation]) -> list[str]:
    """All products that lists and their reasons name."""
    lists = list(lists)
    shown = [code for found in lists for code in found.stock_codes]
    told = [str(reason.evidence) for found in lists for reason in found.reasons if isinstance(reason.evidence, str)]
    return list(dict.fromkeys(shown + told))


def _spoken(description: str) -> str:
    """RED MUG of an invoice is Red mug on a page."""
    text = " ".join(description.split())
    return text.capitalize() if text.isupper() else text
