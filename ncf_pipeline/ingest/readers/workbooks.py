"""`.xlsx`: the sheets as tables of text, unpacked in a process of its own."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.dialect import EPOCH_1900, EPOCH_1904, Dialect
from ncf_pipeline.ingest.readers.header import (
    MAX_TITLE_ROWS,
    RETURNED,
    Header,
    HeaderError,
    Shape,
    find_header,
    shortened,
)
from ncf_pipeline.ingest.readers.table import ROW, OpenFile, Table, schema_of, without_empty_rows
from ncf_pipeline.ingest.readers.unpacking import too_large, unpacked_by
from ncf_pipeline.storage.files import open_regular

_NUMBERS = (InvoiceLines.QUANTITY, InvoiceLines.UNIT_PRICE)
_CODES = (InvoiceLines.INVOICE_NO, InvoiceLines.STOCK_CODE, InvoiceLines.CUSTOMER_ID)
_INEXACT = r"^\d{17,}$|^9[1-9]\d{14}$"
"""Whole numbers that a double may have rounded."""


def open_workbook(
    path: Path, name: str, folder: Path, *, max_unpacked_mb: int, given: Given, mapping: Mapping | Shape | None = None
) -> OpenFile:
    """Unpacks a workbook and opens every visible sheet that has the columns; it may hold a sheet for each year.

    Args:
        path: of the workbook.
        name: what people call it, for messages.
        folder: where the unpacked sheets go; the tables read from there.
        max_unpacked_mb: a workbook that unpacks to more megabytes is refused.
        given: what a person says of the source; a hidden sheet is read only if it is named.
        mapping: says which columns are read; None for ours.

    Returns:
        A table for each sheet that has the columns; the note names the other sheets.

    Raises:
        InputError: the file is not a workbook, is damaged, needs too much memory or time, or no sheet has the columns.
    """
    answer = unpacked(path, name, folder, max_unpacked_mb=max_unpacked_mb, sheets=given.sheets)
    if mapping is not None and given.sheets and not answer["sheets"]:
        # Lines that were exported for correction are in a sheet of their own.
        every = unpacked(path, name, folder, max_unpacked_mb=max_unpacked_mb, sheets=None)
        with suppress(InputError):
            opened = _opened(every, name, path, folder, mapping, max_unpacked_mb)
            if all(table.layout is None for table in opened.tables):
                return opened
    return _opened(answer, name, path, folder, mapping, max_unpacked_mb)


def unpacked(
    path: Path, name: str, folder: Path, *, max_unpacked_mb: int, sheets: tuple[str, ...] | None
) -> dict[str, Any]:
    """Unpacks the sheets of a workbook as text, each into `FOLDER/N.arrow`.

    Args:
        path: of the workbook.
        name: what people call it, for messages.
        folder: where the sheets go.
        max_unpacked_mb: a workbook that unpacks to more megabytes is refused.
        sheets: those to unpack, hidden or not; None for every visible one.

    Returns:
        `sheets`, the names in the order of N; `all` and `hidden`; `counts_from_1904`.

    Raises:
        InputError: the file is not a workbook, is damaged, or needs too much memory or time.
    """
    _check_archive(path, name, max_unpacked_mb)
    return _unpacker(name, str(path.resolve()), str(folder), json.dumps(sheets), max_unpacked_mb=max_unpacked_mb)


def _unpacker(name: str, *arguments: str, max_unpacked_mb: int) -> dict[str, Any]:
    """What `unpack_workbook.py` answers."""
    advice = (
        "Is there a cell far away from the others? Copy the lines into a new workbook, or save them as .csv, or save "
        "it again in Excel."
    )
    return unpacked_by(
        "unpack_workbook.py", name, *arguments, max_unpacked_mb=max_unpacked_mb, kind="workbook", advice=advice
    )


def _opened(
    answer: dict[str, Any], name: str, path: Path, folder: Path, mapping: Mapping | Shape | None, max_unpacked_mb: int
) -> OpenFile:
    sheets, everything, hidden = answer["sheets"], answer["all"], answer["hidden"]
    dialect = Dialect(epoch=EPOCH_1904 if answer["counts_from_1904"] else EPOCH_1900)
    tables, refused = [], {}
    for index, sheet in enumerate(sheets):
        where = f"{name}, sheet {shortened(sheet, 40)!r},"
        file = folder / f"{index}.arrow"
        try:
            header = find_header(_first_rows(file), where, mapping)
        except InputError as error:
            refused[sheet] = error
            continue
        chunks = partial(_chunks, file, header)
        table = Table(where, sheet, header.ignored, chunks, dialect, layout=header.layout)
        first = answer["first_columns"][index]
        known = partial(_with_numbers_known, table, header, name, path, first, max_unpacked_mb)
        tables.append(replace(table, with_numbers_known=known))
    if not tables and len(refused) == 1:
        raise next(iter(refused.values()))
    shown = {sheet: f"{shortened(sheet, 40)!r}{' (hidden)' if sheet in hidden else ''}" for sheet in everything}
    if not tables:
        listed = ", ".join(shown.values()) or "none"
        what = mapping.what if isinstance(mapping, Shape) else "an invoice"
        raise HeaderError(
            f"{name} has no sheet with the columns of {what}; its sheets are: {listed}. "
            "Add the header to one, and show it if it is hidden."
        )
    left_out = [shown[sheet] for sheet in everything if sheet not in {table.sheet for table in tables}]
    return OpenFile(tables, f"sheets left out: {', '.join(left_out)}" if left_out else None)


def _with_numbers_known(table: Table, header: Header, name: str, path: Path, first: int, max_unpacked_mb: int) -> Table:
    """The table, with the columns of which every cell is a number. In others, numbers are written without a mark.

    Codes that are numbers with more digits than a double has are written as such: 1.234567890123456e+18.
    """
    layout = header.layout
    numbers_of, codes_of = (
        [column for column in wanted if column in header.positions]
        if layout is None
        else list(dict.fromkeys(key for column in wanted for key in layout.sources.get(column, ())))
        for wanted in ((*_NUMBERS, RETURNED), _CODES)
    )
    columns = list(dict.fromkeys([*numbers_of, *codes_of]))
    wanted = json.dumps([table.sheet, [header.positions[column] + first for column in columns]])
    rows_of_texts = _unpacker(name, str(path.resolve()), wanted, max_unpacked_mb=max_unpacked_mb)["rows"]
    if rows_of_texts is None:
        return replace(table, with_numbers_known=None)
    texts = {
        column: [row + 1 for row in rows if row > header.row]
        for column, rows in zip(columns, rows_of_texts, strict=True)
    }
    numbers = frozenset(column for column in numbers_of if not texts[column])
    mixed = {column: pl.Series(texts[column]) for column in numbers_of if texts[column]}
    codes = {column: pl.Series(texts[column], dtype=pl.Int64) for column in codes_of}
    return replace(
        table,
        dialect=replace(table.dialect, plain_numbers=numbers),
        chunks=lambda: (_with_numbers_unmarked(_with_lost_digits(chunk, codes), mixed) for chunk in table.chunks()),
        with_numbers_known=None,
    )


def _with_lost_digits(chunk: pl.DataFrame, texts: dict[str, pl.Series]) -> pl.DataFrame:
    """The chunk, with 1234567890123456789 in the form of a double where it is a number."""
    for name, rows in texts.items():
        is_lost = ~chunk[ROW].is_in(rows.implode()) & chunk[name].str.contains(_INEXACT)
        if is_lost.any():
            first, others = pl.col(name).str.head(1), pl.col(name).str.slice(1, 15)
            as_double = pl.format("{}.{}e+{}", first, others, pl.col(name).str.len_bytes() - 1)
            chunk = chunk.with_columns(pl.when(is_lost).then(as_double).otherwise(pl.col(name)).alias(name))
    return chunk


def _with_numbers_unmarked(chunk: pl.DataFrame, texts: dict[str, pl.Series]) -> pl.DataFrame:
    """The chunk, with 1.5 as 15e-1 where it is a number: the marks in texts say nothing of it."""
    for name, rows in texts.items():
        is_number = ~chunk[ROW].is_in(rows.implode()) & chunk[name].str.contains(".", literal=True)
        if is_number.any():
            digits = pl.col(name).str.replace(".", "", literal=True)
            decimals = pl.col(name).str.extract(r"\.(\d*)").str.len_bytes()
            chunk = chunk.with_columns(
                pl.when(is_number).then(pl.format("{}e-{}", digits, decimals)).otherwise(pl.col(name)).alias(name)
            )
    return chunk


def _check_archive(path: Path, name: str, max_unpacked_mb: int) -> None:
    """Checks the archive before anything is unpacked.

    Raises:
        InputError: the file is not a workbook, is cut off, or unpacks to too much.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{name} is not a workbook, or it is cut off. Send it again.") from error
    unpacked = sum(member.file_size for member in members)
    if unpacked > max_unpacked_mb << 20:
        raise too_large(name, max_unpacked_mb, unpacked >> 20)
    names = {member.filename.lower() for member in members}
    if "xl/workbook.xml" not in names:
        kind = "a .xlsb workbook" if "xl/workbook.bin" in names else "an archive of another kind"
        raise InputError(f"{name} is {kind}, not a .xlsx workbook. Save it as .xlsx in Excel.")


def _first_rows(file: Path) -> list[list[str | None]]:
    with pa.OSFile(str(file)) as source:
        reader = pa.ipc.open_file(source)
        rows = reader.get_batch(0).slice(0, MAX_TITLE_ROWS)
        return [list(row.values()) for row in rows.to_pylist()]


def _chunks(file: Path, header: Header) -> Iterator[pl.DataFrame]:
    first_row = 1
    schema = schema_of(header)
    # Not memory-mapped: the pages would count as memory of this process.
    with pa.OSFile(str(file)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            columns = {
                name: pl.Series(name, batch.column(header.positions[name]), dtype=pl.String)
                for name in header.cells
                if name in header.positions
            }
            chunk = pl.DataFrame(columns).with_columns(
                pl.int_range(first_row, first_row + batch.num_rows).alias(ROW),
                *(pl.lit(None, pl.String).alias(name) for name in schema if name not in (*columns, ROW)),
            )
            first_row += batch.num_rows
            yield without_empty_rows(chunk.filter(pl.col(ROW) > header.row + 1).select(schema.names()), header)
