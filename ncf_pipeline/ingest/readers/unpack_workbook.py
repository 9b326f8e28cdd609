"""Unpacks a workbook's sheets as text, in a process of its own: `python unpack_workbook.py FILE FOLDER`.

A damaged or hostile workbook may crash the library, put it into an endless loop, or make it ask for all memory with a
cell in the last row and column. Then this process ends, and the pipeline continues.

It writes each sheet to `FOLDER/N.arrow` and prints one JSON object: `sheets` (names, in the order of N) and `all`
(every sheet's name), or `error`. It imports nothing of the package, so that it starts fast and stays small.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import fastexcel
import pyarrow as pa

MEMORY_LIMIT = 4 << 30
"""Bytes of address space. A full sheet of a million rows needs less than half."""

CPU_LIMIT = 900
"""Seconds."""

ROWS_AT_A_TIME = 50_000

_ERRORS = {"Div0": "#DIV/0!", "NA": "#N/A", "Name": "#NAME?", "Null": "#NULL!", "Num": "#NUM!", "Ref": "#REF!"}


def main(path: str, folder: str) -> dict[str, Any]:
    """Writes every sheet that has cells.

    Args:
        path: of the workbook.
        folder: where the sheets go.

    Returns:
        `sheets`, the names of those that were written, and `all`, the names of all.
    """
    reader = fastexcel.read_excel(path)
    names = []
    for index, name in enumerate(reader.sheet_names):
        sheet = sheet_as_text(reader, index)
        if sheet.num_columns and sheet.num_rows:
            names.append(name)
            _write(sheet, Path(folder) / f"{len(names) - 1}.arrow")
    return {"sheets": names, "all": reader.sheet_names}


def sheet_as_text(reader: Any, index: int) -> pa.RecordBatch:
    """All cells of a sheet as text, from its first row; an error such as #N/A is kept as text.

    A guessed type would lose cells: in a column of numbers, 'C536379' would become null.
    """
    # Without skip_rows=0, the library leaves out empty rows at the top, and rows are miscounted.
    sheet = reader.load_sheet(index, header_row=None, skip_rows=0, dtypes="string")
    cells, errors = sheet.to_arrow_with_errors()
    if not errors or not errors.errors:
        return cells
    columns = {position: cells.column(position).to_pylist() for position in {e.position[1] for e in errors.errors}}
    for error in errors.errors:
        row, position = error.position
        kind = error.detail.rpartition("Error(")[2].rstrip("')")
        columns[position][row] = _ERRORS.get(kind, "#VALUE!")
    arrays = [
        pa.array(columns[position], pa.string()) if position in columns else cells.column(position)
        for position in range(cells.num_columns)
    ]
    return pa.RecordBatch.from_arrays(arrays, names=cells.schema.names)


def _write(sheet: pa.RecordBatch, path: Path) -> None:
    schema = pa.schema([pa.field(str(position), pa.string()) for position in range(sheet.num_columns)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for start in range(0, sheet.num_rows, ROWS_AT_A_TIME):
            columns = sheet.slice(start, ROWS_AT_A_TIME).columns
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    try:
        answer = main(*sys.argv[1:])
    except BaseException as error:  # a panic of the library is not an Exception
        answer = {"error": f"{error}"}
    sys.stdout.write(json.dumps(answer))
