"""Loads the shop's catalogue, and tells readers what its stock says is sold out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from ncf_pipeline.ingest.catalogue import FACTS, Merged, RefusedRow, merge, named, read_catalogue
from ncf_pipeline.serving.hiding import tell_stock
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, query_rows, read_records, read_rows, transaction
from ncf_pipeline.storage.locks import Lock

_LOCK = Lock(0x63617461, "loads a catalogue")  # "cata": the stock that is stored last is told last


_NAMED = 5  # wrong cells that a message names


@dataclass(frozen=True)
class Loaded:
    """What a load did.

    Attributes:
        source: what people call the file.
        is_whole: whether it was the whole catalogue.
        facts: those that the file has a column for.
        ignored: names of its columns that were not read.
        notes: for people.
        merged: where its rows went.
        sold_out: products that readers take out from now on, because their stock is 0.
        back: products that they show again.
    """

    source: str
    is_whole: bool
    facts: tuple[str, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    merged: Merged
    sold_out: int
    back: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        merged = self.merged
        return {
            "source": self.source,
            "whole": self.is_whole,
            "facts": list(self.facts),
            "ignored_columns": list(self.ignored),
            "notes": list(self.notes),
            "load_id": merged.load_id,
            "read": merged.read,
            "new": merged.new,
            "changed": merged.changed,
            "unchanged": merged.unchanged,
            "repeated": merged.repeated,
            "refused": [row.as_dict() for row in merged.refused],
            "missing": list(merged.missing),
            "sold_out": self.sold_out,
            "back": self.back,
        }


@dataclass(frozen=True)
class Product:
    """What the catalogue says of a product; None where it says nothing."""

    stock_code: str
    description: str | None
    category: str | None
    brand: str | None
    price: float | None
    stock: float | None
    launched_on: date | None
    image_url: str | None
    missing_since: datetime | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = asdict(self)
        return {
            **facts,
            "launched_on": self.launched_on.isoformat() if self.launched_on else None,
            "missing_since": self.missing_since.isoformat() if self.missing_since else None,
        }


@dataclass(frozen=True)
class Catalogue:
    """The catalogue in numbers.

    Attributes:
        products: how many it has.
        with_fact: how many of them have each of `FACTS`.
        categories: how many different ones there are.
        sold_out: products whose stock is 0 or less.
        missing: products that the newest whole catalogue lacks.
        loads: the newest first, as rows of `retail.catalogue_load`.
    """

    products: int
    with_fact: Mapping[str, int]
    categories: int
    sold_out: int
    missing: int
    loads: Sequence[Any]


def load(
    settings: Settings, location: str, *, whole: bool, actor: str, columns: Mapping[str, str] | None = None
) -> Loaded:
    """Loads a catalogue: every row that can be used in one transaction; then readers are told what is sold out.

    Args:
        settings: whose database and list store.
        location: a path or a URL.
        whole: whether the file is the whole catalogue: products that it does not name are then missing, and said.
            They keep their facts.
        actor: who loads it; stored.
        columns: names of the file's columns that are not known, by ours.

    Raises:
        InputError: the file cannot be used, or no row of it. Nothing changed.
        DatabaseError: Postgres does not answer or refuses. Nothing changed.
        ListStoreError: Redis does not answer or refuses. The catalogue is stored, and the next watch, or the next
            load, tells readers what is sold out.
    """
    file = read_catalogue(location, max_mb=settings.max_unpacked_mb, columns=columns)
    with _LOCK.held(settings):
        with transaction(settings) as connection:
            merged = merge(connection, file, whole=whole, actor=actor)
        sold_out = back = 0
        if "stock" in file.facts:
            sold_out, back = tell_stock(
                settings,
                merged.sold_out,
                so="The catalogue is stored. Readers are told of its stock by the next watch, within 15 minutes, or if "
                "you load it again.",
            )
            with transaction(settings) as connection:
                execute(connection, "catalogue_stock_told", load_id=merged.load_id)
    return Loaded(file.name, whole, file.facts, file.ignored, file.notes, merged, sold_out, back)


def refused_message(done: Loaded) -> str | None:
    """What a person must know of a load, the title first: the first rows that could not be used; None if all could."""
    refused = done.merged.refused
    if not refused:
        return None
    count = "1 row was" if len(refused) == 1 else f"{len(refused):,} rows were"
    lines = [f"{row.where}, {problem}" for row in refused for problem in row.problems]
    return "\n".join([f"The catalogue {done.source}: {count} wrong and not loaded.", *lines[:_NAMED]])


def tell_waiting_stock(settings: Settings) -> None:
    """Tells readers what is sold out, if a load could not, or was killed before it did.

    Raises:
        DatabaseError: Postgres does not answer or refuses.
        ListStoreError: Redis does not answer or refuses. The next watch tries again.
    """
    if not read_rows(settings, "waiting_catalogue_stock"):
        return
    with _LOCK.held(settings):
        with transaction(settings) as connection:
            waiting = query_rows(connection, "waiting_catalogue_stock")
            stock = {row.stock_code: row.is_sold_out for row in query_rows(connection, "catalogue_stock")}
        if not waiting:
            return
        tell_stock(settings, stock, so="The catalogue's stock is told by the next watch.")
        with transaction(settings) as connection:
            execute(connection, "catalogue_stock_told", load_id=max(row.load_id for row in waiting))


def catalogue(settings: Settings, *, most_loads: int = 10) -> Catalogue:
    """The catalogue in numbers, and its newest loads.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        (counts,) = query_rows(connection, "catalogue_counts")
        loads = query_rows(connection, "catalogue_loads", most=most_loads)
    return Catalogue(
        counts.products,
        {name: getattr(counts, name) for name in FACTS},
        counts.categories,
        counts.sold_out,
        counts.missing,
        loads,
    )


def products_of(settings: Settings, stock_codes: Sequence[str] | None = None) -> list[Product]:
    """What the catalogue says of products, by stock code.

    Args:
        settings: whose database.
        stock_codes: in any case; None: of all of them.

    Raises:
        InputError: a stock code is empty.
        DatabaseError: Postgres does not answer.
    """
    codes = None if stock_codes is None else named(stock_codes)
    with transaction(settings) as connection:
        rows = query_rows(connection, "catalogue_products", stock_codes=codes)
    return [
        Product(
            **{
                **row._asdict(),
                "price": None if row.price is None else float(row.price),
                "stock": None if row.stock is None else float(row.stock),
            }
        )
        for row in rows
    ]


def refused_rows(settings: Settings) -> list[RefusedRow]:
    """The rows of the newest load that were refused, in the order of its file.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return read_records(settings, RefusedRow, "refused_catalogue_rows")


def remove(settings: Settings, stock_codes: Sequence[str]) -> list[str]:
    """Removes products from the catalogue. Invoices, rules, and what is hidden or sold out stay as they are.

    Args:
        settings: whose database.
        stock_codes: in any case.

    Returns:
        Those that were in it, in canonical spelling.

    Raises:
        InputError: a stock code is empty.
        DatabaseError: Postgres does not answer or refuses. Nothing changed.
    """
    codes = named(stock_codes)
    with _LOCK.held(settings), transaction(settings) as connection:
        return sorted(row.stock_code for row in query_rows(connection, "remove_from_catalogue", stock_codes=codes))
