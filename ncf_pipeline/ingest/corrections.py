"""What waits in quarantine: look at it, discard it, or hand it to a person who corrects it in a spreadsheet."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from psycopg2.extras import RealDictCursor

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError, QualityError
from ncf_pipeline.ingest.readers.header import CORRECTS, people_say
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.resources import query

_REASON, _FROM, _LINE = "Reason", "From", "Line as it was"
_WIDTHS = {_REASON: 60, _FROM: 30, "Description": 36}
_NONE_NAMED = "No line was named. `ncf-pipeline quarantine list` shows their numbers."
_MOST = 1_048_000  # rows of a sheet


def quarantined_lines(
    settings: Settings,
    *,
    state: str | None = "waiting",
    rule_id: str | None = None,
    batch_id: int | None = None,
    quarantine_ids: Sequence[int] | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Lines in quarantine, the oldest first.

    Args:
        settings: whose database.
        state: waiting, released or discarded; None for all.
        rule_id: only lines that broke this rule.
        batch_id: only lines of this batch.
        quarantine_ids: only these.
        limit: not more than so many.

    Returns:
        For each: `quarantine_id`, `batch_id`, `file`, `sheet`, `row_number`, `invoice_no`, `original` (its cells as
        they were), `rule_ids`, `reasons` (the rules in words), `state`, `note`, `corrected`, `resolved_by`, and two
        times.
    """
    asked = {
        "state": state,
        "rule_id": rule_id,
        "batch_id": batch_id,
        "quarantine_ids": list(quarantine_ids) if quarantine_ids is not None else None,
        "most": limit,
    }
    with transaction(settings) as connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query("quarantined_lines"), asked)
        lines = [dict(row) for row in cursor.fetchall()]
    rules = quality.rules_of("invoices")
    for line in lines:
        line["reasons"] = [rules[rule].sentence if rule in rules else rule for rule in line["rule_ids"]]
        for name in ("created_at", "resolved_at"):
            line[name] = line[name].isoformat(timespec="seconds") if line[name] else None
    return lines


def discard_lines(settings: Settings, quarantine_ids: Sequence[int], *, note: str) -> list[int]:
    """Says that lines will not be corrected. They stay in quarantine, and do not wait again when they are read again.

    Args:
        settings: whose database.
        quarantine_ids: of lines that wait.
        note: why, for those who look later.

    Returns:
        The ids that were discarded.

    Raises:
        InputError: none is given, or one of them does not wait; nothing was discarded.
    """
    if not quarantine_ids:
        raise InputError(_NONE_NAMED)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("discard_lines"), {"quarantine_ids": list(quarantine_ids), "note": note})
        discarded = sorted(row[0] for row in cursor.fetchall())
        if missing := sorted(set(quarantine_ids) - set(discarded)):
            raise InputError(f"{_listed(missing)} not in quarantine, or settled already: nothing was discarded.")
    return discarded


def write_corrections(
    settings: Settings, quarantine_ids: Sequence[int], changes: Mapping[str, str], path: Path
) -> None:
    """Writes lines as they should be into a CSV file, ready to be loaded.

    Args:
        settings: whose database.
        quarantine_ids: of lines that wait.
        changes: column to the text that its cell should hold, in each of the lines.
        path: of the file.

    Raises:
        InputError: none is given, or one of them does not wait.
    """
    if not quarantine_ids:
        raise InputError(_NONE_NAMED)
    lines = quarantined_lines(settings, quarantine_ids=quarantine_ids)
    if missing := sorted(set(quarantine_ids) - {line["quarantine_id"] for line in lines}):
        raise InputError(f"{_listed(missing)} not in quarantine, or settled already: nothing was released.")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([people_say(CORRECTS), *(people_say(column) for column in InvoiceLines.ALL)])
        for line in lines:
            cells = {**line["original"], **changes}
            writer.writerow([line["quarantine_id"], *(cells.get(column, "") for column in InvoiceLines.ALL)])


def changes_from(written: Sequence[str]) -> dict[str, str]:
    """Column to the text that its cell should hold.

    Args:
        written: as people write it: `quantity=6`.

    Raises:
        InputError: one has no equals sign.
    """
    changes = {}
    for change in written:
        column, equals, value = change.partition("=")
        if not equals:
            raise InputError(f"{change!r} is not COLUMN=VALUE, such as quantity=6.")
        changes[column.strip()] = value
    return changes


def check_released(settings: Settings, batch_id: int) -> None:
    """Looks whether a batch of released lines has some that wait again.

    Args:
        settings: whose database.
        batch_id: of the batch that a release made.

    Raises:
        QualityError: some lines are still broken; the message has their new numbers and the rules.
    """
    lines = quarantined_lines(settings, batch_id=batch_id)
    if lines:
        rules = sorted({rule for line in lines for rule in line["rule_ids"]})
        raise QualityError(
            f"{_listed([line['quarantine_id'] for line in lines])} still broken ({', '.join(rules)}), and waiting "
            "under these numbers. Correct them and release them again."
        )


def export_workbook(settings: Settings, path: Path, *, rule_id: str | None = None) -> int:
    """Writes the lines that wait, with their reasons, as a workbook that a person corrects and drops into the inbox.

    Args:
        settings: whose database.
        path: of the workbook; ends in .xlsx.
        rule_id: only lines that broke this rule.

    Returns:
        How many lines were written.

    Raises:
        InputError: the name ends otherwise, or it cannot be written.
    """
    if path.suffix.lower() != ".xlsx":
        raise InputError(f"{path.name} does not end in .xlsx: the lines are written as a workbook.")
    lines = quarantined_lines(settings, rule_id=rule_id, limit=_MOST)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Quarantine")
    names = [people_say(CORRECTS), *(people_say(column) for column in InvoiceLines.ALL), _REASON, _FROM, _LINE]
    for position, name in enumerate(names, 1):
        sheet.column_dimensions[get_column_letter(position)].width = max(
            14, {_REASON: 60, "Description": 36}.get(name, 0)
        )
    sheet.freeze_panes = "B2"
    sheet.append([_cell(sheet, name, bold=True) for name in names])
    for line in lines:
        where = f"{line['file']}{', ' + line['sheet'] if line['sheet'] else ''}, row {line['row_number']}"
        cells = [
            str(line["quarantine_id"]),
            *(line["original"].get(column, "") for column in InvoiceLines.ALL),
            " ".join(line["reasons"]),
            where,
            line["original"].get("line", ""),
        ]
        sheet.append([_cell(sheet, cell) for cell in cells])
    try:
        book.save(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
    return len(lines)


def _cell(sheet: Any, text: str, *, bold: bool = False) -> Any:
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", text)[:32_000])
    # Always text: a cell that begins with = must not become a formula on somebody's desk, nor a code a number.
    cell.data_type = "s"
    cell.number_format = "@"
    cell.font = Font(bold=bold)
    cell.alignment = Alignment(vertical="top", wrap_text=bold)
    return cell


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10])
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return f"{shown}{more} {'is' if len(numbers) == 1 else 'are'}"
