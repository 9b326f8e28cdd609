"""`ingest`: invoices into the database."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ncf_pipeline.cli import tables
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(ingest)


def ingest(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or globs: .xlsx, .csv, .csv.gz or .parquet, with the columns of the UCI workbook.",
            metavar="PATH...",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Load invoices: check every line, set broken ones aside, merge the rest by invoice.

    All files of one call are one batch. A newer file's invoice replaces the older one's lines, so sending a
    file again, or a corrected one, is safe. Lines that break a critical rule wait in quarantine with the reason;
    no line is lost: read = merged + unchanged + quarantined.
    """
    from ncf_pipeline import reports
    from ncf_pipeline.stages import ingest as stages

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=as_json,
    )
    with serving(load_settings(), list_store=False) as settings:
        with progress:
            bar = progress.add_task("reading", total=None)

            def show(what: str, done: int, total: int) -> None:
                progress.update(bar, description=what, completed=done, total=total or None)

            counts = stages.ingest(settings, paths, show)
        batch = reports.batch_summary(settings, counts.batch_id)
    if as_json:
        typer.echo(json.dumps(batch))
        return
    console = Console()
    console.print(tables.batch_lines(batch))
    for refused in batch["rejected_files"]:
        console.print(f"Refused: {refused['name']}: {refused['reason']}", markup=False)
    if not batch["merged"]:
        console.print("Nothing changed: these invoices were all there already.")
