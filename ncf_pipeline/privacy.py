"""Who was erased: a keyed hash of each customer, so that an old file brings nobody back and the hash names nobody.

A lock in Postgres keeps an erasure apart from everything that reads or writes customers: those share the lock, an
erasure holds it alone.

The lock saves work; it proves nothing, because its connection may be lost. What proves that nobody was erased is
`refuse_if_erased_since`, in the transaction that makes a snapshot known. In Redis, two marks cross: a publisher says
that it writes, then looks whether anybody was erased; an erasure is recorded, then calls off whoever writes. So one of
the two sees the other.
"""

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

from ncf_pipeline.errors import DatabaseUnavailableError, ErasedMeanwhileError, SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction
from ncf_pipeline.storage.locks import Lock

__all__ = [
    "Erased",
    "Mark",
    "alone",
    "check_key",
    "customer_hash",
    "hold_off",
    "kept_out",
    "key_check",
    "key_of",
    "known_erased",
    "masked",
    "refuse_if_erased_since",
    "without_zeros",
]

_LOCK = Lock(0x65726173, "reads, writes or erases customers")  # "eras"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mark:
    """What is stored about an erased customer.

    Attributes:
        until: on the shop's clock; purchases from then on are a new customer's.
        without_country: whether the country of their lines was erased too.
    """

    until: datetime
    without_country: bool


class Erased:
    """The erased customers, known only by their hashes.

    Args:
        marks: by the customer's hash.
        key: of the hashes; may be empty if nobody was erased.
    """

    def __init__(self, marks: dict[str, Mark], key: bytes) -> None:
        self._marks = marks
        self._key = key

    def __bool__(self) -> bool:
        return bool(self._marks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Erased) and self._marks == other._marks

    __hash__ = None  # type: ignore[assignment]  # it changes with each erasure

    @property
    def sha256(self) -> str:
        """A hash that is another one after each erasure, so that a later process can tell whether there was one."""
        marks = [(who, mark.until.isoformat(), mark.without_country) for who, mark in sorted(self._marks.items())]
        return hashlib.sha256(repr(marks).encode()).hexdigest()

    def among(self, customers: Iterable[str]) -> dict[str, Mark]:
        """The erased ones among some customers, with their marks.

        An erased 17850 is also found as 017850: when ids were numbers, both were the same customer.
        """
        if not self._marks:
            return {}
        found = {}
        for customer in customers:
            for spelled in dict.fromkeys((customer, without_zeros(customer))):
                if mark := self._marks.get(customer_hash(self._key, spelled)):
                    found[customer] = mark
        return found

    def gone(self, customers: Iterable[str], as_of: datetime) -> set[str]:
        """The erased ones among some customers who have no purchase left before `as_of`: all of those were erased."""
        return {customer for customer, mark in self.among(customers).items() if mark.until >= as_of}


def without_zeros(customer_id: str) -> str:
    """A number without zeros in front; any other id as it is."""
    number = customer_id.isascii() and customer_id.isdigit()
    return (customer_id.lstrip("0") if number else "") or customer_id


def customer_hash(key: bytes, customer_id: str) -> str:
    """HMAC-SHA256 of an id. A salted hash would not do: a shop has so few ids that anybody could try them all."""
    return hmac.new(key, f"customer:{customer_id}".encode(), hashlib.sha256).hexdigest()


def key_check(key: bytes) -> str:
    """A short text that differs between keys and reveals nothing else about them."""
    return hmac.new(key, b"key check", hashlib.sha256).hexdigest()[:16]


def key_of(settings: Settings, *, make: bool = False) -> bytes:
    """The key of the hashes: `NCF_ERASURE_KEY`, or else the file in `NCF_HOME/secrets`.

    Args:
        settings: `erasure_key` and `home` count.
        make: writes a new key to that file if there is none.

    Raises:
        SettingsError: there is no key, or its file cannot be read or written.
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
            with suppress(FileExistsError):  # if two processes make a key at once, the first one's stays
                os.link(new, path)
            new.unlink()
        return path.read_text().strip().encode()
    except FileNotFoundError as error:
        raise SettingsError(
            f"Customers were erased, and the key that recognises them is neither in NCF_ERASURE_KEY nor at {path}. "
            "Restore the key: without it, an old file would bring those customers back."
        ) from error
    except OSError as error:
        raise SettingsError(f"{path} cannot be used: {error.strerror}. Correct it, or set NCF_ERASURE_KEY.") from error


def known_erased(connection: Connection, settings: Settings) -> Erased:
    """All customers who were erased so far.

    Raises:
        SettingsError: somebody was erased, and the key is missing or not the one of the erasure.
    """
    rows = query_rows(connection, "erasures")
    if not rows:
        return Erased({}, b"")
    key = key_of(settings)
    check_key(key, {row.key_check for row in rows})
    return Erased({row.customer_hash: Mark(until=row.until, without_country=row.without_country) for row in rows}, key)


def check_key(key: bytes, checks: Iterable[str]) -> None:
    """Makes sure that a key is the one that the stored hashes were made with.

    Args:
        key: of this installation.
        checks: from `key_check`, as stored with the hashes.

    Raises:
        SettingsError: it is another key.
    """
    if set(checks) - {key_check(key)}:
        raise SettingsError(
            "NCF_ERASURE_KEY is not the key that customers were erased with. Set that key: with another one, an old "
            "file would bring those customers back."
        )


def hold_off(connection: Connection) -> None:
    """Lets no erasure begin until the transaction ends. If one is running, waits for its end.

    Raises:
        DatabaseUnavailableError: it has not ended in `WAIT_SECONDS`; the message names who holds the lock.
    """
    _LOCK.wait(connection, shared=True)


@contextmanager
def kept_out(settings: Settings) -> Iterator[Erased]:
    """Lets no erasure begin while the block runs, and yields the customers who were erased before.

    For writing what was made of data that was read long ago, such as a model after its training. If the connection
    that holds the lock is lost, an erasure may begin: whoever makes something visible calls `refuse_if_erased_since`.

    Raises:
        SettingsError: somebody was erased, and the key is missing or not the one of the erasure.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    with _held(settings, shared=True):
        # On another connection: a lock of this table would be in the way of migrations until the block ends.
        with transaction(settings) as connection:
            erased = known_erased(connection, settings)
        yield erased


def refuse_if_erased_since(connection: Connection, settings: Settings, before: Erased) -> None:
    """Proves, in a transaction that moves on, that nobody was erased; and lets no erasure begin until it ends.

    Args:
        connection: of the open transaction.
        settings: of the erasure key.
        before: the customers who had been erased when the purchases were read.

    Raises:
        ErasedMeanwhileError: somebody was.
    """
    hold_off(connection)
    if known_erased(connection, settings) != before:
        raise ErasedMeanwhileError(
            "A customer was erased after these purchases were read, so nothing that was made of them is used. "
            "What serves stays live. Start again."
        )


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Waits until nothing reads or writes customers, and keeps everything else waiting while the block runs.

    Raises:
        DatabaseUnavailableError: others did not end in `WAIT_SECONDS`; the message names one of them. Or the connection
            was lost, so others may have begun.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    with _held(settings, shared=False):
        yield


@contextmanager
def _held(settings: Settings, *, shared: bool) -> Iterator[None]:
    done = False
    try:
        with _LOCK.held(settings, shared=shared):
            yield
            done = True
    except DatabaseUnavailableError as error:
        if not done:
            raise
        if not shared:
            raise DatabaseUnavailableError(
                f"{error} It kept other runs away, so one of them may have written meanwhile. Run the command again."
            ) from error
        logger.warning("The lock that keeps erasures out was lost. Nobody was erased before its work was visible.")


def masked(customer_id: str) -> str:
    """A customer's id as logs and messages may show it: always the same part of it; of an e-mail address, nothing.

    >>> masked("14646"), masked("46"), masked("C-1001")
    ('***46', '***', '***01')
    >>> masked("anna@example.com"), masked("Anna")
    ('***@***', '***')
    """
    if "@" in customer_id:
        shown = "***@***"
    elif len(customer_id) > (2 if customer_id.isdigit() else 5):
        shown = f"***{customer_id[-2:]}"
    else:
        shown = "***"
    # An id that is itself so written, such as *, would still be there.
    return shown if customer_id not in shown else "(erased)"
