"""A table in a shop's own columns, in ours: which cell of the file is which of a line, and what is filled down."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.cells import NOTHING
from ncf_pipeline.ingest.readers.codes import normalised
from ncf_pipeline.ingest.readers.header import CANCELLED, CORRECTS, CURRENCY, STATUS, Layout, shortened
from ncf_pipeline.ingest.readers.table import BROKEN, ROW, Table

_MIDNIGHT = r"[ T]00:00:00(?:\.0+)?$"
_DAY_0 = r"^(?:1899-12-3[01]|1900-01-00|1904-01-01)[ T]"
"""A spreadsheet's date of a cell that holds a time only."""

_VALUE, _AT = "value", "at"


def in_our_columns(table: Table, mapping: Mapping) -> Iterator[pl.DataFrame]:
    """Reads a table from the start; each chunk has `table.CHUNK_SCHEMA`, and the further cells that the mapping reads.

    Args:
        table: with a layout, as a reader returns it.
        mapping: that the layout is of.

    Raises:
        InputError: prices are in several currencies, and the mapping has no rates.
    """
    layout = table.layout
    assert layout is not None
    filled_down = _FilledDown()
    currency = _OneCurrency(table.where, mapping)
    for chunk in table.chunks():
        ours = chunk.select(
            ROW,
            *(_cell(name, layout, mapping).alias(name) for name in InvoiceLines.ALL),
            pl.lit(None, pl.String).alias(CORRECTS),
            BROKEN,
            *(_cell(name, layout, mapping).alias(name) for name in layout.sources if name not in InvoiceLines.ALL),
        )
        # An order is cancelled as a whole, as it has one status.
        filled = [*mapping.fill_down, *([CANCELLED] if STATUS in mapping.fill_down else [])]
        ours = filled_down.of(ours, [name for name in filled if name in ours.columns])
        currency.check(ours)
        yield ours


def _cell(name: str, layout: Layout, mapping: Mapping) -> pl.Expr:
    column = mapping.columns.given().get(name)
    if column is not None and column.constant is not None:
        # A line that could not be divided has no cells.
        return pl.when(pl.col(BROKEN).is_null()).then(pl.lit(column.constant))
    sources = layout.sources.get(name, ())
    if not sources:
        return pl.lit(None, pl.String)
    if column is not None and column.join:
        first, *others = sources
        parts = [
            pl.col(first).str.strip_chars().str.replace(_MIDNIGHT, "") if name == InvoiceLines.INVOICE_DATE
            else pl.col(first).str.strip_chars(),
            *(pl.col(each).str.strip_chars().str.replace(_DAY_0, "") for each in others),
        ]  # fmt: skip
        return pl.concat_str([pl.when(part != "").then(part) for part in parts], separator=" ", ignore_nulls=True)
    if len(sources) == 1:
        return pl.col(sources[0])
    return pl.coalesce(*(pl.when(_is_filled(each)).then(pl.col(each)) for each in sources))


def _is_filled(name: str) -> pl.Expr:
    text = pl.col(name).str.strip_chars()
    return (text.str.len_bytes() > 0) & ~text.is_in(NOTHING)


@dataclass
class _FilledDown:
    """The first cell of each invoice, by column, of all chunks so far: a chunk may end within an invoice."""

    known: dict[str, pl.DataFrame] = field(default_factory=dict)
    last_invoice: str | None = None

    def of(self, chunk: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """The chunk; a line with an empty cell has the cell of the first line of its invoice above it that has one.

        A line without a number of an invoice belongs to the invoice of the line above it, if the mapping says so.
        """
        if not columns:
            return chunk
        key = InvoiceLines.INVOICE_NO
        if key in columns:
            number = pl.when(_is_filled(key)).then(key).forward_fill().fill_null(pl.lit(self.last_invoice, pl.String))
            chunk = chunk.with_columns(pl.when(pl.col(BROKEN).is_null()).then(number).alias(key))
            self.last_invoice = next(iter(chunk[key].drop_nulls().tail(1)), self.last_invoice)
        invoice = normalised(chunk[key].str.strip_chars().replace("", None))
        lines = pl.DataFrame([invoice, pl.int_range(len(chunk), eager=True).alias(_AT)])
        for name in columns:
            if name == key:
                continue
            cells = lines.with_columns(chunk.select(pl.when(_is_filled(name)).then(name).alias(_VALUE)).to_series())
            first = cells.drop_nulls().unique(key, keep="first", maintain_order=True)
            if (known := self.known.get(name)) is not None:
                first = pl.concat([known, first.join(known, on=key, how="anti").select(known.columns)])
            # Of a later chunk, every line is below these.
            self.known[name] = first.with_columns(pl.lit(-1, pl.Int64).alias(_AT))
            empty = cells.filter(pl.col(_VALUE).is_null()).select(key, _AT)
            below = empty.join(first, on=key, suffix="_first").filter(pl.col(f"{_AT}_first") < pl.col(_AT))
            if len(below):
                filling = lines.join(below.select(_AT, _VALUE), on=_AT, how="left", maintain_order="left")
                chunk = chunk.with_columns(pl.coalesce(filling[_VALUE], name).alias(name))
        return chunk


@dataclass
class _OneCurrency:
    """Checks that all prices of a table are in one currency, if the mapping has no rates."""

    where: str
    mapping: Mapping
    first: tuple[int, str] | None = None

    def check(self, chunk: pl.DataFrame) -> None:
        said = self.mapping.currency
        if CURRENCY not in chunk.columns or said is None or said.rates:
            return
        code = pl.col(CURRENCY).str.strip_chars().str.to_uppercase()
        seen = chunk.filter(_is_filled(CURRENCY)).select(ROW, code).unique(CURRENCY, keep="first", maintain_order=True)
        for row, text in seen.iter_rows():
            self.first = self.first or (row, text)
            if text != self.first[1]:
                raise InputError(
                    f"{self.where} has prices in {shortened(self.first[1], 20)} (row {self.first[0]:,}) and in "
                    f"{shortened(text, 20)} (row {row:,}), and the mapping {self.mapping.name} has no rates. Add the "
                    "rate of each currency to the mapping, as currency.rates."
                )
