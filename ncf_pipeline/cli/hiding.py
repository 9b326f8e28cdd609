"""`hide`, `unhide` and `hidden`: products that lists stop showing within seconds; `dismissals`, by customers."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

_Codes = Annotated[list[str], typer.Argument(help="Stock codes, e.g. 85123A 22423")]
_Country = Annotated[
    str | None, typer.Option(help="Only for customers of this country, as on invoices. Default: for everybody.")
]


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(hide)
    app.command()(unhide)
    app.command()(hidden)
    app.command()(dismissals)


def hide(
    codes: _Codes,
    country: _Country = None,
    until: Annotated[
        str | None,
        typer.Option(
            help="First day or instant at which lists may show it again, such as 2030-12-24. Default: no end."
        ),
    ] = None,
    why: Annotated[str | None, typer.Option(help="Stored beside it, for people.")] = None,
    as_json: Json = False,
) -> None:
    """Hide products from all lists within seconds, until they are shown again.

    Readers take them out of the lists there are, and the next publication leaves them out. Who hid what, and when, is
    kept in retail.hidden_product. What should be out of lists for good is a rule: docs/merchandising.md.
    """
    from ncf_pipeline.serving import hiding

    with serving(load_settings()) as settings:
        end = hiding.instant(until, settings.shop_timezone) if until is not None else None
        unknown = hiding.hide(settings, codes, actor=user(), country=country, until=end, why=why)
    _tell(
        as_json,
        {"hidden": sorted({code.strip().upper() for code in codes}), "unknown": unknown},
        f"Hidden{f' in {country}' if country else ''}: {{}}. Readers leave it out within seconds.",
        [
            f"No product of the shop is {code}. Is it misspelled? `ncf-pipeline unhide {code}` ends it."
            for code in unknown
        ],
    )


def unhide(codes: _Codes, country: _Country = None, as_json: Json = False) -> None:
    """Show products again that were hidden with `hide`.

    Lists that were made meanwhile lack them until the next publication.
    """
    from ncf_pipeline.serving import hiding

    with serving(load_settings()) as settings:
        not_hidden = hiding.unhide(settings, codes, actor=user(), country=country)
    shown = sorted({code.strip().upper() for code in codes} - set(not_hidden))
    place = f" in {country}" if country else ""
    _tell(
        as_json,
        {"shown": shown, "not_hidden": not_hidden},
        f"Shown again{place}: {{}}.",
        [f"{code} was not hidden{place}. `ncf-pipeline hidden` lists what is." for code in not_hidden],
    )
    if not shown:
        sys.exit(1)


def hidden(as_json: Json = False) -> None:
    """List what is hidden now: by whom, since when, until when; and what the stock system says is sold out."""
    from ncf_pipeline.serving import hiding

    with serving(load_settings()) as settings:
        products, sold_out = hiding.hidden_products(settings), hiding.sold_out(settings)
    if as_json:
        listed = [product.as_dict() for product in products]
        typer.echo(json.dumps({"hidden": listed, "sold_out": sold_out}, ensure_ascii=False))
        return
    console = Console()
    if products:
        table = Table("stock code", "for", "until", "hidden", "by", "why")
        for product in products:
            until = f"{product.until:%Y-%m-%d %H:%M %Z}" if product.until else "shown again by hand"
            cells = (product.stock_code, product.country or "everybody", until, f"{product.hidden_at:%Y-%m-%d %H:%M}")
            table.add_row(*map(Text, (*cells, product.hidden_by, product.why or "")))
        console.print(table)
    else:
        console.print("Nobody hides a product.")
    if sold_out:
        console.print(
            f"Sold out, by the stock system: {len(sold_out):,}: {', '.join(sold_out[:20])}"
            + (", ..." if len(sold_out) > 20 else ""),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def dismissals(
    limit: Annotated[int, typer.Option(min=1, help="How many products to show, the most dismissed first.")] = 20,
    as_json: Json = False,
) -> None:
    """Count the customers who said "not for me", by product.

    Dismissals that are over, or were taken back, are not counted.
    """
    from ncf_pipeline.serving.dismissals import customers_by_product
    from ncf_pipeline.training.report import descriptions

    with serving(load_settings()) as settings:
        counted = customers_by_product(settings)
        most = sorted(counted, key=lambda code: (-counted[code], code))[:limit]
        described = descriptions(settings, most) if most else {}
    if as_json:
        rows = [{"stock_code": code, "customers": counted[code], "description": described.get(code)} for code in most]
        typer.echo(json.dumps({"products": len(counted), "dismissals": rows}, ensure_ascii=False))
        return
    console = Console()
    if not most:
        console.print("No customer has dismissed a product.")
        return
    table = Table("stock code", "description", title=f"Dismissed by customers: {len(counted):,} products")
    table.add_column("customers", justify="right")
    for code in most:
        table.add_row(Text(code), Text(described.get(code, "")), f"{counted[code]:,}")
    console.print(table)


def _tell(as_json: bool, answer: dict[str, list[str]], done: str, warnings: list[str]) -> None:
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
    elif codes := next(iter(answer.values())):
        Console(highlight=False, soft_wrap=True).print(done.format(", ".join(codes)), markup=False)
    for line in warnings:
        Console(stderr=True, highlight=False, soft_wrap=True).print(line, markup=False, style="yellow")
