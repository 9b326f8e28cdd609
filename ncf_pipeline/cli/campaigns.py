"""`customers-for` and `due`: whom a campaign should tell."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, log_to_terminal
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

if TYPE_CHECKING:
    from ncf_pipeline.serving.campaigns import Due, ForProduct

_SHOWN = 20
"""Rows that a terminal shows."""

_Output = Annotated[
    Path | None,
    typer.Option(help="Write all rows to this file, .csv or .parquet. Erase it yourself: `forget` does not know it."),
]


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command("customers-for")(customers_for)
    app.command()(due)


def customers_for(
    code: Annotated[str, typer.Argument(help="Stock code of the product, e.g. 85123A")],
    top: Annotated[int, typer.Option(min=1, max=10_000_000, help="Most customers, the likeliest buyers first.")] = 500,
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """List the customers who will most probably buy a product, for a campaign.

    The serving model scores every customer with a purchase, on the newest purchases, not only those whose list has
    the product. That takes as long as a refresh scores. They are ordered by the chance that they buy it within
    NCF_HOLDOUT_DAYS. Version 0 has no chances: it orders them by the product's place among all that it scores for them.
    Left out, and counted: a running experiment's control group, countries whose lists may not show the product, and
    customers who dismissed it. Guests are unknown, so they are not in it.

    Whether a customer may be written to is not known here: take out yourself who gave no consent.
    """
    from ncf_pipeline.serving import campaigns

    log_to_terminal(quiet=as_json)
    if output is not None:
        campaigns.check_ending(output)
    with serving(load_settings()) as settings:
        found = campaigns.customers_for(settings, code, top=top)
    if output is not None:
        campaigns.write(output, campaigns.ForProduct, found.customers)
    facts = {"stock_code": found.stock_code, "version": f"v{found.version}", "as_of": found.as_of.isoformat()}
    if as_json:
        _print_json(facts | {"asked": found.asked, "left_out": dict(found.left_out)}, "customers", found.customers)
        return
    title = f"For {found.stock_code}, by v{found.version} as of {found.as_of:%Y-%m-%d %H:%M}"
    _print(title, found.customers, found.left_out, "customers", output)


def due(
    week: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The first of the seven days, on the shop's clock.")
    ],
    output: _Output = None,
    as_json: Json = False,
) -> None:
    """List the products that customers are due to buy again within seven days, for reminders.

    A day is that by whose end half of such customers have bought the product again (docs/chances.md). It reads the
    days of the live lists, which NCF_DUE=true publishes. Left out, and counted: a running experiment's control group,
    what is hidden or sold out now, and what the customer dismissed.

    Whether a customer may be written to is not known here: take out yourself who gave no consent.
    """
    from ncf_pipeline.serving import campaigns

    if output is not None:
        campaigns.check_ending(output)
    with serving(load_settings()) as settings:
        found = campaigns.due_in(settings, week.date())
    if output is not None:
        campaigns.write(output, campaigns.Due, found.products)
    if as_json:
        facts = {"week": found.begins.isoformat(), "publication": found.publication, "left_out": dict(found.left_out)}
        _print_json(facts, "products", found.products)
        return
    title = f"Due in the week from {found.begins}, by {found.publication}"
    _print(title, found.products, found.left_out, "products", output)


def _print_json(facts: Mapping[str, object], name: str, rows: "Sequence[ForProduct | Due]") -> None:
    listed = [asdict(row) for row in rows]
    typer.echo(json.dumps({**facts, name: listed}, ensure_ascii=False, default=str))


def _print(
    title: str, rows: "Sequence[ForProduct | Due]", left_out: Mapping[str, int], what: str, output: Path | None
) -> None:
    console = Console(highlight=False, soft_wrap=True)
    if rows:
        shown = [asdict(row) for row in rows[:_SHOWN]]
        table = Table(*(name.replace("_", " ") for name in shown[0]), title=title, title_justify="left")
        for row in shown:
            table.add_row(*(Text(_cell(cell)) for cell in row.values()))
        console.print(table)
    else:
        console.print(f"{title}: none.", markup=False)
    for why, count in left_out.items():
        console.print(f"Left out: {count:,} {what}: {why}.", markup=False)
    if output is not None:
        console.print(f"Wrote {len(rows):,} {what} to {output}.", markup=False)
    elif len(rows) > _SHOWN:
        console.print(f"{len(rows) - _SHOWN:,} more: --output FILE.csv writes all.", markup=False)


def _cell(cell: object) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:.1%}"
    return cell.isoformat() if isinstance(cell, date) else "" if cell is None else str(cell)
