"""Lists as a page shows them: products with a name, a price, and the reason why each is recommended, in words."""

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ncf_pipeline.pages.money import money
from ncf_pipeline.pages.purchases import Product
from ncf_pipeline.serving.reason_words import in_words, readable
from ncf_pipeline.storefront import Reason, Recommendation

HUES = 12
"""Number of colours for the tiles that stand for pictures; shelf.css defines them."""

_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?=[/?#]|$)", re.IGNORECASE)

_SOURCES = {
    "customer": "made for this customer",
    "product": "made for this product",
    "basket": "from baskets like this one",
    "category": "best sellers of this category; there is no personal list for it",
    "country": "best sellers in this country; there is no personal list",
    "everywhere": "best sellers everywhere; there is no personal list",
    "none": "no list",
    "unavailable": "Redis does not answer",
}
_OF_VISITORS = {
    "category": "of this category",
    "country": "of this country",
    "everywhere": "of all countries",
}
"""The same for a visitor, of whom nobody expects a personal list."""

_EMPTY = {
    "none": "There is no list here yet.",
    "unavailable": "Recommendations are away for a moment. Everything else works.",
}


@dataclass(frozen=True)
class Item:
    """One product on a shelf.

    Attributes:
        stock_code: the shop's code for it.
        name: its description; its stock code if it has none.
        price: of one piece; None if it is unknown.
        reason: why it is recommended, in words; None if the list has no reasons.
        currency: of the price, a code of ISO 4217.
        chance: that the customer buys it within four weeks; None if it is not stated, or not asked for.
        image: address of its picture; None if it has none.
    """

    stock_code: str
    name: str
    price: float | None
    reason: str | None = None
    currency: str = "GBP"
    chance: float | None = None
    image: str | None = None

    @property
    def origin(self) -> str | None:
        """The site that its picture comes from, as a Content-Security-Policy names it; None if there is none.

        Whatever a policy could read as more than one site is none: the page shows the letters of the tile.
        """
        found = _ORIGIN.match(self.image or "")
        return found[0].lower() if found else None

    @property
    def price_in_words(self) -> str | None:
        """The price with its currency; None if it is unknown."""
        return None if self.price is None else money(self.price, self.currency)

    @property
    def initials(self) -> str:
        """The letters that its tile shows instead of a picture."""
        words = [word for word in self.name.split() if word[0].isalpha()]
        return "".join(word[0] for word in words[:2]).upper() or self.stock_code[:2]

    @property
    def hue(self) -> int:
        """The colour of its tile: the same on every page."""
        return zlib.crc32(self.stock_code.encode()) % HUES


@dataclass(frozen=True)
class Shelf:
    """A list as a page shows it.

    Attributes:
        anchor: id of its heading on the page.
        title: its heading.
        items: best first.
        source: where the list came from, in words.
        empty: the text to show if it has no items.
    """

    anchor: str
    title: str
    items: tuple[Item, ...]
    source: str
    empty: str


def shelf(
    anchor: str,
    title: str,
    recommendation: Recommendation,
    known: Mapping[str, Product],
    *,
    empty: str = "",
    of_visitors: bool = False,
) -> Shelf:
    """Makes a shelf of a recommendation.

    Args:
        anchor: id of its heading on the page.
        title: its heading.
        recommendation: as the storefront's client returned it.
        known: products by stock code; a product that is missing here is shown by its code.
        empty: the text to show if the list exists and has no products.
        of_visitors: whether it is for somebody whom the shop does not know.
    """
    reasons: Iterable[Reason | None] = recommendation.reasons or (None,) * len(recommendation.stock_codes)
    items = tuple(
        item(code, known, None if reason is None else in_words(reason, lambda other: item(other, known).name))
        for code, reason in zip(recommendation.stock_codes, reasons, strict=True)
    )
    if recommendation.chances:
        stated = zip(items, recommendation.chances, strict=True)
        items = tuple(replace(each, chance=chance) for each, chance in stated)
    source = recommendation.source
    words = {**_SOURCES, **_OF_VISITORS}[source] if of_visitors else _SOURCES[source]
    return Shelf(anchor, title, items, words, _EMPTY.get(source) or empty)


def item(stock_code: str, known: Mapping[str, Product], reason: str | None = None) -> Item:
    """Makes an item of a product.

    Args:
        stock_code: the product's.
        known: products by stock code; if it is missing here, its code is its name.
        reason: why it is recommended, in words.
    """
    product = known.get(stock_code)
    if product is None:
        return Item(stock_code, stock_code, None, reason)
    name = readable(product.description)
    return Item(stock_code, name, product.price, reason, product.currency, image=product.image)


def codes_of(lists: Iterable[Recommendation]) -> list[str]:
    """Returns the stock code of each product that the lists or their reasons name, once."""
    lists = list(lists)
    listed = [code for each in lists for code in each.stock_codes]
    named = [str(reason.evidence) for each in lists for reason in each.reasons if isinstance(reason.evidence, str)]
    return list(dict.fromkeys(listed + named))
