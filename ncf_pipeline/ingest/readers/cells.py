"""Text cells to typed values, a chunk at a time. A cell that is not of its column's type is kept and named."""

import json

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.readers.date_order import DateOrder
from ncf_pipeline.ingest.readers.header import CORRECTS
from ncf_pipeline.ingest.readers.table import BROKEN, CELLS, ROW

UNREADABLE = "unreadable"
"""The columns whose cell is not of the column's type: a list of names, or null."""

ORIGINAL = "original"
"""The cells as the file has them, as a JSON object; null if every cell is readable."""

LINE = "line"
"""The entry in `unreadable` of a line that could not be divided into cells."""

MAX_CODE = 100
MAX_TEXT = 5_000
"""Characters. Postgres refuses an index entry that is much longer than a code."""

MAX_PRICE = 1e9
MAX_ID = 2**53
_MAX_INT = 2**31 - 1
_KEPT = 1_000

_TEXT_LIMITS = {
    InvoiceLines.INVOICE_NO: MAX_CODE,
    InvoiceLines.STOCK_CODE: MAX_CODE,
    InvoiceLines.DESCRIPTION: MAX_TEXT,
    InvoiceLines.COUNTRY: MAX_CODE,
}
_CODES = (InvoiceLines.INVOICE_NO, InvoiceLines.STOCK_CODE)

_WHOLE = r"^[+-]?\d{1,18}(?:\.0*)?$"
_DECIMAL = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_ISO = (
    r"^(?<year>\d{4})[-/](?<month>\d{1,2})[-/](?<day>\d{1,2})"
    r"(?:(?:T|\s+)(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<seconds>\d{2}(?:\.\d{1,9})?))?)?$"
)
_SLASHED = (
    r"^(?<first>\d{1,2})(?<mark>[/.-])(?<second>\d{1,2})[/.-](?<slashed_year>\d{4})"
    r"(?:,?\s+(?<slashed_hour>\d{1,2}):(?<slashed_minute>\d{2})(?::(?<slashed_second>\d{2}(?:\.\d{1,9})?))?"
    r"(?:\s*(?<half>[AaPp])\.?[Mm]\.?)?)?$"
)
_SERIAL = r"^\d{4,5}(?:\.\d+)?$"
"""A spreadsheet's date without its format: days since 1899-12-30."""


def as_typed(
    chunk: pl.DataFrame, *, order: DateOrder | None, serial_dates: bool = False, decimal_comma: bool = False
) -> pl.DataFrame:
    """Types a chunk of text cells.

    Args:
        chunk: with `table.CHUNK_SCHEMA`.
        order: how to read 01/02/2011; None if the table has no such date.
        serial_dates: whether 40513.35 in the date column is a date.
        decimal_comma: whether 2,55 is a number.

    Returns:
        The columns of `raw.landed_line` that come from the file: `row_number`, the eight typed columns,
        `corrects`, `unreadable` and `original`.
    """
    cells = chunk.with_columns(pl.col(CELLS).str.strip_chars().replace("", None))
    typed = cells.select(
        ROW,
        *(_text(name, limit) for name, limit in _TEXT_LIMITS.items()),
        _whole(InvoiceLines.QUANTITY, -_MAX_INT, _MAX_INT),
        _price(decimal_comma=decimal_comma),
        _whole(InvoiceLines.CUSTOMER_ID, 1, MAX_ID),
        _whole(CORRECTS, 1, MAX_ID),
    ).with_columns(as_instants(cells[InvoiceLines.INVOICE_DATE], order, serial=serial_dates))
    lost = cells.select(
        *(pl.when(pl.col(name).is_not_null() & typed[name].is_null()).then(pl.lit(name)).alias(name) for name in CELLS),
        pl.when(pl.col(BROKEN).is_not_null()).then(pl.lit(LINE)).alias(LINE),
    )
    unreadable = lost.select(pl.concat_list(pl.all()).list.drop_nulls().alias(UNREADABLE)).to_series()
    unreadable = unreadable.set(unreadable.list.len() == 0, None)
    return typed.with_columns(unreadable, _originals(chunk, unreadable.is_not_null()))


def as_instants(text: pl.Series, order: DateOrder | None, *, serial: bool = False) -> pl.Series:
    """Dates and times from text, to the millisecond.

    Args:
        text: stripped; null for an empty cell.
        order: how to read 01/02/2011. In 01.02.2011 the day always comes first.
        serial: whether a bare number is a spreadsheet's count of days.

    Returns:
        Datetimes in microseconds; null if the text is no date, or there is no such day.
    """
    usual = _in_range(text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us"))
    rare = text.is_not_null() & usual.is_null()
    if not rare.any():
        return usual.alias(InvoiceLines.INVOICE_DATE)
    text_of_row = pl.col("text").str
    frame = (
        pl.DataFrame({"text": text.set(~rare, None)})
        .with_columns(
            text_of_row.extract_groups(_ISO).alias("iso"), text_of_row.extract_groups(_SLASHED).alias("slashed")
        )
        .select("text", pl.col("iso").struct.unnest(), pl.col("slashed").struct.unnest())
    )
    part = pl.col
    day_first = (part("mark") == ".") | pl.lit(order == "day first")
    day = pl.when(day_first).then(part("first")).otherwise(part("second"))
    month = pl.when(day_first).then(part("second")).otherwise(part("first"))
    # Every spelling is brought into one, so that a single conversion, which knows the calendar, decides.
    written = pl.coalesce(
        _written(part("year"), part("month"), part("day"), part("hour"), part("minute"), part("seconds")),
        pl.when(day_first | pl.lit(order is not None) | (part("first") == part("second"))).then(
            _written(part("slashed_year"), month, day, _hour_of_day(), part("slashed_minute"), part("slashed_second"))
        ),
    )
    parsed = written.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    if serial:
        days = pl.when(text_of_row.contains(_SERIAL)).then(pl.col("text")).cast(pl.Float64, strict=False)
        counted = pl.datetime(1899, 12, 30, time_unit="us") + pl.duration(
            milliseconds=(days * 86_400_000).round().cast(pl.Int64)
        )
        parsed = pl.coalesce(parsed, counted)
    # A spreadsheet keeps time in binary fractions: 08:25:59.9999995 is 08:26.
    rarely = frame.select(parsed.dt.round("1ms").alias("instant"))["instant"]
    return usual.zip_with(~rare, _in_range(rarely)).alias(InvoiceLines.INVOICE_DATE)


def _in_range(instants: pl.Series) -> pl.Series:
    """The instants, null outside the years that Python's dates have."""
    return instants.set(~instants.dt.year().is_between(1, 9999), None)


def _written(year: pl.Expr, month: pl.Expr, day: pl.Expr, hour: pl.Expr, minute: pl.Expr, second: pl.Expr) -> pl.Expr:
    date = pl.concat_str(year, month.str.zfill(2), day.str.zfill(2), separator="-")
    clock = pl.concat_str(*(part.fill_null("00").str.zfill(2) for part in (hour, minute, second)), separator=":")
    return pl.concat_str(date, clock, separator=" ")


def _hour_of_day() -> pl.Expr:
    """02 PM is 14 and 12 AM is 00. 14 PM is no hour, so it becomes 99, which no conversion accepts."""
    hour = pl.col("slashed_hour").cast(pl.Int64, strict=False)
    afternoon = pl.col("half").str.to_lowercase() == "p"
    of_day = pl.when(hour.is_between(1, 12)).then(hour % 12 + pl.when(afternoon).then(12).otherwise(0)).otherwise(99)
    return pl.when(pl.col("half").is_null()).then(pl.col("slashed_hour")).otherwise(of_day.cast(pl.String))


def _text(name: str, limit: int) -> pl.Expr:
    text = pl.col(name)
    if name in _CODES:
        # A spreadsheet or pandas turns the code 71053 into 71053.0.
        text = text.str.replace(r"^(\d+)\.0+$", "${1}")
        fits = ~text.str.contains(r"[\x00-\x1f\x7f]")
    else:
        fits = ~text.str.contains("\x00", literal=True)
    fits &= text.str.len_chars() <= limit
    return pl.when(fits).then(text).alias(name)


def _whole(name: str, low: int, high: int) -> pl.Expr:
    digits = pl.when(pl.col(name).str.contains(_WHOLE)).then(pl.col(name).str.extract(r"^\+?(-?\d+)"))
    number = digits.cast(pl.Int64, strict=False)
    return pl.when(number.is_between(low, high)).then(number).alias(name)


def _price(*, decimal_comma: bool) -> pl.Expr:
    text = pl.col(InvoiceLines.UNIT_PRICE)
    if decimal_comma:
        text = text.str.replace(r"^([+-]?\d+),(\d+)$", "${1}.${2}")
    number = pl.when(text.str.contains(_DECIMAL)).then(text).cast(pl.Float64, strict=False).round(6)
    # + 0.0 turns minus zero into zero.
    return pl.when(number.abs() < MAX_PRICE).then(number + 0.0).alias(InvoiceLines.UNIT_PRICE)


def _originals(chunk: pl.DataFrame, wanted: pl.Series) -> pl.Series:
    if not wanted.any():
        return pl.Series(ORIGINAL, [None] * len(chunk), dtype=pl.String)
    kept = chunk.filter(wanted).select(*InvoiceLines.ALL, CORRECTS, pl.col(BROKEN).alias(LINE)).to_dicts()
    texts = iter(json.dumps({name: _storable(cell) for name, cell in row.items() if cell}) for row in kept)
    return pl.Series(ORIGINAL, [next(texts) if each else None for each in wanted], dtype=pl.String)


def _storable(cell: str) -> str:
    """The cell as Postgres can store it: NUL bytes become a symbol, and a far too long text is cut with a note."""
    shown = cell.replace("\x00", "\N{SYMBOL FOR NULL}")
    return shown if len(shown) <= _KEPT else f"{shown[:_KEPT]}… ({len(shown):,} characters)"
