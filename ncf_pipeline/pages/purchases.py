"""What the demo reads in Postgres: names, prices, and what was bought. Never a list."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

MOST_CUSTOMERS = 24
MOST_PURCHASES = 30


@dataclass(frozen=True)
class Product:
    """What a product is called and costs."""

    stock_code: str
    description: str
    price: float | None


@dataclass(frozen=True)
class Customer:
    """Somebody to be: `last_order` is by the shop's clock."""

    customer_id: int
    country: str | None
    orders: int
    last_order: datetime


@dataclass(frozen=True)
class Purchase:
    """A product that a customer bought, in how many orders, and how many pieces in all."""

    stock_code: str
    last_bought: datetime
    orders: int
    pieces: int


def customers(settings: Settings, begins: str = "") -> list[Customer]:
    """Some customers whose number begins with these digits, those with most orders first."""
    return [Customer(*row) for row in read_rows(settings, "shop_customers", begins=begins, most=MOST_CUSTOMERS)]


def customer(settings: Settings, customer_id: int) -> Customer | None:
    """One customer; None if nobody bought anything under this number."""
    rows = read_rows(settings, "shop_customer", customer_id=customer_id)
    return Customer(customer_id, rows[0].country, rows[0].orders, rows[0].last_order) if rows else None


def purchases(settings: Settings, customer_id: int) -> list[Purchase]:
    """What a customer bought, newest first."""
    return [
        Purchase(*row) for row in read_rows(settings, "shop_purchases", customer_id=customer_id, most=MOST_PURCHASES)
    ]


def products(settings: Settings, stock_codes: Iterable[str]) -> dict[str, Product]:
    """Names and prices by stock code; a product without a name is left out."""
    found = read_rows(settings, "shop_products", stock_codes=list(stock_codes))
    return {row.stock_code: Product(row.stock_code, row.description, row.price) for row in found}


def countries(settings: Settings) -> list[str]:
    """Where anybody ever bought, by name."""
    return [row.country for row in read_rows(settings, "shop_countries")]
