"""Lines in quarantine: list them, discard them, release them corrected, or export them for correction in Excel."""

import contextlib
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter

from ncf_pipeline import alerts
from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError, QualityError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.mappings.mapping import from_yaml
from ncf_pipeline.ingest.readers.cells import LINE, READ_IS, cell_in_file
from ncf_pipeline.ingest.readers.header import CORRECTS, CURRENCY, RETURNED, STATUS, header_name, shortened
from ncf_pipeline.ingest.readers.table import ROW
from ncf_pipeline.ingest.readers.workbooks import open_workbook
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, read_rows, transaction
from ncf_pipeline.storage.scratch import scratch_folder

_REASON, _FROM, _LINE = "Reason", "From", "Original line"
_WIDTHS = {_REASON: 60, "Description": 36}
_MIN_WIDTH = 14
_NONE_NAMED = "No line was named. `ncf-pipeline quarantine list` shows their numbers."
_MAX_SHEET_ROWS = 1_048_000
_CELLS = "cells_are_readable"

State = Literal["waiting", "released", "discarded"]


@dataclass(frozen=True)
class QuarantinedLine:
    """A line in quarantine.

    Attributes:
        quarantine_id: its number.
        batch_id: the batch that brought it.
        file: name of its file.
        sheet: of a workbook; None otherwise.
        row_number: as a spreadsheet counts: the header is row 1.
        invoice_no: None if it is missing or unreadable.
        original: column to cell, as the file has it; `line` alone if the line could not be divided into cells.
        unreadable: the columns whose cell cannot be read; `line` if the line could not be divided into cells.
        readable: column to value, as text, of the other columns of a line with unreadable cells.
        rule_ids: the rules that it broke.
        reasons: the same rules in words, and for each unreadable cell what it holds and what would be read.
        state: whether it waits, was released (corrected) or was discarded.
        note: why it was discarded.
        corrected: column to cell, as it was released.
        resolved_by: the batch that brought the correction, or newer lines of the invoice.
        created_at: when it was put into quarantine.
        resolved_at: when it was released or discarded.
        missing_from: number of the stored lines of its invoice, which are without it; None if none is stored, or if it
            does not wait.
        mapping: name of the mapping that read its file; None if it needed none.
    """

    quarantine_id: int
    batch_id: int
    file: str
    sheet: str | None
    row_number: int
    invoice_no: str | None
    original: dict[str, Any]
    unreadable: tuple[str, ...]
    readable: dict[str, Any]
    rule_ids: tuple[str, ...]
    reasons: tuple[str, ...]
    state: State
    note: str | None
    corrected: dict[str, Any] | None
    resolved_by: int | None
    created_at: datetime
    resolved_at: datetime | None
    missing_from: int | None = None
    mapping: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; times in ISO 8601, to the second."""
        times = {
            "created_at": self.created_at.isoformat(timespec="seconds"),
            "resolved_at": self.resolved_at.isoformat(timespec="seconds") if self.resolved_at else None,
        }
        lists = {name: list(getattr(self, name)) for name in ("unreadable", "rule_ids", "reasons")}
        return {**asdict(self), **lists, **times}

    @property
    def where(self) -> str:
        """Its file, sheet and row, for people."""
        sheet = f", sheet {self.sheet}" if self.sheet else ""
        return f"{self.file}{sheet}, row {self.row_number:,}"

    @property
    def cells(self) -> dict[str, Any]:
        """The cells as text that is read in the same way in any file."""
        return {**self.original, **self.readable}


def quarantined_lines(
    settings: Settings,
    *,
    state: str | None = "waiting",
    rule_id: str | None = None,
    batch_id: int | None = None,
    quarantine_ids: Sequence[int] | None = None,
    after: int = 0,
    limit: int | None = None,
) -> list[QuarantinedLine]:
    """Lines in quarantine, the oldest first.

    Args:
        settings: whose database.
        state: only lines in this state: waiting, released or discarded; None for all.
        rule_id: only lines that broke this rule.
        batch_id: only lines of this batch.
        quarantine_ids: only these lines.
        after: only lines with a greater number.
        limit: the most lines to return; None for all.
    """
    rows = read_rows(
        settings,
        "quarantined_lines",
        state=state,
        rule_id=rule_id,
        batch_id=batch_id,
        quarantine_ids=list(quarantine_ids) if quarantine_ids is not None else None,
        after=after,
        most=limit,
    )
    rules = quality.rules_of("invoices")
    return [
        QuarantinedLine(
            quarantine_id=row.quarantine_id,
            batch_id=row.batch_id,
            file=row.file,
            sheet=row.sheet,
            row_number=row.row_number,
            invoice_no=row.invoice_no,
            original=row.original,
            unreadable=tuple(row.unreadable or ()),
            readable=row.readable or {},
            rule_ids=tuple(row.rule_ids),
            reasons=tuple(
                _of_cells(row) if rule == _CELLS and row.unreadable else rules[rule].sentence if rule in rules else rule
                for rule in row.rule_ids
            ),
            state=row.state,
            note=row.note,
            corrected=row.corrected,
            resolved_by=row.resolved_by,
            created_at=row.created_at,
            resolved_at=row.resolved_at,
            missing_from=row.missing_from if row.state == "waiting" else None,
            mapping=row.mapping,
        )
        for row in rows
    ]


def _of_cells(row: Any) -> str:
    """What each unreadable cell holds, and what would be read there."""
    told = []
    in_file = _names_in_file(row.mapping_yaml) if row.mapping_yaml is not None else {}
    for column in row.unreadable:
        if column == LINE:
            told.append(f"The line cannot be divided into cells. What is read: {READ_IS[LINE]}.")
        else:
            cell = shortened(str(cell_in_file(row.original, column) or ""), 60)
            name = f"{header_name(column)} ({in_file[column]})" if column in in_file else header_name(column)
            told.append(f"{name} holds {cell!r}. What is read: {READ_IS[column]}.")
    return " ".join(told)


@lru_cache(maxsize=32)
def _names_in_file(yaml: str) -> dict[str, str]:
    """Our column to the names that a mapping reads it from; empty if this version no longer reads the mapping."""
    try:
        mapping = from_yaml(yaml)
    except InputError:
        return {}
    named = {ours: column.of_file for ours, column in mapping.columns.given().items()}
    for ours, part in ((STATUS, mapping.status), (CURRENCY, mapping.currency), (RETURNED, mapping.returns)):
        named[ours] = (part.column if part is not None else None) or ()
    return {ours: " or ".join(names) for ours, names in named.items() if names}


def discard_lines(
    settings: Settings, quarantine_ids: Sequence[int], *, note: str, actor: str | None = None
) -> list[int]:
    """Records that lines will not be corrected. They stay in quarantine; the same lines, read again, do not wait.

    Args:
        settings: whose database.
        quarantine_ids: of waiting lines.
        note: why, for later readers.
        actor: who decided so; None for the database's user.

    Returns:
        The discarded lines' ids, ascending.

    Raises:
        InputError: no line is named, or one of them does not wait. Nothing is discarded then.
    """
    with transaction(settings) as connection:
        discarded = discard_in(connection, quarantine_ids, note=note, actor=actor)
    alerts.recover_quarantine(settings, later=True)
    return discarded


def discard_in(connection: Connection, quarantine_ids: Sequence[int], *, note: str, actor: str | None) -> list[int]:
    """Discards lines in a transaction that the caller opened, and records who did; see `discard_lines`."""
    if not quarantine_ids:
        raise InputError(_NONE_NAMED)
    rows = query_rows(connection, "discard_lines", quarantine_ids=list(quarantine_ids), note=note)
    discarded = sorted(row.quarantine_id for row in rows)
    _check_all_wait(quarantine_ids, discarded, "Nothing was discarded.")
    query_rows(
        connection,
        "insert_quarantine_request",
        action="discard",
        quarantine_ids=discarded,
        changes=None,
        workbook=None,
        actor=actor,
        reason=note,
        state="done",
        batch_id=None,
    )
    return discarded


def write_corrections(
    settings: Settings, quarantine_ids: Sequence[int], changes: Mapping[str, str], path: Path
) -> None:
    """Writes corrected lines into a CSV file, ready to be loaded.

    Args:
        settings: whose database.
        quarantine_ids: of waiting lines.
        changes: column to the new text of its cell, in each of the lines.
        path: of the file.

    Raises:
        InputError: no line is named, or one of them does not wait.
    """
    if not quarantine_ids:
        raise InputError(_NONE_NAMED)
    lines = quarantined_lines(settings, quarantine_ids=quarantine_ids)
    _check_all_wait(quarantine_ids, [line.quarantine_id for line in lines], "Nothing was released.")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([header_name(CORRECTS), *(header_name(column) for column in InvoiceLines.ALL)])
        for line in lines:
            cells = {**line.cells, **changes}
            writer.writerow([line.quarantine_id, *(cells.get(column, "") for column in InvoiceLines.ALL)])


def changes_from(written: Sequence[str]) -> dict[str, str]:
    """Column to the new text of its cell, from what a person wrote as COLUMN=VALUE.

    >>> changes_from(["quantity=6"])
    {'quantity': '6'}

    Raises:
        InputError: an entry has no equals sign.
    """
    changes = {}
    for change in written:
        column, equals, value = change.partition("=")
        if not equals:
            raise InputError(f"{change!r} is not COLUMN=VALUE, such as quantity=6.")
        changes[column.strip()] = value
    return changes


def check_released(settings: Settings, batch_id: int) -> None:
    """Checks that no line of a batch of released lines is back in quarantine.

    Raises:
        QualityError: some lines are still broken; the message has their new numbers and the rules.
    """
    lines = quarantined_lines(settings, batch_id=batch_id)
    if lines:
        rules = sorted({rule for line in lines for rule in line.rule_ids})
        raise QualityError(
            f"{_listed([line.quarantine_id for line in lines])} still broken ({', '.join(rules)}). These are the new "
            "numbers in quarantine. Correct the lines and release them again."
        )


def lines_in_workbook(settings: Settings, content: bytes, name: str) -> list[int]:
    """The numbers of the lines that a corrected workbook corrects, ascending, each once.

    Args:
        settings: say how large a workbook may be.
        content: of the workbook.
        name: of its file, for messages.

    Raises:
        InputError: it is not a workbook of lines in quarantine, or a row has no number.
    """
    numbers: set[int] = set()
    with scratch_folder() as folder:
        path = folder / "corrections.xlsx"
        path.write_bytes(content)
        opened = open_workbook(path, name, folder, max_unpacked_mb=settings.max_unpacked_mb, given=Given())
        for table in opened.tables:
            for chunk in table.chunks():
                for row, text in zip(chunk[ROW], chunk[CORRECTS], strict=True):
                    number = re.fullmatch(r"\s*([1-9][0-9]{0,17})(?:\.0+)?\s*", text or "")
                    if number is None:
                        raise InputError(
                            f"{table.where} row {row} has no {header_name(CORRECTS)}, which says which line it "
                            "corrects. Download the workbook again and keep that column; lines that are new belong "
                            "into the inbox."
                        )
                    numbers.add(int(number[1]))
    if not numbers:
        raise InputError(f"{name} has no line.")
    return sorted(numbers)


def export_workbook(settings: Settings, path: Path, *, rule_id: str | None = None) -> int:
    """Writes the waiting lines, with the reasons, as a workbook. A person corrects it and drops it into the inbox.

    Args:
        settings: whose database.
        path: of the workbook; ends in .xlsx.
        rule_id: only lines that broke this rule.

    Returns:
        The number of lines written.

    Raises:
        InputError: the name has another ending, or the file cannot be written.
    """
    if path.suffix.lower() != ".xlsx":
        raise InputError(f"{path.name} does not end in .xlsx: the lines are written as a workbook. Name it so.")
    content, lines = workbook_of(settings, rule_id=rule_id)
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}. Make it first.")
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}. May this user write there?") from error
    return lines


def workbook_of(settings: Settings, *, rule_id: str | None = None, batch_id: int | None = None) -> tuple[bytes, int]:
    """The waiting lines, with the reasons, as a workbook to be corrected; and how many they are.

    Args:
        settings: whose database.
        rule_id: only lines that broke this rule.
        batch_id: only lines of this batch.
    """
    lines = quarantined_lines(settings, rule_id=rule_id, batch_id=batch_id, limit=_MAX_SHEET_ROWS)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Quarantine")
    names = [header_name(CORRECTS), *(header_name(column) for column in InvoiceLines.ALL), _REASON, _FROM, _LINE]
    for position, name in enumerate(names, 1):
        sheet.column_dimensions[get_column_letter(position)].width = _WIDTHS.get(name, _MIN_WIDTH)
    sheet.freeze_panes = "B2"
    sheet.append([_cell(sheet, name, bold=True) for name in names])
    for line in lines:
        cells = [
            str(line.quarantine_id),
            *(line.cells.get(column, "") for column in InvoiceLines.ALL),
            " ".join(line.reasons),
            f"{line.file}{', ' + line.sheet if line.sheet else ''}, row {line.row_number}",
            line.original.get("line", ""),
        ]
        sheet.append([_cell(sheet, cell) for cell in cells])
    content = io.BytesIO()  # a save to disk that fails leaves the workbook open, and Python prints a traceback later
    book.save(content)
    return content.getvalue(), len(lines)


def _check_all_wait(quarantine_ids: Sequence[int], waiting: Sequence[int], consequence: str) -> None:
    if missing := sorted(set(quarantine_ids) - set(waiting)):
        raise InputError(
            f"{_listed(missing)} not waiting in quarantine. {consequence} "
            "`ncf-pipeline quarantine list` shows the waiting lines."
        )


def _cell(sheet: Any, text: str, *, bold: bool = False) -> Any:
    cell = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", text)[:32_000])
    # Always text: Excel must not run a cell that begins with = as a formula, nor turn a code into a number.
    cell.data_type = "s"
    cell.number_format = "@"
    cell.font = Font(bold=bold)
    cell.alignment = Alignment(vertical="top", wrap_text=bold)
    return cell


def _listed(numbers: Sequence[int]) -> str:
    """Numbers as the subject of a sentence.

    >>> _listed([7]), _listed([7, 9])
    ('7 is', '7, 9 are')
    """
    shown = ", ".join(str(number) for number in numbers[:10])
    more = f" and {len(numbers) - 10} more" if len(numbers) > 10 else ""
    return f"{shown}{more} {'is' if len(numbers) == 1 else 'are'}"
