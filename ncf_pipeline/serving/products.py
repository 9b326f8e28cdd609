"""What the shop knows of one product: its sales by week, its lists, its rules, and how often lists show it.

Every function here that takes settings raises DatabaseError if Postgres cannot be reached or refuses.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.model.families import MOST_VARIANTS, family_of
from ncf_pipeline.serving.appearances import counted
from ncf_pipeline.serving.hiding import HiddenProduct
from ncf_pipeline.serving.publication import name_of
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.serving.rules.values import Rule, canonical, closest
from ncf_pipeline.serving.sales import WEEKS, best_of_weeks, first_week
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_records, query_rows, read_rows, transaction

FOUND = 40
"""Products on a page of a search."""

_MANY_WORDS, _KNOWN_WORDS, _FAMILY = 8, 5000, 40


@dataclass(frozen=True)
class Named:
    """A product with its description."""

    stock_code: str
    description: str


@dataclass(frozen=True)
class Found:
    """A page of a search.

    Attributes:
        products: in the order of stock codes.
        after: the code after which the next page begins; None on the last one.
        meant: what was looked for instead, because nothing had the words; None if something had.
    """

    products: tuple[Named, ...]
    after: str | None
    meant: str | None


@dataclass(frozen=True)
class Week:
    """What a product sold in a week.

    Attributes:
        begins: its Monday.
        pieces: sold; what came back is not taken off.
        takings: in the shop's currency; what came back is taken off.
        invoices: on which it was sold.
        place: among all products by takings, from 1; None if it sold nothing, or is below `RANKED`.
    """

    begins: date
    pieces: float
    takings: float
    invoices: int
    place: int | None


@dataclass(frozen=True)
class Sales:
    """What a product sold: as in `Product`, without places."""

    price: float | None
    sold_at: datetime | None
    weeks: tuple[Week, ...]


@dataclass(frozen=True)
class Shown:
    """How often the live lists show a product.

    Attributes:
        publication: such as `p000007`.
        customers: whose lists were read.
        of: how many customers have lists.
        lists: by list of customers, how many of them are shown it there.
        beside: by list of products, beside how many products it is shown.
        visitors: by list of visitors, in which countries they are shown it; `*` is everywhere else.
        countries: in which customers are shown it in `for_you`, most customers first: the country, how many are shown
            it, and how many have lists.
    """

    publication: str
    customers: int
    of: int
    lists: Mapping[str, int]
    beside: Mapping[str, int]
    visitors: Mapping[str, tuple[str, ...]]
    countries: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Product:
    """A product.

    Attributes:
        stock_code: in canonical spelling.
        description: its newest.
        price: of one piece at the newest sale, in the shop's currency; None if it was never sold.
        sold_at: when that was, on the shop's clock.
        is_excluded: whether its code stands for no product, by `retail.excluded_stock_code`.
        family: its other variants, by stock code; up to 40.
        weeks: the last `WEEKS` that lists know, oldest first; the last may not be over.
        rules: of a merchandiser that name it, also those that are over or have not begun.
        hidden: where it is hidden at once.
        max_per_family: most of its family on one list; None: no limit.
        min_price: lowest price on lists, in the shop's currency; None: no limit.
    """

    stock_code: str
    description: str
    price: float | None
    sold_at: datetime | None
    is_excluded: bool
    family: tuple[Named, ...]
    weeks: tuple[Week, ...]
    rules: tuple[Rule, ...]
    hidden: tuple[HiddenProduct, ...]
    max_per_family: int | None
    min_price: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "stock_code": self.stock_code,
            "description": self.description,
            "price": self.price,
            "sold_at": self.sold_at.isoformat() if self.sold_at else None,
            "is_excluded": self.is_excluded,
            "family": [each.stock_code for each in self.family],
            "weeks": [{**vars(week), "begins": week.begins.isoformat()} for week in self.weeks],
            "rules": [rule.as_dict() for rule in self.rules],
            "hidden": [each.as_dict() for each in self.hidden],
            "limits": {"max_per_family": self.max_per_family, "min_price": self.min_price},
        }

    def limits_in_words(self, today: date, money: Callable[[float], str] = "{:.2f}".format) -> list[str]:
        """The limits on all lists that concern it, and its rules' exceptions, in sentences."""
        told = []
        if self.is_excluded:
            told.append("Its code stands for no product (retail.excluded_stock_code), so no list shows it.")
        if (too_cheap := below_limit(self.price, self.min_price, money)) is not None:
            told.append(too_cheap)
        if self.max_per_family is not None and self.family:
            others = "variant" if self.max_per_family == 1 else "variants"
            told.append(f"A list shows at most {self.max_per_family} {others} of its family.")
        if any(rule.is_over(today) for rule in self.rules):
            told.append("A rule that is over has no effect.")
        return told


def below_limit(
    price: float | None, lowest: float | None, money: Callable[[float], str] = "{:.2f}".format
) -> str | None:
    """Says that a product costs less than what lists show; None if it does not, or there is no limit or price.

    `money` writes an amount in the shop's currency.

    >>> below_limit(0.42, 0.5), below_limit(0.5, 0.5), below_limit(None, 0.5)
    ('It costs 0.42, and lists show nothing below 0.50.', None, None)
    """
    if price is None or lowest is None or price >= lowest:
        return None
    return f"It costs {money(price)}, and lists show nothing below {money(lowest)}."


def search(settings: Settings, text: str, *, after: str = "", most: int = FOUND) -> Found:
    """Finds products by code, or by words of their description; without a text, all of them.

    If nothing has the words, looks for the words that are written most like them.

    Args:
        settings: of the shop.
        text: a code, its beginning, or words in any order.
        after: the stock code after which the page begins.
        most: products on a page.
    """
    asked = text.replace("\x00", "").strip()
    found = _page(settings, asked, after.replace("\x00", ""), most)
    if found or not asked or after:
        return _found(found, most, None)
    meant = _meant(settings, asked)
    return _found(_page(settings, meant, "", most) if meant else [], most, meant)


def product(settings: Settings, stock_code: str) -> Product:
    """What the shop knows of a product.

    Raises:
        InputError: the shop never sold it, and has no description of it.
    """
    code = canonical(stock_code.replace("\x00", ""))
    with transaction(settings) as connection:
        rows = query_rows(connection, "product_facts", stock_code=code)
        if not rows:
            raise InputError(f"The shop has no product {_short(code)}.")
        family = family_of(code)
        members = query_rows(connection, "product_family", family=family, most=_FAMILY)
        newest, since, until, sold = _sold(connection, code, rows[0].sold_at)
        hidden = query_records(connection, HiddenProduct, "hidden_products")
        limits = query_rows(connection, "list_limits")  # one row; without it there is no limit
    weeks: tuple[Week, ...] = ()
    if since is not None and until is not None:
        weeks = _weeks(sold, _places(settings, newest.batch_id, until), code, since)
    return Product(
        code, rows[0].description, rows[0].price, rows[0].sold_at, rows[0].is_excluded,
        tuple(Named(*row) for row in members if row.stock_code != code) if len(members) <= MOST_VARIANTS else (),
        weeks,
        tuple(rule for rule in changes.rules(settings) if code in rule.products),
        tuple(each for each in hidden if each.stock_code == code),
        limits[0].max_per_family if limits else None, limits[0].min_price if limits else None,
    )  # fmt: skip


def sales(settings: Settings, stock_code: str) -> Sales | None:
    """What a product sold, without its place among others; None if the shop has no such product."""
    code = canonical(stock_code.replace("\x00", ""))
    with transaction(settings) as connection:
        rows = query_rows(connection, "product_facts", stock_code=code)
        if not rows:
            return None
        _, since, _, sold = _sold(connection, code, rows[0].sold_at)
    return Sales(rows[0].price, rows[0].sold_at, _weeks(sold, {}, code, since) if since is not None else ())


def shown(settings: Settings, stock_code: str) -> Shown | None:
    """How often the live lists show a product; None if none are live.

    Raises:
        ArtifactError: the file of the lists is gone or damaged, or the store cannot be reached.
    """
    found = counted(settings)
    if found is None:
        return None
    by_country = [
        (country, found.by_country[country][stock_code], among)
        for country, among in found.people.items()
        if found.by_country[country][stock_code]
    ]
    return Shown(
        name_of(found.number), found.customers, found.of,
        {name: counts[stock_code] for name, counts in found.lists.items()},
        {name: counts[stock_code] for name, counts in found.beside.items()},
        {name: where.get(stock_code, ()) for name, where in found.visitors.items()},
        tuple(sorted(by_country, key=lambda each: (-each[1], each[0]))),
    )  # fmt: skip


def _sold(
    connection: Any, code: str, sold_at: datetime | None
) -> tuple[Any, datetime | None, datetime | None, list[Any]]:
    """The newest load that lists know, the first and the last instant of the weeks, and what the product sold."""
    (newest,) = query_rows(connection, "newest_sales")
    until = newest.as_of or (sold_at + timedelta(microseconds=1) if sold_at else None)
    since = first_week(until) if until else None
    sold = query_rows(connection, "product_weeks", stock_code=code, since=since, until=until) if until else []
    return newest, since, until, list(sold)


def _page(settings: Settings, text: str, after: str, most: int) -> list[Named]:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    words = [f"%{word}%" for word in escaped.split()[:_MANY_WORDS]]
    asked = {"code": canonical(text), "words": words, "after": after, "most": most + 1}
    return [Named(row.stock_code, row.description) for row in read_rows(settings, "products_after", **asked)]


def _found(products: Sequence[Named], most: int, meant: str | None) -> Found:
    more = len(products) > most
    return Found(tuple(products[:most]), products[most - 1].stock_code if more else None, meant)


def _meant(settings: Settings, text: str) -> str | None:
    """What somebody probably meant: a code, or words, that products have; None if nothing is like it."""
    words = text.casefold().split()[:_MANY_WORDS]
    letters = sorted({word[0] for word in words})
    known = [row.word for row in read_rows(settings, "words_like", letters=letters, most=_KNOWN_WORDS)]
    there = set(known)
    meant: list[str] = []
    for word in words:
        near = [word] if word in there else difflib.get_close_matches(word, known, n=1, cutoff=0.75)
        meant += near
    if meant and len(meant) == len(words) and meant != words:
        return " ".join(meant)
    code = canonical(text)
    similar = [row.stock_code for row in read_rows(settings, "similar_codes", begins=code[: max(1, len(code) - 2)])]
    return closest(code, similar)


def _weeks(sold: Sequence[Any], places: Mapping[date, Sequence[str]], code: str, since: datetime) -> tuple[Week, ...]:
    by_week = {row.week: row for row in sold}
    weeks = []
    for number in range(WEEKS):
        begins = (since + timedelta(weeks=number)).date()
        row, ranked = by_week.get(begins), places.get(begins, ())
        place = ranked.index(code) + 1 if code in ranked else None
        weeks.append(Week(begins, row.pieces, row.takings, row.invoices, place) if row else Week(begins, 0, 0, 0, None))
    return tuple(weeks)


@lru_cache(maxsize=2)
def _places(settings: Settings, batch_id: int, until: datetime) -> dict[date, list[str]]:  # noqa: ARG001
    """The products of each week by takings, best first: read once after each load."""
    return best_of_weeks(settings, until)


def _short(code: str) -> str:
    return code if len(code) <= 60 else f"{code[:60]}…"
