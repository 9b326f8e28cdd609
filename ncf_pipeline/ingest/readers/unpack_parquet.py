"""Unpacks columns of a Parquet file as text, in a process of its own.

    python unpack_parquet.py BYTES FILE TARGET JSON

A file of one megabyte may unpack to gigabytes: a dictionary holds a long text once, and a million rows name it. What
its footer says of its size need not be true. So this process has little memory, and counts what it writes.

JSON is an object: `columns`, their names in order; `with_zone`, whether times of a time zone end with Z. It writes the
columns to TARGET, an Arrow file in pieces of bounded size, and prints a JSON object: `rows`, or `error`, or
`is_too_large`. It imports nothing of the package, so that it starts fast and stays small.
"""

import json
import resource
import sys
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MEMORY_LIMIT = 4 << 30
"""Bytes of address space."""

_BASE = 1 << 30
"""Bytes of address space that the library needs for any file."""

CPU_LIMIT = 900
"""Seconds."""

ROWS_AT_A_TIME = 50_000
PIECE = 64 << 20
"""Bytes of text that the pipeline has in memory at once, unless one row has more."""

ROW_BYTES = 64
"""What a row counts at least: a file of nothing but empty cells has an end, too."""


def main(most_bytes: int, path: str, target: str, wanted: str) -> dict[str, Any]:
    """Writes the columns; see the top of this file."""
    given = json.loads(wanted)
    columns: list[str] = given["columns"]
    schema = pa.schema([pa.field(str(position), pa.string()) for position in range(len(columns))])
    rows = written = 0
    with (
        pq.ParquetFile(path, buffer_size=1 << 20) as file,
        pa.OSFile(target, "wb") as out,
        pa.ipc.new_file(out, schema) as writer,
    ):
        for batch in file.iter_batches(ROWS_AT_A_TIME, columns=columns):
            batch.validate(full=True)  # otherwise only the database would notice text that is not UTF-8
            text = [as_text(batch.column(name), with_zone=given["with_zone"]) for name in columns]
            for piece in _pieces(pa.RecordBatch.from_arrays(text, schema=schema)):
                rows += piece.num_rows
                written += max(piece.nbytes, ROW_BYTES * piece.num_rows)
                if written > most_bytes:
                    return {"is_too_large": True}
                writer.write_batch(piece)
    return {"rows": rows}


def as_text(column: pa.Array, *, with_zone: bool) -> pa.Array:
    """The values of a column of a Parquet file, as text."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        if with_zone:
            utc = pc.cast(pc.cast(column, pa.timestamp(column.type.unit)), pa.string())
            return pc.binary_join_element_wise(utc, "Z", "")
        # The shop's own clock, which the time zone of the column names.
        column = pc.local_timestamp(column)
    text = pc.cast(column, pa.string())
    if pa.types.is_floating(column.type):
        # 5012345678900.0 is the code 5012345678900. Above 2^53, a double has lost digits: 1e+18 shows it.
        is_whole = pc.and_(pc.equal(column, pc.floor(column)), pc.less(pc.abs(column), float(1 << 53)))
        whole = pc.cast(pc.if_else(is_whole, column, None), pa.int64())
        text = pc.if_else(pc.fill_null(is_whole, False), pc.cast(whole, pa.string()), text)
    return text


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    if batch.nbytes <= PIECE or batch.num_rows < 2:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


if __name__ == "__main__":
    most = int(sys.argv[1])
    memory = min(MEMORY_LIMIT, _BASE + 4 * most)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    try:
        answer = main(most, *sys.argv[2:])
    except (MemoryError, pa.ArrowCapacityError):
        answer = {"is_too_large": True}
    except (pa.ArrowException, OSError, ValueError) as error:
        answer = {"error": f"{error}"}
    sys.stdout.write(json.dumps(answer))
