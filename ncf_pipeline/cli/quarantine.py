"""The command `quarantine`: list, show, release, discard and export the lines that broke a critical rule."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncf_pipeline.cli.options import Json, user
from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.local import serving
from ncf_pipeline.settings import load_settings

Ids = Annotated[
    list[int], typer.Argument(help="Numbers of the lines, as `quarantine list` shows them.", metavar="ID...")
]
Rule = Annotated[str | None, typer.Option(help="Only lines that broke this rule, e.g. quantity_is_not_zero.")]

quarantine_app = typer.Typer(
    no_args_is_help=True,
    help="Lines that broke a critical rule: see which wait and why, correct them, and check them again.",
)


def register(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(quarantine_app, name="quarantine")


@quarantine_app.command("list")
def list_(
    state: Annotated[
        str, typer.Option(help="Only lines in this state: waiting, released, discarded or all.")
    ] = "waiting",
    rule: Rule = None,
    batch: Annotated[int | None, typer.Option(help="Only lines of this batch.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many lines.")] = 50,
    as_json: Json = False,
) -> None:
    """List the lines in quarantine, with the rules that they broke."""
    from ncf_pipeline.ingest.corrections import quarantined_lines

    if state not in {"waiting", "released", "discarded", "all"}:
        raise typer.BadParameter("choose waiting, released, discarded or all", param_hint="--state")
    with serving(load_settings(), list_store=False) as settings:
        lines = quarantined_lines(
            settings, state=None if state == "all" else state, rule_id=rule, batch_id=batch, limit=limit + 1
        )
    if as_json:
        typer.echo(json.dumps([line.as_dict() for line in lines[:limit]]))
        return
    if not lines:
        Console().print("No lines in quarantine match.")
        return
    table = Table("ID", "where", "invoice", "rules broken", *([] if state == "waiting" else ["state"]))
    for line in lines[:limit]:
        table.add_row(
            str(line.quarantine_id),
            Text(line.where),
            Text(line.invoice_no or "-"),
            "\n".join(line.rule_ids),
            *([] if state == "waiting" else [line.state]),
        )
    Console().print(table)
    if len(lines) > limit:
        Console().print(
            f"There are more than {limit} lines: show more with --limit, or write all with `quarantine export`."
        )


@quarantine_app.command()
def show(
    quarantine_id: Annotated[int, typer.Argument(help="Number of the line.", metavar="ID")], as_json: Json = False
) -> None:
    """Show one line: its original cells, and the rules that it broke, in words."""
    from ncf_pipeline.errors import InputError
    from ncf_pipeline.ingest.corrections import quarantined_lines

    with serving(load_settings(), list_store=False) as settings:
        lines = quarantined_lines(settings, state=None, quarantine_ids=[quarantine_id])
    if not lines:
        raise InputError(f"There is no line {quarantine_id} in quarantine. `ncf-pipeline quarantine list` shows them.")
    (line,) = lines
    if as_json:
        typer.echo(json.dumps(line.as_dict()))
        return
    console = Console()
    console.print(f"Line {quarantine_id}, {line.state}: {line.where}", markup=False, highlight=False)
    for rule, reason in zip(line.rule_ids, line.reasons, strict=True):
        console.print(f"  {reason} ({rule})", markup=False, highlight=False)
    table = Table("column", "cell", *(["corrected to"] if line.corrected else []))
    for column in [*InvoiceLines.ALL, *(name for name in line.original if name not in InvoiceLines.ALL)]:
        corrected = [_text((line.corrected or {}).get(column))] if line.corrected else []
        table.add_row(column, _text(line.original.get(column)), *corrected)
    console.print(table)
    if line.missing_from:
        console.print(
            f"Invoice {line.invoice_no} is stored with {line.missing_from:,} "
            f"{'line' if line.missing_from == 1 else 'lines'}, and without this one.",
            markup=False,
            highlight=False,
        )
    if line.state == "waiting":
        if line.mapping is not None and set(line.unreadable) - set(InvoiceLines.ALL):
            console.print(
                f"If the mapping {line.mapping} lacks what this line holds, complete it and send the file again.",
                markup=False,
                highlight=False,
            )
        cells = [column for column in line.unreadable if column in InvoiceLines.ALL]
        change = "".join(f" --set {column}=VALUE" for column in cells or ["COLUMN"])
        console.print(
            f"Next: ncf-pipeline quarantine release {quarantine_id}{change}, or ncf-pipeline quarantine discard "
            f"{quarantine_id} --note WHY",
            markup=False,
            highlight=False,
        )
    if line.note:
        console.print(f"Note: {line.note}", markup=False, highlight=False)


@quarantine_app.command()
def release(
    quarantine_ids: Ids,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="A corrected cell, e.g. --set quantity=6. Repeat it for several cells."),
    ] = None,
    note: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    as_json: Json = False,
) -> None:
    """Check lines again, corrected with --set, and merge those that are good. Without --set: after rules have changed.

    A good line joins the other lines of its invoice. A line that still breaks a rule waits under a new number.
    """
    from ncf_pipeline.errors import InputError
    from ncf_pipeline.ingest import stages
    from ncf_pipeline.ingest.corrections import changes_from, quarantined_lines

    try:
        changes = changes_from(change or [])
    except InputError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error
    with serving(load_settings(), list_store=False) as settings:
        counts = stages.release(settings, quarantine_ids, changes, actor=user(), reason=note)
        waiting = [line.quarantine_id for line in quarantined_lines(settings, batch_id=counts.batch_id)]
    if as_json:
        typer.echo(json.dumps({**counts.as_dict(), "waiting": waiting}))
    else:
        Console().print(f"{counts.merged + counts.unchanged} released in batch {counts.batch_id}.")
        if waiting:
            again = ", ".join(str(number) for number in waiting)
            Console().print(
                f"{len(waiting)} still broken, now waiting as {again}. `ncf-pipeline quarantine show ID` says why."
            )
    if waiting:
        raise typer.Exit(1)


@quarantine_app.command()
def discard(
    quarantine_ids: Ids,
    note: Annotated[str, typer.Option(help="Why, for later readers.")] = "discarded by hand",
    as_json: Json = False,
) -> None:
    """Record that lines will not be corrected. They are kept, and do not wait again if their file is sent again."""
    from ncf_pipeline.ingest.corrections import discard_lines

    with serving(load_settings(), list_store=False) as settings:
        discarded = discard_lines(settings, quarantine_ids, note=note, actor=user())
    if as_json:
        typer.echo(json.dumps({"discarded": discarded}))
    else:
        Console().print(f"{len(discarded)} discarded.")


@quarantine_app.command()
def export(
    file: Annotated[Path, typer.Argument(help="The workbook to write; ends in .xlsx.", metavar="FILE.xlsx")],
    rule: Rule = None,
    as_json: Json = False,
) -> None:
    """Write the waiting lines as a workbook. Correct the cells in Excel, then drop it into the inbox or `ingest` it.

    Keep the column `Quarantine ID`: it says which line a row corrects. Lines whose row you delete continue to wait.
    """
    from ncf_pipeline.ingest.corrections import export_workbook

    with serving(load_settings(), list_store=False) as settings:
        written = export_workbook(settings, file, rule_id=rule)
    if as_json:
        typer.echo(json.dumps({"file": str(file), "lines": written}))
    else:
        Console().print(f"{written:,} lines written to {file}.", markup=False, highlight=False)


def _text(cell: object) -> Text:
    return Text("" if cell is None else str(cell))
