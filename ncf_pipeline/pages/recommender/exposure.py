"""Exposure: how often the live lists show which product, and to customers of which country."""

from dataclasses import dataclass

from ncf_pipeline.columns import FOR_YOU
from ncf_pipeline.serving.appearances import counted
from ncf_pipeline.serving.reason_words import readable
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

MOST_PRODUCTS, MOST_COUNTRIES = 12, 8


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
    """Returns what the live lists show; None if none are live.

    Raises:
        DatabaseError: Postgres does not answer.
        ArtifactError: the file of the lists is gone or damaged, or the store cannot be reached.
    """
    found = counted(settings)
    if found is None:
        return None
    counts, people, shares = found.lists[FOR_YOU], found.people, found.by_country
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
        found.number, found.version, found.customers, found.of,
        tuple(shown(*each, found.customers) for each in most), len(counts), tenth / max(1, sum(ordered)),
        tuple(ShownIn(name, people[name], len(shares[name]), shown(*top[name], people[name])) for name in top),
    )  # fmt: skip
