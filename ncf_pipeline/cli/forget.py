"""The command `forget`, which erases a customer everywhere."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds the command `forget`."""
    app.command()(forget)


def forget(
    customer: Annotated[str, typer.Argument(help="The customer's id, for example 14646 or anna@example.com.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    gone: Annotated[
        list[str] | None, typer.Option(help="URL of an artifact store that no longer exists; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Erase a customer everywhere, and prove it by a search of every place. This cannot be undone."""
    from ncf_pipeline.erasure.forget import forget as erase
    from ncf_pipeline.privacy import masked

    who = masked(customer.strip())
    if not yes:
        typer.confirm(
            f"Erase customer {who} from the database, all files and all lists? This cannot be undone.", abort=True
        )
    with serving(load_settings()) as settings:
        done = erase(settings, customer, requested_by=user(), gone=gone or ())
    if as_json:
        typer.echo(json.dumps(done.as_dict()))
        return
    console = Console(highlight=False, soft_wrap=True)
    table = Table("place", title=f"Customer {who}", title_justify="left")
    table.add_column("before", justify="right")
    table.add_column("now", justify="right")
    for place, count in done.places.items():
        if count:
            table.add_row(place, f"{count:,}", f"{done.left.get(place, 0)}")
    if table.row_count:
        console.print(table)
    console.print(f"Searched {len(done.left)} places: none names the customer. Erasure {done.erasure} is recorded.")
    for place in done.not_covered:
        console.print(f"Not covered: {place}.", markup=False)
