"""What the rules on lists ask of each list, as a row of a few flags: see `quality.lists`.

The flags come from other data: the customer's purchases, the products that are sold, the merchandiser's rules. Stock
codes are numbers here, all lists are one array of them, and what holds for a product is looked up in that array.
Purchases are read a part at a time, and what needs more for a place than its four bytes looks at some lists at a time.
So time and memory follow the places on lists, and Postgres is asked about products only.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa

from ncf_pipeline.columns import DISCOVER, EVERYWHERE, FOR_YOU, LISTS_OF, SIMILAR, Audience, Interactions, Lists
from ncf_pipeline.errors import InputError
from ncf_pipeline.threads import in_order

_LINES_AT_ONCE = 1_000_000
_PLACES_AT_ONCE = 1_000_000  # a join or a count takes some 200 bytes for each
_LISTS_AT_ONCE = 50_000
_NAMES = (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME)
_BY_PRODUCT = {
    "has_unsold": "is_unsold",
    "has_excluded": "is_excluded",
    "has_undescribed": "is_undescribed",
    "has_unlisted": "is_unlisted",
    "has_cheap": "is_cheap",
}
_USED = (
    Interactions.CUSTOMER_ID,
    Interactions.STOCK_CODE,
    Interactions.COUNTRY,
    Interactions.UNIT_PRICE,
    Interactions.PURCHASED_AT,
    Interactions.RETURNED_AT,
)
_NO_PLACE, _SEVERAL = -1, -2  # in place of the number of a country

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class _Numbers:
    """A number for each stock code, from 0 in the order in which they are met."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}

    def add(self, codes: pl.Series) -> npt.NDArray[np.int32]:
        """The numbers of stock codes, which get one if they have none."""
        different = codes.unique().to_list()
        for code in different:
            self.of.setdefault(code, len(self.of))
        if not different:
            return np.empty(0, np.int32)
        return codes.replace_strict(different, [self.of[code] for code in different], return_dtype=pl.Int32).to_numpy()

    def as_table(self) -> pl.DataFrame:
        """Stock codes with their numbers."""
        schema = {Interactions.STOCK_CODE: pl.String, "code": pl.Int32}
        return pl.DataFrame([list(self.of), list(self.of.values())], schema=schema)


@dataclass(frozen=True)
class Pin:
    """A pin in force, as in `retail.pinned_product`."""

    stock_code: str
    list_name: str
    country: str | None
    beside: str | None


class Given:
    """All lists of a publication.

    Args:
        lists: tables of Arrow, or frames, with the columns of `columns.Lists`; read one by one.
        control: customers with best sellers in place of lists of their own.

    Attributes:
        rows: one for each list: audience, key, name, `length`, `has_repeated`, and `digest`, of a customer's own
            `for_you`: the same products in the same order have the same.
        customers: by the number of a stock code, on how many customers' own `for_you` it is.

    Raises:
        InputError: a row has no list of stock codes.
    """

    def __init__(self, lists: Iterable[pa.Table | pd.DataFrame], control: Collection[str]) -> None:
        self.numbers = _Numbers()
        in_control = pl.Series(sorted(control), dtype=pl.String)
        rows, codes, counts = [_NO_ROWS], [np.empty(0, np.int32)], Counter[int]()
        for frame in lists:
            table = _table_of(frame)
            listed = pl.col(Lists.STOCK_CODES)
            is_own = (
                (pl.col(Lists.AUDIENCE) == "customer")
                & (pl.col(Lists.LIST_NAME) == FOR_YOU)
                & ~pl.col(Lists.KEY).is_in(in_control.implode())
            )
            made = table.select(
                *_NAMES,
                length=listed.list.len().cast(pl.Int32),
                has_repeated=listed.list.n_unique() < listed.list.len(),
                digest=pl.when(is_own).then(_number_of(listed.list.join("\0"))),
            )
            rows.append(made.cast(_NO_ROWS.schema))
            here = self.numbers.add(table[Lists.STOCK_CODES].explode(empty_as_null=False))
            codes.append(here)
            of_own = np.repeat(made["digest"].is_not_null().to_numpy(), made["length"].to_numpy())
            for number, count in zip(*np.unique(here[of_own], return_counts=True), strict=True):
                counts[int(number)] += int(count)
        self.rows = pl.concat(rows).with_row_index("row")
        self._codes = np.concatenate(codes)
        self._ends = self.rows["length"].cast(pl.Int64).cum_sum().to_numpy()
        self.customers = counts

    def some_lists(self) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]]:
        """The rows and the numbers of their products, an entry for each product of each list; some lists at a time."""
        begin, first = 0, 0
        while begin < len(self._ends):
            end = max(int(np.searchsorted(self._ends, first + _PLACES_AT_ONCE, side="right")), begin + 1)
            lengths = np.diff(self._ends[begin:end], prepend=first)
            last = int(self._ends[end - 1])
            yield np.repeat(np.arange(begin, end, dtype=np.uint32), lengths), self._codes[first:last]
            begin, first = end, last

    def showing(self, numbers: Iterable[int]) -> Iterator[pl.DataFrame]:
        """Which lists show some products: `row` and `code`, each pair once; some lists at a time."""
        wanted = np.zeros(len(self.numbers.of), np.bool_)
        wanted[list(numbers)] = True
        for rows, codes in self.some_lists():
            there = wanted[codes]
            yield pl.DataFrame({"row": rows[there], "code": codes[there]}).unique()

    def places_of(self, rows: npt.NDArray[np.uint32]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
        """The rows of some lists and the numbers of their products: an entry for each product of each list."""
        lengths = self.rows["length"].to_numpy()[rows].astype(np.int64)
        begins = self._ends[rows] - lengths
        ends = np.cumsum(lengths)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - (ends - lengths), lengths)
        return np.repeat(rows, lengths), self._codes[places]

    @cached_property
    def discovered(self) -> pl.DataFrame:
        """The lists of what a customer never bought: customer and row."""
        of_customer = (pl.col(Lists.AUDIENCE) == "customer") & (pl.col(Lists.LIST_NAME) == DISCOVER)
        return self.rows.filter(of_customer).select(pl.col(Lists.KEY).alias(Interactions.CUSTOMER_ID), "row")


class Purchases:
    """What the lists may know of purchases, and what of it is asked.

    Args:
        parts: columns of `columns.Interactions`; all lines of a customer are in one part.
        as_of: what was bought from this instant on is not known.
        given: the lists. Every product that was sold gets a number.
        pinned: stock codes whose buyers are wanted.

    Attributes:
        customers: one row for each: `is_active` if a purchase of theirs is not returned, `history`, equal for equal
            sets of products.
        countries: of each customer's newest invoice; several if these are of one instant.
        everywhere: all countries, and `*`.
        prices: by stock code, the highest at its newest sale.
        has_bought: rows of `discover` lists that show what their customer bought.
        buyers: of pinned products: customer and `code`.
    """

    def __init__(self, parts: Iterable[pd.DataFrame], as_of: datetime, given: Given, pinned: Collection[str]) -> None:
        customers, countries, prices, buyers = [_NO_CUSTOMERS], [_NO_COUNTRIES], [_NO_PRICES], [_NO_BUYERS]
        places, bought = [_NO_COUNTRIES.select(Interactions.COUNTRY)], [_NO_SHOWN.select("row")]
        numbers = given.numbers.as_table()
        of_pins = pl.col(Interactions.STOCK_CODE).is_in(list(pinned))

        def asked(lines: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
            lines = lines.filter(pl.col(Interactions.PURCHASED_AT) < as_of)
            returned = (pl.col(Interactions.RETURNED_AT) < as_of).fill_null(value=False)
            known, of_customers = lines.filter(~returned), lines.drop_nulls(Interactions.CUSTOMER_ID)
            pairs = _pairs(of_customers, as_of)
            of_codes = pairs.join(numbers, on=Interactions.STOCK_CODE)
            return (
                _newest_prices(known.select(_NO_PRICES.columns)),
                known.select(pl.col(Interactions.COUNTRY).drop_nulls().unique()),
                _histories(pairs),
                _newest_countries(of_customers),
                _bought(given, of_codes),
                of_codes.filter(of_pins).select(_NO_BUYERS.columns),
            )

        for some in in_order(asked, _by_customer(parts)):
            for found, answer in zip((prices, places, customers, countries, bought, buyers), some, strict=True):
                found.append(answer)
        self.everywhere = {EVERYWHERE, *pl.concat(places)[Interactions.COUNTRY]}
        self.has_bought = pl.concat(bought)["row"].to_numpy()
        self.customers = pl.concat(customers)
        self.countries = pl.concat(countries)
        self.buyers = pl.concat(buyers)
        self.prices = _newest_prices(pl.concat(prices)).drop(Interactions.PURCHASED_AT)


_NO_ROWS = pl.DataFrame(
    schema={
        Lists.AUDIENCE: pl.Categorical,
        Lists.KEY: pl.String,
        Lists.LIST_NAME: pl.Categorical,
        "length": pl.Int32,
        "has_repeated": pl.Boolean,
        "digest": pl.Int64,
    }
)
_NO_PRICES = pl.DataFrame(
    schema={
        Interactions.STOCK_CODE: pl.String,
        Interactions.UNIT_PRICE: pl.Float64,
        Interactions.PURCHASED_AT: pl.Datetime("us"),
    }
)
_NO_CUSTOMERS = pl.DataFrame(schema={Interactions.CUSTOMER_ID: pl.String, "is_active": pl.Boolean, "history": pl.Int64})
_NO_COUNTRIES = pl.DataFrame(schema={Interactions.CUSTOMER_ID: pl.String, Interactions.COUNTRY: pl.String})
_NO_SHOWN = pl.DataFrame(schema={"row": pl.UInt32, "code": pl.Int32})
_NO_BUYERS = pl.DataFrame(schema={Interactions.CUSTOMER_ID: pl.String, "code": pl.Int32})


def listed_products(given: Given, purchases: Purchases, pins: Collection[Pin]) -> pl.DataFrame:
    """The products about which the rules ask: those on lists, those that were sold, and those that are pinned.

    Each gets a number.

    Returns:
        Stock codes, whether each was sold, whether a pin asks for it, whether one does or a list shows it, and the
        price of its newest sale.
    """
    keys = given.rows.filter(pl.col(Lists.AUDIENCE) == "product")[Lists.KEY]
    pinned = {pin.stock_code for pin in pins}
    shown = pinned.union(given.numbers.of)
    for codes in (keys, purchases.prices[Interactions.STOCK_CODE], pl.Series(sorted(shown), dtype=pl.String)):
        given.numbers.add(codes)
    return (
        given.numbers.as_table()
        .join(
            purchases.prices.with_columns(is_sold=True), on=Interactions.STOCK_CODE, how="left", maintain_order="left"
        )
        .select(
            Interactions.STOCK_CODE,
            pl.col("is_sold").fill_null(value=False),
            pl.col(Interactions.STOCK_CODE).is_in(sorted(pinned)).alias("is_pinned"),
            pl.col(Interactions.STOCK_CODE).is_in(sorted(shown)).alias("is_shown"),
            Interactions.UNIT_PRICE,
        )
    )


def flags_of(
    given: Given,
    purchases: Purchases,
    products: Collection[Any],
    pins: Collection[Pin],
    *,
    control: Collection[str],
    hidden: Collection[str],
    most_of_family: int | None,
) -> pl.DataFrame:
    """One row for each list that is given or expected.

    Args:
        given: the lists.
        purchases: what they may know.
        products: what holds for each product of `given.numbers`, as `listed_products.sql` returns it.
        pins: in force.
        control: customers with best sellers in place of lists of their own.
        hidden: products that were hidden when the lists were made. A pin of one of them is not missed.
        most_of_family: variants of one product that a list may have; None: any number.

    Returns:
        The columns of `ml.checked_list`. A list that is missing has no `length`.
    """
    by_code = {product.stock_code: product for product in products}
    facts = [by_code[code] for code in given.numbers.of]
    rows = given.rows.join(
        purchases.customers,
        left_on=[Lists.KEY, Lists.AUDIENCE],
        right_on=[Interactions.CUSTOMER_ID, pl.lit("customer").cast(pl.Categorical)],
        how="left",
        maintain_order="left",
    )
    flags = {
        flag: _rows_with(given, [number for number, fact in enumerate(facts) if getattr(fact, name)])
        for flag, name in _BY_PRODUCT.items()
    }
    flags["has_bought"] = np.zeros(len(rows), np.bool_)
    flags["has_bought"][purchases.has_bought] = True
    places = _places(given, purchases)
    flags["has_foreign"] = _foreign(given, facts, places)
    plain = _plain_pins(pins, by_code, hidden, most_of_family)
    flags["lacks_pinned"] = _without_pins(given, purchases, plain, places)
    members = _members(given, facts) if most_of_family is not None else pl.Series([None] * len(rows), dtype=pl.Int64)
    expected = _expected(given, purchases, facts, control)
    for_you = pl.col(Lists.LIST_NAME) == FOR_YOU
    there = rows.with_columns(
        **{name: pl.Series(values) for name, values in flags.items()},
        is_expected=pl.Series(_are_expected(given, expected)),
        family_members=members,
        history=pl.when(for_you).then("history"),
    )
    missing = [pl.DataFrame(schema=dict.fromkeys(_NAMES, pl.String))]
    for (audience, name), keys in expected.items():
        given_keys = _of(given.rows, audience, name)[Lists.KEY]
        absent = keys.to_frame(Lists.KEY).filter(~pl.col(Lists.KEY).is_in(given_keys.implode()))
        missing.append(absent.select(pl.lit(audience).alias(_NAMES[0]), _NAMES[1], pl.lit(name).alias(_NAMES[2])))
    of_customer = pl.col(Lists.AUDIENCE) == "customer"
    lacking = (
        pl.concat(missing)
        .join(purchases.customers, left_on=Lists.KEY, right_on=Interactions.CUSTOMER_ID, how="left")
        .with_columns(
            is_expected=pl.lit(value=True),
            has_repeated=pl.lit(value=False),
            history=pl.when(of_customer, for_you).then("history"),
            **{name: pl.lit(value=False) for name in flags},
        )
        .cast({Lists.AUDIENCE: pl.Categorical, Lists.LIST_NAME: pl.Categorical})
    )
    columns = [*_NAMES, "is_expected", "length", "has_repeated", *flags, "family_members", "digest", "history"]
    return pl.concat([there.select(columns), lacking], how="diagonal").select(columns)


def products_on_lists(given: Given, purchases: Purchases, pins: Collection[Pin]) -> pl.DataFrame:
    """For each product that was sold, on how many customers' own `for_you` it is by its rank.

    Lists on which a pin put it are left out, but a product that is on any list counts as shown.

    Returns:
        The columns of `ml.checked_product`.
    """
    mine = [pin for pin in pins if pin.list_name == FOR_YOU and pin.stock_code in given.numbers.of]
    pinned = dict[str, int]()
    if mine:
        of_pins = pl.DataFrame(
            [(given.numbers.of[pin.stock_code], pin.country) for pin in mine],
            schema={"code": pl.Int32, "pinned_in": pl.String},
            orient="row",
        )
        own = given.rows.filter(pl.col("digest").is_not_null()).select("row", Lists.KEY)
        shown = pl.concat([_NO_SHOWN, *given.showing(of_pins["code"])]).join(own, on="row")
        shown = shown.join(purchases.countries, left_on=Lists.KEY, right_on=Interactions.CUSTOMER_ID, how="left")
        everywhere = pl.col("pinned_in").is_null() | (pl.col("pinned_in") == pl.col(Interactions.COUNTRY))
        by_pin = shown.join(of_pins, on="code").filter(everywhere)
        counted = by_pin.group_by("code").agg(pl.col(Lists.KEY).n_unique())
        codes = list(given.numbers.of)
        pinned = {codes[code]: count for code, count in counted.iter_rows()}
    shown_on = {code: given.customers.get(number, 0) for code, number in given.numbers.of.items()}
    sold = purchases.prices[Interactions.STOCK_CODE].to_list()
    return pl.DataFrame(
        {
            Interactions.STOCK_CODE: sold,
            "customers": [max(shown_on[code] - pinned.get(code, 0), 1) if shown_on.get(code) else 0 for code in sold],
        },
        schema={Interactions.STOCK_CODE: pl.String, "customers": pl.Int64},
    )


def _table_of(frame: pa.Table | pd.DataFrame) -> pl.DataFrame:
    names = [*_NAMES, Lists.STOCK_CODES]
    try:
        if isinstance(frame, pa.Table):
            table = pl.DataFrame(pl.from_arrow(frame.select(names)))
        else:
            texts = {name: frame[name].astype(str).tolist() for name in _NAMES}
            codes = [[str(code) for code in each] for each in frame[Lists.STOCK_CODES]]
            table = pl.DataFrame({**texts, Lists.STOCK_CODES: codes})
        types = {**dict.fromkeys(_NAMES, pl.String), Lists.STOCK_CODES: pl.List(pl.String)}
        table = table.cast(types)  # type: ignore[arg-type]
    except (TypeError, pl.exceptions.InvalidOperationError):
        table = None
    if table is None or table[Lists.STOCK_CODES].null_count() or _has_missing(table[Lists.STOCK_CODES]):
        raise InputError("A row of the lists has no list of stock codes. The previous lists stay live.")
    return table


def _has_missing(lists: pl.Series) -> bool:
    """Whether a list has a stock code that is missing."""
    return bool(lists.explode(empty_as_null=False).null_count())


def _by_customer(parts: Iterable[pd.DataFrame]) -> Iterator[pl.DataFrame]:
    """Some lines of a part at a time: all of a customer at once, and of guests as many."""
    for part in parts:
        customer, _ = pd.factorize(part[Interactions.CUSTOMER_ID])  # -1 for a guest
        some = len(part) // _LINES_AT_ONCE + 1
        group = np.where(customer >= 0, customer, np.arange(len(part))) % some
        for number in range(some):
            yield _lines_of(part.loc[group == number, list(_USED)])


def _lines_of(part: pd.DataFrame) -> pl.DataFrame:
    """Lines as a table of one type each, whatever the frame has: categories, or a column in which all is missing."""
    texts = {Interactions.CUSTOMER_ID, Interactions.STOCK_CODE, Interactions.COUNTRY}
    lines = pl.from_pandas(part)
    return lines.with_columns(pl.col(*texts.intersection(lines.columns)).cast(pl.String))


def _number_of(text: pl.Expr) -> pl.Expr:
    """A number that is the same for the same text, as Postgres' bigint."""
    return text.hash(seed=0).reinterpret(signed=True)


def _newest_prices(sales: pl.DataFrame) -> pl.DataFrame:
    """One row for each product: its highest price at its newest sale."""
    newest = pl.col(Interactions.PURCHASED_AT) == pl.col(Interactions.PURCHASED_AT).max()
    return (
        sales.group_by(Interactions.STOCK_CODE)
        .agg(pl.col(Interactions.UNIT_PRICE).filter(newest).max(), pl.col(Interactions.PURCHASED_AT).max())
        .cast(_NO_PRICES.schema)
        .sort(Interactions.STOCK_CODE)
    )


def _pairs(lines: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
    """One row for each customer and product, `is_kept` if a purchase of it is not returned by `as_of`."""
    return (
        lines.lazy()
        .with_columns(is_kept=(pl.col(Interactions.RETURNED_AT) >= as_of).fill_null(value=True))
        .group_by(Interactions.CUSTOMER_ID, Interactions.STOCK_CODE)
        .agg(pl.col("is_kept").any())
        .collect()
    )


def _histories(pairs: pl.DataFrame) -> pl.DataFrame:
    """Customers, whether they kept something, and a number that is the same for the same products in any order."""
    return pairs.group_by(Interactions.CUSTOMER_ID).agg(
        pl.col("is_kept").any().alias("is_active"),
        # Sums of 32 bits, so that none overflows.
        (pl.col(Interactions.STOCK_CODE).hash(seed=0) // 2**32).sum().reinterpret(signed=True).alias("history"),
    )


def _newest_countries(lines: pl.DataFrame) -> pl.DataFrame:
    """Customers with the country of their newest invoice, or several if these are of one instant."""
    purchased_at = pl.col(Interactions.PURCHASED_AT)
    return (
        lines.filter(purchased_at == purchased_at.max().over(Interactions.CUSTOMER_ID))
        .select(Interactions.CUSTOMER_ID, Interactions.COUNTRY)
        .drop_nulls()
        .unique()
        .cast(_NO_COUNTRIES.schema)
    )


def _bought(given: Given, pairs: pl.DataFrame) -> pl.DataFrame:
    """The rows of the `discover` lists of a part's customers that show what they bought."""
    customers = pairs.select(Interactions.CUSTOMER_ID).unique().with_row_index("number")
    bought = pairs.join(customers, on=Interactions.CUSTOMER_ID).select("number", "code")
    found = [_NO_SHOWN.select("row")]
    for mine in given.discovered.join(customers, on=Interactions.CUSTOMER_ID).iter_slices(_LISTS_AT_ONCE):
        rows, codes = given.places_of(mine["row"].to_numpy())
        lengths = given.rows["length"].to_numpy()[mine["row"].to_numpy()]
        shown = pl.DataFrame({"number": np.repeat(mine["number"].to_numpy(), lengths), "code": codes, "row": rows})
        found.append(shown.join(bought, on=["number", "code"], how="semi").select("row").unique())
    return pl.concat(found)


def _expected(
    given: Given, purchases: Purchases, facts: list[Any], control: Collection[str]
) -> dict[tuple[Audience, str], pl.Series]:
    """By audience and name, the keys of the lists that there have to be. A new product may have a list."""
    active = purchases.customers.filter("is_active")[Interactions.CUSTOMER_ID]
    not_control = active.filter(~active.is_in(pl.Series(sorted(control), dtype=pl.String).implode()))
    sold = purchases.prices[Interactions.STOCK_CODE]
    new = pl.Series([fact.stock_code for fact in facts if fact.is_new], dtype=pl.String)
    may_have = new.filter(new.is_in(_of(given.rows, "product", SIMILAR)[Lists.KEY].implode()))
    expected = dict[tuple[Audience, str], pl.Series]()
    for name in LISTS_OF["customer"]:
        expected["customer", name] = active if name == FOR_YOU else not_control
    for name in LISTS_OF["product"]:
        expected["product", name] = pl.concat([sold, may_have]) if name == SIMILAR else sold
    for name in LISTS_OF["fallback"]:
        expected["fallback", name] = pl.Series(sorted(purchases.everywhere), dtype=pl.String)
    return expected


def _are_expected(given: Given, expected: dict[tuple[Audience, str], pl.Series]) -> Flags:
    """Whether each list is one of those."""
    flags = np.zeros(len(given.rows), np.bool_)
    for (audience, name), keys in expected.items():
        mine = _of(given.rows, audience, name)
        flags[mine.filter(pl.col(Lists.KEY).is_in(keys.implode()))["row"].to_numpy()] = True
    return flags


def _of(rows: pl.DataFrame, audience: Audience, name: str) -> pl.DataFrame:
    return rows.filter(pl.col(Lists.AUDIENCE) == audience, pl.col(Lists.LIST_NAME) == name)


def _rows_with(given: Given, numbers: list[int]) -> Flags:
    """Whether each list shows one of some products."""
    flags = np.zeros(len(given.rows), np.bool_)
    if numbers:
        for shown in given.showing(numbers):
            flags[shown["row"].to_numpy()] = True
    return flags


def _places(given: Given, purchases: Purchases) -> pl.DataFrame:
    """The country, or countries, of each list. A product's list and the one for everywhere have none."""
    by_customer = given.rows.filter(pl.col(Lists.AUDIENCE) == "customer").join(
        purchases.countries, left_on=Lists.KEY, right_on=Interactions.CUSTOMER_ID
    )
    countries = sorted(purchases.everywhere - {EVERYWHERE})
    by_country = given.rows.filter(pl.col(Lists.AUDIENCE) == "fallback", pl.col(Lists.KEY).is_in(countries))
    by_country = by_country.with_columns(pl.col(Lists.KEY).alias(Interactions.COUNTRY))
    return pl.concat([each.select("row", Interactions.COUNTRY) for each in (by_customer, by_country)])


def _foreign(given: Given, facts: list[Any], places: pl.DataFrame) -> Flags:
    """Whether each list shows a product that is not for its country."""
    flags = np.zeros(len(given.rows), np.bool_)
    pairs = [(number, country) for number, fact in enumerate(facts) for country in fact.countries or ()]
    if not pairs:
        return flags
    schema = {"code": pl.Int32, Interactions.COUNTRY: pl.String}
    allowed = pl.DataFrame(pairs, schema=schema, orient="row")
    for shown in given.showing(allowed["code"].unique()):
        fitting = shown.join(places, on="row").join(allowed, on=["code", Interactions.COUNTRY], how="semi")
        flags[shown.join(fitting, on=["row", "code"], how="anti")["row"].to_numpy()] = True
    return flags


def _plain_pins(
    pins: Collection[Pin], by_code: dict[str, Any], hidden: Collection[str], most_of_family: int | None
) -> list[Pin]:
    """Pins that no rule can hide. A pin that a rule may hide in some list is never reported as missing."""
    families = Counter(by_code[code].family for code in {pin.stock_code for pin in pins})

    def is_plain(pin: Pin) -> bool:
        fact = by_code[pin.stock_code]
        return (
            (fact.is_sold or not fact.is_undescribed)
            and (most_of_family is None or families[fact.family] <= most_of_family)
            and not (fact.is_excluded or fact.is_unlisted or fact.is_cheap or fact.countries)
            and pin.stock_code not in hidden
        )

    return [pin for pin in pins if is_plain(pin)]


def _without_pins(given: Given, purchases: Purchases, pins: list[Pin], places: pl.DataFrame) -> Flags:
    """Whether each list lacks a product that is pinned to it."""
    lacks = np.zeros(len(given.rows), np.bool_)
    if not pins:
        return lacks
    numbers = {pin.stock_code: given.numbers.of[pin.stock_code] for pin in pins}
    showing = _by_code(pl.concat([_NO_SHOWN, *given.showing(numbers.values())]))
    bought = _by_code(purchases.buyers.join(given.discovered, on=Interactions.CUSTOMER_ID).select("row", "code"))
    named = {name: (given.rows[Lists.LIST_NAME] == name).to_numpy() for name in {pin.list_name for pin in pins}}
    countries = {country: number for number, country in enumerate(sorted(purchases.everywhere))}
    single = places.group_by("row").agg(pl.col(Interactions.COUNTRY).first(), pl.len())
    place = np.full(len(given.rows), _NO_PLACE)
    place[single["row"].to_numpy()] = [
        countries[country] if count == 1 else _SEVERAL for _, country, count in single.iter_rows()
    ]
    for pin in pins:
        number = numbers[pin.stock_code]
        wanted = named[pin.list_name].copy()
        if pin.country is not None:
            wanted &= place == countries.get(pin.country, len(countries))
        if pin.beside is not None:
            wanted &= (given.rows[Lists.KEY] == pin.beside).to_numpy()
        wanted[showing.get(number, [])] = False
        if pin.list_name == DISCOVER:  # a customer who bought it cannot discover it
            wanted[bought.get(number, [])] = False
        lacks |= wanted
    return lacks


def _by_code(rows: pl.DataFrame) -> dict[int, npt.NDArray[np.uint32]]:
    return {code: each["row"].to_numpy() for (code,), each in rows.partition_by("code", as_dict=True).items()}


def _members(given: Given, facts: list[Any]) -> pl.Series:
    """How many products of one family each list has at most; missing for an empty list."""
    families, _ = pd.factorize(np.array([fact.family for fact in facts], object))
    counted = [pl.DataFrame(schema={"row": pl.UInt32, "members": pl.Int64})]
    for rows, codes in given.some_lists():
        counted.append(
            pl.DataFrame({"row": rows, "family": families[codes]})
            .group_by("row", "family")
            .agg(pl.len().cast(pl.Int64).alias("members"))
            .group_by("row")
            .agg(pl.col("members").max())
        )
    every = given.rows.select("row")
    return every.join(pl.concat(counted), on="row", how="left", maintain_order="left")["members"]
