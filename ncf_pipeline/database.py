"""Postgres: connections, and a vendor's errors said once in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with the name of a function
from psycopg2.extras import NamedTupleCursor

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.resources import query
from ncf_pipeline.settings import Settings

__all__ = ["Connection", "query_rows", "read_rows", "transaction"]


@contextmanager
def transaction(settings: Settings) -> Iterator[Connection]:
    """A connection whose work is committed at the end of the block, or rolled back whole.

    Raises:
        SettingsError: no database is set and the embedded one does not run.
        DatabaseError: Postgres cannot be reached or refused a statement.
    """
    url = settings.database()
    try:
        connection = psycopg2.connect(url, application_name="ncf-pipeline", connect_timeout=10)
    except psycopg2.OperationalError as error:
        raise DatabaseError(f"Postgres cannot be reached: {one_line(error)}. Is it running?") from error
    try:
        with connection:
            yield connection
    except psycopg2.errors.UndefinedTable as error:
        raise DatabaseError(f"{one_line(error)}. Run `ncf-pipeline migrate` first.") from error
    except psycopg2.errors.InvalidSchemaName as error:
        raise DatabaseError(f"{one_line(error)}. Run `ncf-pipeline migrate` first.") from error
    except psycopg2.Error as error:
        raise DatabaseError(f"Postgres: {one_line(error)}. Nothing of this step was kept.") from error
    finally:
        connection.close()


def query_rows(connection: Connection, name: str, **parameters: Any) -> list[Any]:
    """What `sql/queries/NAME.sql` gives in a transaction that is open, as named tuples."""
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(query(name), parameters)  # type: ignore[no-untyped-call]
        return list(cursor.fetchall())


def read_rows(settings: Settings, name: str, **parameters: Any) -> list[Any]:
    """What `sql/queries/NAME.sql` gives in a transaction of its own, as named tuples.

    Raises:
        SettingsError: no database is set and the embedded one does not run.
        DatabaseError: Postgres cannot be reached or refused.
    """
    with transaction(settings) as connection:
        return query_rows(connection, name, **parameters)


def one_line(error: Exception) -> str:
    """The first line of a vendor's message, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
