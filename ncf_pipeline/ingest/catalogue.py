"""The shop's catalogue: what a file says of each product, and each row of it that cannot be used, with the reason.

Files are read as those of invoices are: any encoding and delimiter that the file proves, a header among its first rows,
codes in one spelling, prices and dates by the order and the marks that the whole file proves.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from ncf_pipeline.columns import LEVEL, InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.fetching import Source, check_unchanged, fetch
from ncf_pipeline.ingest.mappings.given import Given
from ncf_pipeline.ingest.readers.cells import ERROR, LINE, NOTHING, READ_IS, UNREADABLE, as_typed
from ncf_pipeline.ingest.readers.codes import normalised
from ncf_pipeline.ingest.readers.file_kinds import open_tables
from ncf_pipeline.ingest.readers.header import CORRECTS, Layout, Shape, shortened
from ncf_pipeline.ingest.readers.survey import decided
from ncf_pipeline.ingest.readers.table import BROKEN, CHUNK_SCHEMA, ROW, Table
from ncf_pipeline.storage.database import Connection, execute, query_rows
from ncf_pipeline.storage.resources import query
from ncf_pipeline.storage.scratch import scratch_folder

CODE = "stock_code"
FACTS = ("description", "category", "brand", "price", "stock", "launched_on", "image_url")
"""What a catalogue may say of a product."""

_CODE, _NAME = InvoiceLines.STOCK_CODE, InvoiceLines.DESCRIPTION
_PRICE, _STOCK, _DATE = InvoiceLines.UNIT_PRICE, InvoiceLines.QUANTITY, InvoiceLines.INVOICE_DATE
_CATEGORY, _BRAND, _IMAGE = "category", "brand", "image_url"
_READ_AS = {
    CODE: _CODE, "description": _NAME, "category": _CATEGORY, "brand": _BRAND, "price": _PRICE, "stock": _STOCK,
    "launched_on": _DATE, "image_url": _IMAGE,
}  # fmt: skip
"""Our column to that of an invoice whose reader reads it."""

_NAMES = {
    CODE: (
        "StockCode", "SKU", "Code", "Product code", "Item code", "Article", "Article number", "Variant SKU",
        "Artikelnummer", "Artikelnr", "Product ID", "ID",
    ),
    "description": ("Description", "Name", "Title", "Product name", "Product title", "Product", "Bezeichnung"),
    "category": (
        "Category", "Product category", "Category path", "Categories", "Product type", "Google product category",
        "Type", "Kategorie", "Warengruppe", "Catégorie", "Categoría",
    ),
    "brand": ("Brand", "Vendor", "Manufacturer", "Marke", "Hersteller", "Marque", "Marca"),
    "price": ("Price", "Unit price", "Regular price", "Variant price", "Preis", "Prix", "Precio"),
    "stock": (
        "Stock", "In stock", "Stock quantity", "Inventory", "Quantity", "Qty", "Variant inventory qty", "Bestand",
        "Lagerbestand",
    ),
    "launched_on": (
        "Launch date", "Launched on", "Launched", "Launched at", "Release date", "Available from", "Published at",
        "Created at", "Erscheinungsdatum",
    ),
    "image_url": (
        "Image URL", "Image", "Image address", "Image link", "Image src", "Picture", "Photo", "Bild", "Bild URL",
    ),
}  # fmt: skip

SHAPE = Shape("a catalogue", {_READ_AS[name]: names for name, names in _NAMES.items()}, needed=_CODE)
"""Of a catalogue whose columns have names that are known."""

ONLY_IN_CATALOGUES = frozenset((_CATEGORY, _BRAND, _IMAGE))
"""Columns of a table that no invoice has."""

_MAX_CATEGORY, _MAX_BRAND, _MAX_ADDRESS = 300, 100, 2_000
_CONTROL = r"[\x00-\x1f\x7f]"
_ADDRESS = r"^(?i:https?)://[^\s/?#@\\\"<>^`{|}%]+(?:[/?#][^\s\"<>\\^`{|}]*)?$"
"""Of an image. Without a user or a password, which every visitor of the shop would see."""

_IS_NO = {
    _CODE: f"is no code. Write {READ_IS[_CODE]}.",
    _NAME: f"is no name. Write {READ_IS[_NAME]}.",
    _PRICE: "is no price. Write a number such as 2.55, 0 or more, with the decimal mark of the file and no currency.",
    _STOCK: "is no number of pieces. Write one such as 12, or 0 if it is sold out.",
    _DATE: "is no date. Write it as in 2011-12-25, and without a time zone.",
    _CATEGORY: f"is no category. Write text of up to {_MAX_CATEGORY} characters, such as Kitchen > Cups.",
    _BRAND: f"is no brand. Write text of up to {_MAX_BRAND} characters.",
    _IMAGE: (
        "is no address of an image. Write one that begins with https:// or http://, without spaces, a user or a "
        f"password, of up to {_MAX_ADDRESS:,} characters."
    ),
}
_KEPT = 200


@dataclass(frozen=True)
class RefusedRow:
    """A row that is not loaded.

    Attributes:
        sheet: of a workbook; None of another file.
        row: as a spreadsheet or an editor counts, from 1.
        stock_code: in canonical spelling; None if it cannot be read.
        problems: each names the column, what is wrong, and what to do.
        cells: by our column, as the file has them.
    """

    sheet: str | None
    row: int
    stock_code: str | None
    problems: tuple[str, ...]
    cells: dict[str, str]

    @property
    def where(self) -> str:
        """The row in words, with its sheet."""
        return f"row {self.row:,}" if self.sheet is None else f"sheet {shortened(self.sheet, 40)!r}, row {self.row:,}"

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "sheet": self.sheet,
            "row": self.row,
            "stock_code": self.stock_code,
            "problems": list(self.problems),
            "cells": self.cells,
        }


@dataclass(frozen=True)
class CatalogueFile:
    """What a file says.

    Attributes:
        name: what people call it.
        sha256: of its bytes.
        rows: `place` (from 0), `sheet`, `row_number`, `stock_code` and `FACTS`; null where a cell is empty.
        facts: those of `FACTS` that it has a column for.
        ignored: names of the columns that are not read.
        notes: for people.
        refused: rows that cannot be used, by their place.
        headers: our column to what the file calls it.
    """

    name: str
    sha256: str
    rows: pl.DataFrame
    facts: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    refused: dict[int, RefusedRow]
    headers: dict[str, str]


@dataclass(frozen=True)
class Merged:
    """Where the rows of a file went: read = new + changed + unchanged + repeated + refused.

    Attributes:
        load_id: of the load.
        read, new, changed, unchanged, repeated: numbers of rows. A repeated one says again what another row says.
        refused: in the order of the file.
        missing: products that a whole catalogue lacks now and did not lack before, in canonical spelling.
        sold_out: by stock code in canonical spelling, whether the file says that the stock is 0 or less. Products of
            which it says nothing are not in it.
    """

    load_id: int
    read: int
    new: int
    changed: int
    unchanged: int
    repeated: int
    refused: tuple[RefusedRow, ...]
    missing: tuple[str, ...]
    sold_out: dict[str, bool]


def read_catalogue(location: str, *, max_mb: int, columns: Mapping[str, str] | None = None) -> CatalogueFile:
    """Reads a file, all of it.

    Args:
        location: a path or a URL: `.csv`, `.csv.gz`, `.parquet` or `.xlsx`.
        max_mb: a file that holds more megabytes, when it is unpacked, is refused.
        columns: of `FACTS` or `CODE`, the name that the file has for it, where it is another than the known ones.

    Raises:
        InputError: the file cannot be used. The message says why and what to do.
    """
    with scratch_folder() as folder:
        source = fetch(location, folder, None, inbox=None, max_mb=max_mb)
        file = _read(source, folder, max_mb=max_mb, columns=columns or {})
        check_unchanged(source)
        return file


def _shape(named: Mapping[str, str]) -> Shape:
    unknown = [name for name in named if name not in _NAMES]
    if unknown:
        raise InputError(f"A catalogue has no {unknown[0]!r}. Name one of {', '.join(_NAMES)}.")
    names = {name: (named[name],) if name in named else known for name, known in _NAMES.items()}
    taken = {name.casefold() for name in named.values()}
    return Shape(
        "a catalogue",
        {
            _READ_AS[name]: tuple(each for each in of if name in named or each.casefold() not in taken)
            for name, of in names.items()
        },
        needed=_CODE,
    )


def _read(source: Source, folder: Path, *, max_mb: int, columns: Mapping[str, str]) -> CatalogueFile:
    shape = _shape(columns)
    file = open_tables(source.path, source.name, folder, max_unpacked_mb=max_mb, given=Given(), mapping=shape)
    layouts = [table.layout for table in file.tables if table.layout is not None]
    if any(layout.sources != layouts[0].sources for layout in layouts):
        one, other = (table.where for table in file.tables[:2])
        raise InputError(f"{one} and {other} have different columns. Put each into a file of its own.")
    layout = layouts[0]
    lacking = [columns[name] for name in columns if _READ_AS[name] not in layout.sources]
    if lacking:
        raise InputError(f"{source.name} has no column {lacking[0]!r}, which --column names. Correct the name.")
    facts = tuple(name for name in FACTS if _READ_AS[name] in layout.sources)
    if not facts:
        raise InputError(f"{source.name} has no column beside the codes that is known. Name one with --column.")
    rows: list[pl.DataFrame] = []
    refused: dict[int, RefusedRow] = {}
    tables = decided([_as_invoice_lines(table) for table in file.tables], Given())
    for table in tables:
        for chunk in table.chunks():
            place = sum(map(len, rows)) + len(refused)
            good, bad = _checked(chunk, table, layout, place)
            rows.append(good)
            refused |= bad
    if not rows or not (sum(map(len, rows)) + len(refused)):
        raise InputError(f"{source.name} has a header but no rows: there is nothing to load.")
    notes = [*([file.note] if file.note else []), *tables[0].dialect.warnings]
    return CatalogueFile(
        source.name,
        source.sha256,
        pl.concat(rows),
        facts,
        tuple(dict.fromkeys(name for table in tables for name in table.ignored)),
        tuple(notes),
        refused,
        {name: layout.names[read] for name, read in _READ_AS.items() if read in layout.names},
    )


def _as_invoice_lines(table: Table) -> Table:
    """The table with every column that the readers of invoices look at; the others are empty."""

    def chunks() -> Iterator[pl.DataFrame]:
        for chunk in table.chunks():
            there = [name for name in chunk.columns if name not in (ROW, BROKEN)]
            stripped = chunk.with_columns(pl.col(there).str.strip_chars().replace("", None))
            stripped = stripped.with_columns(pl.when(~pl.col(there).is_in(NOTHING)).then(pl.col(there)))
            yield stripped.with_columns(
                *(pl.lit(None, kind).alias(name) for name, kind in CHUNK_SCHEMA.items() if name not in chunk.columns),
                *(pl.lit(None, pl.String).alias(each) for each in (_CATEGORY, _BRAND, _IMAGE) if each not in there),
            )

    known = table.with_numbers_known
    return replace(
        table, chunks=chunks, with_numbers_known=(lambda: _as_invoice_lines(known())) if known is not None else None
    )


def _checked(
    chunk: pl.DataFrame, table: Table, layout: Layout, before: int
) -> tuple[pl.DataFrame, dict[int, RefusedRow]]:
    """The rows that can be used, typed; and the others, by their place in the file, after `before` earlier rows."""
    # Stock may be weighed. A reader of invoices takes fractions of a piece from corrected lines.
    dialect = replace(table.dialect, fractions_are_corrections=True)
    typed = as_typed(chunk.select(CHUNK_SCHEMA.names()).with_columns(pl.lit("1").alias(CORRECTS)), dialect)
    text = chunk.select(
        pl.col(_CATEGORY).str.normalize("NFC").str.replace_all(r"\s+", " ").str.split(">").list.eval(_level())
        .list.join(LEVEL).replace("", None),
        pl.col(_BRAND).str.normalize("NFC").str.replace_all(r"\s+", " "),
        pl.col(_IMAGE),
    )  # fmt: skip
    bad = pl.DataFrame(
        {
            _PRICE: typed[_PRICE] < 0,
            _CATEGORY: _is_bad(text[_CATEGORY], _MAX_CATEGORY)
            | (text[_CATEGORY].is_null() & chunk[_CATEGORY].is_not_null()),
            _BRAND: _is_bad(text[_BRAND], _MAX_BRAND),
            _IMAGE: ~text[_IMAGE].str.contains(_ADDRESS) | (text[_IMAGE].str.len_chars() > _MAX_ADDRESS),
        }
    ).fill_null(value=False)
    no_code = typed[_CODE].is_null()
    refused = typed[UNREADABLE].is_not_null() | no_code | bad.select(pl.any_horizontal(pl.all())).to_series()
    places = pl.int_range(before, before + len(chunk), eager=True)
    rows = pl.DataFrame(
        [
            places.cast(pl.Int64).alias("place"),
            pl.Series("sheet", [table.sheet] * len(chunk), dtype=pl.String),
            typed[ROW].alias("row_number"),
            typed[_CODE].alias(CODE),
            typed[_NAME].alias("description"),
            text[_CATEGORY].alias("category"),
            text[_BRAND].alias("brand"),
            typed[_PRICE].alias("price"),
            typed[_STOCK].cast(pl.Float64).alias("stock"),
            typed[_DATE].dt.date().alias("launched_on"),
            text[_IMAGE].alias("image_url"),
        ]
    )
    wrong = {places[at]: _refused(at, chunk, typed, bad, table, layout) for at in refused.arg_true().to_list()}
    return rows.filter(~refused), wrong


def _level() -> pl.Expr:
    """The levels of a category that are not empty."""
    level = pl.element().str.strip_chars()
    return level.filter(level != "")


def _is_bad(text: pl.Series, limit: int) -> pl.Series:
    return (text.str.len_chars() > limit) | text.str.contains(_CONTROL) | text.str.contains(ERROR)


def _refused(
    at: int, chunk: pl.DataFrame, typed: pl.DataFrame, bad: pl.DataFrame, table: Table, layout: Layout
) -> RefusedRow:
    cells = chunk.row(at, named=True)
    unreadable = typed[UNREADABLE][at]
    columns = [] if unreadable is None else [name for name in unreadable if name != LINE]
    columns += [name for name in bad.columns if bad[name][at]]
    problems = [
        f"{shortened(layout.names[name], 40)}: {shortened(cells[name] or '', 60)!r} {_IS_NO[name]}"
        for name in layout.sources if name in columns
    ]  # fmt: skip
    if cells[BROKEN] is not None:
        problems = [f"The row is broken: {shortened(cells[BROKEN].strip(), 60)!r}. Write {READ_IS[LINE]}."]
    elif typed[_CODE][at] is None and _CODE not in columns:
        problems.insert(
            0, f"{shortened(layout.names[_CODE], 40)} is empty. Write the product's code, or remove the row."
        )
    ours = {read: name for name, read in _READ_AS.items()}
    code = typed[_CODE][at]
    return RefusedRow(
        table.sheet,
        cells[ROW],
        code.upper() if code is not None else None,
        tuple(problems),
        {
            **{ours[name]: shortened(cells[name], _KEPT) for name in layout.sources if cells[name] is not None},
            **({LINE: shortened(cells[BROKEN], 1_000)} if cells[BROKEN] is not None else {}),
        },
    )


def merge(connection: Connection, file: CatalogueFile, *, whole: bool, actor: str) -> Merged:
    """Writes a file's rows into `retail.catalogue`, in a transaction that the caller opened.

    Args:
        connection: of the open transaction.
        file: that was read.
        whole: whether it is the whole catalogue: then products that it does not name are missing.
        actor: who loads it; stored.

    Raises:
        InputError: no row can be used.
    """
    execute(connection, "create_catalogue_rows")
    with connection.cursor() as cursor:
        text = file.rows.write_csv(include_header=False, quote_style="non_numeric", null_value="")
        cursor.copy_expert(query("copy_catalogue_rows"), io.BytesIO(text.encode()))
    refused = {**file.refused, **_contradictions(connection, file)}
    read = len(file.rows) + len(file.refused)
    if len(refused) == read:
        first = refused[min(refused)]
        raise InputError(
            f"No row of {file.name} can be used, so nothing was loaded. The first: {first.where}, {first.problems[0]}"
        )
    in_order = tuple(refused[place] for place in sorted(refused))
    (opened_load,) = query_rows(
        connection,
        "open_catalogue_load",
        source=shortened(file.name),
        sha256=file.sha256,
        is_whole=whole,
        facts=list(file.facts),
        loaded_by=actor,
        stock_waits="stock" in file.facts,
    )
    load_id = int(opened_load.load_id)
    # A product whose row was refused is not missing.
    named = [row.stock_code for row in in_order if row.stock_code is not None]
    (counts,) = query_rows(
        connection, "merge_catalogue", load_id=load_id, facts=list(file.facts), is_whole=whole, refused=named
    )
    merged = Merged(
        load_id,
        read,
        counts.rows_new,
        counts.rows_written - counts.rows_new,
        counts.products - counts.rows_written,
        counts.rows_good - counts.products,
        in_order,
        tuple(counts.missing or ()),
        {row.stock_code: row.is_sold_out for row in query_rows(connection, "stock_of_catalogue_rows")},
    )
    execute(
        connection,
        "finish_catalogue_load",
        load_id=load_id,
        rows_read=merged.read,
        rows_new=merged.new,
        rows_changed=merged.changed,
        rows_unchanged=merged.unchanged,
        rows_repeated=merged.repeated,
        rows_refused=len(in_order),
        products_missing=len(merged.missing),
    )
    if in_order:
        rows = [{**row.as_dict(), "place": place} for place, row in zip(sorted(refused), in_order, strict=True)]
        # Postgres stores no NUL.
        text = json.dumps(rows).replace("\\u0000", "\N{SYMBOL FOR NULL}")
        execute(connection, "keep_refused_catalogue_rows", load_id=load_id, rows=text)
    execute(connection, "prune_refused_catalogue_rows")
    return merged


def _contradictions(connection: Connection, file: CatalogueFile) -> dict[int, RefusedRow]:
    """Takes out the rows of a product of which other rows say something else: nobody can tell which is right."""
    found = query_rows(connection, "contradicting_catalogue_rows")
    if not found:
        return {}
    at = {place: number for number, place in enumerate(file.rows["place"])}
    rows_of: dict[str, list[int]] = {}
    for row in found:
        rows_of.setdefault(row.stock_code, []).append(at[row.place])
    contradictions = {}
    header = file.headers[CODE]
    for code, numbers in rows_of.items():
        rows = [file.rows.row(number, named=True) for number in numbers]
        differ = [file.headers[name] for name in file.facts if len({row[name] for row in rows}) > 1]
        for row in rows:
            others = [f"{other['row_number']:,}" for other in rows if other is not row]
            more = f" and {len(others) - 3} more" if len(others) > 3 else ""
            problem = (
                f"{shortened(header, 40)}: {shortened(row[CODE], 60)!r} is also in row {', '.join(others[:3])}{more}, "
                f"with another {shortened(', '.join(differ), 100)}. Keep one of them."
            )
            cells = {name: str(row[name]) for name in (CODE, *file.facts) if row[name] is not None}
            contradictions[row["place"]] = RefusedRow(row["sheet"], row["row_number"], code, (problem,), cells)
    return contradictions


def named(stock_codes: Sequence[str]) -> list[str]:
    """Codes as a person typed them, in the spelling of files.

    Raises:
        InputError: one is empty.
    """
    codes = normalised(pl.Series([code.strip() for code in stock_codes], dtype=pl.String)).to_list()
    if not all(codes):
        raise InputError("A stock code is empty.")
    return codes
