"""Postgres: transactions, rows by name, and psycopg2's errors translated into ours."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import polars as pl
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with the name of a function
from psycopg2.extras import NamedTupleCursor

from ncf_pipeline.errors import DatabaseError, DatabaseUnavailableError, SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.faults import may_pass, one_line
from ncf_pipeline.storage.resources import query

__all__ = [
    "Connection",
    "execute",
    "fetch",
    "one_line",
    "query_records",
    "query_rows",
    "read_records",
    "read_rows",
    "transaction",
    "write",
]

Record = TypeVar("Record")


@contextmanager
def transaction(settings: Settings) -> Iterator[Connection]:
    """Opens a connection, commits at the end of the block, and rolls everything back if the block raises.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: Postgres refused a statement; a `DatabaseUnavailableError` if that may pass.
    """
    url = settings.database()
    try:
        connection = psycopg2.connect(url, application_name="ncf-pipeline", connect_timeout=10)
    except psycopg2.ProgrammingError:
        # Neither the message nor its cause is shown: both repeat the URL, with the password.
        raise SettingsError(
            "NCF_DATABASE_URL is not a URL of Postgres: write postgresql://user:password@host:5432/database."
        ) from None
    except psycopg2.OperationalError as error:
        raise DatabaseUnavailableError(f"Postgres cannot be reached: {one_line(error)}. Is it running?") from error
    try:
        try:
            yield connection
        except BaseException:
            with suppress(psycopg2.Error):  # if the connection is lost too, the block's own error says more
                connection.rollback()
            raise
        connection.commit()
    except psycopg2.errors.UndefinedTable as error:
        raise DatabaseError(f"{one_line(error)}. Run `ncf-pipeline migrate` first.") from error
    except psycopg2.errors.InvalidSchemaName as error:
        raise DatabaseError(f"{one_line(error)}. Run `ncf-pipeline migrate` first.") from error
    except psycopg2.Error as error:
        kind = DatabaseUnavailableError if may_pass(error) else DatabaseError
        raise kind(f"Postgres: {one_line(error)}. The step was rolled back.") from error
    finally:
        connection.close()


def query_rows(connection: Connection, name: str, /, **parameters: Any) -> list[Any]:
    """The rows of `sql/queries/NAME.sql`, as named tuples, in a transaction that the caller opened.

    Args:
        connection: of the open transaction.
        name: of the query.
        parameters: its placeholders.

    Returns:
        A named tuple for each row, with a field for each column.
    """
    with connection.cursor(cursor_factory=NamedTupleCursor) as cursor:
        cursor.execute(query(name), parameters)  # type: ignore[no-untyped-call]
        return list(cursor.fetchall())


def query_records(connection: Connection, kind: type[Record], name: str, /, **parameters: Any) -> list[Record]:
    """The rows of `sql/queries/NAME.sql` as dataclasses, in a transaction that the caller opened.

    Each column fills the field of its name, whatever the order; a column without a field, or a field without a column,
    is a `TypeError`. An array becomes a tuple.

    Args:
        connection: of the open transaction.
        kind: the dataclass.
        name: of the query.
        parameters: its placeholders.
    """
    return [_record(kind, row) for row in query_rows(connection, name, **parameters)]


def read_rows(settings: Settings, name: str, /, **parameters: Any) -> list[Any]:
    """The rows of `sql/queries/NAME.sql`, as named tuples, in a transaction of its own.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: Postgres cannot be reached, or refused the query.
    """
    with transaction(settings) as connection:
        return query_rows(connection, name, **parameters)


def read_records(settings: Settings, kind: type[Record], name: str, /, **parameters: Any) -> list[Record]:
    """The rows of `sql/queries/NAME.sql` as dataclasses (see `query_records`), in a transaction of its own.

    Args:
        settings: of the database.
        kind: the dataclass.
        name: of the query.
        parameters: its placeholders.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: Postgres cannot be reached, or refused the query.
    """
    with transaction(settings) as connection:
        return query_records(connection, kind, name, **parameters)


def execute(connection: Connection, name: str, /, **parameters: Any) -> None:
    """Runs `sql/queries/NAME.sql` for what it changes, in a transaction that the caller opened.

    Args:
        connection: of the open transaction.
        name: of the query.
        parameters: its placeholders.
    """
    with connection.cursor() as cursor:
        cursor.execute(query(name), parameters)


def write(settings: Settings, name: str, /, **parameters: Any) -> None:
    """Runs `sql/queries/NAME.sql` for what it changes, in a transaction of its own.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: Postgres cannot be reached, or refused the statement.
    """
    with transaction(settings) as connection:
        execute(connection, name, **parameters)


def _record(kind: type[Record], row: Any) -> Record:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in row._asdict().items()}
    return kind(**fields)


def fetch(connection: Connection, statement: str, schema: pl.Schema, **parameters: object) -> pl.DataFrame:
    """Copies the rows of a statement out of Postgres, in their order: made for millions of rows.

    Args:
        connection: of the open transaction.
        statement: SQL text.
        schema: the columns' names and types, in the statement's order.
        parameters: the statement's placeholders.

    Returns:
        A table with the columns of `schema`.
    """
    content = io.BytesIO()
    with connection.cursor() as cursor:
        # The server's own settings might write timestamps in another way.
        cursor.execute("set local datestyle to 'ISO'")
        bound = cursor.mogrify(statement, parameters).decode()
        cursor.copy_expert(f"copy ({bound}) to stdout with (format csv, header, force_quote *)", content)
    content.seek(0)
    moments = [name for name, kind in schema.items() if kind == pl.Datetime("us")]
    text = {**schema, **dict.fromkeys(moments, pl.String())}
    frame = pl.read_csv(content, schema=text)
    return frame.with_columns(pl.col(moments).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us"))
