"""`product` and `why`: what the shop knows of a product, and why a customer is, or is not, shown it."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(product)
    app.command()(why)


def product(
    stock_code: Annotated[str, typer.Argument(help="The product's stock code, e.g. 85123A")],
    weeks: Annotated[int, typer.Option(min=1, max=26, help="How many weeks of sales to print, the newest first.")] = 8,
    as_json: Json = False,
) -> None:
    """Show a product: how many customers are shown it, its sales and place week by week, and its rules."""
    from ncf_pipeline.serving import products

    with serving(load_settings()) as settings:
        found = products.product(settings, stock_code)
        shown = products.shown(settings, found.stock_code)
    if as_json:
        listed = asdict(shown) if shown is not None else None
        typer.echo(json.dumps({**found.as_dict(), "shown": listed}, ensure_ascii=False))
        return
    today = datetime.now(UTC).date()
    console = Console(highlight=False, soft_wrap=True)
    price = f"{found.price:.2f} when it was last sold, on {found.sold_at:%Y-%m-%d}" if found.sold_at else "never sold"
    console.print(f"{found.stock_code}  {found.description}: {price}", markup=False)
    for hidden in found.hidden:
        end = f" until {hidden.until:%Y-%m-%d %H:%M %Z}" if hidden.until else ""
        console.print(f"Hidden at once from {hidden.country or 'everybody'}{end}, by {hidden.hidden_by}", markup=False)
    for rule in found.rules:
        state = " (over)" if rule.is_over(today) else " (not yet)" if rule.begins_later(today) else ""
        console.print(f"Rule: {rule}{state}", markup=False)
    for words in found.limits_in_words(today):
        console.print(words, markup=False)
    if shown is None:
        console.print("No lists are live.")
    else:
        counts = [f"{name} of {number:,}" for name, number in shown.lists.items()]
        console.print(f"Shown in {shown.publication}: {', '.join(counts)} of {shown.customers:,} customers.")
        beside = [f"{name} of {number:,}" for name, number in shown.beside.items()]
        console.print(f"Beside other products: {', '.join(beside)}.")
        for country, number, among in shown.countries[:8]:
            console.print(f"  {country}: {number:,} of {among:,} customers", markup=False)
    if found.weeks:
        table = Table("week from")
        for name in ("pieces", "takings", "invoices", "place"):
            table.add_column(name, justify="right")
        for week in found.weeks[::-1][:weeks]:
            place = f"{week.place:,}" if week.place else ""
            cells = (f"{week.begins}", f"{week.pieces:,.6g}", f"{week.takings:,.2f}", f"{week.invoices:,}", place)
            table.add_row(*map(Text, cells))
        console.print(table)


def why(
    customer: Annotated[str, typer.Argument(help="The customer's id, e.g. 14646 or ann@example.com")],
    stock_code: Annotated[str, typer.Argument(help="The product's stock code, e.g. 85123A")],
    as_json: Json = False,
) -> None:
    """Say why a customer is, or is not, shown a product: by the live lists, the model that made them, and the rules."""
    from ncf_pipeline.serving.why import why as answer_of

    with serving(load_settings()) as settings:
        found = answer_of(settings, customer, stock_code)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), ensure_ascii=False))
        return
    console = Console(highlight=False, soft_wrap=True)
    made = f"; {found.publication} of {found.version}" if found.publication else ""
    console.print(f"{found.stock_code}  {found.description}{made}", markup=False)
    for answer in found.answers:
        console.print(f"{answer.list_name}: {answer.words}", markup=False)
    if found.chance is not None:
        console.print(f"The chance that they buy it within four weeks is {found.chance:.1%}, by the model.")
    for note in found.notes:
        Console(stderr=True, highlight=False, soft_wrap=True).print(note, markup=False, style="yellow")
