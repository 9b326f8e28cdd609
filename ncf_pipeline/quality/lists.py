"""The rules of `expectations/top_n_lists.json`, checked on lists before a shopper sees them.

Whether a list breaks a rule depends on other data: its customer's purchases, the products that are sold, the excluded
stock codes, all other lists. `list_flags` makes a row of a few flags of each list, and nothing else is copied into
Postgres. There the rules are aggregates of these rows. The tables are unlogged, and hold rows only during a check, of
one publication at a time. A server that crashed empties them, and a check whose lock was lost may meet another one's
rows. So each check proves at its end that it saw its own rows and no others.

`serving/publication` checks that the list store holds what was written.
"""

import io
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime

import pandas as pd
import polars as pl
import pyarrow as pa

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import DatabaseUnavailableError
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.list_flags import Given, Pin, Purchases, flags_of, listed_products, products_on_lists
from ncf_pipeline.quality.suites import Verdict
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_records, query_rows, transaction
from ncf_pipeline.storage.locks import Lock
from ncf_pipeline.storage.resources import query

__all__ = ["SUITE", "check_lists"]

SUITE = "top_n_lists"
_LOCK = Lock(0x6C697374, "checks lists")  # "list": one publication is checked at a time
_ROWS_AT_ONCE = 100_000


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
    lists: Iterable[pa.Table | pd.DataFrame],
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
        lists: tables of Arrow, or frames, with the columns of `columns.Lists`; read one by one.
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
            parts = [interactions] if isinstance(interactions, pd.DataFrame) else interactions
            filled = _fill(settings, lists, parts, as_of, today, control, hidden)
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
    lists: Iterable[pa.Table | pd.DataFrame],
    interactions: Iterable[pd.DataFrame],
    as_of: datetime,
    today: date,
    control: Collection[str],
    hidden: Collection[str],
) -> _Filled:
    """Fills `ml.checked_list` and `ml.checked_product`."""
    # No transaction is open while something is computed: many a Postgres ends one that is idle for a minute.
    given = Given(lists, control)
    with transaction(settings) as connection:
        pins = query_records(connection, Pin, "pins_in_force", today=today)
    purchases = Purchases(interactions, as_of, given, {pin.stock_code for pin in pins})
    listed = listed_products(given, purchases, pins)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("create_listed_products"))
        _copy(connection, "listed_product", listed)
        # Postgres does not do this by itself for temporary tables, and without it plans their joins blindly.
        cursor.execute("analyze listed_product")
        products = query_rows(connection, "listed_products", today=today)
        most_of_family = query_rows(connection, "list_limits")[0].max_per_family
    flags = flags_of(given, purchases, products, pins, control=control, hidden=hidden, most_of_family=most_of_family)
    counted = products_on_lists(given, purchases, pins)
    with transaction(settings) as connection, connection.cursor() as cursor:
        _empty(connection)
        _copy(connection, f"ml.checked_list ({', '.join(flags.columns)})", flags)
        _copy(connection, "ml.checked_product (stock_code, customers)", counted)
        cursor.execute("analyze ml.checked_list, ml.checked_product")
        cursor.execute("select pg_current_xact_id()::xid::text")
        (mine,) = cursor.fetchone() or ("",)
        (found,) = query_rows(connection, "rows_to_check", transaction=mine)
    return _Filled(len(purchases.prices), found.there, mine)


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
            # Texts are quoted, and none is missing; so what is missing differs from an empty text.
            rows.write_csv(content, include_header=False, quote_style="non_numeric")
            content.seek(0)
            cursor.copy_expert(f"copy {table} from stdin with (format csv)", content)
