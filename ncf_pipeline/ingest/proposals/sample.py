"""The first rows of a file that nobody has described yet, with all their columns. The rest of it is not read."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.inbox import name_of
from ncf_pipeline.ingest.proposals.names import name_score
from ncf_pipeline.ingest.readers.encodings import STRAY, encoding_of, register_stray_bytes
from ncf_pipeline.ingest.readers.file_kinds import Kind, kind_of
from ncf_pipeline.ingest.readers.header import MAX_TITLE_ROWS, shortened
from ncf_pipeline.ingest.readers.text_files import DELIMITERS
from ncf_pipeline.ingest.readers.unpack_parquet import as_text
from ncf_pipeline.ingest.readers.workbooks import unpacked
from ncf_pipeline.storage.scratch import scratch_folder

ROWS = 20_000
"""The most rows that are looked at."""

_BYTES = 4 << 20
_MAX_CELLS = 2_000
_COLUMNS = 500


@dataclass(frozen=True)
class Sample:
    """The first rows of one table.

    Attributes:
        where: what people call the file (and sheet).
        sheet: of a workbook; None for another file.
        names: of the columns, as the header has them; empty for a column without a name.
        rows: the cells of each row below the header, as text without space around it; as many as there are names.
        is_whole: whether that is all of the table.
    """

    where: str
    sheet: str | None
    names: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_whole: bool

    def cells(self, name: str) -> list[str]:
        """The cells of a column."""
        at = self.names.index(name)
        return [row[at] for row in self.rows]

    @property
    def rows_in_words(self) -> str:
        """How much of the table was looked at."""
        if len(self.rows) == 1:
            return "1 row"
        return f"{'all' if self.is_whole else 'the first'} {len(self.rows):,} rows"


@dataclass(frozen=True)
class SampledFile:
    """The beginning of a file.

    Attributes:
        name: what people call the file.
        path: of a smaller file of the same kind that holds only the beginning; of a workbook, all of it.
        kind: of file.
        samples: of each visible sheet, or of the file.
    """

    name: str
    path: Path
    kind: Kind
    samples: tuple[Sample, ...]


@contextmanager
def sampled(
    path: Path, *, max_unpacked_mb: int, encoding: str | None = None, name: str | None = None
) -> Iterator[SampledFile]:
    """The beginning of a file, until the block ends.

    Args:
        path: of the file.
        max_unpacked_mb: a workbook that unpacks to more megabytes is refused.
        encoding: of a text file; None if it proves itself.
        name: what people call the file; None for the last part of its path.

    Raises:
        InputError: the file cannot be read, is empty, or its encoding is not certain. The message says what to do.
    """
    name = name or name_of(str(path))
    if path.is_dir():
        raise InputError(f"{name} is a folder. Name one of its files.")
    kind = kind_of(path, name)
    with scratch_folder() as folder:
        if kind == "workbook":
            samples = _of_workbook(path, name, folder, max_unpacked_mb)
            beginning = path
        elif kind == "parquet":
            beginning = folder / "beginning.parquet"
            samples = [_of_parquet(path, name, beginning)]
        else:
            packed = kind == "packed text"
            beginning = folder / ("beginning.csv.gz" if packed else "beginning.csv")
            samples = [_of_text(path, name, beginning, packed=packed, encoding=encoding)]
        found = tuple(sample for sample in samples if sample.rows)
        if not found:
            raise InputError(f"{name} has no header with rows below it. Send a file with some lines.")
        yield SampledFile(name, beginning, kind, found)


def _of_text(path: Path, name: str, beginning: Path, *, packed: bool, encoding: str | None) -> Sample:
    content, is_whole = first_bytes(path, name, packed=packed)
    beginning.write_bytes(gzip.compress(content, 1) if packed else content)
    found = encoding_of(lambda: io.BytesIO(content), name, most_bytes=None, given=encoding)
    errors = register_stray_bytes() if found.has_stray_bytes else "strict"
    text = content.decode(found.name, errors).replace("\r\n", "\n").replace("\r", "\n")
    lines = text.splitlines(keepends=True)
    delimiter = max(DELIMITERS, key=lambda each: _how_well_divided(_records(lines[:50], each)))
    records = _records(lines, delimiter)
    return _sample(name, None, records[: ROWS + MAX_TITLE_ROWS], is_whole=is_whole and len(records) <= ROWS)


def first_bytes(path: Path, name: str, *, packed: bool) -> tuple[bytes, bool]:
    """The beginning of a file up to the end of a line, and whether that is all of it."""
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is damaged or cut off and cannot be unpacked. Send it again.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}. May this user read it?") from error
    if len(content) <= _BYTES:
        return content, True
    if b"\x00" in content[:200]:  # two bytes a character; the last line may be cut
        return content[:_BYTES], False
    end = max(content.rfind(b"\n"), content.rfind(b"\r"))
    return content[: end + 1] if end > 0 else content[:_BYTES], False


def _records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    reader = csv.reader(lines, delimiter=delimiter)
    records = []
    while True:
        try:
            records.append(next(reader))
        except StopIteration:
            return records
        except csv.Error:
            continue


def _how_well_divided(records: Sequence[Sequence[str]]) -> tuple[float, int]:
    """First by how many names are known, then by how many rows have the same number of cells."""
    known = max((sum(_is_known(cell) for cell in cells) for cells in records[:MAX_TITLE_ROWS]), default=0)
    widths = [len(cells) for cells in records if len(cells) > 1]
    most = max(widths, key=widths.count, default=0)
    return known, widths.count(most) * most


def _of_workbook(path: Path, name: str, folder: Path, max_unpacked_mb: int) -> list[Sample]:
    answer = unpacked(path, name, folder, max_unpacked_mb=max_unpacked_mb, sheets=None)
    samples = []
    for index, sheet in enumerate(answer["sheets"]):
        with pa.OSFile(str(folder / f"{index}.arrow")) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
            is_whole = pa.ipc.open_file(source).num_record_batches == 1 and batch.num_rows <= ROWS
            rows = [["" if cell is None else cell for cell in row.values()] for row in batch.slice(0, ROWS).to_pylist()]
        where = f"{name}, sheet {shortened(sheet, 40)!r}"
        samples.append(_sample(where, sheet, rows, is_whole=is_whole))
    return samples


def _of_parquet(path: Path, name: str, beginning: Path) -> Sample:
    try:
        with pq.ParquetFile(path) as file:
            plain = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
            batch = next(file.iter_batches(ROWS, columns=plain), None)
            is_whole = file.metadata.num_rows <= ROWS
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = shortened(str(error), 120)
        raise InputError(f"{name} is not a readable Parquet file ({reason}). Send it again.") from error
    if batch is None:
        raise InputError(f"{name} has no rows. Send a file with some lines.")
    pq.write_table(pa.Table.from_batches([batch]), beginning)
    columns = [
        ["" if cell is None else cell for cell in as_text(column, with_zone=True).to_pylist()]
        for column in batch.columns
        if not pa.types.is_binary(column.type)
    ]
    names = [
        field.name for field, column in zip(batch.schema, batch.columns, strict=True)
        if not pa.types.is_binary(column.type)
    ]  # fmt: skip
    return _sample(name, None, [names, *map(list, zip(*columns, strict=True))], is_whole=is_whole)


def _sample(where: str, sheet: str | None, records: Sequence[Sequence[str]], *, is_whole: bool) -> Sample:
    header = _header_row(records[:MAX_TITLE_ROWS])
    names = [shortened(" ".join(cell.split())) for cell in records[header][:_COLUMNS]] if records else []
    rows = []
    for cells in records[header + 1 :][:ROWS]:
        if any(cell.strip() for cell in cells):
            padded = [*cells[: len(names)], *[""] * (len(names) - len(cells))]
            rows.append(tuple(cell.strip()[:_MAX_CELLS] for cell in padded))
    return Sample(where, sheet, tuple(names), tuple(rows), is_whole)


def _header_row(records: Sequence[Sequence[str]]) -> int:
    """The row with the most known names; if none is known, the first of those with the most cells."""

    def rank(at: int) -> tuple[float, int, int]:
        cells = [cell for cell in records[at] if cell.strip()]
        different = len(set(cells)) if STRAY not in "".join(cells) else 0
        return sum(_is_known(cell) for cell in cells), different, -at

    return max(range(len(records)), key=rank, default=0)


def _is_known(name: str) -> bool:
    from ncf_pipeline.columns import InvoiceLines

    return len(name) <= 60 and any(name_score(name, column) > 0.9 for column in InvoiceLines.ALL)
