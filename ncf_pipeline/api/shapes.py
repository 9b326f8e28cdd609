"""What the API takes and answers, as OpenAPI shows it."""

from datetime import date, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from ncf_pipeline.columns import LISTS_OF
from ncf_pipeline.ingest.readers.cells import MAX_CUSTOMER
from ncf_pipeline.storefront import PageList
from ncf_pipeline.storefront.asking import LONGEST_CODE
from ncf_pipeline.storefront.reading import MOST_DAYS

MOST_CODES = 500
"""Stock codes that one request may name."""

MOST_SHOWN = 400
"""Products that a list may have: `NCF_TOP_N` and `NCF_SPARE`, both at their most."""

_TEXT = r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"

Code = Annotated[str, Field(max_length=LONGEST_CODE, pattern=_TEXT, examples=["85123A"])]
CustomerId = Annotated[str, Field(max_length=MAX_CUSTOMER, pattern=_TEXT, examples=["14646"])]
Customer = Annotated[
    CustomerId | StrictInt, Field(description="The shop's id of the customer, as on invoices.", examples=["14646"])
]
Country = Annotated[
    str, Field(max_length=100, pattern=_TEXT, description="As on invoices.", examples=["United Kingdom"])
]
Codes = Annotated[list[Code], Field(max_length=MOST_CODES)]


def _is_text(value: object) -> object:
    if value is not None and not isinstance(value, str):
        raise ValueError("is no text, such as 2030-12-24T00:00:00Z")
    return value


class _Closed(BaseModel):
    # A name that is misspelled would otherwise change nothing, and nobody would notice.
    model_config = ConfigDict(extra="forbid")


class Shown(_Closed):
    """Which part of a list is shown."""

    country: Country | None = Field(None, description="Whose best sellers replace a missing list, as on invoices.")
    count: Annotated[int, Field(ge=1, le=MOST_SHOWN)] | None = Field(
        None, description="Products to return; default: as many as the publication says."
    )
    exclude: Codes = Field([], description="Stock codes that the page shows already; others take their places.")
    rotate: Annotated[str, Field(max_length=200)] | None = Field(
        None, description="Any text, such as the day: reshuffles the list a little, the same while the text is."
    )
    category: Annotated[str, Field(max_length=300, pattern=_TEXT, examples=["Kitchen > Cups"])] | None = Field(
        None, description="Only products of this category, and of those below it, as in the shop's catalogue."
    )


class ShownPart(Shown):
    """The same, with the pages of a list."""

    page: int = Field(1, ge=1, le=MOST_SHOWN, description="From 1; the next page goes on where this one ends.")


class ShownOfProduct(ShownPart):
    """The same for a product's list."""

    customer: CustomerId | None = Field(None, description="What this customer dismissed is left out.")


class Basket(ShownPart):
    """A basket, for what goes with it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"stock_codes": ["85123A"], "customer": "14646", "country": "Netherlands"}]}
    )

    stock_codes: Codes = Field(description="In the basket, in the order in which they were put in.")
    customer: Customer | None = None


class Page(Shown):
    """A page with several lists; no product is on two of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"shelves": ["for_you", "discover", "similar"], "customer": "14646", "product": "85123A"}]
        }
    )

    shelves: list[PageList] = Field(
        min_length=1, max_length=6, description="Names of lists, from the top of the page; each once."
    )
    customer: Customer | None = None
    product: Code | None = Field(None, description="Of whose lists `bought_together` and `similar` are.")

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        if len(set(self.shelves)) < len(self.shelves):
            raise ValueError("each list may be on the page once")
        needs = [name for name in self.shelves if name in LISTS_OF["product"]]
        if needs and self.product is None:
            raise ValueError(f"{needs[0]} is the list of a product: name one as product")
        return self


class Reason(BaseModel):
    """Why a product is on a list: docs/storefront.md. Later versions may add codes."""

    code: str = Field(examples=["goes_with"])
    evidence: int | str | None = Field(examples=["22423"])


class Product(BaseModel):
    """A product of a list."""

    stock_code: str = Field(examples=["23084"])
    reason: Reason | None = Field(
        None,
        description="Of a customer's own list, and of a `similar` that the catalogue made, if the shop publishes any.",
    )
    chance: float | None = Field(None, description="Of a purchase, if the shop publishes chances.", examples=[0.31])
    due: date | None = Field(None, description="Of `buy_again`, if the shop publishes such days.")


class RecommendationList(BaseModel):
    """A list, best first."""

    name: str = Field(examples=["for_you"])
    source: str = Field(
        description="`customer` or `product`: an own list; `basket`; best sellers of a `category`, a `country` or "
        "`everywhere`; `none`.",
        examples=["customer"],
    )
    publication: str | None = Field(
        description="The lists that it is of; null if nothing is published.", examples=["p000042"]
    )
    products: list[Product]


class PageLists(BaseModel):
    """The lists of a page, by name, in the order that was asked for."""

    lists: dict[str, RecommendationList]


class Problem(BaseModel):
    """What is wrong with a request (RFC 9457)."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(description="One line for a person.", examples=["count: Input should be greater than 0."])


class Health(BaseModel):
    """How this server is."""

    status: str = Field(examples=["ok"])


class Ready(Health):
    """Whether lists can be read."""

    model_version: str | None = Field(description="Which model made the lists; null before the first ones.")


class Hiding(_Closed):
    """Products that nobody is shown, from now on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"stock_codes": ["85123A"], "until": "2030-12-24T00:00Z", "why": "recalled"}]}
    )

    stock_codes: Annotated[list[Code], Field(min_length=1, max_length=MOST_CODES)]
    country: Country | None = Field(None, description="Only for customers of this country, as on invoices.")
    until: Annotated[AwareDatetime, BeforeValidator(_is_text)] | None = Field(
        None, description="The first instant at which lists may show them again, with its zone. Default: no end."
    )
    why: Annotated[str, Field(max_length=500, pattern=_TEXT)] | None = Field(None, description="For people.")


class Hidden(BaseModel):
    """What was hidden."""

    hidden: list[str] = Field(examples=[["85123A"]])
    unknown: list[str] = Field(description="Those of no product of the shop: probably misspelled. Hidden, too.")


class Unhiding(_Closed):
    """Products that may be shown again."""

    stock_code: Annotated[list[Code], Field(min_length=1, max_length=MOST_CODES)]
    country: Country | None = Field(None, description="As when they were hidden.")


class Unhidden(BaseModel):
    """What is shown again."""

    shown: list[str] = Field(examples=[["85123A"]])
    not_hidden: list[str]


class HiddenProduct(BaseModel):
    """A product that a person hid, and that is hidden now."""

    stock_code: str = Field(examples=["85123A"])
    country: str | None = Field(description="From whose customers it is hidden; null: from everybody.")
    until: datetime | None
    why: str | None
    hidden_at: datetime
    hidden_by: str


class HiddenProducts(BaseModel):
    """What is hidden now."""

    hidden: list[HiddenProduct]
    sold_out: list[str] = Field(description="What the shop's stock system says is sold out.")


class Dismissal(_Closed):
    """A customer does not want to see a product."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customer": "14646", "stock_code": "23084", "days": 90}]}
    )

    customer: Customer
    stock_code: Code
    days: Annotated[float, Field(gt=0, le=MOST_DAYS, strict=True)] = Field(
        90, description="After which lists may show it again."
    )


class Dismissed(_Closed):
    """Which dismissal is taken back."""

    customer: CustomerId
    stock_code: Code


class Told(_Closed):
    """What a visitor does with a product."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"kind": "view", "stock_code": "23084", "session": "4f2a", "customer": "14646"}]
        }
    )

    kind: Literal["view", "cart", "wish"]
    stock_code: Code
    customer: Customer | None = None
    session: Annotated[str, Field(max_length=MAX_CUSTOMER, pattern=_TEXT)] | None = Field(
        None, description="The same text until the visit ends; only a hash of it is stored. One of both is needed."
    )

    @model_validator(mode="after")
    def _has_a_visitor(self) -> Self:
        if self.customer is None and self.session is None:
            raise ValueError("an event has a customer or a session")
        return self


class Stored(BaseModel):
    """What was stored."""

    stored: bool = Field(description="Whether something changed.")


class DismissedProduct(BaseModel):
    """How many customers dismissed a product, and are not shown it now."""

    stock_code: str = Field(examples=["22423"])
    customers: int = Field(examples=[12])


class Dismissals(BaseModel):
    """The most dismissed products."""

    products: int = Field(description="How many products have been dismissed.")
    dismissals: list[DismissedProduct]
