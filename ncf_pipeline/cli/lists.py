"""`recommend` and `similar`: read Redis as the storefront does."""

import json
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import Settings, load_settings
from ncf_pipeline.storefront import Recommendation, Storefront

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

_WHERE_FROM = {
    "customer": "their own list",
    "product": "the product's own list",
    "country": "no list of their own: best sellers of {country}",
    "everywhere": "no list of their own: best sellers everywhere",
    "none": "there is no list",
}


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(recommend)
    app.command()(similar)


def recommend(
    customer: Annotated[int, typer.Argument(help="The customer's id, e.g. 14646", min=0)],
    list_name: Annotated[
        Literal["for_you", "discover", "buy_again"], typer.Option("--list", help="Which list.")
    ] = "for_you",
    country: Annotated[str | None, typer.Option(help="Whose best sellers to fall back on.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a customer is recommended, as the storefront reads it from Redis."""
    with serving(load_settings()) as settings, _storefront(settings) as shop:
        found = _checked(shop.for_customer(customer, list_name=list_name, country=country))
        _show(settings, found, f"{list_name} of customer {customer}", country, as_json=as_json)


def similar(
    stock_code: Annotated[str, typer.Argument(help="The product's stock code, e.g. 85123A")],
    list_name: Annotated[Literal["similar", "bought_together"], typer.Option("--list", help="Which list.")] = "similar",
    as_json: Json = False,
) -> None:
    """Show the products like a product, or bought together with it."""
    with serving(load_settings()) as settings, _storefront(settings) as shop:
        code = stock_code.strip().upper()  # as they are published
        found = _checked(shop.for_product(code, list_name=list_name))
        _show(settings, found, f"{list_name} of product {code}", None, as_json=as_json)


def _storefront(settings: Settings) -> Storefront:
    return Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=False, timeout=5)


def _checked(found: Recommendation) -> Recommendation:
    if found.source == "unavailable":
        raise ListStoreError("Redis does not answer: is it running, and is NCF_REDIS_URL right?")
    if found.publication is None:
        raise ListStoreError("Nothing is published yet: `ncf-pipeline retrain` makes the first lists.")
    return found


def _show(settings: Settings, found: Recommendation, title: str, country: str | None, *, as_json: bool) -> None:
    from ncf_pipeline.reports import descriptions

    described = descriptions(settings, found.stock_codes)
    if as_json:
        products = [{"stock_code": code, "description": described.get(code)} for code in found.stock_codes]
        typer.echo(json.dumps({"publication": found.publication, "source": found.source, "products": products}))
        return
    where_from = _WHERE_FROM[found.source].format(country=country)
    table = Table(title=f"{title} ({where_from}; {found.publication})", title_justify="left")
    table.add_column("", justify="right")
    table.add_column("stock code")
    table.add_column("description")
    for place, code in enumerate(found.stock_codes, start=1):
        table.add_row(str(place), code, described.get(code, ""))
    Console().print(table if found.stock_codes else f"{title}: empty ({where_from}; {found.publication})")
