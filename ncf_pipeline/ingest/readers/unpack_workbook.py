"""Unpacks a workbook's sheets as text, in a process of its own: `python unpack_workbook.py BYTES FILE FOLDER SHEETS`.

A damaged or hostile workbook may crash the library, put it into an endless loop, or make it ask for all memory with a
cell in the last row and column. Then this process ends, and the pipeline continues. What the archive says of its sizes
need not be true, and a long text may be in many cells. So the cells are counted, too: if they hold more than BYTES, it
prints `is_too_large`.

SHEETS is a JSON list of names, or null for every visible sheet. It writes each sheet to `FOLDER/N.arrow` and prints one
JSON object: `sheets` (names, in the order of N), `first_columns`, `all` (every sheet's name), `hidden` and
`counts_from_1904`, or `error`. It imports nothing of the package, so that it starts fast and stays small.

`python unpack_workbook.py BYTES FILE JSON`, with a sheet's name and numbers of columns, prints which cells there are
text.
"""

import json
import re
import resource
import shutil
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fastexcel
import pyarrow as pa

MEMORY_LIMIT = 4 << 30
"""Bytes of address space. A full sheet of a million rows needs less than half."""

CPU_LIMIT = 900
"""Seconds."""

ROWS_AT_A_TIME = 50_000
PIECE = 64 << 20
"""Bytes of text that the pipeline has in memory at once, if all rows hold about the same."""

_BASE = 1 << 30
"""Bytes of address space that the library needs for any workbook."""

_ERRORS = {"Div0": "#DIV/0!", "NA": "#N/A", "Name": "#NAME?", "Null": "#NULL!", "Num": "#NUM!", "Ref": "#REF!"}


NO_VALUE = "#FORMULA!"
"""Begins the text of a cell whose formula has no value: it was never computed."""

_CELL = re.compile(
    rb"<(?:\w+:)?c\b([^>]*)>\s*<(?:\w+:)?f\b[^>]*?(?:/>|>([^<]*)</(?:\w+:)?f>)"
    rb"\s*(?:<(?:\w+:)?v\s*/>|<(?:\w+:)?v>\s*</(?:\w+:)?v>)?\s*</(?:\w+:)?c>"
)
_NUMBER_CELL = re.compile(
    rb"<(?:\w+:)?c\b([^>]*)>(?:\s*<(?:\w+:)?f\b[^>]*?(?:/>|>[^<]*</(?:\w+:)?f>))?"
    rb"\s*<(?:\w+:)?v>([0-9]+)(?:\.0*)?</(?:\w+:)?v>"
)
_STYLE = re.compile(rb'\bs="([0-9]+)"')
_NOT_A_NUMBER = re.compile(rb'\bt="(?!n")')
_ONLY_ZEROS = re.compile(r"0{2,100}")
_NO_ADDRESS = re.compile(rb'<(?:\w+:)?c(?:>|\s(?![^>]*\br="))')
_ADDRESS = re.compile(rb'\br="([A-Z]+)([0-9]+)"')
_FORMULA = (b"<f", b":f")
"""How a formula's element begins; in the rows of a sheet, hardly anything else does."""

_BLOCK = 1 << 20


def main(most_bytes: int, path: str, folder: str, wanted: str) -> dict[str, Any]:
    """Writes every wanted sheet that has cells.

    Args:
        most_bytes: the cells of all sheets may hold.
        path: of the workbook.
        folder: where the sheets go.
        wanted: a JSON list of names, or null for every visible sheet.

    Returns:
        `sheets`, the names of those that were written; `first_columns`, where the cells of each begin, from 0; `all`,
        the names of all; `hidden`, of those that are not shown; `counts_from_1904`, whether a number of days counts
        from 1904.
    """
    book = Book(Path(path))
    reader = fastexcel.read_excel(str(book.readable_in(Path(folder))))
    named = json.loads(wanted)
    names, first_columns = [], []
    written = 0
    for index, name in enumerate(reader.sheet_names):
        if name not in named if named is not None else name in book.hidden:
            continue
        with ThreadPoolExecutor(1) as pool:
            further = pool.submit(book.texts_beside_values, name)
            sheet, first_column = sheet_as_text(reader, index)
            sheet = _with_texts(sheet, first_column, further.result())
        written += sheet.nbytes
        if written > most_bytes:
            return {"is_too_large": True}
        if sheet.num_columns and sheet.num_rows:
            names.append(name)
            first_columns.append(first_column)
            _write(sheet, Path(folder) / f"{len(names) - 1}.arrow")
    return {
        "sheets": names,
        "first_columns": first_columns,
        "all": reader.sheet_names,
        "hidden": sorted(book.hidden),
        "counts_from_1904": book.counts_from_1904,
    }


def text_cells(path: str, wanted: str) -> dict[str, Any]:
    """Which cells of some columns are text.

    Args:
        path: of the workbook.
        wanted: a JSON list of a sheet's name and the columns, from 0.

    Returns:
        `rows`, from 0, for each column; null if the cells have no addresses.
    """
    sheet, columns = json.loads(wanted)
    return {"rows": Book(Path(path)).text_cells(sheet, columns)}


class Book:
    """What the library does not tell of a workbook, from its parts.

    Attributes:
        hidden: names of the sheets that a person does not see.
        counts_from_1904: whether day 0 of a date is in 1904.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with zipfile.ZipFile(path) as archive:
            names = {name.lower(): name for name in archive.namelist()}
            self._part = names["xl/workbook.xml"]
            self._xml = archive.read(self._part)
            rels = names.get("xl/_rels/workbook.xml.rels")
            targets = _parsed(archive.read(rels)) if rels else ()
            styles = names.get("xl/styles.xml")
            self._zeros = _formats_of_zeros(_parsed(archive.read(styles))) if styles else {}
        root = _parsed(self._xml)
        parts = {each.get("Id"): (each.get("Target") or "").removeprefix("/").removeprefix("xl/") for each in targets}
        self.hidden: set[str] = set()
        self._parts: dict[str, str] = {}
        self.counts_from_1904 = False
        for child in root:
            if _local(child.tag) == "workbookPr":
                self.counts_from_1904 = child.get("date1904") in ("1", "true")
            for sheet in child if _local(child.tag) == "sheets" else ():
                name = sheet.get("name") or ""
                relation = next((value for key, value in sheet.attrib.items() if _local(key) == "id"), None)
                self._parts[name] = names.get(f"xl/{parts.get(relation, '')}".lower(), "")
                if sheet.get("state") in ("hidden", "veryHidden"):
                    self.hidden.add(name)

    def readable_in(self, folder: Path) -> Path:
        """The workbook as the library reads it rightly.

        The library takes the last element `workbookPr` for the one with `date1904`, and Excel writes a second one, of
        an extension. The copy has none.
        """
        if not self.counts_from_1904 or self._xml.count(b"workbookPr") == 1:
            return self._path
        copy = folder / "workbook.xlsx"
        shutil.copyfile(self._path, copy)
        root = _parsed(self._xml)
        for child in list(root):
            if _local(child.tag) == "extLst":
                root.remove(child)
        with zipfile.ZipFile(copy, "a") as archive:
            # The old part stays in the file, but not in its table of contents.
            archive.filelist.remove(archive.NameToInfo.pop(self._part))
            archive.writestr(self._part, ElementTree.tostring(root))
        return copy

    def texts_beside_values(self, sheet: str) -> dict[tuple[int, int], str]:
        """Row and column, from 0, to the text of each cell of which the library does not tell what a person sees."""
        return self.formulas_without_value(sheet) | self.numbers_with_zeros(sheet)

    def formulas_without_value(self, sheet: str) -> dict[tuple[int, int], str]:
        """Row and column, from 0, to the formula, of each cell whose formula was never computed."""
        part = self._parts.get(sheet)
        if not part:
            return {}
        found: dict[tuple[int, int], str] = {}
        with zipfile.ZipFile(self._path) as archive:
            with archive.open(part) as file:
                if not _has_formulas(file):
                    return {}
            with archive.open(part) as file:
                for cell in (cell for block in _rows(file) for cell in _CELL.finditer(block)):
                    if (address := _ADDRESS.search(cell[1])) is not None:
                        formula = (cell[2] or b"").decode(errors="replace")
                        found[int(address[2]) - 1, _column(address[1])] = f"{NO_VALUE} ={formula}"
        return found

    def numbers_with_zeros(self, sheet: str) -> dict[tuple[int, int], str]:
        """Row and column, from 0, to what a person sees of a whole number whose format is 00000: 00123, not 123."""
        part = self._parts.get(sheet)
        if not part or not self._zeros:
            return {}
        found: dict[tuple[int, int], str] = {}
        with zipfile.ZipFile(self._path) as archive, archive.open(part) as file:
            for cell in (cell for block in _rows(file) for cell in _NUMBER_CELL.finditer(block)):
                style, address = _STYLE.search(cell[1]), _ADDRESS.search(cell[1])
                if style is None or address is None or _NOT_A_NUMBER.search(cell[1]):
                    continue
                width = self._zeros.get(int(style[1]), 0)
                if len(cell[2]) < width and cell[2].strip(b"0"):
                    found[int(address[2]) - 1, _column(address[1])] = cell[2].decode().zfill(width)
        return found

    def text_cells(self, sheet: str, columns: list[int]) -> list[list[int]] | None:
        """The rows, from 0, in which a cell is text, for each of the columns; None if cells have no addresses."""
        letters = {_letters(column): position for position, column in enumerate(columns)}
        cell = re.compile(
            rb'<(?:\w+:)?c\b(?=[^>]*\br="(%s)([0-9]+)")(?=[^>]*\bt="(?:s|str|inlineStr)")' % b"|".join(letters)
        )
        found: list[list[int]] = [[] for _ in columns]
        with zipfile.ZipFile(self._path) as archive, archive.open(self._parts[sheet]) as file:
            for block in _rows(file):
                if _NO_ADDRESS.search(block):
                    return None
                for each in cell.finditer(block):
                    found[letters[each[1]]].append(int(each[2]) - 1)
        return found


def _formats_of_zeros(styles: ElementTree.Element) -> dict[int, int]:
    """The number of a style to the digits that it shows at least, of styles whose format is nothing but zeros."""
    digits: dict[str | None, int] = {}
    for child in styles.iter():
        if _local(child.tag) == "numFmt" and _ONLY_ZEROS.fullmatch(child.get("formatCode") or ""):
            digits[child.get("numFmtId")] = len(child.get("formatCode") or "")
    formats = next((child for child in styles if _local(child.tag) == "cellXfs"), ())
    return {
        number: digits[each.get("numFmtId")] for number, each in enumerate(formats) if each.get("numFmtId") in digits
    }


def _has_formulas(file: Any) -> bool:
    last = b""
    while block := file.read(_BLOCK):
        if any(mark in block or mark in last + block[:1] for mark in _FORMULA):
            return True
        last = block[-1:]
    return False


def _rows(file: Any) -> Iterator[bytes]:
    """The file in blocks that end with a row."""
    rest = b""
    while block := file.read(_BLOCK):
        block = rest + block
        at = block.rfind(b"row>")
        end = at + 4 if at >= 0 else 0
        rest = block[end:] if len(block) - end < _BLOCK else b""
        yield block[:end]
    yield rest


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - ord("A") + 1
    return number - 1


def _letters(column: int) -> bytes:
    letters = b""
    while column >= 0:
        column, last = divmod(column, 26)
        letters = bytes([ord("A") + last]) + letters
        column -= 1
    return letters


def _parsed(xml: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(xml)  # noqa: S314 - hostile XML can only end this process, which has limits


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _with_texts(sheet: pa.RecordBatch, first_column: int, texts: dict[tuple[int, int], str]) -> pa.RecordBatch:
    """The sheet, which begins in `first_column`, with texts in cells that are empty, or that show more zeros."""
    texts = {(row, column - first_column): text for (row, column), text in texts.items()}
    columns = {
        column: sheet.column(column).to_pylist()
        for column in {column for _, column in texts}
        if 0 <= column < sheet.num_columns
    }
    for (row, column), text in texts.items():
        if column in columns and row < sheet.num_rows and columns[column][row] in (None, text.lstrip("0") or "0"):
            columns[column][row] = text
    if not columns:
        return sheet
    arrays = [
        pa.array(columns[at], pa.string()) if at in columns else sheet.column(at) for at in range(sheet.num_columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=sheet.schema.names)


def sheet_as_text(reader: Any, index: int) -> tuple[pa.RecordBatch, int]:
    """All cells of a sheet as text, from its first row, and its first column that has any, from 0.

    An error such as #N/A is kept as text.

    A guessed type would lose cells: in a column of numbers, 'C536379' would become null.
    """
    # Without skip_rows=0, the library leaves out empty rows at the top, and rows are miscounted.
    sheet = reader.load_sheet(index, header_row=None, skip_rows=0, dtypes="string")
    cells, errors = sheet.to_arrow_with_errors()
    first_column = min((int(column.absolute_index) for column in sheet.available_columns()), default=0)
    if not errors or not errors.errors:
        return cells, first_column
    columns = {position: cells.column(position).to_pylist() for position in {e.position[1] for e in errors.errors}}
    for error in errors.errors:
        row, position = error.position
        kind = error.detail.rpartition("Error(")[2].rstrip("')")
        columns[position][row] = _ERRORS.get(kind, "#VALUE!")
    arrays = [
        pa.array(columns[position], pa.string()) if position in columns else cells.column(position)
        for position in range(cells.num_columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=cells.schema.names), first_column


def _write(sheet: pa.RecordBatch, path: Path) -> None:
    schema = pa.schema([pa.field(str(position), pa.string()) for position in range(sheet.num_columns)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        rows = max(1, min(ROWS_AT_A_TIME, sheet.num_rows * PIECE // max(1, sheet.nbytes)))
        for start in range(0, sheet.num_rows, rows):
            columns = sheet.slice(start, rows).columns
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


if __name__ == "__main__":
    most = int(sys.argv[1])
    memory = min(MEMORY_LIMIT, _BASE + 4 * most)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    try:
        answer = main(most, *sys.argv[2:]) if len(sys.argv) > 4 else text_cells(*sys.argv[2:])
    except BaseException as error:  # a panic of the library is not an Exception
        answer = {"error": f"{error}"}
    sys.stdout.write(json.dumps(answer))
