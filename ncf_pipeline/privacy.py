"""Who was erased: a keyed hash of each, so that an old file brings nobody back. Nobody can be read from it.

Erasing and whatever reads or writes customers keep out of each other's way by a lock in Postgres: many may share it,
an erasure has it alone. It only ever tries for it and never queues, because a run that holds it may ask for it again
on another connection, and would wait for an erasure that waits for that run.
"""

import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg2

from ncf_pipeline.errors import SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, transaction
from ncf_pipeline.storage.resources import query

__all__ = ["Erased", "alone", "customer_hash", "hold_off", "kept_out", "key_check", "key_of", "known_erased"]

_LOCK = 0x65726173  # "eras"
_PATIENCE_SECONDS = 0.2


@dataclass(frozen=True)
class Mark:
    """What is known of somebody who was erased.

    Attributes:
        until: by the shop's clock; what they bought from then on is a new customer's.
        without_country: whether their lines have lost their country too.
    """

    until: datetime
    without_country: bool


class Erased:
    """Tells who was erased, among customers that something still names.

    Args:
        marks: by the customer's hash.
        key: of the hashes; not needed where nobody was erased.
    """

    def __init__(self, marks: dict[str, Mark], key: bytes) -> None:
        self._marks = marks
        self._key = key

    def __bool__(self) -> bool:
        return bool(self._marks)

    def among(self, customers: Iterable[int]) -> dict[int, Mark]:
        """Those of some customers who were erased."""
        if not self._marks:
            return {}
        hashes = {customer: customer_hash(self._key, customer) for customer in customers}
        return {customer: self._marks[each] for customer, each in hashes.items() if each in self._marks}

    def gone(self, customers: Iterable[int], as_of: datetime) -> set[int]:
        """Those whom purchases before an instant cannot make a customer again: all that they had was erased."""
        return {customer for customer, mark in self.among(customers).items() if mark.until >= as_of}


def customer_hash(key: bytes, customer_id: int) -> str:
    """HMAC-SHA256 of an id. A salt beside it would not do: the ids of a shop are few enough to try them all."""
    return hmac.new(key, f"customer:{customer_id}".encode(), hashlib.sha256).hexdigest()


def key_check(key: bytes) -> str:
    """Tells one key from another, and nothing else of it."""
    return hmac.new(key, b"key check", hashlib.sha256).hexdigest()[:16]


def key_of(settings: Settings, *, make: bool = False) -> bytes:
    """The key of the hashes: `NCF_ERASURE_KEY`, else the one that was made before in `NCF_HOME/secrets`.

    Args:
        settings: of this run.
        make: makes one where there is none.

    Raises:
        SettingsError: there is none, or its file cannot be read or written.
    """
    if settings.erasure_key is not None:
        return settings.erasure_key.get_secret_value().encode()
    path = settings.home / "secrets" / "erasure-key"
    try:
        if make and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}.{os.getpid()}.new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(secrets.token_urlsafe(32))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # two at once: the first one's counts
                os.link(new, path)
            new.unlink()
        return path.read_text().strip().encode()
    except FileNotFoundError as error:
        raise SettingsError(
            f"Customers were erased, and the key that knows them again is neither in NCF_ERASURE_KEY nor at {path}: "
            "put it back, or an old file would bring them back."
        ) from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be used: {error.strerror}. Correct it, or set NCF_ERASURE_KEY.") from error


def known_erased(connection: Connection, settings: Settings) -> Erased:
    """Everybody who was erased so far.

    Raises:
        SettingsError: somebody was, and the key is missing or another one.
    """
    with connection.cursor() as cursor:
        cursor.execute(query("erasures"))
        rows = cursor.fetchall()
    if not rows:
        return Erased({}, b"")
    key = key_of(settings)
    check_key(key, {check for _, check, _, _ in rows})
    return Erased({each: Mark(until, without_country) for each, _, until, without_country in rows}, key)


def check_key(key: bytes, checks: Iterable[str]) -> None:
    """Makes sure that a key is the one that hashes were made with.

    Raises:
        SettingsError: it is another one.
    """
    if set(checks) - {key_check(key)}:
        raise SettingsError(
            "NCF_ERASURE_KEY is not the key that customers were erased with: set that one, or they would come back."
        )


def hold_off(connection: Connection) -> None:
    """Lets no erasure begin until the transaction ends; waits for one that has begun."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock_shared(%s)", (_LOCK,))


@contextmanager
def kept_out(settings: Settings) -> Iterator[Erased]:
    """Lets no erasure begin while the block runs; gives who was erased before.

    For what is written of things that were read long ago, such as a model after its training.
    """
    with transaction(settings) as connection:
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_lock_shared(%s)", (_LOCK,))
        erased = known_erased(connection, settings)
        # The connection keeps the lock until it ends. A transaction open for minutes would be in the way of others.
        connection.commit()
        yield erased


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Waits until nobody reads or writes customers, and lets nobody while the block runs."""
    with transaction(settings) as connection:
        while True:
            with connection.cursor() as cursor:
                cursor.execute("select pg_try_advisory_lock(%s)", (_LOCK,))
                (mine,) = cursor.fetchone() or (False,)
            connection.commit()
            if mine:
                break
            time.sleep(_PATIENCE_SECONDS)
        yield
        with suppress(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute("select pg_advisory_unlock(%s)", (_LOCK,))


def masked(customer_id: str) -> str:
    """A customer's id as far as logs and messages may tell it, always the same part of it: 14646 is ***46."""
    return f"***{customer_id[-2:]}" if len(customer_id) > 2 else "***"
