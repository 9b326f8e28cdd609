"""Text cells to typed values, a chunk at a time. A cell that is not of its column's type is kept and named."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.given import DecimalMark
from ncf_pipeline.ingest.readers.clock import on_the_shops_clock
from ncf_pipeline.ingest.readers.codes import normalised
from ncf_pipeline.ingest.readers.conversions import as_price, converted, prepared
from ncf_pipeline.ingest.readers.dates import as_instants
from ncf_pipeline.ingest.readers.dialect import THOUSANDS_MARK, Dialect, Reading
from ncf_pipeline.ingest.readers.header import CANCELLED, CELLS, CORRECTS, CURRENCY, RETURNED, STATUS, TIME_ZONE
from ncf_pipeline.ingest.readers.table import BROKEN, ROW

UNREADABLE = "unreadable"
"""The columns whose cell is not of the column's type: a list of names, or null."""

ORIGINAL = "original"
"""The cells as the file has them, as a JSON object; null if every cell is readable."""

LINE = "line"
"""The entry in `unreadable` of a line that could not be divided into cells."""

IN_FILE = "_in_file"
"""Behind the name of a column in `original`: the cell of a mapping's file before it was converted."""

READ_IS = {
    InvoiceLines.INVOICE_NO: "a code of up to 100 printable characters, and no error of a spreadsheet",
    InvoiceLines.STOCK_CODE: "a code of up to 100 printable characters, and no error of a spreadsheet",
    InvoiceLines.DESCRIPTION: "text of up to 5,000 characters, and no error of a spreadsheet",
    InvoiceLines.QUANTITY: (
        "a whole number, such as 6, -6 or 1000; a fraction only with a mapping that has fractional_quantities"
    ),
    InvoiceLines.INVOICE_DATE: (
        "a date without a time zone, such as 2011-12-25 08:26:00, 25.12.2011 8:26, or 25/12/2011 where the file proves "
        "which comes first, the day or the month. With a mapping, also a time with Z or an offset, and its date_formats"
    ),
    InvoiceLines.UNIT_PRICE: "a number such as 2.55, with the decimal mark that the file proves and without a currency",
    InvoiceLines.CUSTOMER_ID: (
        "a code of up to 254 printable characters, such as 17850, C-1001 or anna@example.com, or nothing for a guest; "
        "but no negative number, no number with a fraction, an exponent or a mark between thousands, and no word for "
        "guests"
    ),
    InvoiceLines.COUNTRY: "text of up to 100 characters, and no error of a spreadsheet",
    CORRECTS: "the number of a line in quarantine",
    STATUS: "a status that the mapping has under counts, takes_back or left_out",
    CURRENCY: "a currency that has a rate in the mapping",
    TIME_ZONE: "a time zone that the mapping has under names, or an IANA name such as Europe/London",
    RETURNED: "a quantity up to that of the line",
    LINE: (
        "a line with as many cells as the header, with every quote closed, all in one encoding, and without text under "
        "a column that has no name"
    ),
}
"""What a cell of a column may hold, for people."""

MAX_CODE = 100
MAX_CUSTOMER = 254
MAX_TEXT = 5_000
"""Characters: an e-mail address has up to 254. Postgres refuses an index entry that is much longer than a code."""

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
_FURTHER = (STATUS, CURRENCY, TIME_ZONE, RETURNED, CANCELLED)
_CONVERTED = (InvoiceLines.QUANTITY, InvoiceLines.INVOICE_DATE, InvoiceLines.UNIT_PRICE)

NOTHING = [
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

_GUEST = r"^(?:0(?:\.0*)?|NA)$"
"""No customer has these. R writes NA; in a column of countries it is Namibia."""
_GUEST_WORD = r"^(?i:guest|anonymous|unknown|undefined|walk-?in|[-–—?.]+)$"
"""Words and signs for guests. Only a person can say that they are no customer's id, so they are neither."""

_WHOLE_ID = r"^(?:\+?(\d{1,15})(?:\.0*)?|\+?(\d+))$"
"""17850.0, as pandas writes it, is the customer 17850. A float has 15 digits that are certain."""

_NUMBER = r"^[+-]?[.,]?\d[\d.,]*(?:[eE][+-]\d+)?$|^[+-]?\d*[.,]\d+[eE]\d+$"
"""A number in any spelling; 12345e67 may be a code of hexadecimal digits."""

ERROR = (
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


def cell_in_file(original: Mapping[str, Any], column: str) -> Any:
    """What a file has in a column, from a line's `original`; None if it is empty."""
    return original.get(column, original.get(f"{column}{IN_FILE}"))


def as_typed(chunk: pl.DataFrame, dialect: Dialect) -> pl.DataFrame:
    """Types a chunk of text cells.

    Args:
        chunk: with `table.CHUNK_SCHEMA`.
        dialect: of its table.

    Returns:
        The columns of `raw.landed_line` that come from the file: `row_number`, the eight typed columns,
        `corrects`, `unreadable` and `original`; with a mapping, also `left_out` and `takes_back`.
    """
    cells = chunk.with_columns(pl.col(CELLS).str.strip_chars().replace("", None))
    cells = cells.with_columns(
        *(_filled(normalised(cells[name])) for name in (*_CODES, InvoiceLines.CUSTOMER_ID)),
        *(_filled(cells[name]) for name in (InvoiceLines.DESCRIPTION, InvoiceLines.COUNTRY)),
    ).with_columns(pl.col(InvoiceLines.CUSTOMER_ID).str.replace(_GUEST, "").replace("", None))
    reading = dialect.reading
    further = () if reading is None else tuple(name for name in _FURTHER if name in cells.columns)
    if reading is not None:
        cells = prepared(cells.with_columns(pl.col(further).str.strip_chars().replace("", None)), reading.mapping)
    typed = cells.select(
        ROW,
        *(_text(name, limit, dialect) for name, limit in _TEXT_LIMITS.items()),
        _quantity(InvoiceLines.QUANTITY, cells, dialect),
        _price(_plain(cells, InvoiceLines.UNIT_PRICE, dialect)),
        _customer(cells[InvoiceLines.CUSTOMER_ID]),
        _whole(CORRECTS, pl.col(CORRECTS), 1, MAX_ID),
        *(_quantity(name, cells, dialect) for name in further if name == RETURNED),
    )
    if reading is None:
        instants = as_instants(cells[InvoiceLines.INVOICE_DATE], dialect.date_order, epoch=dialect.epoch)
        nowhere = None
    else:
        instants, nowhere = on_the_shops_clock(cells, dialect, reading)
    typed = typed.with_columns(instants)
    given = [name for name in (*CELLS, RETURNED) if name in typed.columns]
    lost = cells.select(
        *(pl.when(pl.col(name).is_not_null() & typed[name].is_null()).then(pl.lit(name)).alias(name) for name in given),
        pl.when(pl.col(BROKEN).is_not_null()).then(pl.lit(LINE)).alias(LINE),
    )
    if reading is not None and nowhere is not None:
        typed, unusable = converted(typed, cells, reading)
        lost = _with_unusable(lost, unusable.with_columns(nowhere.alias(TIME_ZONE)))
    unreadable = lost.select(pl.concat_list(pl.all()).list.drop_nulls().alias(UNREADABLE)).to_series()
    unreadable = unreadable.set(unreadable.list.len() == 0, None)
    typed = typed.drop(RETURNED, strict=False)
    return typed.with_columns(unreadable, _originals(chunk, reading, further, unreadable.is_not_null()))


def _with_unusable(lost: pl.DataFrame, unusable: pl.DataFrame) -> pl.DataFrame:
    """Adds the cells that a mapping cannot use. Of a line without a time zone, the date was readable."""
    named = unusable.select(pl.when(name).then(pl.lit(name)).alias(name) for name in unusable.columns)
    if unusable[TIME_ZONE].any():
        date = pl.col(InvoiceLines.INVOICE_DATE)
        lost = lost.with_columns(pl.when(~unusable[TIME_ZONE]).then(date))
    both = [name for name in named.columns if name in lost.columns]
    return lost.with_columns(
        *(pl.coalesce(lost[name], named[name]).alias(name) for name in both),
        *(named[name] for name in named.columns if name not in both),
    )


def _filled(cells: pl.Series) -> pl.Series:
    """The cells, null where a program wrote NULL or NaN for an empty one."""
    return cells.set(cells.is_in(NOTHING), None)


def _text(name: str, limit: int, dialect: Dialect) -> pl.Expr:
    text = pl.col(name)
    if name in _CODES:
        if name in dialect.float_codes:
            # A spreadsheet or pandas turns the code 71053 into 71053.0.
            text = text.str.replace(r"^(\d+)\.0{1,2}$", "${1}")
        fits = ~text.str.contains(r"[\x00-\x1f\x7f]")
    else:
        fits = ~text.str.contains("\x00", literal=True)
    fits &= (text.str.len_chars() <= limit) & ~text.str.contains(ERROR)
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


def _customer(cells: pl.Series) -> pl.Expr:
    """A customer's id; null if it is a number that has lost something, or may be read in two ways."""
    text = pl.col(InvoiceLines.CUSTOMER_ID)
    if not cells.str.contains(r"\D").any():
        return pl.when(text.str.contains("[^0]") & (text.str.len_chars() <= MAX_CUSTOMER)).then(text)
    # 17.000 could be 17 or 17000
    whole = pl.when(~text.str.contains(_EITHER_MARK)).then(
        pl.coalesce(text.str.extract(_WHOLE_ID, 1), text.str.extract(_WHOLE_ID, 2))
    )
    fits = ~text.str.contains(rf"[\x00-\x1f\x7f]|{_NUMBER}|{_GUEST_WORD}|{ERROR}")
    code = pl.coalesce(whole, pl.when(fits).then(text))
    return pl.when(code.str.contains("[^0]") & (code.str.len_chars() <= MAX_CUSTOMER)).then(code)


def _whole(name: str, text: pl.Expr, low: int, high: int) -> pl.Expr:
    digits = pl.when(text.str.contains(_WHOLE)).then(text.str.extract(r"^\+?(-?\d+)"))
    number = digits.cast(pl.Int64, strict=False)
    return pl.when(number.is_between(low, high)).then(number).alias(name)


def _quantity(name: str, cells: pl.DataFrame, dialect: Dialect) -> pl.Expr:
    """Whole pieces; fractions to 6 decimals only where a mapping says that the shop has them."""
    text = _plain(cells, name, dialect)
    whole = _whole(name, text, -_MAX_INT, _MAX_INT)
    is_mapped = dialect.reading is not None and dialect.reading.mapping.fractional_quantities
    if not is_mapped and not dialect.fractions_are_corrections:
        return whole
    exact = pl.when(text.str.contains(_DECIMAL)).then(text).cast(pl.Float64, strict=False)
    number = exact.round(6)
    is_quantity = (number.abs() <= _MAX_INT) & ((number != 0) | (exact == 0))
    may_be_fraction = pl.lit(is_mapped) | pl.col(CORRECTS).is_not_null()
    return pl.when(may_be_fraction).then(pl.when(is_quantity).then(number + 0.0)).otherwise(whole).alias(name)


def _price(text: pl.Expr) -> pl.Expr:
    return as_price(pl.when(text.str.contains(_DECIMAL)).then(text).cast(pl.Float64, strict=False))


def _originals(chunk: pl.DataFrame, reading: Reading | None, further: tuple[str, ...], wanted: pl.Series) -> pl.Series:
    if not wanted.any():
        return pl.Series(ORIGINAL, [None] * len(chunk), dtype=pl.String)
    # If such a cell kept its name, it would be read as it is when the line is released: a price in dollars as pounds.
    moved = {} if reading is None else {name: f"{name}{IN_FILE}" for name in _CONVERTED}
    kept = (
        chunk.filter(wanted)
        .select(*InvoiceLines.ALL, CORRECTS, *further, pl.col(BROKEN).alias(LINE))
        .rename(moved)
        .to_dicts()
    )
    texts = iter(json.dumps({name: _storable(cell) for name, cell in row.items() if cell}) for row in kept)
    return pl.Series(ORIGINAL, [next(texts) if each else None for each in wanted], dtype=pl.String)


def _storable(cell: str) -> str:
    """The cell as Postgres can store it: NUL bytes become a symbol, and a far too long text is cut with a note."""
    shown = cell.replace("\x00", "\N{SYMBOL FOR NULL}")
    return shown if len(shown) <= _KEPT else f"{shown[:_KEPT]}… ({len(shown):,} characters)"
