"""Dates and times from text."""

from datetime import date

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.given import DateOrder

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
"""A spreadsheet's date without its format: days since its epoch."""

_QUICK = {
    r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}\.\d{1,9}$": "%Y-%m-%d %H:%M:%S%.f",
    r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}$": "%Y-%m-%d %H:%M",
}
"""Spellings that are `_ISO`, and need not be taken apart, which takes five times as long. Parquet's times are such."""


def as_instants(text: pl.Series, order: DateOrder | None, *, epoch: date | None = None) -> pl.Series:
    """Dates and times from text, to the millisecond.

    Args:
        text: stripped; null for an empty cell.
        order: how to read 01/02/2011. In 01.02.2011 the day always comes first.
        epoch: day 0 of a spreadsheet's count of days; None if a bare number is no date.

    Returns:
        Datetimes in microseconds; null if the text is no date, or there is no such day.
    """
    usual = _in_range(text.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us"))
    rare = text.is_not_null() & usual.is_null()
    for spelling, form in _QUICK.items():
        if rare.any():
            spelled = text.set(~(rare & text.str.contains(spelling)), None)
            instants = spelled.str.to_datetime(form, strict=False, time_unit="us")
            usual = usual.zip_with(instants.is_null(), _in_range(instants.dt.round("1ms")))
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
    same_either_way = part("first").str.zfill(2) == part("second").str.zfill(2)
    # Every spelling is brought into one, so that a single conversion, which knows the calendar, decides.
    written = pl.coalesce(
        _written(part("year"), part("month"), part("day"), part("hour"), part("minute"), part("seconds")),
        pl.when(day_first | pl.lit(order is not None) | same_either_way).then(
            _written(part("slashed_year"), month, day, _hour_of_day(), part("slashed_minute"), part("slashed_second"))
        ),
    )
    parsed = written.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", strict=False, time_unit="us")
    if epoch is not None:
        days = pl.when(text_of_row.contains(_SERIAL)).then(pl.col("text")).cast(pl.Float64, strict=False)
        counted = pl.datetime(epoch.year, epoch.month, epoch.day, time_unit="us") + pl.duration(
            milliseconds=(days * 86_400_000).round().cast(pl.Int64)
        )
        parsed = pl.coalesce(parsed, counted)
    # A spreadsheet keeps time in binary fractions: 08:25:59.9999995 is 08:26.
    rarely = frame.select(parsed.dt.round("1ms").alias("instant"))["instant"]
    return usual.zip_with(~rare, _in_range(rarely)).alias(InvoiceLines.INVOICE_DATE)


def _in_range(instants: pl.Series) -> pl.Series:
    """The instants, null outside the years of four digits: 11-01-13 is no day of the year 11."""
    return instants.set(~instants.dt.year().is_between(1000, 9999), None)


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
