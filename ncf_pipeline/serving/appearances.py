"""How often the live lists show which product: to customers, by country, to visitors, and beside other products.

The publication's file is read once for each publication, and only counts are kept of it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, LISTS_OF, Lists
from ncf_pipeline.serving.drafts import Basis
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows
from ncf_pipeline.storage.files import open_file, store_error, store_errors

SAMPLE = 20_000
"""Of how many customers the lists are read; with more, of evenly chosen ones."""

MOST_FOR_COUNTRIES = 100_000
"""With more customers, their countries are not looked up."""

_READ = [Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES]


@dataclass(frozen=True)
class Counted:
    """What the live lists show; what is spare does not count.

    Attributes:
        number: of the publication.
        version: of the model that made it.
        customers: whose lists were read.
        of: how many customers have lists.
        lists: by list of customers, how many of those show each product.
        beside: by list of products, how many products' lists show each product.
        visitors: by list of visitors, the countries whose list shows each product; `*` is everywhere else.
        people: by country, the customers whose lists were read; empty if countries were not looked up.
        by_country: by country, how many of them are shown each product in `for_you`.
    """

    number: int
    version: int
    customers: int
    of: int
    lists: Mapping[str, Counter[str]]
    beside: Mapping[str, Counter[str]]
    visitors: Mapping[str, Mapping[str, tuple[str, ...]]]
    people: Counter[str]
    by_country: Mapping[str, Counter[str]]


def counted(settings: Settings) -> Counted | None:
    """Counts what the live lists show; None if none are live.

    Raises:
        DatabaseError: Postgres does not answer.
        ArtifactError: the file of the lists is gone or damaged, or the store cannot be reached.
    """
    rows = read_rows(settings, "live_lists")
    return _of(settings, *rows[0]) if rows else None


def shown_places(settings: Settings, number: int) -> int:
    """How many places of a publication's lists are shown; what comes after them is spare.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    made = read_rows(settings, "draft_of_publication", number=number)
    return int(made[0].top_n) - Basis.from_dict(made[0].basis).spare if made else settings.top_n


@lru_cache(maxsize=2)
def _of(settings: Settings, number: int, version: int, url: str, customers: int) -> Counted:
    places = shown_places(settings, number)
    lists: dict[str, Counter[str]] = {name: Counter() for name in LISTS_OF["customer"]}
    beside: dict[str, Counter[str]] = {name: Counter() for name in LISTS_OF["product"]}
    visitors: dict[str, defaultdict[str, list[str]]] = {name: defaultdict(list) for name in LISTS_OF["fallback"]}
    for_you: dict[str, list[str]] = {}
    for row in _rows(number, url):
        name, codes = row[Lists.LIST_NAME], row[Lists.STOCK_CODES][:places]
        if row[Lists.AUDIENCE] == "customer" and name in settings.published_lists:
            lists[name].update(codes)
            if name == FOR_YOU:
                for_you[row[Lists.KEY]] = codes
        elif row[Lists.AUDIENCE] == "product" and name in beside:
            beside[name].update(codes)
        elif row[Lists.AUDIENCE] == "fallback" and name in visitors:
            for code in codes:
                visitors[name][code].append(row[Lists.KEY])
    people: Counter[str] = Counter()
    by_country: defaultdict[str, Counter[str]] = defaultdict(Counter)
    if customers <= MOST_FOR_COUNTRIES:
        for row in read_rows(settings, "customer_countries", customers=list(for_you)):
            country = row.country or "unknown"
            people[country] += 1
            by_country[country].update(for_you[row.customer_id])
    return Counted(
        number, version, len(for_you), customers, lists, beside,
        {name: {code: tuple(sorted(where)) for code, where in found.items()} for name, found in visitors.items()},
        people, dict(by_country),
    )  # fmt: skip


def _rows(number: int, url: str) -> Iterator[dict[str, Any]]:
    """The lists of up to `SAMPLE` customers, from evenly chosen parts of the file, and all others."""
    try:
        with open_file(url) as file:
            parts = pq.ParquetFile(file)
            count = parts.num_row_groups
            step = max(1, count // 16)
            found = 0
            for group in [*range(0, count, step), *(group for group in range(count) if group % step)]:
                is_enough = found >= SAMPLE
                if is_enough and _has_only_customers(parts, group):
                    continue
                for row in parts.read_row_group(group, columns=_READ).to_pylist():
                    if row[Lists.AUDIENCE] != "customer":
                        yield row
                    elif not is_enough:
                        found += row[Lists.LIST_NAME] == FOR_YOU
                        yield row
    except store_errors() as error:
        raise store_error(f"The lists of p{number:06d} cannot be read", error) from error


def _has_only_customers(parts: pq.ParquetFile, group: int) -> bool:
    """Whether a part of the file has no list of a product or of visitors, by its statistics."""
    of_group = parts.metadata.row_group(group)
    for column in range(of_group.num_columns):
        found = of_group.column(column)
        if found.path_in_schema == Lists.AUDIENCE:
            return found.statistics is not None and found.statistics.max == "customer"
    return False
