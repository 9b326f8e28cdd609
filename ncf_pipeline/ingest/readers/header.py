"""Finds a file's columns by name, in any order, case and spelling."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError

CORRECTS = "corrects"
"""The column in which a corrected line names the line in quarantine that it replaces."""

MAX_TITLE_ROWS = 20
"""The header must be among this many first rows; a title or an empty row may stand above it."""

# In lower case, letters and digits only. Includes the names of "Online Retail II" and of our own exports.
_NAMES = {
    "invoiceno": InvoiceLines.INVOICE_NO,
    "invoice": InvoiceLines.INVOICE_NO,
    "invoicenumber": InvoiceLines.INVOICE_NO,
    "stockcode": InvoiceLines.STOCK_CODE,
    "description": InvoiceLines.DESCRIPTION,
    "quantity": InvoiceLines.QUANTITY,
    "invoicedate": InvoiceLines.INVOICE_DATE,
    "unitprice": InvoiceLines.UNIT_PRICE,
    "price": InvoiceLines.UNIT_PRICE,
    "customerid": InvoiceLines.CUSTOMER_ID,
    "country": InvoiceLines.COUNTRY,
    "quarantineid": CORRECTS,
}
_HEADER_NAMES = {
    InvoiceLines.INVOICE_NO: "InvoiceNo",
    InvoiceLines.STOCK_CODE: "StockCode",
    InvoiceLines.DESCRIPTION: "Description",
    InvoiceLines.QUANTITY: "Quantity",
    InvoiceLines.INVOICE_DATE: "InvoiceDate",
    InvoiceLines.UNIT_PRICE: "UnitPrice",
    InvoiceLines.CUSTOMER_ID: "CustomerID",
    InvoiceLines.COUNTRY: "Country",
    CORRECTS: "Quarantine ID",
}


@dataclass(frozen=True)
class Header:
    """Where a table's columns are.

    Attributes:
        row: index of the header in the table, from 0.
        width: number of columns, including ignored and unnamed ones.
        positions: our column name to its position in the file, from 0.
        ignored: names of the columns that are not read.
        unnamed: positions of the columns without a name, after the first that is read. Text there has probably been
            shifted by a stray delimiter. Before it, there may be numbers of the rows.
    """

    row: int
    width: int
    positions: dict[str, int]
    ignored: tuple[str, ...]
    unnamed: tuple[int, ...] = ()


def column_of(name: str) -> str | None:
    """Our name for a file's column; None if the column is not read.

    >>> column_of("Invoice No"), column_of("Shop")
    ('invoice_no', None)
    """
    return _NAMES.get(re.sub(r"[^a-z0-9]", "", name.lower()))


def header_name(column: str) -> str:
    """The name that a file has for our column.

    >>> header_name("invoice_no")
    'InvoiceNo'
    """
    return _HEADER_NAMES[column]


def find_header(rows: Sequence[Sequence[str | None]], where: str) -> Header:
    """Finds the header among the first rows of a table.

    Args:
        rows: the first rows; at most `MAX_TITLE_ROWS` of them are searched.
        where: what people call the file (and sheet), for the message.

    Raises:
        InputError: there is no header, or a column is missing or occurs twice; the message names it.
    """
    candidates = rows[:MAX_TITLE_ROWS]
    known = [len({column_of(cell or "") for cell in row} - {None}) for row in candidates]
    most = max(known, default=0)
    if not most:
        raise InputError(
            f"{where} has no header. Add a first row with the names "
            f"{', '.join(_HEADER_NAMES[name] for name in InvoiceLines.ALL)}."
        )
    best = known.index(most)
    positions: dict[str, int] = {}
    ignored = []
    for position, cell in enumerate(candidates[best]):
        name = (cell or "").strip()
        column = column_of(name)
        if column is None:
            ignored += [shortened(name)] if name else []
        elif column in positions:
            raise InputError(f"{where} has the column {_HEADER_NAMES[column]} twice: remove or rename one of them.")
        else:
            positions[column] = position
    missing = [_HEADER_NAMES[column] for column in InvoiceLines.ALL if column not in positions]
    if missing:
        names = ", ".join(shortened((cell or "").strip()) for cell in candidates[best] if cell) or "nothing"
        raise InputError(
            f"{where} has no column {' and no column '.join(missing)}; its header has {shortened(names)}. "
            "Add or rename the column."
        )
    first = min(positions.values())
    return Header(
        row=best,
        width=len(candidates[best]),
        positions=positions,
        ignored=tuple(ignored),
        unnamed=tuple(at for at, cell in enumerate(candidates[best]) if at > first and not (cell or "").strip()),
    )


def shortened(text: str, length: int = 200) -> str:
    r"""The text as it fits into a message: one line, printable, at most `length` characters.

    >>> shortened("two\nlines", 8)
    'two�lin…'
    """
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"
