"""`.csv` and `.csv.gz`: any common encoding, delimiter and line end, read as a stream."""

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

import polars as pl

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.header import MAX_TITLE_ROWS, Header, column_of, find_header
from ncf_pipeline.ingest.readers.table import BROKEN, CELLS, CHUNK_ROWS, CHUNK_SCHEMA, ROW, Table, without_empty_rows

MAX_LINE = 1 << 20
"""Characters. A longer line is no invoice line; usually a quote is never closed."""

_DELIMITERS = (",", ";", "\t", "|")
_BLOCK = 1 << 20


def open_text(path: Path, name: str, *, packed: bool, max_unpacked_mb: int) -> Table:
    """The table of a text file, whose encoding and delimiter are detected.

    Args:
        path: of the file.
        name: what people call it, for messages.
        packed: whether it is gzipped.
        max_unpacked_mb: a packed file that holds more megabytes is refused.

    Raises:
        InputError: the file is empty, damaged, no text, unpacks to too much, or lacks a column.
    """
    encoding = _encoding_of(path, name, packed, max_unpacked_mb)
    with _text(path, name, packed, encoding) as text:
        first_lines = [text.readline(MAX_LINE) for _ in range(MAX_TITLE_ROWS)]
    if not any(line.strip() for line in first_lines):
        raise InputError(f"{name} is empty. Send it again.")
    delimiter = max(_DELIMITERS, key=lambda each: _columns_known(first_lines, each))
    header = find_header(_rows_of(first_lines, delimiter), name)
    return Table(
        where=name,
        sheet=None,
        ignored=header.ignored,
        chunks=partial(_chunks, path, name, packed, encoding, delimiter, header),
        # Excel in half of Europe divides cells by semicolons, because the comma is its decimal mark.
        decimal_comma=delimiter != ",",
    )


def _encoding_of(path: Path, name: str, packed: bool, max_unpacked_mb: int) -> str:
    """The first encoding that fits. Reads the file to its end, because an encoding may fail on the last line only.

    Raises:
        InputError: the file is damaged, unpacks to too much, or fits no encoding.
    """
    with _binary(path, name, packed) as file:
        start = file.read(4096)
    if not start:
        raise InputError(f"{name} is empty. Send it again.")
    utf16 = _utf16_of(start)
    for encoding in [utf16] if utf16 else ["utf-8-sig", "cp1252"]:
        if _fits(path, name, packed, encoding, max_unpacked_mb):
            return encoding
    raise InputError(f"{name} is not text in UTF-8, UTF-16 or Windows-1252. Save it as CSV in UTF-8.")


def _fits(path: Path, name: str, packed: bool, encoding: str, max_unpacked_mb: int) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    size = 0
    with _binary(path, name, packed) as file:
        try:
            while block := file.read(_BLOCK):
                size += len(block)
                if packed and size > max_unpacked_mb << 20:
                    raise InputError(
                        f"{name} unpacks to more than the {max_unpacked_mb:,} MB that are allowed. "
                        "If it should be so large, raise NCF_MAX_UNPACKED_MB."
                    )
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _utf16_of(start: bytes) -> str | None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = start[0::2], start[1::2]
    # Without a byte order mark: most characters have one zero byte of two.
    if odd and odd.count(0) > 0.7 * len(odd) and even.count(0) < 0.3 * len(even):
        return "utf-16-le"
    if odd and even.count(0) > 0.7 * len(even) and odd.count(0) < 0.3 * len(odd):
        return "utf-16-be"
    return None


def _columns_known(lines: list[str], delimiter: str) -> int:
    return max(
        (sum(column_of(cell or "") is not None for cell in row) for row in _rows_of(lines, delimiter)), default=0
    )


def _rows_of(lines: list[str], delimiter: str) -> list[list[str | None]]:
    rows: list[list[str | None]] = []
    for line in lines:
        try:
            rows.append(list(*csv.reader([line], delimiter=delimiter)))
        except (csv.Error, TypeError):
            rows.append([])
    return rows


@contextmanager
def _binary(path: Path, name: str, packed: bool) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as raw:
            if packed:
                with gzip.GzipFile(fileobj=raw) as unpacked:
                    yield unpacked  # type: ignore[misc]
            else:
                yield raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is damaged or cut off and cannot be unpacked. Send it again.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}. May this user read it?") from error


@contextmanager
def _text(path: Path, name: str, packed: bool, encoding: str) -> Iterator[IO[str]]:
    with _binary(path, name, packed) as file:
        # newline=None: \n, \r\n and \r all end a line, even in one file.
        yield io.TextIOWrapper(io.BufferedReader(file, _BLOCK), encoding, newline=None)  # type: ignore[type-var]


def _chunks(
    path: Path, name: str, packed: bool, encoding: str, delimiter: str, header: Header
) -> Iterator[pl.DataFrame]:
    with _text(path, name, packed, encoding) as text:
        for _ in range(header.row + 1):
            text.readline(MAX_LINE)
        rows: list[list[str]] = []
        numbers: list[int] = []
        broken: dict[int, str] = {}
        for number, row, raw in _records(text, name, delimiter, header.row + 1):
            cells = _of_width(row, header.width)
            if cells is None:
                broken[len(rows)] = raw
                cells = [""] * header.width
            rows.append(cells)
            numbers.append(number)
            if len(rows) == CHUNK_ROWS:
                yield _as_chunk(rows, numbers, broken, header)
                rows, numbers, broken = [], [], {}
        if rows:
            yield _as_chunk(rows, numbers, broken, header)


def _of_width(row: list[str] | None, width: int) -> list[str] | None:
    """The cells, if there are as many as the header has; None if it is unclear which cell is which."""
    if row is None or len(row) == width:
        return row
    if not row:
        return [""] * width
    return row[:width] if len(row) > width and not any(cell.strip() for cell in row[width:]) else None


def _records(text: IO[str], name: str, delimiter: str, line: int) -> Iterator[tuple[int, list[str] | None, str]]:
    """For each record: the number of its first line, its cells (None if it cannot be divided), and its text."""
    csv.field_size_limit(MAX_LINE)
    pending: list[str] = []

    def lines() -> Iterator[str]:
        while part := text.readline(MAX_LINE + 1):
            if len(part) > MAX_LINE:
                number = line + len(pending) + 1
                raise InputError(
                    f"{name}, line {number:,} is longer than {MAX_LINE:,} characters. Is a line end missing?"
                )
            pending.append(part)
            yield part

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    while True:
        pending.clear()
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error) or "field larger" in str(error):
                raise InputError(f"{name}, line {line + 1:,}: a quote is opened and never closed. Close it.") from error
            row = None
        yield line + 1, row, "".join(pending) if row is None or len(pending) > 1 else pending[0]
        line += len(pending)


def _as_chunk(rows: list[list[str]], numbers: list[int], broken: dict[int, str], header: Header) -> pl.DataFrame:
    columns = list(zip(*rows, strict=True)) if rows else []
    cells = {
        name: pl.Series(name, columns[header.positions[name]], dtype=pl.String)
        for name in CELLS
        if name in header.positions
    }
    raw = [None] * len(rows)
    chunk = pl.DataFrame(cells).with_columns(
        pl.Series(ROW, numbers, dtype=pl.Int64),
        pl.Series(BROKEN, [broken.get(index) for index in range(len(rows))] if broken else raw, dtype=pl.String),
        *(pl.lit(None, pl.String).alias(name) for name in CELLS if name not in cells),
    )
    return without_empty_rows(chunk.select(CHUNK_SCHEMA.names()))
