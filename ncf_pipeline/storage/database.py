"""Postgres: transactions, rows by name, and psycopg2's errors translated into ours."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import polars as pl
import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with the name of a function
from psycopg2.extras import NamedTupleCursor

from ncf_pipeline.errors import DatabaseError, DatabaseUnavailableError, InputError, SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import connections
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
    "refresh_statistics",
    "rehearsal",
    "rehearsed",
    "savepoint",
    "stream",
    "transaction",
    "write",
]

Record = TypeVar("Record")


class _Rehearsed(Connection):
    """A connection of a rehearsal: whoever is given it can end neither it nor its transaction."""

    def commit(self) -> None:
        """Does nothing."""

    def rollback(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""

    def end(self) -> None:
        """Closes the connection, so that Postgres rolls everything back."""
        super().close()


_rehearsal: ContextVar[_Rehearsed | None] = ContextVar("_rehearsal", default=None)


@contextmanager
def rehearsal(settings: Settings) -> Iterator[None]:
    """Runs each `transaction` of the block in one transaction, which is rolled back at the end.

    It takes no lock on a table that others would wait for, but those of the statements themselves.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: Postgres cannot be reached.
    """
    connection = _connect(settings, _Rehearsed)
    assert isinstance(connection, _Rehearsed)
    token = _rehearsal.set(connection)
    try:
        with connection.cursor() as cursor:
            # Without fresh statistics, a loop within a loop could take hours.
            cursor.execute("set enable_nestloop to off")
        yield
    finally:
        _rehearsal.reset(token)
        connection.end()


def rehearsed() -> Connection | None:
    """The connection of the rehearsal that is on; None if what is written counts."""
    return _rehearsal.get()


def refresh_statistics(connection: Connection, table: str, *columns: str) -> None:
    """Lets the planner know of rows that this transaction wrote: without, it would join them row by row.

    A rehearsal does without, because others could not refresh them until its end.
    """
    if rehearsed() is None:
        with connection.cursor() as cursor:
            cursor.execute(f"analyze {table} ({', '.join(columns)})" if columns else f"analyze {table}")


@contextmanager
def transaction(settings: Settings) -> Iterator[Connection]:
    """Opens a connection, commits at the end of the block, and rolls everything back if the block raises.

    In a `rehearsal`, it is part of the rehearsal's transaction. In `kept_connections`, one that waits may be used.

    Raises:
        SettingsError: no database is set, and the embedded one does not run.
        DatabaseError: Postgres refused a statement; a `DatabaseUnavailableError` if that may pass.
        InputError: a text has a NUL character.
    """
    shared = _rehearsal.get()
    connection = shared if shared is not None else connections.taken(settings.database()) or _connect(settings)
    is_over = False
    try:
        try:
            with nullcontext() if shared is None else savepoint(shared, "rehearsed", undone_by=Exception):
                yield connection
        except BaseException:
            with suppress(psycopg2.Error):  # if the connection is lost too, the block's own error says more
                connection.rollback()
            raise
        connection.commit()
        is_over = True
    except ValueError as error:  # psycopg2's own, before Postgres sees the text
        if "NUL (0x00)" not in str(error):
            raise
        raise InputError("A text has a NUL character, which Postgres cannot store. Nothing was changed.") from error
    except psycopg2.errors.UndefinedTable as error:
        raise DatabaseError(f"{one_line(error)}. Run `ncf-pipeline migrate` first.") from error
    except psycopg2.errors.InvalidSchemaName as error:
        raise DatabaseError(f"{one_line(error)}. Run `ncf-pipeline migrate` first.") from error
    except psycopg2.errors.InsufficientPrivilege as error:
        advice = "If this role should be allowed to, run `ncf-pipeline migrate --roles`."
        raise DatabaseError(f"Postgres: {one_line(error)}. The step was rolled back. {advice}") from error
    except psycopg2.Error as error:
        kind = DatabaseUnavailableError if may_pass(error) else DatabaseError
        raise kind(f"Postgres: {one_line(error)}. The step was rolled back.") from error
    finally:
        if is_over and shared is None:
            connections.left(settings.database(), connection)
        else:
            connection.close()


def _connect(settings: Settings, kind: type[Connection] = Connection) -> Connection:
    url = settings.database()
    try:
        return psycopg2.connect(url, application_name="ncf-pipeline", connect_timeout=10, connection_factory=kind)
    except psycopg2.ProgrammingError:
        # Neither the message nor its cause is shown: both repeat the URL, with the password.
        raise SettingsError(
            "NCF_DATABASE_URL is not a URL of Postgres: write postgresql://user:password@host:5432/database."
        ) from None
    except psycopg2.OperationalError as error:
        if may_pass(error):
            raise DatabaseUnavailableError(f"Postgres cannot be reached: {one_line(error)}. Is it running?") from error
        advice = "Correct NCF_DATABASE_URL, or the connection `retail_db` in Airflow."
        raise DatabaseError(f"Postgres refuses the connection: {one_line(error)}. {advice}") from error


@contextmanager
def savepoint(connection: Connection, name: str, *, undone_by: type[Exception]) -> Iterator[None]:
    """Undoes what the block wrote if it raises such an error; the rest of the transaction stays.

    Args:
        connection: in a transaction.
        name: of the savepoint; a plain word.
        undone_by: the errors after which the transaction goes on.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"savepoint {name}")
        try:
            yield
        except undone_by:
            cursor.execute(f"rollback to savepoint {name}")
            raise
        cursor.execute(f"release savepoint {name}")


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
    """Copies the rows of a statement out of Postgres, in their order.

    Args:
        connection: of the open transaction.
        statement: SQL text.
        schema: the columns' names and types, in the statement's order.
        parameters: the statement's placeholders.

    Returns:
        A table with the columns of `schema`.
    """
    tables = [pl.DataFrame(schema=schema)]
    stream(connection, statement, schema, tables.append, **parameters)
    return pl.concat(tables)


def stream(
    connection: Connection,
    statement: str,
    schema: pl.Schema,
    take: Callable[[pl.DataFrame], object],
    **parameters: object,
) -> None:
    """Copies the rows of a statement out of Postgres, in their order, a table at a time: made for millions of rows.

    The memory does not grow with the number of rows, here; the server may need its disk to sort them. A table is taken
    in by another thread while Postgres copies out the next one.

    Args:
        connection: of the open transaction.
        statement: SQL text.
        schema: the columns' names and types, in the statement's order.
        take: is called with each table, of about `_BYTES_AT_ONCE` of text; with none if there is no row.
        parameters: the statement's placeholders.
    """
    with ThreadPoolExecutor(1) as thread:
        rows = _Rows(schema, take, thread)
        buffer = io.BufferedWriter(rows, _BYTES_AT_ONCE)
        try:
            with connection.cursor() as cursor:
                # The server's own settings might write timestamps in another way.
                cursor.execute("set local datestyle to 'ISO'")
                bound = cursor.mogrify(statement, parameters).decode()
                cursor.copy_expert(f"copy ({bound}) to stdout with (format csv, force_quote *)", buffer)
            buffer.flush()
            rows.wait()
        finally:
            rows.close()  # a buffer writes what it holds when it goes, after an error too


_BYTES_AT_ONCE = 1 << 25


class _Rows(io.RawIOBase):
    """Takes in what Postgres copies out: psycopg2 writes one row at a time, and a buffer passes on many at once.

    So millions of rows cost no calls of Python's each.
    """

    def __init__(self, schema: pl.Schema, take: Callable[[pl.DataFrame], object], thread: Executor) -> None:
        self._schema, self._take, self._thread = schema, take, thread
        self._taken: Future[None] = thread.submit(lambda: None)
        self._moments = [name for name, kind in schema.items() if kind == pl.Datetime("us")]
        self._content = io.BytesIO()

    def writable(self) -> bool:
        return True

    def write(self, rows: Any, /) -> int:
        size = self._content.write(rows)
        content = self._content.getvalue()
        # All fields are in quotes, and quotes in them are doubled: after an odd number of them, a row goes on.
        if content.endswith(b"\n") and content.count(b'"') % 2 == 0:
            self.wait()
            self._taken = self._thread.submit(self._take_in, self._content)
            self._content = io.BytesIO()
        return size

    def wait(self) -> None:
        """Until all rows that were passed on are taken in; raises what went wrong with that."""
        self._taken.result()

    def _take_in(self, content: io.BytesIO) -> None:
        content.seek(0)
        text = {**self._schema, **dict.fromkeys(self._moments, pl.String())}
        frame = pl.read_csv(content, schema=text, has_header=False)
        moments = pl.col(self._moments).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us")
        self._take(frame.with_columns(moments))
