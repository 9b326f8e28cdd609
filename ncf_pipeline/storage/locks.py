"""Locks in Postgres that one process waits for while another works, told who it is and never for ever."""

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ncf_pipeline.errors import DatabaseUnavailableError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction

WAIT_SECONDS = 2 * 3600
"""How long anything waits for a lock. It is longer than publishing takes in a large shop."""

TOLD_SECONDS = 60
"""How often whoever waits says for whom."""

_PATIENCE_SECONDS = 0.2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lock:
    """An advisory lock of a transaction: it also works behind a pooler such as PgBouncer in transaction mode.

    Everybody tries for it again and again instead of queueing. Otherwise a run that holds the lock, and asks for it
    once more on another connection, would wait for somebody in the queue who waits for that run.

    The lock saves work; it proves nothing, because its connection may be lost.

    Attributes:
        number: which lock, in this database.
        holder_does: what whoever holds it does, after "which", for whoever waits.
    """

    number: int
    holder_does: str

    @contextmanager
    def held(self, settings: Settings, *, shared: bool = False) -> Iterator[None]:
        """Holds the lock in a transaction of its own until the block ends.

        The transaction has read nothing when the block begins, so it keeps nobody else waiting and no old row alive.

        Args:
            settings: whose database.
            shared: whether others may hold it at the same time, if they share it, too.

        Raises:
            DatabaseUnavailableError: others did not end in `WAIT_SECONDS`; the message names one of them. Or the
                connection was lost, so others may have begun.
        """
        with transaction(settings) as connection:
            self.wait(connection, shared=shared)
            with connection.cursor() as cursor:
                cursor.execute("set local idle_in_transaction_session_timeout = 0")
            yield

    @contextmanager
    def held_if_free(self, settings: Settings) -> Iterator[bool]:
        """Holds the lock as `held` does, if nobody else holds it; yields whether it is held. It waits for nobody.

        Args:
            settings: whose database.

        Raises:
            DatabaseError: Postgres cannot be reached, or refused.
        """
        with transaction(settings) as connection:
            with connection.cursor() as cursor:
                cursor.execute("select pg_try_advisory_xact_lock(%s)", (self.number,))
                (locked,) = cursor.fetchone() or (False,)
                cursor.execute("set local idle_in_transaction_session_timeout = 0")
            yield bool(locked)

    def wait(self, connection: Connection, *, shared: bool = False) -> None:
        """Waits for the lock, which the connection's transaction then holds until its end.

        Raises:
            DatabaseUnavailableError: others did not end in `WAIT_SECONDS`; the message names one of them.
        """
        attempt = f"select pg_try_advisory_xact_lock{'_shared' if shared else ''}(%s)"
        started = told = time.monotonic()
        with connection.cursor() as cursor:
            name = f"ncf-pipeline, process {os.getpid()} on {socket.gethostname()}"
            cursor.execute("select set_config('application_name', %s, true)", (name[:63],))
            while True:
                cursor.execute(attempt, (self.number,))
                (locked,) = cursor.fetchone() or (False,)
                if locked:
                    return
                waited = time.monotonic() - started
                if waited > WAIT_SECONDS:
                    raise DatabaseUnavailableError(
                        f"Waited {waited / 60:.0f} minutes for {self._holder(connection)}, which {self.holder_does}. "
                        "If it hangs, end it, and start again."
                    )
                if time.monotonic() - told > TOLD_SECONDS:
                    told = time.monotonic()
                    logger.warning("Waiting for %s, which %s.", self._holder(connection), self.holder_does)
                time.sleep(_PATIENCE_SECONDS)

    def _holder(self, connection: Connection) -> str:
        """One of those that hold the lock, in words: first who has held it longest."""
        holders = query_rows(connection, "holders_of_lock", lock=self.number)
        if not holders:
            return "a process that has ended meanwhile"
        first = holders[0]
        more = f" and {len(holders) - 1} more" if len(holders) > 1 else ""
        since = f", since {first.since:%Y-%m-%d %H:%M}" if first.since else ""
        return f"{first.application_name or 'a process'} (Postgres' process {first.pid}{since}){more}"
