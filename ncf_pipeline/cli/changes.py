"""`changes`: what other systems were told of, and what waits."""

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

if TYPE_CHECKING:
    from ncf_pipeline.serving.announcing import Announcement


def register(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(changes)


def changes(
    tell: Annotated[bool, typer.Option("--tell", help="First tell what waits. Exits with 1 if that fails.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many changes to list, the newest first.")] = 20,
    as_json: Json = False,
) -> None:
    """List the changes that the stream ncf:changes and the webhook are told of: publications, hidden products, alerts.

    NCF_WEBHOOK_URL and NCF_WEBHOOK_SECRET name the webhook. docs/storefront.md says what a receiver gets.
    """
    from ncf_pipeline.serving import announcing

    with serving(load_settings()) as settings:
        told = announcing.announce(settings) if tell else None
        rows, untold = announcing.announcements(settings, most=limit), announcing.waiting(settings)
    if as_json:
        listed = {"waiting": untold.waiting, "changes": [row.as_dict() for row in rows]}
        typer.echo(json.dumps(listed, ensure_ascii=False))
    else:
        _show(rows, untold.waiting)
    if told is not None and told.error is not None:
        Console(stderr=True, soft_wrap=True).print(Text(f"Not everything was told: {told.error}"))
        sys.exit(1)


def _show(rows: list["Announcement"], untold: int) -> None:
    console = Console()
    if not rows:
        console.print("Nothing has changed yet.")
        return
    table = Table("number", "change", "at", "what", "stream", "webhook")
    for row in rows:
        what = ", ".join(f"{name} {value}" for name, value in row.details.items() if value is not None)
        post = f"{row.post}, failed {row.posts_failed} times" if row.posts_failed else row.post
        cells = (str(row.announcement_id), row.kind, f"{row.announced_at:%Y-%m-%d %H:%M}", what)
        table.add_row(*map(Text, (*cells, "written" if row.streamed_at else "waiting", post)))
    console.print(table)
    if untold:
        console.print(f"{untold:,} wait to be told. `ncf-pipeline changes --tell` tries now.", highlight=False)
