"""The rules of `expectations/top_n_lists.json`, checked on lists before a shopper sees them.

Whether a list breaks a rule depends on other data: its customer's purchases, the products that are sold, the excluded
stock codes, all other lists. So lists and purchases are copied into Postgres, a frame at a time. There each list is one
row of a few flags, and the rules are aggregates of these rows. Postgres spills to disk what does not fit into memory; a
data frame of a million customers, with every product in every list, would need tens of gigabytes, or rules that see
only a part. The tables are unlogged, and hold rows only during a check, of one publication at a time. A server that
crashed empties them, and a check whose lock was lost may meet another one's rows. So each check proves at its end that
it saw its own rows and no others.

`serving/publication` checks that the list store holds what was written.
"""

import io
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd
import polars as pl

from ncf_pipeline.columns import EVERYWHERE, LISTS_OF, Interactions, Lists
from ncf_pipeline.errors import DatabaseUnavailableError, InputError
from ncf_pipeline.evaluation.splits import interactions_as_of
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.suites import Verdict
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction
from ncf_pipeline.storage.locks import Lock
from ncf_pipeline.storage.resources import query

__all__ = ["SUITE", "check_lists"]

SUITE = "top_n_lists"
_LOCK = Lock(0x6C697374, "checks lists")  # "list": one publication is checked at a time
_ROWS_AT_ONCE = 100_000
_LINES_AT_ONCE = 1_000_000
_PRICED = (Interactions.STOCK_CODE, Interactions.UNIT_PRICE, Interactions.PURCHASED_AT)
_USED = (
    Interactions.CUSTOMER_ID,
    Interactions.STOCK_CODE,
    Interactions.COUNTRY,
    Interactions.UNIT_PRICE,
    Interactions.PURCHASED_AT,
    Interactions.RETURNED_AT,
)


@dataclass(frozen=True)
class _Filled:
    """What was written to be checked.

    Attributes:
        products: that are sold.
        rows: number of them in both tables.
        transaction: that wrote them, as Postgres numbers it.
    """

    products: int
    rows: int
    transaction: str


def check_lists(
    settings: Settings,
    lists: Iterable[pd.DataFrame],
    interactions: pd.DataFrame | Iterable[pd.DataFrame],
    as_of: datetime,
    *,
    top_n: int,
    today: date,
    full: int | None = None,
    control: Collection[str] = (),
    hidden: Collection[str] = (),
) -> Verdict:
    """Checks every rule on all lists of a publication. If two publications are checked at once, the second waits.

    Args:
        settings: whose database.
        lists: frames with the columns of `columns.Lists`; read one by one.
        interactions: columns of `columns.Interactions`, from which the lists were made; or parts of them, all lines of
            a customer in one. They are passed because the database may hold newer invoices, which the lists cannot
            know.
        as_of: the lists know only interactions before this instant.
        top_n: the most products in a list.
        full: the products of a full list; as `top_n` if None.
        today: the day whose merchandising rules apply.
        control: customers with best sellers in place of lists of their own. Rules on all customers' lists together
            leave theirs out.
        hidden: products that were hidden when the lists were made. A pin of one of them is not missed.

    Returns:
        The broken rules; none is raised as an error.

    Raises:
        InputError: a row has no list of stock codes.
        DatabaseError: Postgres cannot be reached or refused a statement; a `DatabaseUnavailableError` if the rows were
            lost while they were checked.
        QualityError: a rule could not be checked. That says nothing about the lists.
    """
    with _LOCK.held(settings):  # `_refuse_if_lost` proves that it was not lost
        try:
            filled = _fill(settings, lists, interactions, as_of, today, control, hidden)
            verdict = quality.check_table(
                settings.database(),
                "checked_list",
                SUITE,
                index=(Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME),
                parameters={"top_n": top_n, "full_length": min(full or top_n, filled.products)},
            )
            _refuse_if_lost(settings, filled)
            return verdict
        finally:
            with transaction(settings) as connection:
                _empty(connection)


def _fill(
    settings: Settings,
    lists: Iterable[pd.DataFrame],
    interactions: pd.DataFrame | Iterable[pd.DataFrame],
    as_of: datetime,
    today: date,
    control: Collection[str],
    hidden: Collection[str],
) -> _Filled:
    """Fills `ml.checked_list` and `ml.checked_product`."""
    countries, prices = {EVERYWHERE}, list[pl.DataFrame]()
    with transaction(settings) as connection, connection.cursor() as cursor:
        _empty(connection)
        cursor.execute(query("create_given_lists"))
        for frame in lists:
            _copy(connection, "given_list", _as_text(frame))
        for part in [interactions] if isinstance(interactions, pd.DataFrame) else interactions:
            for begin in range(0, len(part), _LINES_AT_ONCE):
                known = interactions_as_of(part.iloc[begin : begin + _LINES_AT_ONCE][list(_USED)], as_of)
                prices.append(_newest_price(pl.from_pandas(known[[*_PRICED]])))
                countries.update(known[Interactions.COUNTRY].dropna().unique())
            for pairs, customers in _pairs(part, as_of):
                _copy(connection, "given_pair", pairs)
                _copy(connection, "given_customer_country", customers)
        products = _newest_price(pl.concat(prices)).drop(Interactions.PURCHASED_AT) if prices else pl.DataFrame()
        _copy(connection, "given_product", products)
        _copy(connection, "given_control", pl.DataFrame({"key": sorted(control)}))
        _copy(connection, "given_country", pl.DataFrame({"country": sorted(countries)}))
        # Postgres does not do this by itself for temporary tables, and without it plans their joins blindly.
        cursor.execute(
            "analyze given_list, given_pair, given_customer_country, given_product, given_country, given_control"
        )
        cursor.execute(query("fill_checked_products"), {"today": today})
        cursor.execute(
            query("fill_checked_lists"),
            {
                "today": today,
                "hidden": sorted(hidden),
                **{f"{audience}_lists": list(names) for audience, names in LISTS_OF.items()},
            },
        )
        cursor.execute("analyze ml.checked_list, ml.checked_product")
        cursor.execute("select pg_current_xact_id()::xid::text")
        (mine,) = cursor.fetchone() or ("",)
        (found,) = query_rows(connection, "rows_to_check", transaction=mine)
    return _Filled(products.height, found.there, mine)


def _refuse_if_lost(settings: Settings, filled: _Filled) -> None:
    """Proves that the rows that were checked are still there, and no others.

    Raises:
        DatabaseUnavailableError: they are not, so the verdict says nothing about the lists.
    """
    with transaction(settings) as connection:
        (found,) = query_rows(connection, "rows_to_check", transaction=filled.transaction)
    if not found.there == found.mine == filled.rows:
        raise DatabaseUnavailableError(
            "The lists were lost while they were checked: Postgres crashed, or another check ran at once because a "
            "lock was lost. The previous lists stay live. Publish again."
        )


def _empty(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("truncate ml.checked_list, ml.checked_product")


def _copy(connection: Connection, table: str, frame: pl.DataFrame) -> None:
    with connection.cursor() as cursor:
        for rows in frame.iter_slices(_ROWS_AT_ONCE):
            content = io.BytesIO()
            rows.write_csv(content, include_header=False, quote_style="always")
            content.seek(0)
            cursor.copy_expert(f"copy {table} from stdin with (format csv)", content)


def _as_text(lists: pd.DataFrame) -> pl.DataFrame:
    """The lists, with the stock codes as an array in Postgres' notation."""
    names = (Lists.AUDIENCE, Lists.KEY, Lists.LIST_NAME)
    try:
        arrays = [_array(stock_codes) for stock_codes in lists[Lists.STOCK_CODES]]
    except TypeError as error:
        raise InputError("A row of the lists has no list of stock codes. The previous lists stay live.") from error
    columns = {name: lists[name].astype(str).tolist() for name in names}
    return pl.DataFrame({**columns, Lists.STOCK_CODES: arrays})


def _array(stock_codes: Iterable[str]) -> str:
    quoted = (str(code).replace("\\", "\\\\").replace('"', '\\"') for code in stock_codes)
    return "{" + ",".join(f'"{code}"' for code in quoted) + "}"


def _newest_price(sales: pl.DataFrame) -> pl.DataFrame:
    """One row for each product: its highest price at its newest sale."""
    newest = pl.col(Interactions.PURCHASED_AT) == pl.col(Interactions.PURCHASED_AT).max()
    return (
        sales.group_by(Interactions.STOCK_CODE)
        .agg(pl.col(Interactions.UNIT_PRICE).filter(newest).max(), pl.col(Interactions.PURCHASED_AT).max())
        .sort(Interactions.STOCK_CODE)
    )


def _pairs(interactions: pd.DataFrame, as_of: datetime) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Pairs of customer and product, and the customers' countries; for a part of the customers at a time.

    The lines of all customers together would be as large as the interactions.

    Yields:
        One row for each customer and product, `is_kept` if a purchase of it is not returned by `as_of`; and one row
        for each customer and country: the country of their newest invoice, or several if these are of one instant.
    """
    parts = len(interactions) // _LINES_AT_ONCE + 1
    customer, _ = pd.factorize(interactions[Interactions.CUSTOMER_ID])  # -1 for a guest
    for part in range(parts):
        mine = interactions.loc[(customer >= 0) & (customer % parts == part), list(_USED)]
        lines = pl.from_pandas(mine).filter(pl.col(Interactions.PURCHASED_AT) < as_of)
        pairs = (
            lines.lazy()
            .with_columns(is_kept=(pl.col(Interactions.RETURNED_AT) >= as_of).fill_null(value=True))
            .group_by(Interactions.CUSTOMER_ID, Interactions.STOCK_CODE)
            .agg(pl.col("is_kept").any())
            .collect()
        )
        purchased_at = pl.col(Interactions.PURCHASED_AT)
        customers = (
            lines.filter(purchased_at == purchased_at.max().over(Interactions.CUSTOMER_ID))
            .select(Interactions.CUSTOMER_ID, Interactions.COUNTRY)
            .drop_nulls()
            .unique()
        )
        yield pairs, customers
