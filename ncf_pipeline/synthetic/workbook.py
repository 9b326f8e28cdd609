"""Writes one table as an .xlsx: numbers as numbers, text as shared strings, times as dates.

It writes the XML itself (ECMA-376, part 1, 18.3 and 18.4): a library that builds an object for each cell takes 30 times
as long for the same bytes.
"""

import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pandas as pd

MAX_ROWS = 1_048_576
"""Most rows of a sheet, including the column names."""

_ROWS_AT_ONCE = 20_000
_DAY_ZERO = datetime(1899, 12, 30)
_UNDATED = (1980, 1, 1, 0, 0, 0)

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"

_CONTENT_TYPES = (
    f'{_HEAD}<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_SHEET_TYPE}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_SHEET_TYPE}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_SHEET_TYPE}.styles+xml"/>'
    f'<Override PartName="/xl/sharedStrings.xml" ContentType="{_SHEET_TYPE}.sharedStrings+xml"/></Types>'
)
_RELATIONS = (
    f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
)
_BOOK_RELATIONS = (
    f'{_HEAD}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/>'
    f'<Relationship Id="rId3" Type="{_OFFICE}/sharedStrings" Target="sharedStrings.xml"/></Relationships>'
)
# Style 1 shows a number as date and time; every reader knows number format 22.
_STYLES = (
    f'{_HEAD}<styleSheet xmlns="{_MAIN}"><fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="1"><fill><patternFill patternType="none"/></fill></fills>'
    '<borders count="1"><border/></borders><cellStyleXfs count="1"><xf numFmtId="0"/></cellStyleXfs>'
    '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>'
)


def write_sheet(path: Path, name: str, table: pd.DataFrame) -> None:
    """Writes a table as the only sheet of a workbook, with the column names in the first row.

    Args:
        path: of the .xlsx; an existing file is replaced. The same table makes the same bytes.
        name: of the sheet.
        table: columns of datetime64, of numbers, or of objects that mix numbers and text; a missing value becomes an
            empty cell.

    Raises:
        ValueError: more rows than a sheet can hold.
    """
    if len(table) >= MAX_ROWS:
        raise ValueError(
            f"a sheet holds {MAX_ROWS - 1:,} lines, and the table has {len(table):,}. Write a file for each day."
        )
    shared: dict[str, int] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        _add(archive, "[Content_Types].xml", _CONTENT_TYPES)
        _add(archive, "_rels/.rels", _RELATIONS)
        _add(archive, "xl/_rels/workbook.xml.rels", _BOOK_RELATIONS)
        _add(archive, "xl/styles.xml", _STYLES)
        _add(
            archive,
            "xl/workbook.xml",
            f'{_HEAD}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}"><sheets>'
            f'<sheet name="{escape(name)}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        with archive.open(_entry("xl/worksheets/sheet1.xml"), "w") as sheet:
            for part in _sheet(table, shared):
                sheet.write(part.encode())
        texts = "".join(f'<si><t xml:space="preserve">{escape(text)}</t></si>' for text in shared)
        _add(archive, "xl/sharedStrings.xml", f'{_HEAD}<sst xmlns="{_MAIN}" uniqueCount="{len(shared)}">{texts}</sst>')


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _UNDATED)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _add(archive: zipfile.ZipFile, name: str, text: str) -> None:
    archive.writestr(_entry(name), text)


def _sheet(table: pd.DataFrame, shared: dict[str, int]) -> Iterator[str]:
    letters = [chr(ord("A") + place) for place in range(table.shape[1])]
    yield f'{_HEAD}<worksheet xmlns="{_MAIN}"><sheetData>'
    names = "".join(_cell(f"{letter}1", str(name), shared) for letter, name in zip(letters, table.columns, strict=True))
    yield f'<row r="1">{names}</row>'
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = table.iloc[start : start + _ROWS_AT_ONCE]
        numbers = range(start + 2, start + 2 + len(part))
        columns = [
            _column(letter, part[name], numbers, shared) for letter, name in zip(letters, part.columns, strict=True)
        ]
        yield "".join(
            f'<row r="{number}">{"".join(cells)}</row>' for number, *cells in zip(numbers, *columns, strict=True)
        )
    yield "</sheetData></worksheet>"


def _column(letter: str, column: "pd.Series[Any]", numbers: range, shared: dict[str, int]) -> list[str]:
    if column.dtype.kind == "M":
        days = (column - _DAY_ZERO).to_numpy("timedelta64[s]").astype(np.int64) / 86_400
        return [
            f'<c r="{letter}{number}" s="1"><v>{day!r}</v></c>'
            for number, day in zip(numbers, days.tolist(), strict=True)
        ]
    return [_cell(f"{letter}{number}", value, shared) for number, value in zip(numbers, column.tolist(), strict=True)]


def _cell(place: str, value: object, shared: dict[str, int]) -> str:
    if isinstance(value, str):
        return f'<c r="{place}" t="s"><v>{shared.setdefault(value, len(shared))}</v></c>'
    if value is None or value != value:  # only NaN differs from itself
        return ""
    # 17850.0 is written as 17850, as Excel does.
    return f'<c r="{place}"><v>{int(value) if value == int(value) else value!r}</v></c>'  # type: ignore[call-overload]
