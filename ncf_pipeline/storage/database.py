"""Postgres: connections, and a vendor's errors said once in our words."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with the name of a function
from psycopg2.extras import NamedTupleCursor

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.resources import query

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


def fetch(connection: Connection, statement: str, schema: pl.Schema, **parameters: object) -> pl.DataFrame:
    """Rows of a statement, in its order, copied out of Postgres as a table: for millions of them."""
    content = io.BytesIO()
    with connection.cursor() as cursor:
        # Timestamps come in the way that is asked for, not in that of the server's settings.
        cursor.execute("set local datestyle to 'ISO'")
        bound = cursor.mogrify(statement, parameters).decode()
        cursor.copy_expert(f"copy ({bound}) to stdout with (format csv, header, force_quote *)", content)
    content.seek(0)
    moments = [name for name, kind in schema.items() if kind == pl.Datetime("us")]
    text = {**schema, **dict.fromkeys(moments, pl.String())}
    frame = pl.read_csv(content, schema=text)
    return frame.with_columns(pl.col(moments).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us"))
