"""What the pages read in Postgres about products and customers: names, prices and purchases. Lists come from Redis."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from ncf_pipeline.columns import category_levels
from ncf_pipeline.serving.merchandising import categories_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_records, read_rows

MOST_CUSTOMERS = 24
MOST_PURCHASES = 30
MOST_CATEGORIES = 500


@dataclass(frozen=True)
class Product:
    """What a page shows of a product.

    Attributes:
        stock_code: the shop's.
        description: its name.
        price: of one piece when it was last sold; of the catalogue if it never was.
        currency: the shop's.
        image: address of its picture, as the catalogue has it; None if it has none.
    """

    stock_code: str
    description: str
    price: float | None
    currency: str = "GBP"
    image: str | None = None


@dataclass(frozen=True)
class Customer:
    """A customer with their number of orders; `last_order` is on the shop's clock."""

    customer_id: str
    country: str | None
    orders: int
    last_order: datetime


@dataclass(frozen=True)
class Purchase:
    """A product that a customer bought, in how many orders, and how many pieces in all."""

    stock_code: str
    last_bought: datetime
    orders: int
    pieces: Decimal


def customers(settings: Settings, begins: str = "") -> list[Customer]:
    """Returns up to 24 customers whose id begins with this text, those with most orders first.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return read_records(settings, Customer, "shop_customers", begins=begins, most=MOST_CUSTOMERS)


def customer(settings: Settings, customer_id: str) -> Customer | None:
    """Returns one customer; None if there is no purchase under this id.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    rows = read_rows(settings, "shop_customer", customer_id=customer_id)
    return Customer(customer_id, rows[0].country, rows[0].orders, rows[0].last_order) if rows else None


def purchases(settings: Settings, customer_id: str) -> list[Purchase]:
    """Returns up to 30 products that a customer bought, the newest purchase first.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return read_records(settings, Purchase, "shop_purchases", customer_id=customer_id, most=MOST_PURCHASES)


def products(settings: Settings, stock_codes: Iterable[str]) -> dict[str, Product]:
    """Returns products by stock code; a code without a description is left out.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    rows = read_rows(settings, "shop_products", stock_codes=list(stock_codes))
    return {
        row.stock_code: Product(row.stock_code, row.description, row.price, settings.currency, row.image_url)
        for row in rows
    }


def categories(settings: Settings) -> list[str]:
    """Returns up to `MOST_CATEGORIES` categories with each level above them, in alphabetical order.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    named = {level for category in categories_of(settings).values() for level in category_levels(category)}
    return sorted(named)[:MOST_CATEGORIES]


def countries(settings: Settings) -> list[str]:
    """Returns every country in which somebody bought something, in alphabetical order.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return [row.country for row in read_rows(settings, "shop_countries")]
