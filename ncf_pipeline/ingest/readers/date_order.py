"""Whether 01/02/2011 has the day or the month first: what a table's other dates prove."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.ingest.readers.table import ROW, Table

DateOrder = Literal["day first", "month first"]

_NUMBERED = r"^(?<first>\d{1,2})[/-](?<second>\d{1,2})[/-]\d{4}(?:\D|$)"


@dataclass(frozen=True)
class _DateAt:
    row: int
    text: str

    def __str__(self) -> str:
        return f"row {self.row:,} has {shortened(self.text, 40)}"


def date_order(table: Table) -> DateOrder | None:
    """Reads the table's dates to its end, to learn whether the day or the month comes first.

    Returns:
        The order that a date proves; None if no date has two readings.

    Raises:
        InputError: dates prove both orders, or a date has two readings and none proves an order. The message names
            the rows.
    """
    proved: dict[DateOrder, _DateAt] = {}
    ambiguous: _DateAt | None = None
    for chunk in table.chunks():
        dates, rows = chunk[InvoiceLines.INVOICE_DATE], chunk[ROW]
        for order, position in proofs_of_order(dates).items():
            proved.setdefault(order, _DateAt(rows[position], dates[position]))
        if ambiguous is None and (at := ambiguous_at(dates)) is not None:
            ambiguous = _DateAt(rows[at], dates[at])
    if len(proved) == 1:
        return next(iter(proved))
    if proved:
        first, second = proved.values()
        raise InputError(
            f"{table.where} mixes two ways to write dates: {first} and {second}. Write all of them as 2011-12-25."
        )
    if ambiguous is not None:
        raise InputError(
            f"{table.where} row {ambiguous.row:,}: {shortened(ambiguous.text, 40)} could have the day or the month "
            "first, and no other date in the file tells which. Write dates as 2011-12-25."
        )
    return None


def proofs_of_order(dates: pl.Series) -> dict[DateOrder, int]:
    """The orders that dates prove, each with the position of the first proof.

    25/12/2011 has the day first and 12/25/2011 the month; 05/05/2011 is the same day either way.

    >>> proofs_of_order(pl.Series(["5/5/2011", "25/12/2011", "12/25/2011"]))
    {'day first': 1, 'month first': 2}
    """
    parts = _parts(dates)
    proofs: dict[DateOrder, int] = {}
    orders: tuple[tuple[DateOrder, str, str], ...] = (
        ("day first", "first", "second"),
        ("month first", "second", "first"),
    )
    for order, day, month in orders:
        is_proof = pl.col(day).is_between(13, 31) & pl.col(month).is_between(1, 12)
        position = parts.select(is_proof.arg_true().first()).item()
        if position is not None:
            proofs[order] = position
    return proofs


def ambiguous_at(dates: pl.Series) -> int | None:
    """The position of the first date that is one day with the day first and another with the month first.

    >>> ambiguous_at(pl.Series(["5/5/2011", "25/12/2011", "1/2/2011"]))
    2
    """
    first, second = pl.col("first"), pl.col("second")
    is_ambiguous = first.is_between(1, 12) & second.is_between(1, 12) & (first != second)
    position: int | None = _parts(dates).select(is_ambiguous.arg_true().first()).item()
    return position


def _parts(dates: pl.Series) -> pl.DataFrame:
    """The first two numbers of 25/12/2011; null for dates that are written otherwise."""
    return pl.DataFrame({"text": dates.str.strip_chars()}).select(
        pl.col("text").str.extract_groups(_NUMBERED).struct.unnest().cast(pl.Int64, strict=False)
    )
