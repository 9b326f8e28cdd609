"""Which kind of file it is, and which reader opens it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.dialect import Reading
from ncf_pipeline.ingest.readers.header import CANCELLED, STATUS, Shape
from ncf_pipeline.ingest.readers.mapped import in_our_columns
from ncf_pipeline.ingest.readers.parquet_files import open_parquet
from ncf_pipeline.ingest.readers.survey import decided
from ncf_pipeline.ingest.readers.table import OpenFile, Table
from ncf_pipeline.ingest.readers.text_files import open_text
from ncf_pipeline.ingest.readers.workbooks import open_workbook
from ncf_pipeline.storage.files import NoRegularFileError, open_regular
from ncf_pipeline.storage.scratch import scratch_folder

Kind = Literal["workbook", "text", "packed text", "parquet"]

SUFFIXES: dict[str, Kind] = {".xlsx": "workbook", ".csv": "text", ".csv.gz": "packed text", ".parquet": "parquet"}

_IN_WORDS: dict[Kind, str] = {
    "workbook": "an .xlsx workbook",
    "text": "CSV text",
    "packed text": "gzipped CSV text",
    "parquet": "a Parquet file",
}
_MARKS: dict[bytes, Kind] = {b"PK\x03\x04": "workbook", b"\x1f\x8b": "packed text", b"PAR1": "parquet"}
_TEXT: Kind = "text"
_MARKS_OF_UNICODE = re.compile(rb"^(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)")
_SUFFIX_OF = {kind: suffix for suffix, kind in SUFFIXES.items()}


@contextmanager
def open_file(
    path: Path,
    name: str,
    *,
    max_unpacked_mb: int,
    given: Given | None = None,
    mapping: Mapping | None = None,
    shop_timezone: str = "UTC",
    fractions_are_corrections: bool = False,
) -> Iterator[OpenFile]:
    """Opens a file of invoices, and decides how it writes its cells. Its tables can be read until the block ends.

    Args:
        path: of the file, on this machine.
        name: what people call it, for messages; its suffix says which kind the file should be.
        max_unpacked_mb: a file that holds more megabytes, when it is unpacked, is refused.
        given: what a person says of the source; None if the file has to say everything itself, or for what the mapping
            says.
        mapping: what a person says of the shop's own columns; None if the file has ours.
        shop_timezone: an IANA name. Times of a mapping with another time zone are converted to it.
        fractions_are_corrections: whether a corrected line may have a fraction of a piece.

    Yields:
        The tables with the columns of an invoice, and a note for people.

    Raises:
        InputError: the file cannot be used. The message says why and what to do.
    """
    given = given or (mapping.given() if mapping is not None else Given())
    with scratch_folder() as folder:
        opened = open_tables(path, name, folder, max_unpacked_mb=max_unpacked_mb, given=given, mapping=mapping)
        if mapping is not None and all(table.layout is None for table in opened.tables):
            given = Given()  # lines that were exported for correction are not written as the shop's files
        tables = decided([_in_our_columns(table, mapping, shop_timezone) for table in opened.tables], given)
        if fractions_are_corrections:
            tables = [
                replace(table, dialect=replace(table.dialect, fractions_are_corrections=True)) for table in tables
            ]
        notes = [*([opened.note] if opened.note else []), *tables[0].dialect.warnings]
        yield OpenFile(tables, note="; ".join(notes) or None)


def open_tables(
    path: Path, name: str, folder: Path, *, max_unpacked_mb: int, given: Given, mapping: Mapping | Shape | None
) -> OpenFile:
    """Opens a file of any kind; how it writes its cells is not decided yet.

    Args:
        path: of the file, on this machine.
        name: what people call it, for messages; its suffix says which kind the file should be.
        folder: where its cells go; the tables read from there.
        max_unpacked_mb: a file that holds more megabytes, when it is unpacked, is refused.
        given: what a person says of the source.
        mapping: says which columns are read; None for those of our invoices.

    Raises:
        InputError: the file cannot be used. The message says why and what to do.
    """
    kind = kind_of(path, name)
    if kind == "workbook":
        return open_workbook(path, name, folder, max_unpacked_mb=max_unpacked_mb, given=given, mapping=mapping)
    if kind == "parquet":
        table = open_parquet(path, name, folder, max_unpacked_mb=max_unpacked_mb, mapping=mapping)
        return OpenFile([table], note=None)
    packed = kind == "packed text"
    return open_text(path, name, folder, packed=packed, max_unpacked_mb=max_unpacked_mb, given=given, mapping=mapping)


def _in_our_columns(table: Table, mapping: Mapping | None, shop_timezone: str) -> Table:
    layout = table.layout
    if layout is None or mapping is None:
        return table
    names = {
        each: next((layout.names[key] for key in layout.sources.get(each, ())), each) for each in (STATUS, CANCELLED)
    }
    reading = Reading(
        mapping,
        shop_timezone,
        price_is_total=layout.price_is_total,
        status_name=names[STATUS],
        cancelled_name=names[CANCELLED],
    )
    numbers = table.dialect.plain_numbers
    ours = frozenset(name for name, sources in layout.sources.items() if sources and numbers.issuperset(sources))
    known = table.with_numbers_known
    return replace(
        table,
        chunks=partial(in_our_columns, table, mapping),
        with_numbers_known=(lambda: _in_our_columns(known(), mapping, shop_timezone)) if known is not None else None,
        dialect=replace(table.dialect, plain_numbers=ours, reading=reading),
    )


def kind_of(path: Path, name: str) -> Kind:
    """The kind of a file.

    Args:
        path: of the file, on this machine.
        name: what people call it; its suffix says which kind the file should be.

    Raises:
        InputError: it is of none, empty, cannot be read, or is not of the kind that its name says.
    """
    expected = next((kind for suffix, kind in SUFFIXES.items() if name.lower().endswith(suffix)), None)
    try:
        with open_regular(path) as file:
            start = file.read(64)
    except NoRegularFileError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}. Send the file itself.") from error
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}. May this user read it?") from error
    if _MARKS_OF_UNICODE.sub(b"", start).replace(b"\x00", b"").lstrip().startswith(b"<"):
        # Shops export tables as HTML named .xls, and a page to log in is saved as .csv.
        raise InputError(
            f"{name} holds a web page or XML, and no cells. If it shows the invoices, open it in a spreadsheet and "
            "save it as .xlsx. If it is a page to log in or an error, download the file again."
        )
    if expected is None:
        raise InputError(f"{name} is none of {', '.join(SUFFIXES)}. Save the invoices in one of these formats.")
    if not start:
        raise InputError(f"{name} is empty. Send it again.")
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise InputError(
            f"{name} is protected by a password, or an old .xls workbook. Save it as .xlsx, without a password."
        )
    actual = next((kind for mark, kind in _MARKS.items() if start.startswith(mark)), _TEXT)
    if actual != expected:
        raise InputError(
            f"{name} is named like {_IN_WORDS[expected]} but holds {_content_of(start, actual)}. "
            f"Send the right file, or rename it so that it ends in {_SUFFIX_OF[actual]}."
        )
    return expected


def _content_of(start: bytes, actual: Kind) -> str:
    return "something else" if actual == "text" and b"\x00" in start[2:] else _IN_WORDS[actual]
