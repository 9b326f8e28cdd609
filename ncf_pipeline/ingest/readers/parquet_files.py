"""`.parquet`: columns of any plain type, as text like every other file, unpacked in a process of its own."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.dialect import Dialect
from ncf_pipeline.ingest.readers.header import Header, Shape, find_header, header_name, shortened
from ncf_pipeline.ingest.readers.table import ROW, Table, schema_of, without_empty_rows
from ncf_pipeline.ingest.readers.unpacking import too_large, unpacked_by
from ncf_pipeline.storage.files import open_regular


def open_parquet(
    path: Path, name: str, folder: Path, *, max_unpacked_mb: int, mapping: Mapping | Shape | None = None
) -> Table:
    """Unpacks the columns of a Parquet file, and opens its table.

    Args:
        path: of the file.
        name: what people call it, for messages.
        folder: where the unpacked columns go; the table reads from there.
        max_unpacked_mb: a file that unpacks to more megabytes is refused.
        mapping: says which columns are read; None for ours.

    Raises:
        InputError: the file is damaged, unpacks to too much, lacks a column, or a column holds no plain values.
    """
    schema = schema_in(path, name, max_unpacked_mb=max_unpacked_mb)
    header = find_header([schema.names], name, mapping)
    refuse_unless_plain(schema, header.positions.values(), name)
    cells = unpacked_columns(
        path,
        name,
        folder,
        [schema.names[position] for position in header.positions.values()],
        with_zone=isinstance(mapping, Mapping) and header.layout is not None,
        max_unpacked_mb=max_unpacked_mb,
        rows="lines",
    )
    chunks = partial(_chunks, cells, header)
    numbers = [column for column, position in header.positions.items() if _is_number(schema.field(position).type)]
    dialect = Dialect(plain_numbers=frozenset(numbers), warnings=_of_zones(schema, header))
    return Table(where=name, sheet=None, ignored=header.ignored, chunks=chunks, dialect=dialect, layout=header.layout)


def schema_in(path: Path, name: str, *, max_unpacked_mb: int) -> pa.Schema:
    """The columns of a Parquet file, by its footer.

    Args:
        path: of the file.
        name: what people call it, for messages.
        max_unpacked_mb: a file that says it unpacks to more megabytes is refused. What it says need not be true:
            `unpacked_columns` counts.

    Raises:
        InputError: the file is damaged, or says that it unpacks to too much.
    """
    try:
        with open_regular(path) as file:
            metadata = pq.read_metadata(file)
            schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{name} is not a readable Parquet file ({shortened(str(error), 120)}). Send it again."
        ) from error
    unpacked = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if unpacked > max_unpacked_mb << 20:
        raise too_large(name, max_unpacked_mb, unpacked >> 20)
    return schema


def refuse_unless_plain(schema: pa.Schema, positions: Iterable[int], name: str) -> None:
    """Refuses columns that hold no plain values.

    Args:
        schema: of the file.
        positions: of the columns that are read.
        name: of the file, for messages.

    Raises:
        InputError: a column is nested, or holds bytes.
    """
    for position in positions:
        kind = schema.field(position).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise InputError(
                f"{name}: the column {schema.names[position]} has the type {kind}. Save it as text, numbers or dates."
            )


def unpacked_columns(
    path: Path, name: str, folder: Path, columns: Sequence[str], *, with_zone: bool, max_unpacked_mb: int, rows: str
) -> Path:
    """Unpacks columns of a Parquet file as text, in a process of its own.

    Args:
        path: of the file.
        name: what people call it, for messages.
        folder: where the unpacked columns go.
        columns: their names.
        with_zone: whether instants keep their time zone.
        max_unpacked_mb: a file that unpacks to more megabytes is refused.
        rows: what the rows are, for messages.

    Returns:
        An Arrow file of texts, in the order of `columns`.

    Raises:
        InputError: the file is damaged, or unpacks to too much.
    """
    cells = folder / "cells.arrow"
    unpacked_by(
        "unpack_parquet.py",
        name,
        str(path.resolve()),
        str(cells),
        json.dumps({"columns": list(columns), "with_zone": with_zone}),
        max_unpacked_mb=max_unpacked_mb,
        kind="Parquet file",
        advice=f"Save the {rows} as .csv.",
    )
    return cells


def _chunks(cells: Path, header: Header) -> Iterator[pl.DataFrame]:
    first_row = 2
    schema = schema_of(header)
    # Not memory-mapped: the pages would count as memory of this process.
    with pa.OSFile(str(cells)) as source:
        reader = pa.ipc.open_file(source)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            columns = {
                column: pl.Series(column, batch.column(at), dtype=pl.String)
                for at, column in enumerate(header.positions)
            }
            chunk = pl.DataFrame(columns).with_columns(
                pl.int_range(first_row, first_row + batch.num_rows).alias(ROW),
                *(pl.lit(None, pl.String).alias(each) for each in schema if each not in (*columns, ROW)),
            )
            first_row += batch.num_rows
            yield without_empty_rows(chunk.select(schema.names()), header)


def _of_zones(schema: pa.Schema, header: Header) -> tuple[str, ...]:
    """Says which clock times are read on where a column has a time zone, and no mapping brings them to the shop's."""
    if header.layout is not None:
        return ()
    kind = schema.field(header.positions[InvoiceLines.INVOICE_DATE]).type
    if not pa.types.is_timestamp(kind) or kind.tz is None:
        return ()
    date = header_name(InvoiceLines.INVOICE_DATE)
    return (f"{date}: times are read on the clock of {kind.tz}, as the file has them; a mapping can convert them",)


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))
