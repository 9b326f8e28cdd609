"""Connections to Postgres that wait for the next transaction of this process.

For pages alone: to open a connection takes longer than most of their queries, since Postgres starts a process for it,
which then has to read its catalogue. Whatever runs for minutes opens its own.
"""

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with the name of a function

MOST = 4
"""How many connections to a database wait in a process; more are closed after their transaction."""

SECONDS = 60.0
"""How long one waits at most. A firewall forgets connections that are idle for longer, and says so to nobody."""

_is_kept: ContextVar[bool] = ContextVar("_is_kept", default=False)


@contextmanager
def kept_connections() -> Iterator[None]:
    """Lets each `transaction` of the block use a connection that waits, and lets it wait again afterwards.

    A transaction has a connection of its own, as without this: one inside another has another one. What a transaction
    left in its session is discarded, and one that failed leaves no connection. The login is that of the settings.
    """
    token = _is_kept.set(True)
    try:
        yield
    finally:
        _is_kept.reset(token)


class _Waiting:
    """The connections that wait, by URL: each with the moment since when, the newest last."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """In a forked process: they are the parent's, and psycopg2 leaves those of another process open."""
        self._by_url: dict[str, list[tuple[float, Connection]]] = {}
        self._lock = threading.Lock()
        self._sweep: threading.Timer | None = None

    def take(self, url: str) -> Connection | None:
        """The connection that waits for the shortest time and is alive; None if there is none."""
        while True:
            with self._lock:
                waiting = self._by_url.get(url)
                if not waiting:
                    return None
                since, connection = waiting.pop()
            if time.monotonic() - since < SECONDS and _is_alive(connection):
                return connection
            _close(connection)

    def add(self, url: str, connection: Connection) -> None:
        """Lets a connection wait, unless enough of them do."""
        with self._lock:
            waiting = self._by_url.setdefault(url, [])
            is_wanted = len(waiting) < MOST
            if is_wanted:
                waiting.append((time.monotonic(), connection))
                self._sweep_later()
        if not is_wanted:
            _close(connection)

    def _sweep_later(self) -> None:
        """Has those closed that nobody takes; the caller holds the lock."""
        if self._sweep is None:
            self._sweep = threading.Timer(SECONDS, self.close_old)
            self._sweep.daemon = True
            self._sweep.start()

    def close_old(self) -> None:
        """Closes those that have waited for too long, and looks again later if others are left."""
        until = time.monotonic() - SECONDS
        with self._lock:
            self._sweep = None
            old = [each for waiting in self._by_url.values() for each in waiting if each[0] <= until]
            left = {url: [each for each in waiting if each[0] > until] for url, waiting in self._by_url.items()}
            self._by_url = {url: waiting for url, waiting in left.items() if waiting}
            if self._by_url:
                self._sweep_later()
        for _, connection in old:
            _close(connection)


_waiting = _Waiting()
os.register_at_fork(after_in_child=_waiting.forget)


def taken(url: str) -> Connection | None:
    """A connection that waits; None if none does, or outside of `kept_connections`."""
    return _waiting.take(url) if _is_kept.get() else None


def left(url: str, connection: Connection) -> None:
    """Takes a connection whose transaction is over: it waits for the next one, or is closed."""
    if not _is_kept.get():
        connection.close()
        return
    try:
        connection.autocommit = True  # it may not be in a transaction
        with connection.cursor() as cursor:
            cursor.execute("discard all")
        connection.reset()  # what psycopg2 itself has set, such as the style of dates, is set again
    except psycopg2.Error:
        _close(connection)
    else:
        _waiting.add(url, connection)


def _is_alive(connection: Connection) -> bool:
    """Whether nothing came while it waited: a server that goes away says so, or closes its end."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return not poll.poll(0)


def _close(connection: Connection) -> None:
    with suppress(psycopg2.Error):
        connection.close()
