"""Exposure: how often the live lists show which product, and to customers of which country."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache

import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, Lists
from ncf_pipeline.serving.reason_words import readable
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows
from ncf_pipeline.storage.files import open_file, store_error, store_errors

MOST_PRODUCTS, MOST_COUNTRIES = 12, 8
SAMPLE = 20_000
"""Of how many customers the lists are read; with more, of evenly chosen ones."""

MOST_FOR_COUNTRIES = 100_000
"""With more customers, their countries are not looked up: that would read every invoice line."""


@dataclass(frozen=True)
class ShownProduct:
    """A product, its name, and the share of customers whose list shows it."""

    stock_code: str
    name: str
    share: float


@dataclass(frozen=True)
class ShownIn:
    """A country: its customers, how many products their lists show, and the product that is shown most."""

    country: str
    customers: int
    products: int
    top: ShownProduct


@dataclass(frozen=True)
class Exposure:
    """What the live `for_you` lists show.

    Attributes:
        number: of the publication.
        version: of the model that made it.
        customers: whose lists were read.
        of: how many customers have lists.
        products: that are shown most.
        different: how many different products are shown.
        top_tenth: share of all places that the tenth of these products that is shown most takes.
        countries: with most customers; empty if they were not looked up.
    """

    number: int
    version: int
    customers: int
    of: int
    products: tuple[ShownProduct, ...]
    different: int
    top_tenth: float
    countries: tuple[ShownIn, ...]


def exposure(settings: Settings) -> Exposure | None:
    """Returns what the live lists show; None if none are live. It is computed once for each publication.

    Raises:
        DatabaseError: Postgres does not answer.
        ArtifactError: the file of the lists is gone or damaged, or the store cannot be reached.
    """
    rows = read_rows(settings, "live_lists")
    return _of(settings, *rows[0]) if rows else None


@lru_cache(maxsize=4)
def _of(settings: Settings, number: int, version: int, url: str, customers: int) -> Exposure:
    lists = _lists(number, url)
    counts = Counter(code for codes in lists.values() for code in codes)
    shares: dict[str, Counter[str]] = defaultdict(Counter)
    people: Counter[str] = Counter()
    if customers <= MOST_FOR_COUNTRIES:
        for row in read_rows(settings, "customer_countries", customers=list(lists)):
            country = row.country or "unknown"
            people[country] += 1
            shares[country].update(lists[row.customer_id])
    most = counts.most_common(MOST_PRODUCTS)
    top = {country: shares[country].most_common(1)[0] for country, _ in people.most_common(MOST_COUNTRIES)}
    codes = [code for code, _ in most] + [code for code, _ in top.values()]
    described = read_rows(settings, "descriptions", stock_codes=codes)
    names = {row.stock_code: row.description for row in described}

    def shown(code: str, count: int, among: int) -> ShownProduct:
        return ShownProduct(code, readable(names.get(code) or code), count / max(among, 1))

    ordered = sorted(counts.values(), reverse=True)
    tenth = sum(ordered[: max(1, len(ordered) // 10)])
    return Exposure(
        number, version, len(lists), customers, tuple(shown(*each, len(lists)) for each in most), len(counts),
        tenth / max(1, sum(ordered)),
        tuple(ShownIn(name, people[name], len(shares[name]), shown(*top[name], people[name])) for name in top),
    )  # fmt: skip


def _lists(number: int, url: str) -> dict[str, list[str]]:
    """The `for_you` lists of up to `SAMPLE` customers, from evenly chosen parts of the file."""
    columns = [Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES]
    found: dict[str, list[str]] = {}
    try:
        with open_file(url) as file:
            parts = pq.ParquetFile(file)
            count = parts.num_row_groups
            step = max(1, count // 16)
            order = [*range(0, count, step), *(group for group in range(count) if group % step)]
            for group in order:
                if len(found) >= SAMPLE:
                    break
                rows = parts.read_row_group(group, columns=columns).to_pylist()
                found.update(
                    (row[Lists.KEY], row[Lists.STOCK_CODES])
                    for row in rows
                    if row[Lists.AUDIENCE] == "customer" and row[Lists.LIST_NAME] == FOR_YOU
                )
    except store_errors() as error:
        raise store_error(f"The lists of p{number:06d} cannot be read", error) from error
    return found
