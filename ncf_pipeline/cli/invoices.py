"""The command `ingest`: invoices into the database. `quarantine` has the lines that it sets aside."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from ncf_pipeline.cli import mappings, quarantine
from ncf_pipeline.cli import rendering as tables
from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.errors import NcfError
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

if TYPE_CHECKING:  # `--help` should not wait for the import
    from ncf_pipeline.ingest.rehearsal import Rehearsal
    from ncf_pipeline.ingest.summary import BatchSummary


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(ingest)
    mappings.register(app)
    quarantine.register(app)


def ingest(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs or URLs (s3://, https://, ...): .xlsx, .csv, .csv.gz or .parquet.",
            metavar="PATH...",
        ),
    ],
    mapping: Annotated[
        str | None,
        typer.Option(help="What says how the files look: a name of `ncf-pipeline mapping list`.", metavar="NAME"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would happen: nothing is loaded, moved or published.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Load invoices: check every line, set broken lines aside, merge the others by invoice.

    A file needs the columns InvoiceNo, StockCode, Description, Quantity, InvoiceDate, UnitPrice, CustomerID and
    Country, in any order and spelling; other columns are ignored. Text may be UTF-8, UTF-16 or Windows-1252, divided
    by commas, semicolons, tabs or vertical bars. How a file writes dates and numbers is what all of it proves; a file
    that leaves it open is refused. A shop's own export is read by a mapping, as in --mapping shopify; make one with
    `ncf-pipeline mapping new FILE`.

    All files of one call are one batch. An invoice's new lines replace its earlier ones, so you can safely send a file
    again, corrected or not. A line that breaks a critical rule waits in quarantine with the reason (see
    `ncf-pipeline quarantine --help`). No line is lost: read = merged + unchanged + quarantined + left out.

    A file that cannot be used is refused with the reason, and the others are loaded. The exit code is then 1.

    A shop that has never published lists gets its first ones at once, from version 0: counts, which need no training.
    Later, `ncf-pipeline refresh` or the DAG `refresh_lists` publishes new ones.
    """
    from ncf_pipeline.ingest import stages
    from ncf_pipeline.ingest.rehearsal import rehearse
    from ncf_pipeline.ingest.summary import batch_summary
    from ncf_pipeline.registry import versions as registry

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

            if dry_run:
                rehearsed = rehearse(settings, paths, show, mapping=mapping)
                progress.stop()
                _say(rehearsed, as_json=as_json)
                return
            counts = stages.ingest(settings, paths, show, mapping=mapping)
        batch = batch_summary(settings, counts.batch_id)
        # With a role of its own for each kind of work, whoever loads invoices may not publish.
        has_lists_to_come = registry.may_publish(settings) and not registry.publications(settings)
    first, problem = _first_publication() if has_lists_to_come else (None, None)
    if as_json:
        typer.echo(json.dumps({**batch.as_dict(), "publication": first}))
    else:
        console = Console()
        _say_outcome(console, batch)
        if not counts.merged and not counts.quarantined:
            console.print("Nothing changed: the database already had these invoices.")
        if counts.quarantined:
            console.print("`ncf-pipeline quarantine list` shows the lines that wait.", highlight=False)
        if first is not None:
            console.print(f"Publication p{first:06d} is live, the shop's first; version 0 (baselines) serves.")
    if problem is not None:
        typer.echo(problem, err=True)
    if counts.rejected_files:
        raise typer.Exit(1)


def _say_outcome(console: Console, batch: "BatchSummary", *, dry_run: bool = False) -> None:
    """Where the lines went, or would go, and what a person should know of the files."""
    from ncf_pipeline.ingest.messages import replaced_lines

    title = f"Dry run of {batch.source}: nothing was loaded" if dry_run else None
    console.print(tables.batch_lines(batch, title=title))
    sentences = [
        *([batch.counts.reason] if batch.counts.reason else []),
        *batch.notes,
        *replaced_lines(batch.counts, would=dry_run),
        *(f"Refused: {refused.reason}" for refused in batch.counts.rejected_files),
    ]
    for sentence in sentences:
        console.print(sentence, markup=False, highlight=False)


def _say(rehearsal: "Rehearsal", *, as_json: bool) -> None:
    """Prints what would happen.

    Raises:
        Exit: a file would be refused.
    """
    summary = rehearsal.summary
    if as_json:
        typer.echo(json.dumps(rehearsal.as_dict()))
    else:
        console = Console()
        _say_outcome(console, summary, dry_run=True)
        for sentence in rehearsal.read_as:
            console.print(f"read as: {sentence}", markup=False, highlight=False)
        if rehearsal.first_lines:
            console.print(tables.landed_lines(rehearsal.first_lines))
        for line in rehearsal.waiting:
            console.print(f"Would wait: {line.where}: {' '.join(line.reasons)}", markup=False, highlight=False)
        if (more := summary.counts.quarantined - len(rehearsal.waiting)) > 0:
            console.print(f"{more:,} more lines would wait.", highlight=False)
    if summary.counts.rejected_files:
        raise typer.Exit(1)


def _first_publication() -> tuple[int | None, str | None]:
    """Publishes a shop's first lists. The invoices are loaded whatever comes of it.

    Returns:
        The publication's number, None if nothing was published; and what went wrong, None if nothing did.
    """
    from ncf_pipeline.serving.publish import refresh

    try:
        with serving(load_settings()) as settings:
            return refresh(settings, requested_by=user()), None
    except NcfError as error:
        return None, f"The invoices are loaded, but no lists were published: {error} Then run `ncf-pipeline refresh`."
