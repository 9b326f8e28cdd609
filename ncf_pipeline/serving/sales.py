"""What sold in each week and on each day before the live lists, added up once for each publication.

To add it up reads all lines of half a year. Whoever publishes does so and keeps it, so that no page has to. A page that
finds nothing kept, as after an upgrade, adds it up itself.

Every function here raises DatabaseError if Postgres cannot be reached or refuses.
"""

import logging
from datetime import date, datetime, timedelta

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, query_rows, read_rows, transaction
from ncf_pipeline.storage.resources import query

WEEKS = 26
"""Weeks of sales."""

RANKED = 1000
"""Products that have a place in a week."""

DAYS = 42
"""Days whose lines are counted."""

logger = logging.getLogger(__name__)


def first_week(until: datetime) -> datetime:
    """The Monday with which the last `WEEKS` weeks begin.

    Args:
        until: the first instant that they do not have, on the shop's clock.
    """
    last = until - timedelta(microseconds=1)
    monday = datetime(last.year, last.month, last.day, tzinfo=last.tzinfo) - timedelta(days=last.weekday())
    return monday - timedelta(weeks=WEEKS - 1)


def keep(settings: Settings) -> None:
    """Adds up what sold before the newest lists, and keeps it in place of what was kept for earlier ones.

    Lists are live without it, so that a failure is logged and no more.
    """
    try:
        with transaction(settings) as connection, connection.cursor() as cursor:
            execute(connection, "lock_kept_sales")
            (newest,) = query_rows(connection, "newest_sales")
            if newest.as_of is None:
                return
            as_of, day = newest.as_of, newest.as_of.replace(hour=0, minute=0, second=0, microsecond=0)
            weeks = query_rows(connection, "best_of_weeks", since=first_week(as_of), until=as_of, most=RANKED)
            days = query_rows(connection, "trend_days", since=as_of - timedelta(days=DAYS), until=day)
            execute(connection, "delete_kept_sales")
            cursor.executemany(
                query("insert_kept_week"),
                [{"week": row.week, "stock_codes": row.stock_codes, "as_of": as_of} for row in weeks],
            )
            cursor.executemany(
                query("insert_kept_day"), [{"day": row.day, "lines": row.lines, "as_of": as_of} for row in days]
            )
    except DatabaseError as error:
        logger.warning("What sold was not added up, so that each page does it: %s", error)


def best_of_weeks(settings: Settings, until: datetime) -> dict[date, list[str]]:
    """The products with the highest takings of each of the last `WEEKS` weeks, up to `RANKED` of them, best first.

    Args:
        settings: of the shop.
        until: the first instant that counts no more: up to where the newest lists know sales.
    """
    rows = read_rows(settings, "kept_weeks", as_of=until)
    rows = rows or read_rows(settings, "best_of_weeks", since=first_week(until), until=until, most=RANKED)
    return {row.week: row.stock_codes for row in rows}


def lines_by_day(settings: Settings) -> list[tuple[date, int]]:
    """How many lines each day has, on the shop's clock: of the last `DAYS` days that the newest lists know, and later.

    Before the first lists, it is none.
    """
    (newest,) = read_rows(settings, "newest_sales")
    if newest.as_of is None:
        return []
    kept = read_rows(settings, "kept_days", as_of=newest.as_of)
    since = newest.as_of - timedelta(days=DAYS)
    if kept:
        since = newest.as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    return [(row.day, row.lines) for row in (*kept, *read_rows(settings, "trend_days", since=since, until=None))]
