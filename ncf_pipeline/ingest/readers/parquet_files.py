"""`.parquet`: columns of any plain type, read in batches, as text like every other file."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.dialect import Dialect
from ncf_pipeline.ingest.readers.header import Header, find_header, header_name, shortened
from ncf_pipeline.ingest.readers.table import CHUNK_ROWS, ROW, Table, schema_of, without_empty_rows


def open_parquet(path: Path, name: str, *, max_unpacked_mb: int, mapping: Mapping | None = None) -> Table:
    """The table of a Parquet file.

    Args:
        path: of the file.
        name: what people call it, for messages.
        max_unpacked_mb: a file that unpacks to more megabytes is refused.
        mapping: says which columns are read; None for ours.

    Raises:
        InputError: the file is damaged, unpacks to too much, lacks a column, or a column holds no plain values.
    """
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{name} is not a readable Parquet file ({shortened(str(error), 120)}). Send it again."
        ) from error
    unpacked = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    if unpacked > max_unpacked_mb << 20:
        raise InputError(
            f"{name} unpacks to {unpacked >> 20:,} MB, more than the {max_unpacked_mb:,} MB that are allowed. "
            "If it should be so large, raise NCF_MAX_UNPACKED_MB."
        )
    header = find_header([schema.names], name, mapping)
    for position in header.positions.values():
        kind = schema.field(position).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise InputError(
                f"{name}: the column {schema.names[position]} has the type {kind}. Save it as text, numbers or dates."
            )
    chunks = partial(_chunks, path, name, schema.names, header)
    numbers = [column for column, position in header.positions.items() if _is_number(schema.field(position).type)]
    dialect = Dialect(plain_numbers=frozenset(numbers), warnings=_of_zones(schema, header))
    return Table(where=name, sheet=None, ignored=header.ignored, chunks=chunks, dialect=dialect, layout=header.layout)


def _chunks(path: Path, name: str, names: list[str], header: Header) -> Iterator[pl.DataFrame]:
    first_row = 2
    schema = schema_of(header)
    with_zone = header.layout is not None
    wanted = {column: names[position] for column, position in header.positions.items()}
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK_ROWS, columns=list(wanted.values())):
                batch.validate(full=True)  # otherwise only the database would notice text that is not UTF-8
                columns = {
                    column: pl.Series(column, as_text(batch.column(its), with_zone=with_zone), dtype=pl.String)
                    for column, its in wanted.items()
                }
                chunk = pl.DataFrame(columns).with_columns(
                    pl.int_range(first_row, first_row + batch.num_rows).alias(ROW),
                    *(pl.lit(None, pl.String).alias(each) for each in schema if each not in (*columns, ROW)),
                )
                first_row += batch.num_rows
                yield without_empty_rows(chunk.select(schema.names()), header)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{name} is damaged ({shortened(str(error), 120)}). Send it again.") from error


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
