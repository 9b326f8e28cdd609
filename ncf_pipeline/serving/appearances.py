"""How often the live lists show which product: to customers, by country, to visitors, and beside other products.

The publication's file is read once for each publication, and only counts are kept of it.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc
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
    found = _lists(number, url, places)

    def of_list(audience: str, name: str) -> pa.Table:
        return found.filter((pc.field(Lists.AUDIENCE) == audience) & (pc.field(Lists.LIST_NAME) == name))

    published = {name: of_list("customer", name) for name in settings.published_lists}
    visitors: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in LISTS_OF["fallback"]:
        where: defaultdict[str, list[str]] = defaultdict(list)
        for row in of_list("fallback", name).to_pylist():
            for code in row[Lists.STOCK_CODES]:
                where[code].append(row[Lists.KEY])
        visitors[name] = {code: tuple(sorted(keys)) for code, keys in where.items()}
    for_you = published[FOR_YOU]
    people, by_country = _by_country(settings, for_you) if customers <= MOST_FOR_COUNTRIES else (Counter(), {})
    return Counted(
        number, version, len(for_you), customers,
        {name: _counter(published[name]) if name in published else Counter() for name in LISTS_OF["customer"]},
        {name: _counter(of_list("product", name)) for name in LISTS_OF["product"]},
        visitors, people, by_country,
    )  # fmt: skip


def _counter(lists: pa.Table) -> Counter[str]:
    """How many lists show each product, in the order in which lists name them first."""
    counts = pc.value_counts(pc.list_flatten(lists[Lists.STOCK_CODES]))
    return Counter(dict(zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)))


def _by_country(settings: Settings, for_you: pa.Table) -> tuple[Counter[str], dict[str, Counter[str]]]:
    """The customers of each country, and how many of them are shown each product."""
    keys = for_you[Lists.KEY].to_pylist()
    rows = read_rows(settings, "customer_countries", customers=keys)
    country_of = {row.customer_id: row.country or "unknown" for row in rows}
    people = Counter(country_of.values())
    countries = pa.array([country_of.get(key) for key in keys], pa.string())
    by_country = {country: _counter(for_you.filter(pc.equal(countries, country))) for country in people}
    return people, by_country


def _lists(number: int, url: str, places: int) -> pa.Table:
    """The lists, without what is spare, of up to `SAMPLE` customers from evenly chosen parts of the file, and others.

    A part counts whole, so there may be some more customers.
    """
    try:
        with open_file(url) as file:
            parts = pq.ParquetFile(file)
            read = [_shown(parts.schema_arrow.empty_table(), places)]
            count = parts.num_row_groups
            step = max(1, count // 16)
            found = 0
            for group in [*range(0, count, step), *(group for group in range(count) if group % step)]:
                is_enough = found >= SAMPLE
                if is_enough and _has_only_customers(parts, group):
                    continue
                lists = parts.read_row_group(group, columns=_READ)
                of_customers = pc.field(Lists.AUDIENCE) == "customer"
                if is_enough:
                    lists = lists.filter(~of_customers)
                found += len(lists.filter(of_customers & (pc.field(Lists.LIST_NAME) == FOR_YOU)))
                read.append(_shown(lists, places))
    except store_errors() as error:
        raise store_error(f"The lists of p{number:06d} cannot be read", error) from error
    return pa.concat_tables(read)


def _shown(lists: pa.Table, places: int) -> pa.Table:
    """Lists without what is spare."""
    codes = pc.list_slice(lists[Lists.STOCK_CODES], 0, places)
    return lists.set_column(lists.schema.get_field_index(Lists.STOCK_CODES), Lists.STOCK_CODES, codes).select(_READ)


def _has_only_customers(parts: pq.ParquetFile, group: int) -> bool:
    """Whether a part of the file has no list of a product or of visitors, by its statistics."""
    of_group = parts.metadata.row_group(group)
    for column in range(of_group.num_columns):
        found = of_group.column(column)
        if found.path_in_schema == Lists.AUDIENCE:
            return found.statistics is not None and found.statistics.max == "customer"
    return False
