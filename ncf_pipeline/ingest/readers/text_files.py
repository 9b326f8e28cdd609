"""`.csv` and `.csv.gz`: any delimiter and line end, and an encoding that the file proves. Read once, as a stream."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any, NoReturn

import polars as pl
import pyarrow as pa

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.encodings import STRAY, Encoding, encoding_of, register_stray_bytes
from ncf_pipeline.ingest.readers.header import MAX_TITLE_ROWS, Header, Shape, find_header, names_known
from ncf_pipeline.ingest.readers.table import BROKEN, ROW, OpenFile, Table, schema_of, without_empty_rows
from ncf_pipeline.ingest.readers.unpacking import too_large
from ncf_pipeline.storage.files import open_regular

MAX_LINE = 1 << 20
"""Characters. A longer line is no invoice line; usually a line end is missing."""

DELIMITERS = (",", ";", "\t", "|")
_BLOCK = 4 << 20
_MAX_RECORD_LINES = 1_000
_LIKE_NUMBER = re.compile(r"\D{0,5}\d[\d.,' \u00a0\u202f]*(?:[eE][+-]?\d+)?\D{0,5}")
_LIKE_DATE = re.compile(r"(?=.*(?:\d\D+\d|\d{5})).{1,40}")

_SURPLUS = "surplus"
"""Boolean: the line has more cells than the header, and all that follow are empty."""


def open_text(
    path: Path,
    name: str,
    folder: Path,
    *,
    packed: bool,
    max_unpacked_mb: int,
    given: Given,
    mapping: Mapping | Shape | None = None,
) -> OpenFile:
    """Reads a text file into cells, and opens its table.

    Args:
        path: of the file.
        name: what people call it, for messages.
        folder: where the cells go; the table reads from there.
        packed: whether it is gzipped.
        max_unpacked_mb: a file that holds more megabytes, when it is unpacked, is refused.
        given: what a person says of the source.
        mapping: says which columns are read; None for ours.

    Raises:
        InputError: the file is empty, damaged, no text, unpacks to too much, or lacks a column.
    """
    if not packed and path.stat().st_size > max_unpacked_mb << 20:
        raise too_large(name, max_unpacked_mb, path.stat().st_size >> 20)
    encoding = encoding_of(
        partial(opened_bytes, path, name, packed),
        name,
        most_bytes=max_unpacked_mb << 20,
        given=given.encoding,
    )
    with opened_text(path, name, packed, encoding) as text:
        first_lines = [text.readline(MAX_LINE) for _ in range(MAX_TITLE_ROWS)]
    if not any(line.strip() for line in first_lines):
        raise InputError(f"{name} is empty. Send it again.")
    candidates = {each: _first_records(first_lines, each) for each in (*DELIMITERS, given.delimiter) if each}
    delimiter = given.delimiter or max(DELIMITERS, key=lambda each: _columns_known(candidates[each], mapping))
    records = candidates[delimiter]
    header = find_header([cells for cells, _ in records], name, mapping)
    lines = _Divider(name, delimiter, header, has_stray_bytes=encoding.has_stray_bytes)
    cells = folder / "cells.arrow"
    with opened_text(path, name, packed, encoding) as text:
        for _ in range(records[header.row][1]):
            text.readline(MAX_LINE)
        _write(lines.chunks(text, records[header.row][1]), cells, header)
    chunks = partial(_chunks, cells, header, lines.surplus_is_kept)
    table = Table(where=name, sheet=None, ignored=header.ignored, chunks=chunks, layout=header.layout)
    return OpenFile([table], encoding.note)


def _first_records(lines: Sequence[str], delimiter: str) -> list[tuple[list[str | None], int]]:
    """The cells of the first records, each with the number of its last line."""
    reader = csv.reader(lines, delimiter=delimiter)
    records: list[tuple[list[str | None], int]] = []
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return records
        except csv.Error:
            cells = []
        records.append(([*cells], reader.line_num))


def _columns_known(records: Sequence[tuple[list[str | None], int]], mapping: Mapping | Shape | None) -> int:
    return max((names_known(cells, mapping) for cells, _ in records), default=0)


@contextmanager
def opened_bytes(path: Path, name: str, packed: bool) -> Iterator[IO[bytes]]:
    """Opens a file, and unpacks it if it is gzipped.

    Raises:
        InputError: it cannot be read or unpacked.
    """
    try:
        with open_regular(path) as raw:
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
def opened_text(path: Path, name: str, packed: bool, encoding: Encoding) -> Iterator[IO[str]]:
    """Opens a text file; every line in it ends with a line feed.

    Args:
        path: of the file.
        name: what people call it, for messages.
        packed: whether it is gzipped.
        encoding: of its bytes.

    Raises:
        InputError: it cannot be read or unpacked.
    """
    errors = register_stray_bytes() if encoding.has_stray_bytes else "strict"
    with opened_bytes(path, name, packed) as file:
        # newline=None: \n, \r\n and \r all end a line, even in one file.
        yield io.TextIOWrapper(io.BufferedReader(file, _BLOCK), encoding.name, errors, newline=None)  # type: ignore[type-var]


@dataclass
class _Divider:
    """Divides the lines of a file into cells.

    A line that has as many cells as the header, and no delimiter or quote in a cell, is divided together with thousands
    of others. The rest goes through `csv`, because a record may have several lines, or a line may be broken.
    """

    name: str
    delimiter: str
    header: Header
    has_stray_bytes: bool
    _widths: set[int] = field(default_factory=set)
    _has_decimals: bool = False

    @property
    def surplus_is_kept(self) -> bool:
        """Whether a line with empty cells after those of the header is a whole line.

        Only if every line has the same number of cells: some programs end each line with a delimiter. But if no price
        of the file has a decimal mark, 2,55 may have become two cells, and every cell after it may have shifted.
        """
        return len(self._widths) == 1 and self._has_decimals

    def chunks(self, text: IO[str], before: int) -> Iterator[pl.DataFrame]:
        """The cells by column, with `_SURPLUS`.

        Args:
            text: at the first line after the header.
            before: number of lines before it.
        """
        rest = ""
        while block := text.read(_BLOCK):
            whole, end, rest = f"{rest}{block}".rpartition("\n")
            lines = pl.Series(whole.split("\n") if end else [], dtype=pl.String)
            chunk, done = self._divided(lines, before, is_last=False)
            before += done
            if len(rest) > MAX_LINE:
                self._refuse_long(before + len(lines) - done + 1)
            if done < len(lines):
                rest = "\n".join([*lines[done:], rest])
            yield chunk
        if rest:
            yield self._divided(pl.Series(rest.split("\n"), dtype=pl.String), before, is_last=True)[0]

    def _refuse_long(self, number: int) -> NoReturn:
        raise InputError(f"{self.name}, line {number:,} is longer than {MAX_LINE:,} characters. Is a line end missing?")

    def _divided(self, lines: pl.Series, before: int, *, is_last: bool) -> tuple[pl.DataFrame, int]:
        """The cells of some lines, and how many lines were divided: the last record may go on in the next block."""
        line = pl.col("line").str
        look = pl.DataFrame({"line": lines}).select(
            is_too_long=line.len_chars() > MAX_LINE,
            has_width=line.count_matches(self.delimiter, literal=True) + 1 == self.header.width,
            has_quote=line.contains('"', literal=True),
            is_stray=line.contains(STRAY, literal=True) if self.has_stray_bytes else pl.lit(value=False),
        )
        if look["is_too_long"].any():
            self._refuse_long(before + int(look["is_too_long"].arg_true()[0]) + 1)
        is_plain = look["has_width"] & ~look["is_stray"]
        if look["has_quote"].any():
            is_plain &= ~look["has_quote"] | lines.str.contains(self._plain_line())
        records, done = self._records(lines, is_plain, is_last=is_last)
        is_plain = is_plain.head(done).scatter(records.inside, False)
        plain = self._plain(lines.head(done).filter(is_plain), is_plain.arg_true() + before + 1)
        chunk = pl.concat([plain, records.as_frame(before, self.header)]).sort(ROW)
        self._widths |= records.widths | ({self.header.width} if len(plain) else set())
        self._has_decimals |= any(chunk[name].str.contains(r"\d[.,]\d").any() for name in self.header.prices)
        return without_empty_rows(chunk, self.header), done

    def _plain_line(self) -> str:
        """Of a line whose delimiters all divide cells: each cell is without quotes, or one quoted text."""
        mark = f"\\x{{{ord(self.delimiter):x}}}"
        cell = f'(?:"[^"{mark}]*"|[^"{mark}]*)'
        return f"^{cell}(?:{mark}{cell})*$"

    def _plain(self, lines: pl.Series, rows: pl.Series) -> pl.DataFrame:
        """Lines that are divided by every delimiter into as many cells as the header has."""
        without_quotes = lines.str.replace_all('"', "", literal=True)
        cells = without_quotes.str.split_exact(self.delimiter, self.header.width - 1).struct
        read = pl.DataFrame([cells.field(f"field_{at}").alias(name) for name, at in self.header.positions.items()])
        beside = [cells.field(f"field_{at}").str.strip_chars() != "" for at in self.header.unnamed]
        shifted = pl.DataFrame(beside).select(pl.any_horizontal(pl.all())).to_series() if beside else None
        return _as_chunk(
            self.header,
            read if shifted is None else read.select(pl.when(~shifted).then(pl.all())),
            rows,
            pl.Series([None] * len(lines) if shifted is None else (lines + "\n").set(~shifted, None), dtype=pl.String),
            pl.Series([False] * len(lines), dtype=pl.Boolean),
        )

    def _records(self, lines: pl.Series, is_plain: pl.Series, *, is_last: bool) -> tuple["_Records", int]:
        """The records of the lines that are not plain, and how many lines were looked at."""
        records = _Records()
        odd = (~is_plain).arg_true().to_list()
        texts = lines.gather(odd).to_list()
        without_end = len(lines) - 1 if is_last else -1
        at = 0
        while at < len(odd):
            # Goes through records of one line. After one that is not, a new reader begins.
            reader = csv.reader((texts[each] for each in range(at, len(odd))), delimiter=self.delimiter, strict=True)
            for used in range(1, len(odd) - at + 1):
                index, text = odd[at], texts[at]
                at += 1
                raw = text if index == without_end else f"{text}\n"
                is_open, cells = _next_record(reader)
                if self.has_stray_bytes and STRAY in text:
                    records.add_broken(index, raw)
                elif reader.line_num == used and not is_open:
                    records.add(index, cells, raw, self.header)
                else:
                    following = self._continued(lines, index, is_last=is_last)
                    if following is None:
                        return records, index
                    cells, more = following
                    if more:
                        raw = "\n".join([*lines[index : index + more + 1], ""])
                        records.inside += range(index + 1, index + more + 1)
                        if self.has_stray_bytes and STRAY in raw:
                            cells = None
                    records.add(index, cells, raw, self.header)
                    while at < len(odd) and odd[at] <= index + more:
                        at += 1
                if reader.line_num != used or is_open:
                    break
        return records, len(lines)

    def _continued(self, lines: pl.Series, index: int, *, is_last: bool) -> tuple[list[str] | None, int] | None:
        """The record that begins in a line whose quote is not closed there.

        It is what a CSV reader makes of it, unless its lines show that the quote is a stray one.

        Returns:
            Its cells, and how many more lines it has. No cells if the quote is a stray one, because it is never closed,
            or because a following line is a whole row; and, with all its lines, if that cannot be told. None if the
            following block must be read first.
        """
        end = min(index + _MAX_RECORD_LINES, len(lines))
        rows: list[int] = []  # lines of the record, after its first, that are whole rows by themselves

        def texts() -> Iterator[str]:
            size = 0
            for at in range(index, end):
                text = lines[at]
                size += len(text)
                if at > index and self._is_row(self._alone(text)):
                    rows.append(at)
                if size > MAX_LINE or len(rows) > 1 or (rows and '"' not in text):
                    return
                yield f"{text}\n"

        reader = csv.reader(texts(), delimiter=self.delimiter, strict=True)
        is_open, cells = _next_record(reader)
        last = index + reader.line_num - 1
        if is_open and not rows and last == end - 1 and end < index + _MAX_RECORD_LINES and not is_last:
            return None
        if is_open or cells is None or any(at != last for at in rows):
            return None, 0
        before, literally = self._open_cell(lines[index])
        alone = self._alone(lines[last])
        if rows and (self._is_row(literally) or not self._is_whole(cells)):
            return None, 0
        # The first line may have been cut off in a quoted cell. Then the last one begins with codes like its own. One
        # such code is enough if it is a whole row, and two if its quotes are damaged.
        pieces = lines[last].split(self.delimiter) if alone is None else alone
        if rows or (alone is None and len(pieces) >= self.header.width):
            alike = sum(map(_alike, before, pieces))
            if alike >= (1 if rows else 2):
                return None, last - index
        return cells, last - index

    def _alone(self, text: str) -> list[str] | None:
        return _next_record(csv.reader([text], delimiter=self.delimiter, strict=True))[1]

    def _is_whole(self, cells: Sequence[str]) -> bool:
        """Whether there are as many cells as in the header, and maybe empty ones."""
        return len(cells) >= self.header.width and not any(cell.strip() for cell in cells[self.header.width :])

    def _is_row(self, cells: Sequence[str] | None) -> bool:
        """Whether cells are a whole row of the file: there are enough, and numbers and dates are where they belong."""
        if cells is None or not self._is_whole(cells):
            return False
        given = [(cells[at].strip(), pattern) for at, pattern in self._patterns if cells[at].strip()]
        return bool(given) and all(pattern.fullmatch(cell) for cell, pattern in given)

    @cached_property
    def _patterns(self) -> list[tuple[int, re.Pattern[str]]]:
        """Positions of cells with numbers and dates, and how they look at least."""
        header = self.header
        return [
            *((header.positions[name], _LIKE_NUMBER) for name in (*header.quantities, *header.prices)),
            *((header.positions[name], _LIKE_DATE) for name in header.dates),
        ]

    def _open_cell(self, text: str) -> tuple[list[str], list[str]]:
        """Of a line with an open quote: the cells before it, and all its cells if the quote is a character."""
        _, cells = _next_record(csv.reader([f'{text}"'], delimiter=self.delimiter, strict=True))
        return (cells[:-1], [*cells[:-1], *cells[-1].split(self.delimiter)]) if cells else ([], [])


def _alike(one: str, other: str) -> bool:
    """Whether both are codes of the same kinds of characters, and about as long, such as C536379 and C42000."""
    one, other = one.strip(), other.strip()
    shape = _shape(one)
    return "0" in shape and shape == _shape(other) and min(len(one), len(other)) > 2 and abs(len(one) - len(other)) < 2


def _shape(cell: str) -> str:
    return re.sub(r"[^\W\d_]+", "A", re.sub(r"\d+", "0", cell))


def _next_record(reader: Any) -> tuple[bool, list[str] | None]:
    """Whether a quote is open at the end, and the cells; no cells if they cannot be divided."""
    try:
        return False, next(reader)
    except StopIteration:
        return False, None
    except csv.Error as error:
        return "unexpected end of data" in str(error), None


@dataclass
class _Records:
    """Records that were read one by one: line, cells or raw text, and whether there are surplus cells.

    `inside` has the lines of records that go on over several lines, without the first ones.
    """

    lines: list[int] = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)
    broken: list[str | None] = field(default_factory=list)
    surplus: list[bool] = field(default_factory=list)
    widths: set[int] = field(default_factory=set)
    inside: list[int] = field(default_factory=list)

    def add(self, line: int, cells: list[str] | None, raw: str, header: Header) -> None:
        """Adds a record, whose text is `raw` in case that it is unclear which cell is which."""
        if cells is None or len(cells) < header.width or any(cells[at].strip() for at in header.unnamed):
            if raw.strip():
                self.add_broken(line, raw)
            return
        if not any(cell.strip() for cell in cells):
            return
        surplus = len(cells) > header.width
        if surplus and any(cell.strip() for cell in cells[header.width :]):
            self.add_broken(line, raw)
            return
        self.widths.add(len(cells))
        self._add(line, cells, raw if surplus else None, surplus=surplus)

    def add_broken(self, line: int, raw: str) -> None:
        """Adds a line that cannot be divided."""
        self._add(line, [], raw, surplus=False)

    def _add(self, line: int, cells: list[str], raw: str | None, *, surplus: bool) -> None:
        self.lines.append(line)
        self.cells.append(cells)
        self.broken.append(raw)
        self.surplus.append(surplus)

    def as_frame(self, before: int, header: Header) -> pl.DataFrame:
        """The records as a chunk, after `before` lines of the file."""
        return _as_chunk(
            header,
            pl.DataFrame(
                {
                    name: pl.Series(name, [cells[at] if cells else None for cells in self.cells], dtype=pl.String)
                    for name, at in header.positions.items()
                }
            ),
            pl.Series(self.lines, dtype=pl.Int64) + before + 1,
            pl.Series(self.broken, dtype=pl.String),
            pl.Series(self.surplus, dtype=pl.Boolean),
        )


def _as_chunk(
    header: Header, cells: pl.DataFrame, rows: pl.Series, broken: pl.Series, surplus: pl.Series
) -> pl.DataFrame:
    return cells.with_columns(
        rows.cast(pl.Int64).alias(ROW),
        broken.alias(BROKEN),
        surplus.alias(_SURPLUS),
        *(pl.lit(None, pl.String).alias(name) for name in header.cells if name not in cells.columns),
    ).select(*schema_of(header).names(), _SURPLUS)


def _write(chunks: Iterator[pl.DataFrame], path: Path, header: Header) -> None:
    empty = pl.DataFrame(schema=schema_of(header) | {_SURPLUS: pl.Boolean})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _as_arrow(empty).schema) as writer:
        for chunk in chunks:
            writer.write_table(_as_arrow(chunk))


def _as_arrow(chunk: pl.DataFrame) -> pa.Table:
    return chunk.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


def _chunks(path: Path, header: Header, surplus_is_kept: bool) -> Iterator[pl.DataFrame]:
    # Not memory-mapped: the pages would count as memory of this process.
    with pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            chunk = pl.DataFrame(pl.from_arrow(reader.get_batch(index)))
            surplus = chunk.drop_in_place(_SURPLUS)
            if surplus.any():
                chunk = (
                    chunk.with_columns(pl.when(~surplus).then(pl.col(BROKEN)))
                    if surplus_is_kept
                    else chunk.with_columns(pl.when(~surplus).then(pl.col(header.cells)))
                )
            yield chunk
