"""Text cells to typed values, a chunk at a time. A cell that is not of its column's type is kept and named."""

import json
from datetime import date

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.given import DateOrder, DecimalMark
from ncf_pipeline.ingest.readers.codes import normalised
from ncf_pipeline.ingest.readers.dialect import THOUSANDS_MARK, Dialect
from ncf_pipeline.ingest.readers.header import CORRECTS
from ncf_pipeline.ingest.readers.table import BROKEN, CELLS, ROW

UNREADABLE = "unreadable"
"""The columns whose cell is not of the column's type: a list of names, or null."""

ORIGINAL = "original"
"""The cells as the file has them, as a JSON object; null if every cell is readable."""

LINE = "line"
"""The entry in `unreadable` of a line that could not be divided into cells."""

READ_IS = {
    InvoiceLines.INVOICE_NO: "a code of up to 100 printable characters, and no error of a spreadsheet",
    InvoiceLines.STOCK_CODE: "a code of up to 100 printable characters, and no error of a spreadsheet",
    InvoiceLines.DESCRIPTION: "text of up to 5,000 characters, and no error of a spreadsheet",
    InvoiceLines.QUANTITY: "a whole number, such as 6, -6 or 1000",
    InvoiceLines.INVOICE_DATE: (
        "a date without a time zone, such as 2011-12-25 08:26:00, 25.12.2011 8:26, or 25/12/2011 where the file proves "
        "which comes first, the day or the month"
    ),
    InvoiceLines.UNIT_PRICE: "a number such as 2.55, with the decimal mark that the file proves and without a currency",
    InvoiceLines.CUSTOMER_ID: "a whole number from 1, or nothing for a guest",
    InvoiceLines.COUNTRY: "text of up to 100 characters, and no error of a spreadsheet",
    CORRECTS: "the number of a line in quarantine",
    LINE: (
        "a line with as many cells as the header, with every quote closed, all in one encoding, and without text under "
        "a column that has no name"
    ),
}
"""What a cell of a column may hold, for people."""

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

_NOTHING = [
    "NULL",
    "null",
    "Null",
    "(null)",
    "(NULL)",
    "NaN",
    "nan",
    "NAN",
    "<NA>",
    "None",
    "NONE",
    "N/A",
    "n/a",
    "\\N",
]
"""What programs write for an empty cell."""

_GUEST = r"^0(?:\.0*)?$"

_ERROR = (
    r"^#(?:REF!|NAME\?|VALUE!|DIV/0!|NULL!|NUM!|N/A|SPILL!|CALC!|FIELD!|BLOCKED!|CONNECT!|UNKNOWN!|BUSY!|GETTING_DATA"
    r"|BEZUG!|WERT!|ZAHL!|NV|VALEUR!|NOM\?|NOMBRE!|NUL!|N/D|[¡¿](?:REF|VALOR|NOMBRE|NUM|DIV/0|NULO)[!?]|RIF!|VALORE!"
    r"|NOME\?|VERW!|WAARDE!|NAAM\?|N/B|FORMULA! .*)$"
)
"""A spreadsheet's error in a cell, also in other languages, or a formula that was never computed."""

_WHOLE = r"^[+-]?\d{1,18}(?:\.0*)?$"
_GROUPED: dict[DecimalMark, str] = {
    ".": r"^[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?$",
    ",": r"^[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?$",
}
"""1,234.50, by the decimal mark."""

_EITHER_MARK = r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$"
"""1.234 or 1,234: whether it is 1234 depends on the decimal mark."""

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
"""A spreadsheet's date without its format: days since its epoch."""


def as_typed(chunk: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
    """Types a chunk of text cells.

    Args:
        chunk: with `table.CHUNK_SCHEMA`.
        dialect: of its table.

    Returns:
        The columns of `raw.landed_line` that come from the file: `row_number`, the eight typed columns,
        `corrects`, `unreadable` and `original`.
    """
    cells = chunk.with_columns(pl.col(CELLS).str.strip_chars().replace("", None))
    cells = cells.with_columns(
        *(_filled(normalised(cells[name])) for name in (*_CODES, InvoiceLines.CUSTOMER_ID)),
        *(_filled(cells[name]) for name in (InvoiceLines.DESCRIPTION, InvoiceLines.COUNTRY)),
    ).with_columns(pl.col(InvoiceLines.CUSTOMER_ID).str.replace(_GUEST, "").replace("", None))
    typed = cells.select(
        ROW,
        *(_text(name, limit, dialect) for name, limit in _TEXT_LIMITS.items()),
        _whole(InvoiceLines.QUANTITY, _plain(cells, InvoiceLines.QUANTITY, dialect), -_MAX_INT, _MAX_INT),
        _price(_plain(cells, InvoiceLines.UNIT_PRICE, dialect)),
        _whole(InvoiceLines.CUSTOMER_ID, _no_thousands(InvoiceLines.CUSTOMER_ID), 1, MAX_ID),
        _whole(CORRECTS, pl.col(CORRECTS), 1, MAX_ID),
    ).with_columns(as_instants(cells[InvoiceLines.INVOICE_DATE], dialect.date_order, epoch=dialect.epoch))
    lost = cells.select(
        *(pl.when(pl.col(name).is_not_null() & typed[name].is_null()).then(pl.lit(name)).alias(name) for name in CELLS),
        pl.when(pl.col(BROKEN).is_not_null()).then(pl.lit(LINE)).alias(LINE),
    )
    unreadable = lost.select(pl.concat_list(pl.all()).list.drop_nulls().alias(UNREADABLE)).to_series()
    unreadable = unreadable.set(unreadable.list.len() == 0, None)
    return typed.with_columns(unreadable, _originals(chunk, unreadable.is_not_null()))


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


def _filled(cells: pl.Series) -> pl.Series:
    """The cells, null where a program wrote NULL or NaN for an empty one."""
    return cells.set(cells.is_in(_NOTHING), None)


def _text(name: str, limit: int, dialect: Dialect) -> pl.Expr:
    text = pl.col(name)
    if name in _CODES:
        if name in dialect.float_codes:
            # A spreadsheet or pandas turns the code 71053 into 71053.0.
            text = text.str.replace(r"^(\d+)\.0{1,2}$", "${1}")
        fits = ~text.str.contains(r"[\x00-\x1f\x7f]")
    else:
        fits = ~text.str.contains("\x00", literal=True)
    fits &= (text.str.len_chars() <= limit) & ~text.str.contains(_ERROR)
    return pl.when(fits).then(text).alias(name)


def _plain(cells: pl.DataFrame, name: str, dialect: Dialect) -> pl.Expr:
    """The number with a point and without marks between thousands; null if the dialect does not write it so."""
    text = pl.col(name)
    if name in dialect.plain_numbers:
        return text
    mark, other = dialect.decimal_mark, THOUSANDS_MARK[dialect.decimal_mark]
    if cells[name].str.contains(other, literal=True).any():
        grouped = text.str.contains(_GROUPED[mark])
        text = pl.when(grouped | ~text.str.contains(other, literal=True)).then(
            text.str.replace_all(other, "", literal=True)
        )
    if dialect.marks_disputed:
        text = pl.when(~pl.col(name).str.contains(_EITHER_MARK)).then(text)
    return text if mark == "." else text.str.replace(",", ".", literal=True)


def _no_thousands(name: str) -> pl.Expr:
    """A number of a code, unless it may have a mark between thousands: 17.000 could be 17 or 17000."""
    return pl.when(~pl.col(name).str.contains(_EITHER_MARK)).then(pl.col(name))


def _whole(name: str, text: pl.Expr, low: int, high: int) -> pl.Expr:
    digits = pl.when(text.str.contains(_WHOLE)).then(text.str.extract(r"^\+?(-?\d+)"))
    number = digits.cast(pl.Int64, strict=False)
    return pl.when(number.is_between(low, high)).then(number).alias(name)


def _price(text: pl.Expr) -> pl.Expr:
    exact = pl.when(text.str.contains(_DECIMAL)).then(text).cast(pl.Float64, strict=False)
    number = exact.round(6)
    # + 0.0 turns minus zero into zero. A price that would be rounded to nothing is kept as it is written.
    is_price = (number.abs() < MAX_PRICE) & ((number != 0) | (exact == 0))
    return pl.when(is_price).then(number + 0.0).alias(InvoiceLines.UNIT_PRICE)


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
