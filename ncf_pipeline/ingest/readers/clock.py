"""Dates of a mapping: in its formats, with an offset, or of another time zone, on the shop's clock."""

import re
from datetime import time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.mapping import (
    FORMAT_MILLISECONDS,
    FORMAT_SECONDS,
    ZoneColumn,
    plain_name,
)
from ncf_pipeline.ingest.readers.dates import as_instants
from ncf_pipeline.ingest.readers.dialect import Dialect, Reading
from ncf_pipeline.ingest.readers.header import TIME_ZONE

_WITH_OFFSET = (
    r"^(?<base>.*\d:\d{2}(?::\d{2}(?:\.\d+)?)?(?:\s*[AaPp]\.?[Mm]\.?)?)\s*"
    r"(?<offset>[Zz]|UTC|GMT|(?<sign>[+-])(?<hours>\d{1,2})(?::?(?<minutes>\d{2}))?)$"
)
_EPOCH_DIGITS = {FORMAT_SECONDS: r"^\d{9,10}(?:\.\d+)?$", FORMAT_MILLISECONDS: r"^\d{12,13}$"}
_OLDEST = 1900

_NAIVE = pl.Datetime("us")


def on_the_shops_clock(cells: pl.DataFrame, dialect: Dialect, reading: Reading) -> tuple[pl.Series, pl.Series]:
    """Dates and times on the shop's clock.

    A time with an offset is an instant. Every other one is of the mapping's time zone; without one, of the shop's. A
    time that a clock shows twice is the first of the two. One that a clock skips is read as if it had not been put
    forward. A date without a time stays that date.

    Args:
        cells: stripped; with `time_zone` if the mapping has a column of it.
        dialect: of the table.
        reading: what the mapping says of the table.

    Returns:
        The instants, null if a cell is no date; and whether the line's time zone cannot be told.
    """
    shop = reading.shop_timezone
    text = cells[InvoiceLines.INVOICE_DATE]
    local, instants = _formatted(text, reading.mapping.date_formats)
    rest = text.set(local.is_not_null() | instants.is_not_null(), None)
    offsets = pl.DataFrame({"text": rest}).select(pl.col("text").str.extract_groups(_WITH_OFFSET).struct.unnest())
    has_offset = offsets["offset"].is_not_null()
    if has_offset.any():
        base = as_instants(offsets["base"], dialect.date_order)
        minutes = offsets.select(
            pl.when(pl.col("hours").cast(pl.Int64).fill_null(0) <= 14).then(
                pl.when(pl.col("sign") == "-").then(-1).otherwise(1)
                * (pl.col("hours").cast(pl.Int64).fill_null(0) * 60 + pl.col("minutes").cast(pl.Int64).fill_null(0))
            )
        ).to_series()
        at = (base - (minutes * 60_000_000).cast(pl.Duration("us"))).dt.replace_time_zone("UTC")
        instants = instants.zip_with(~has_offset, at)
        rest = rest.set(has_offset, None)
    plain = as_instants(rest, dialect.date_order, epoch=dialect.epoch)
    local = local.zip_with(local.is_not_null(), plain)
    moved, lost = _moved(local, cells, reading)
    # A spreadsheet has no dates without a time: its own are at midnight.
    midnight = local.dt.time() == time(0)
    is_date = midnight & (~text.str.contains(":", literal=True) | (dialect.epoch is not None))
    moved = moved.zip_with(~(is_date & ~lost).fill_null(value=False), local)
    of_shop = instants.dt.convert_time_zone(shop).dt.replace_time_zone(None)
    return moved.zip_with(instants.is_null(), of_shop).alias(InvoiceLines.INVOICE_DATE), lost


def is_formatted(text: pl.Series, formats: tuple[str, ...]) -> pl.Series:
    """Whether each cell is a date in one of the mapping's formats."""
    local, instants = _formatted(text.str.strip_chars(), formats)
    return local.is_not_null() | instants.is_not_null()


def _formatted(text: pl.Series, formats: tuple[str, ...]) -> tuple[pl.Series, pl.Series]:
    """Times without and with an offset; the first format that fits a cell reads it."""
    local = pl.Series([None] * len(text), dtype=_NAIVE)
    instants = pl.Series([None] * len(text), dtype=pl.Datetime("us", "UTC"))
    for each in formats:
        rest = text.set(local.is_not_null() | instants.is_not_null(), None)
        if each in _EPOCH_DIGITS:
            counted = rest.set(~rest.str.contains(_EPOCH_DIGITS[each]), None).cast(pl.Float64, strict=False)
            milliseconds = (counted * (1000 if each == FORMAT_SECONDS else 1)).round().cast(pl.Int64)
            read = milliseconds.cast(pl.Datetime("ms")).cast(_NAIVE).dt.replace_time_zone("UTC")
        else:
            # Fractions of a second are written with their point.
            read = rest.str.to_datetime(re.sub(r"\.%f", "%.f", each), strict=False, time_unit="us")
        read = read.set(read.dt.year() < _OLDEST, None)
        if read.dtype == _NAIVE:
            local = local.zip_with(local.is_not_null(), read.dt.round("1ms"))
        else:
            instants = instants.zip_with(instants.is_not_null(), read.dt.round("1ms"))
    return local, instants


def _moved(local: pl.Series, cells: pl.DataFrame, reading: Reading) -> tuple[pl.Series, pl.Series]:
    """Local times of the mapping's zone on the shop's clock, and whether a line's zone cannot be told."""
    zone = reading.mapping.time_zone
    nowhere = pl.Series([False] * len(local), dtype=pl.Boolean)
    if zone is None or (isinstance(zone, ZoneColumn) and TIME_ZONE not in cells.columns):
        return local, nowhere
    if isinstance(zone, str):
        return _from(local, zone, reading.shop_timezone), nowhere
    named = {plain_name(name): its for name, its in zone.names.items()}
    zones = cells[TIME_ZONE]
    moved = pl.Series([None] * len(local), dtype=_NAIVE)
    for text in zones.drop_nulls().unique().to_list():
        its = named.get(plain_name(text)) or _iana(text)
        if its is not None:
            here = zones == text
            moved = moved.zip_with(~here.fill_null(value=False), _from(local, its, reading.shop_timezone))
    return moved, local.is_not_null() & moved.is_null()


def _from(local: pl.Series, zone: str, shop: str) -> pl.Series:
    if zone == shop:
        return local
    here = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    skipped = local.is_not_null() & here.is_null()
    if skipped.any():
        # An hour earlier the clock had not been put forward yet.
        hour = pl.duration(hours=1)
        before = pl.select(local.set(~skipped, None) - hour).to_series()
        before = before.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        here = here.zip_with(~skipped, pl.select(before + hour).to_series())
    return here.dt.convert_time_zone(shop).dt.replace_time_zone(None)


def _iana(name: str) -> str | None:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
