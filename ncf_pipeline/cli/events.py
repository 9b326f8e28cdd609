"""`events`: what visitors view, put into a basket and wish, from Redis or files into the database."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, log_to_terminal
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

events = typer.Typer(no_args_is_help=True, help="What visitors view, put into a basket and wish; docs/events.md.")


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(events, name="events")


@events.command()
def take(as_json: Json = False) -> None:
    """Move what waits in the stream ncf:events into the database.

    It may be killed and run again: nothing is lost, and nothing counts twice. Events that cannot be used go to
    quarantine with the reason. Events older than NCF_EVENTS_DAYS are removed. The DAG take_events does the same, if
    NCF_EVENTS_SCHEDULE is set.
    """
    from ncf_pipeline.events import stages

    log_to_terminal(quiet=True)
    with serving(load_settings()) as settings:
        counts = stages.take(settings)
    if as_json:
        typer.echo(json.dumps(counts.as_dict()))
    elif counts.read or counts.released:
        Console(soft_wrap=True).print(str(counts), highlight=False)
    else:
        Console(soft_wrap=True).print("No events wait.")


@events.command()
def load(
    files: Annotated[list[str], typer.Argument(help="Files or URLs: .csv, .csv.gz or .parquet.", metavar="FILE...")],
    as_json: Json = False,
) -> None:
    """Load events from files with the columns kind, product, customer, session and at.

    A kind is view, cart or wish. Each event needs a customer or a session. A time is ISO 8601; without a zone, it is on
    the clock of NCF_SHOP_TIMEZONE. The same file again, or another one with the same events, changes nothing.
    """
    from ncf_pipeline.events import stages

    log_to_terminal(quiet=True)
    console = Console(stderr=True)
    with serving(load_settings(), list_store=False) as settings:
        if as_json or not console.is_terminal:
            counts = stages.load(settings, files)
        else:
            with console.status("reading") as status:
                counts = stages.load(
                    settings, files, on_progress=lambda so_far: status.update(f"read {so_far.read:,} events")
                )
    typer.echo(json.dumps(counts.as_dict()) if as_json else str(counts))


@events.command()
def quarantine(as_json: Json = False) -> None:
    """List why events could not be used, how many there are, and an example of each. They are kept for 30 days."""
    from ncf_pipeline.events.landing import quarantined

    with serving(load_settings(), list_store=False) as settings:
        rows = quarantined(settings)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], ensure_ascii=False))
        return
    console = Console()
    if not rows:
        console.print("No event is in quarantine.")
        return
    table = Table("reason", "events", "newest", "the last one")
    for row in rows:
        shown = ", ".join(f"{name} {value}" for name, value in row.example.items())
        table.add_row(*map(Text, (row.reason, f"{row.events:,}", f"{row.newest:%Y-%m-%d %H:%M}", shown)))
    console.print(table)
