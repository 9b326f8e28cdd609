"""`recommend` and `similar`, which read Redis as the storefront does; `lists`, which checks what is live; `bundles`."""

import json
from dataclasses import asdict
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli import rendering as tables
from ncf_pipeline.cli.options import Json
from ncf_pipeline.errors import DatabaseError, ListStoreError, SettingsError
from ncf_pipeline.local import serving
from ncf_pipeline.serving.reason_words import in_words, readable
from ncf_pipeline.settings import Settings, load_settings
from ncf_pipeline.storefront import Recommendation, Storefront

_WHERE_FROM = {
    "customer": "their own list",
    "product": "the product's own list",
    "country": "unknown customer: best sellers of {country}",
    "everywhere": "unknown customer: best sellers everywhere",
    "none": "unknown product",
}


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(recommend)
    app.command()(similar)
    app.command()(bundles)
    app.command()(lists)


def recommend(
    customer: Annotated[str, typer.Argument(help="The customer's id, e.g. 14646 or ann@example.com")],
    list_name: Annotated[
        Literal["for_you", "discover", "buy_again"], typer.Option("--list", help="Which list.")
    ] = "for_you",
    country: Annotated[str | None, typer.Option(help="Country whose best sellers an unknown customer gets.")] = None,
    as_json: Json = False,
) -> None:
    """Show a customer's recommendations with their reasons, as the storefront reads them from Redis."""
    from ncf_pipeline.ingest.customer_ids import spelled

    with serving(load_settings()) as settings, _storefront(settings) as shop:
        customer = spelled(customer)
        answer = _checked(shop.for_customer(customer, list_name=list_name, country=country))
        if as_json:
            _print_json(settings, answer, customer=customer, list=list_name)
        else:
            _print_table(settings, answer, f"{list_name} of customer {customer}", country)


def similar(
    stock_code: Annotated[str, typer.Argument(help="The product's stock code, e.g. 85123A")],
    list_name: Annotated[Literal["similar", "bought_together"], typer.Option("--list", help="Which list.")] = "similar",
    as_json: Json = False,
) -> None:
    """Show products that are similar to a product, or bought together with it."""
    with serving(load_settings()) as settings, _storefront(settings) as shop:
        code = stock_code.strip().upper()  # the spelling in Redis
        answer = _checked(shop.for_product(code, list_name=list_name))
        if as_json:
            _print_json(settings, answer, stock_code=code, list=list_name)
        else:
            _print_table(settings, answer, f"{list_name} of product {code}", None)


def bundles(
    limit: Annotated[int, typer.Option(min=1, help="How many to show, the most revenue first.")] = 20,
    as_json: Json = False,
) -> None:
    """Find sets of 2 to 4 products that sell together, to offer as bundles.

    Stores all of them in the table retail.bundle, in place of the previous ones.
    """
    from ncf_pipeline.serving.bundles import bundles as bundles_stage
    from ncf_pipeline.training.report import descriptions

    with serving(load_settings()) as settings:
        all_bundles = bundles_stage(settings)
        shown = all_bundles[:limit]
        described = descriptions(settings, sorted({code for bundle in shown for code in bundle.stock_codes}))
    if as_json:
        rows = [
            {**asdict(bundle), "descriptions": [described.get(code) for code in bundle.stock_codes]} for bundle in shown
        ]
        typer.echo(json.dumps({"found": len(all_bundles), "bundles": rows}, ensure_ascii=False))
    elif shown:
        Console().print(tables.bundles_table(shown, described, total=len(all_bundles)))
    else:
        support = f"{settings.bundle_min_support:.1%}"
        Console().print(
            f"No products sell together on {support} of the invoices. Lower NCF_BUNDLE_MIN_SUPPORT and run it again.",
            soft_wrap=True,
        )


def lists(as_json: Json = False) -> None:
    """Check the live lists: whether some are gone from Redis or broken, and whether the next ones will fit."""
    from ncf_pipeline.serving.health import check_lists

    with serving(load_settings()) as settings:
        health = check_lists(settings)
    if as_json:
        typer.echo(json.dumps(health.as_dict(), ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    for line in health.lines():
        console.print(line, markup=False)


def _storefront(settings: Settings) -> Storefront:
    try:
        return Storefront(
            settings.list_store(), prefix=settings.key_prefix, cluster=settings.redis_cluster, chances=True, timeout=5
        )
    except ValueError as error:
        raise SettingsError(f"NCF_REDIS_URL: {error}.") from error


def _checked(answer: Recommendation) -> Recommendation:
    if answer.source == "unavailable":
        raise ListStoreError("Redis does not answer: is it running, and is NCF_REDIS_URL right?")
    if answer.publication is None:
        raise ListStoreError("Nothing is published yet: `ncf-pipeline retrain` makes the first lists.")
    return answer


def _descriptions(settings: Settings, answer: Recommendation) -> dict[str, str]:
    from ncf_pipeline.training.report import descriptions

    named = [reason.evidence for reason in answer.reasons if isinstance(reason.evidence, str)]
    try:
        return descriptions(settings, list(dict.fromkeys([*answer.stock_codes, *named])))
    except DatabaseError as error:
        # The storefront needs no database, so neither does this command.
        Console(stderr=True).print(f"No descriptions: {error}", markup=False)
        return {}


def _print_json(settings: Settings, answer: Recommendation, **asked: str | int) -> None:
    described = _descriptions(settings, answer)
    products: list[dict[str, object]] = [
        {"stock_code": code, "description": described.get(code)} for code in answer.stock_codes
    ]
    for product, reason in zip(products, answer.reasons, strict=False):  # none if the shop publishes none
        product["reason"] = {"code": reason.code, "evidence": reason.evidence}
    for product, chance in zip(products, answer.chances, strict=False):  # none if the shop publishes none
        product["chance"] = chance
    for product, day in zip(products, answer.due, strict=False):
        product["due"] = day.isoformat() if day is not None else None
    shown = {**asked, "publication": answer.publication, "source": answer.source, "products": products}
    typer.echo(json.dumps(shown, ensure_ascii=False))


def _print_table(settings: Settings, answer: Recommendation, title: str, country: str | None) -> None:
    where_from = f"{_WHERE_FROM[answer.source].format(country=country)}; {answer.publication}"
    if not answer.stock_codes:
        Console().print(f"{title}: empty ({where_from})", markup=False, highlight=False, soft_wrap=True)
        return
    described = _descriptions(settings, answer)
    console = Console()
    console.print(f"{title} ({where_from})", markup=False, highlight=False, soft_wrap=True)
    table = Table()
    table.add_column("", justify="right")
    table.add_column("stock code")
    table.add_column("description")
    beside: list[list[str]] = []
    if answer.chances:
        table.add_column("chance", justify="right")
        beside.append(["" if chance is None else f"{chance:.1%}" for chance in answer.chances])
    elif answer.due:
        table.add_column("due")
        beside.append(["" if day is None else day.isoformat() for day in answer.due])
    if answer.reasons:
        table.add_column("reason")
        names = {code: readable(name) for code, name in described.items()}
        beside.append([in_words(reason, lambda code: names.get(code, code)) or "" for reason in answer.reasons])
    for place, code in enumerate(answer.stock_codes):
        more = [Text(column[place]) for column in beside]
        table.add_row(str(place + 1), Text(code), Text(described.get(code, "")), *more)
    console.print(table)
