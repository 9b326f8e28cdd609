"""The names of columns and lists: a typo in one is an error, not a new column."""

import unicodedata
from typing import Final, Literal


class InvoiceLines:
    """The columns of an invoice file, and of the tables in `raw` and `retail`."""

    INVOICE_NO: Final = "invoice_no"  # text; C and digits on a cancellation
    STOCK_CODE: Final = "stock_code"  # text, in the shop's own spelling
    DESCRIPTION: Final = "description"  # text, may be missing
    QUANTITY: Final = "quantity"  # pieces, or a weight; negative on a return
    INVOICE_DATE: Final = "invoice_date"  # the shop's own clock
    UNIT_PRICE: Final = "unit_price"  # the shop's currency
    CUSTOMER_ID: Final = "customer_id"  # text, missing for a guest
    COUNTRY: Final = "country"  # text, may be missing

    ALL: Final = (
        INVOICE_NO,
        STOCK_CODE,
        DESCRIPTION,
        QUANTITY,
        INVOICE_DATE,
        UNIT_PRICE,
        CUSTOMER_ID,
        COUNTRY,
    )


class Interactions:
    """A snapshot's interactions: each row is an invoice line that is a purchase.

    A guest's line has no `customer_id`: it counts for the popularity of products and for what is bought together, but
    for no customer. `returned_at` is the instant at which later returns had taken the whole quantity back: from then
    on, the line is no longer an interaction.
    """

    CUSTOMER_ID: Final = "customer_id"  # string, missing for a guest
    STOCK_CODE: Final = "stock_code"  # string
    INVOICE_NO: Final = "invoice_no"  # string
    PURCHASED_AT: Final = "purchased_at"  # datetime64[us], the shop's own clock
    QUANTITY: Final = "quantity"  # float64, pieces (or what the shop sells by) as bought
    UNIT_PRICE: Final = "unit_price"  # float64, the shop's currency
    COUNTRY: Final = "country"  # string
    DESCRIPTION: Final = "description"  # string, of that line, may be missing
    RETURNED_AT: Final = "returned_at"  # datetime64[us], missing when not returned

    ALL: Final = (
        CUSTOMER_ID,
        STOCK_CODE,
        INVOICE_NO,
        PURCHASED_AT,
        QUANTITY,
        UNIT_PRICE,
        COUNTRY,
        DESCRIPTION,
        RETURNED_AT,
    )


class Events:
    """The fields of an event in the stream, and the columns of a file of events; all are text."""

    KIND: Final = "kind"  # one of `EVENT_KINDS`
    PRODUCT: Final = "product"  # a stock code, in any case
    CUSTOMER: Final = "customer"  # the shop's id; missing for a visitor without a login
    SESSION: Final = "session"  # of the visit; may be missing where there is a customer
    AT: Final = "at"  # ISO 8601; in the stream it may be missing

    ALL: Final = (KIND, PRODUCT, CUSTOMER, SESSION, AT)


VIEW: Final = "view"
CART: Final = "cart"
WISH: Final = "wish"

EVENT_KINDS: Final = (VIEW, CART, WISH)


class Looks:
    """A snapshot's looks: what customers viewed, put into a basket or wished before its cutoff, one row for each."""

    CUSTOMER_ID: Final = "customer_id"  # string; visitors without a login have no looks
    STOCK_CODE: Final = "stock_code"  # string
    KIND: Final = "kind"  # one of `EVENT_KINDS`
    LOOKED_AT: Final = "looked_at"  # datetime64[us], the shop's own clock, as of purchases

    ALL: Final = (CUSTOMER_ID, STOCK_CODE, KIND, LOOKED_AT)


MOST_EVENTS_WAITING: Final = 500_000
"""About so many events the stream holds: whoever adds one lets the oldest ones go."""


class Products:
    """A snapshot's products: each stock code of the catalogue, with its newest good description."""

    STOCK_CODE: Final = "stock_code"
    DESCRIPTION: Final = "description"


class Catalogue:
    """What the shop's catalogue says of products, one row for each stock code; where it says nothing, missing."""

    STOCK_CODE: Final = "stock_code"
    DESCRIPTION: Final = "description"
    CATEGORY: Final = "category"  # Kitchen > Cups
    BRAND: Final = "brand"
    LAUNCHED_ON: Final = "launched_on"  # a day
    # Whether the product is in the catalogue. Others only have a category by hand.
    IS_LISTED: Final = "is_listed"
    # Whether customers may be shown it before anybody has bought it: it is launched, described and in stock.
    IS_OFFERED: Final = "is_offered"

    ALL: Final = (STOCK_CODE, DESCRIPTION, CATEGORY, BRAND, LAUNCHED_ON, IS_LISTED, IS_OFFERED)


class Lists:
    """Top-N lists as a table: one row for each list; the rows of a key are adjacent."""

    AUDIENCE: Final = "audience"  # customer, product, fallback or category
    KEY: Final = "key"  # 14646, ann@example.com, 85123A, United Kingdom, *, Kitchen > Cups
    LIST_NAME: Final = "list_name"  # for_you, discover, ...
    STOCK_CODES: Final = "stock_codes"  # list of strings, best first
    # Optional: a JSON array, one entry for each stock code: ["bought",3], ["goes_with","85123A"], ["new"], ...
    REASONS: Final = "reasons"
    # Optional, of `for_you`: a JSON array, for each stock code the chance of a purchase, or null: [0.31,null,0.08]
    CHANCES: Final = "chances"
    # Optional, of `buy_again`: a JSON array, for each stock code a day, or null: ["2011-12-20",null]
    DUE: Final = "due"
    # Optional, of customers: datetime64[us]; the lists know the purchases before it. Missing: as the publication.
    AS_OF: Final = "as_of"
    # Optional, of customers: `share` if the list was made for the share of the experiment that ran; missing otherwise.
    GROUP: Final = "group"

    ALL: Final = (AUDIENCE, KEY, LIST_NAME, STOCK_CODES)


Audience = Literal["customer", "product", "fallback", "category"]

FOR_YOU: Final = "for_you"
DISCOVER: Final = "discover"
BUY_AGAIN: Final = "buy_again"
BOUGHT_TOGETHER: Final = "bought_together"
SIMILAR: Final = "similar"
NEW_ARRIVALS: Final = "new_arrivals"
BEST_SELLERS: Final = "best_sellers"  # of a category: all of its products that anybody may be shown
OTHERS: Final = "others"  # of a category: its products that only some lists may show

LISTS_OF: Final[dict[Audience, tuple[str, ...]]] = {
    "customer": (FOR_YOU, DISCOVER, BUY_AGAIN),
    "product": (BOUGHT_TOGETHER, SIMILAR),
    "fallback": (FOR_YOU, NEW_ARRIVALS),
    "category": (BEST_SELLERS, OTHERS),
}

REASONED_LISTS: Final = (*LISTS_OF["customer"], SIMILAR)
"""Lists that may have reasons; `reasons_of` names their hash field."""

BOUGHT: Final = "bought"
GOES_WITH: Final = "goes_with"
POPULAR_WITH: Final = "popular_with"
VIEWED: Final = "viewed"
CARTED: Final = "carted"
WISHED: Final = "wished"
NEW: Final = "new"
POPULAR: Final = "popular"
PINNED: Final = "pinned"
TASTE: Final = "taste"  # the last resort of a model's lists
BEST_SELLER: Final = "best_seller"  # the last resort of version 0's lists
SAME_CATEGORY: Final = "same_category"  # of `similar`
SAME_BRAND: Final = "same_brand"  # of `similar`
ALIKE: Final = "alike"  # of `similar`, and of the places for new products


def reasons_of(list_name: str) -> str:
    """The name of the hash field that holds a list's reasons.

    >>> reasons_of("for_you")
    'for_you_reasons'
    """
    return f"{list_name}_reasons"


def chances_of(list_name: str) -> str:
    """The name of the hash field that holds a list's chances.

    >>> chances_of("for_you")
    'for_you_chances'
    """
    return f"{list_name}_chances"


def due_of(list_name: str) -> str:
    """The name of the hash field that holds the days by which a list's products are due.

    >>> due_of("buy_again")
    'buy_again_due'
    """
    return f"{list_name}_due"


LEVEL: Final = " > "
"""Between the levels of a category."""

EVERYWHERE: Final = "*"
"""The fallback key for a visitor whose country has no list of its own."""


def category_levels(category: str) -> tuple[str, ...]:
    """The categories that a product of this one is of: each level of its path, from the top.

    >>> category_levels("Kitchen > Cups"), category_levels(" Kitchen>  Cups "), category_levels(" > ")
    (('Kitchen', 'Kitchen > Cups'), ('Kitchen', 'Kitchen > Cups'), ())
    """
    parts = unicodedata.normalize("NFC", category).split(LEVEL.strip())
    names = [name for part in parts if (name := " ".join(part.split()))]
    return tuple(LEVEL.join(names[:depth]) for depth in range(1, len(names) + 1))
