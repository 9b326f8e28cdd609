"""Finds a file's columns by name, in any order, case and spelling."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.mappings.mapping import Column, Mapping, plain_name

CORRECTS = "corrects"
"""The column in which a corrected line names the line in quarantine that it replaces."""

CELLS = (*InvoiceLines.ALL, CORRECTS)

CURRENCY, STATUS, TIME_ZONE, RETURNED = "currency", "status", "time_zone", "returned_quantity"
CANCELLED = "cancelled"
"""Further cells of a line that a mapping may read."""

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
    CURRENCY: "Currency",
    STATUS: "Status",
    TIME_ZONE: "Time zone",
    RETURNED: "Returned quantity",
    CANCELLED: "Cancelled",
}


@dataclass(frozen=True)
class Layout:
    """Which columns of a table a mapping reads.

    Attributes:
        sources: our column, or one of the further ones, to the keys of the table's columns, the first one first.
            Without any, it has a constant text or is empty.
        names: key of a column of the table to its name in the header.
        price_is_total: whether the price is that of the whole line.
    """

    sources: dict[str, tuple[str, ...]]
    names: dict[str, str]
    price_is_total: bool = False


@dataclass(frozen=True)
class Shape:
    """The columns of a table that holds no invoices, such as a catalogue.

    Attributes:
        what: what such a table is, for messages, with its article.
        columns: our column to the names that a file may have for it, compared without case, spaces and punctuation. Of
            several in one file, the first counts.
        needed: the column that a table must have.
    """

    what: str
    columns: dict[str, tuple[str, ...]]
    needed: str


class HeaderError(InputError):
    """A table has not the columns that are read: it may be a file of another shape."""


@dataclass(frozen=True)
class Header:
    """Where a table's columns are.

    Attributes:
        row: index of the header in the table, from 0.
        width: number of columns, including ignored and unnamed ones.
        positions: our column name, or with a mapping the key of the file's own, to its position in the file, from 0.
        ignored: names of the columns that are not read.
        unnamed: positions of the columns without a name, after the first that is read. Text there has probably been
            shifted by a stray delimiter. Before it, there may be numbers of the rows.
        layout: what a mapping reads; None if the columns are ours.
    """

    row: int
    width: int
    positions: dict[str, int]
    ignored: tuple[str, ...]
    unnamed: tuple[int, ...] = ()
    layout: Layout | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The names of a line's cells, as a reader returns them."""
        return CELLS if self.layout is None else tuple(self.positions)

    @property
    def never_empty(self) -> str:
        """The cell that hardly any line lacks."""
        if self.layout is None:
            return InvoiceLines.INVOICE_NO
        return next(iter(self.layout.sources.get(InvoiceLines.INVOICE_NO, self.positions)))

    @property
    def prices(self) -> tuple[str, ...]:
        """The cells with prices."""
        return self._cells_of(InvoiceLines.UNIT_PRICE)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The cells with quantities."""
        return self._cells_of(InvoiceLines.QUANTITY)

    @property
    def dates(self) -> tuple[str, ...]:
        """The cells with dates, or with times of a day."""
        return self._cells_of(InvoiceLines.INVOICE_DATE)

    def _cells_of(self, column: str) -> tuple[str, ...]:
        return (column,) if self.layout is None else self.layout.sources.get(column, ())


@lru_cache(1_000)
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


def names_known(cells: Sequence[str | None], mapping: Mapping | Shape | None) -> int:
    """How many different columns that are read a row names."""
    if mapping is None:
        return len({column_of(cell or "") for cell in cells} - {None})
    if isinstance(mapping, Shape):
        return len({plain_name(cell or "") for cell in cells} & set(_names_of(mapping)))
    return len({plain_name(cell or "") for cell in cells} & set(_wanted(mapping)))


def find_header(rows: Sequence[Sequence[str | None]], where: str, mapping: Mapping | Shape | None = None) -> Header:
    """Finds the header among the first rows of a table.

    Args:
        rows: the first rows; at most `MAX_TITLE_ROWS` of them are searched.
        where: what people call the file (and sheet), for the message.
        mapping: says which columns are read; None for those of our invoices. Lines that were exported for correction
            have ours always.

    Raises:
        HeaderError: there is no header, or a column is missing; the message names it.
        InputError: a column occurs twice.
    """
    if isinstance(mapping, Shape):
        return _find_shape(rows, where, mapping)
    if mapping is None or any(column_of(cell or "") == CORRECTS for row in rows[:MAX_TITLE_ROWS] for cell in row):
        return _find_ours(rows, where)
    return _find_mapped(rows, where, mapping)


def _names_of(shape: Shape) -> dict[str, tuple[str, int]]:
    """Every name that a file may have for a column: compared name to our column, and its place among that's names."""
    return {
        plain_name(name): (column, place) for column, names in shape.columns.items() for place, name in enumerate(names)
    }


def _find_shape(rows: Sequence[Sequence[str | None]], where: str, shape: Shape) -> Header:
    candidates = rows[:MAX_TITLE_ROWS]
    known = [names_known(row, shape) for row in candidates]
    best = known.index(max(known, default=0)) if known else 0
    header = [(cell or "").strip() for cell in candidates[best]] if candidates else []
    if InvoiceLines.INVOICE_NO in map(column_of, header):
        raise HeaderError(f"{where} holds invoices, and is not {shape.what}. Load it with `ncf-pipeline ingest`.")
    names = _names_of(shape)
    found: dict[str, tuple[int, int]] = {}  # by our column: the place of its name among those it may have, and its own
    seen: set[str] = set()
    for position, name in enumerate(header):
        plain = plain_name(name)
        if plain not in names:
            continue
        if plain in seen:
            raise InputError(f"{where} has the column {shortened(name)} twice: remove or rename one of them.")
        seen.add(plain)
        column, place = names[plain]
        found[column] = min(found.get(column, (place, position)), (place, position))
    if shape.needed not in found:
        has = shortened(", ".join(filter(None, header))) or "nothing"
        raise HeaderError(
            f"{where} has no column {' or '.join(shape.columns[shape.needed][:3])}; its header has {has}. Add or "
            "rename the column."
        )
    # The needed column first: hardly any row lacks it.
    positions = {column: found[column][1] for column in (shape.needed, *shape.columns) if column in found}
    return Header(
        row=best,
        width=len(header),
        positions=positions,
        ignored=tuple(shortened(name) for at, name in enumerate(header) if name and at not in positions.values()),
        unnamed=tuple(at for at, name in enumerate(header) if at > min(positions.values()) and not name),
        layout=Layout({column: (column,) for column in positions}, {c: header[at] for c, at in positions.items()}),
    )


def _wanted(mapping: Mapping) -> dict[str, str]:
    """Every column of a file that a mapping may read: compared name to the name as the mapping has it."""
    further = _further(mapping)
    named = [name for column in mapping.columns.given().values() for name in column.of_file]
    return {plain_name(name): name for name in (*named, *(name for names, _ in further.values() for name in names))}


def _further(mapping: Mapping) -> dict[str, tuple[tuple[str, ...], bool]]:
    """The further columns that a mapping reads: their names in the file, and whether it may lack them."""
    settings = {
        STATUS: mapping.status, CURRENCY: mapping.currency, RETURNED: mapping.returns, TIME_ZONE: mapping.time_zone,
    }  # fmt: skip
    further = {
        name: (said.column, said.optional)
        for name, said in settings.items()
        if said is not None and not isinstance(said, str) and said.column
    }
    if mapping.status is not None and mapping.status.cancelled:
        further[CANCELLED] = (mapping.status.cancelled, True)
    return further


def _find_mapped(rows: Sequence[Sequence[str | None]], where: str, mapping: Mapping) -> Header:
    candidates = rows[:MAX_TITLE_ROWS]
    wanted = _wanted(mapping)
    known = [names_known(row, mapping) for row in candidates]
    most = max(known, default=0)
    if not most:
        raise HeaderError(
            f"{where} has none of the columns that the mapping {mapping.name} reads: "
            f"{shortened(', '.join(wanted.values()))}. Is it a file of another shop? Name its mapping."
        )
    best = known.index(most)
    positions: dict[str, int] = {}
    names: dict[str, str] = {}
    ignored = []
    for position, cell in enumerate(candidates[best]):
        name = (cell or "").strip()
        plain = plain_name(name)
        key = f"file {plain}"
        if plain not in wanted:
            ignored += [shortened(name)] if name else []
        elif key in positions:
            raise InputError(f"{where} has the column {shortened(name)} twice: remove or rename one of them.")
        else:
            positions[key] = position
            names[key] = name
    layout = _layout(mapping, names)
    missing = [
        f"{' or '.join(_of_file(mapping, name))} ({name})" for name in _needed(mapping) if not layout.sources.get(name)
    ]
    if missing:
        has = ", ".join(shortened((cell or "").strip()) for cell in candidates[best] if cell) or "nothing"
        raise HeaderError(
            f"{where} has no column {' and no column '.join(missing)}, which the mapping {mapping.name} reads; its "
            f"header has {shortened(has)}. Name the column in the mapping, or use the mapping of this file's shop."
        )
    first = min(positions.values())
    return Header(
        row=best,
        width=len(candidates[best]),
        positions=positions,
        ignored=tuple(ignored),
        unnamed=tuple(at for at, cell in enumerate(candidates[best]) if at > first and not (cell or "").strip()),
        layout=layout,
    )


def _layout(mapping: Mapping, names: dict[str, str]) -> Layout:
    def present(wanted: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(key for name in wanted if (key := f"file {plain_name(name)}") in names))

    sources = {}
    for name, column in mapping.columns.given().items():
        found = present(column.names) or present(column.total)
        if column.join:
            found = present(column.join)
            if len(found) < len(column.join):
                found = ()
        sources[name] = found
    price = mapping.columns.unit_price
    return Layout(
        sources={**sources, **{name: found for name, (its, _) in _further(mapping).items() if (found := present(its))}},
        names=names,
        price_is_total=bool(price.total) and not present(price.names),
    )


def _needed(mapping: Mapping) -> list[str]:
    """What a table must have; one may lack the description and the country."""
    ours: dict[str, Column] = mapping.columns.given()
    may_lack = (InvoiceLines.DESCRIPTION, InvoiceLines.COUNTRY)
    return [
        *(name for name, column in ours.items() if column.constant is None and name not in may_lack),
        *(name for name, (_, optional) in _further(mapping).items() if not optional),
    ]


def _of_file(mapping: Mapping, name: str) -> tuple[str, ...]:
    column = mapping.columns.given().get(name)
    return column.of_file if column is not None else _further(mapping)[name][0]


def _find_ours(rows: Sequence[Sequence[str | None]], where: str) -> Header:
    candidates = rows[:MAX_TITLE_ROWS]
    known = [names_known(row, None) for row in candidates]
    most = max(known, default=0)
    if not most:
        raise HeaderError(
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
        raise HeaderError(
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
