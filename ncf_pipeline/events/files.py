"""Files of events: `.csv`, `.csv.gz` and `.parquet`, each row with where it was."""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa

from ncf_pipeline.columns import Events
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.encodings import encoding_of
from ncf_pipeline.ingest.readers.file_kinds import kind_of
from ncf_pipeline.ingest.readers.parquet_files import refuse_unless_plain, schema_in, unpacked_columns
from ncf_pipeline.ingest.readers.text_files import DELIMITERS, MAX_LINE, opened_bytes, opened_text
from ncf_pipeline.ingest.readers.unpacking import too_large

AT_ONCE = 10_000

Rows = list[tuple[str, dict[str, str | None]]]
"""Where each row is, and its texts by `columns.Events`."""

_NEEDED = (Events.KIND, Events.PRODUCT, Events.AT)


def rows_of(path: Path, name: str, folder: Path, *, max_unpacked_mb: int) -> Iterator[Rows]:
    """The rows of a file, in pages.

    Args:
        path: of the file, on this machine.
        name: what people call it, for messages.
        folder: for what is unpacked.
        max_unpacked_mb: a file that holds more megabytes, when it is unpacked, is refused.

    Raises:
        InputError: it cannot be used.
    """
    kind = kind_of(path, name)
    if kind == "workbook":
        raise InputError(f"{name} is a workbook. Save the events as .csv or .parquet.")
    if kind == "parquet":
        return _of_parquet(path, name, folder, max_unpacked_mb)
    return _of_text(path, name, packed=kind == "packed text", max_unpacked_mb=max_unpacked_mb)


def _of_text(path: Path, name: str, *, packed: bool, max_unpacked_mb: int) -> Iterator[Rows]:
    if not packed and path.stat().st_size > max_unpacked_mb << 20:
        raise too_large(name, max_unpacked_mb, path.stat().st_size >> 20)
    opened = partial(opened_bytes, path, name, packed)
    encoding = encoding_of(opened, name, most_bytes=max_unpacked_mb << 20, given=None)
    with opened_text(path, name, packed, encoding) as text:
        first = text.readline(MAX_LINE).lstrip("\ufeff")
        delimiter = max(DELIMITERS, key=lambda each: len(_columns(next(csv.reader([first], delimiter=each), []))))
        places = _places(next(csv.reader([first], delimiter=delimiter), []), name)
        reader = csv.reader(text, delimiter=delimiter, strict=True)  # a stray quote would swallow rows
        try:
            while page := list(islice(((reader.line_num + 1, cells) for cells in reader), AT_ONCE)):
                yield [(f"row {row}", _row(cells, places)) for row, cells in page if any(map(str.strip, cells))]
        except csv.Error as error:
            raise InputError(
                f"{name}, line {reader.line_num + 1:,}: {error}. Correct it, and load the file again."
            ) from error


def _of_parquet(path: Path, name: str, folder: Path, max_unpacked_mb: int) -> Iterator[Rows]:
    schema = schema_in(path, name, max_unpacked_mb=max_unpacked_mb)
    names = schema.names
    places = _places(names, name)
    refuse_unless_plain(schema, places.values(), name)
    cells = unpacked_columns(
        path,
        name,
        folder,
        [names[at] for at in places.values()],
        with_zone=True,
        max_unpacked_mb=max_unpacked_mb,
        rows="events",
    )
    with pa.OSFile(str(cells)) as source:
        row, reader = 2, pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            for first in range(0, batch.num_rows, AT_ONCE):
                columns = [column.to_pylist() for column in batch.slice(first, AT_ONCE).columns]
                page = [dict(zip(places, texts, strict=True)) for texts in zip(*columns, strict=True)]
                yield [(f"row {row + at}", texts) for at, texts in enumerate(page)]
                row += len(page)


def _row(cells: Sequence[str], places: dict[str, int]) -> dict[str, str | None]:
    return {column: cells[at] if at < len(cells) else None for column, at in places.items()}


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Where our columns are."""
    names = [name.strip().lower() for name in header]
    return {column: names.index(column) for column in Events.ALL if column in names}


def _places(header: Sequence[str], name: str) -> dict[str, int]:
    """The same.

    Raises:
        InputError: one that is needed is missing.
    """
    found = _columns(header)
    missing = [column for column in _NEEDED if column not in found]
    if missing or not found.keys() & {Events.CUSTOMER, Events.SESSION}:
        missing += [] if found.keys() & {Events.CUSTOMER, Events.SESSION} else ["customer or session"]
        raise InputError(
            f"{name} has no column {', '.join(missing)}. A file of events has the columns {', '.join(Events.ALL)}."
        )
    return found
