"""What every reader returns: tables of text cells, in chunks, which can be read again from the start."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.readers.dialect import Dialect
from ncf_pipeline.ingest.readers.header import CELLS, Header, Layout

ROW = "row_number"
"""Int64: the row in which the line begins, as a spreadsheet or an editor counts; the first row is 1."""

BROKEN = "broken"
"""String: the text of a line that could not be divided into cells; null for every other line."""

LEFT_OUT = "left_out"
"""String, of typed lines: why the line does not count, such as `Financial Status is pending`; null if it does. It is
landed and counted, but not checked and not merged."""

TAKES_BACK = "takes_back"
"""Boolean, of typed lines: whether a line that does not count takes its invoice back. An invoice of which every line
does is removed."""

CHUNK_ROWS = 50_000

CHUNK_SCHEMA = pl.Schema({ROW: pl.Int64, **dict.fromkeys(CELLS, pl.String), BROKEN: pl.String})


@dataclass(frozen=True)
class Table:
    """One table of invoice lines: a sheet of a workbook, or another file as a whole.

    Attributes:
        where: what people call the file (and sheet), for messages.
        sheet: name of the sheet; None if the file is not a workbook.
        ignored: names of the columns that are not read.
        chunks: reads the table from the start; each chunk has `CHUNK_SCHEMA` and no empty rows. With a mapping, a
            reader returns the file's own cells, and `mapped.in_our_columns` makes ours of them.
        dialect: how it writes its cells; a reader knows part of it, and `survey.decided` the rest.
        with_numbers_known: the same table, but it knows which of its cells are numbers. Takes a while, so it is asked
            only where texts would be read in two ways; None if the kind of file has no numbers, or says it anyway.
        layout: what a mapping reads; None if the columns are ours.
    """

    where: str
    sheet: str | None
    ignored: tuple[str, ...]
    chunks: Callable[[], Iterator[pl.DataFrame]]
    dialect: Dialect = field(default_factory=Dialect)
    with_numbers_known: Callable[[], "Table"] | None = None
    layout: Layout | None = None


@dataclass(frozen=True)
class OpenFile:
    """An opened file of invoices.

    Attributes:
        tables: the tables that have the columns of an invoice; at least one.
        note: a note for people, such as which sheets are left out.
    """

    tables: list[Table]
    note: str | None


def schema_of(header: Header) -> pl.Schema:
    """Of the chunks that a reader returns."""
    if header.layout is None:
        return CHUNK_SCHEMA
    return pl.Schema({ROW: pl.Int64, **dict.fromkeys(header.cells, pl.String), BROKEN: pl.String})


def without_empty_rows(chunk: pl.DataFrame, header: Header) -> pl.DataFrame:
    """The rows in which at least one cell holds more than white space."""
    if (chunk[header.never_empty].str.strip_chars().str.len_bytes() > 0).fill_null(value=False).all():
        return chunk  # most often; looking at every column takes ten times as long
    cells = InvoiceLines.ALL if header.layout is None else header.cells
    filled = [pl.col(name).str.strip_chars().str.len_bytes().fill_null(0) > 0 for name in (*cells, BROKEN)]
    return chunk.filter(pl.any_horizontal(filled))
