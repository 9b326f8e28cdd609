"""The stream `ncf:events`: read from its start, and what is stored is deleted from it. docs/adr/0024 says why so."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ncf_pipeline.columns import MOST_EVENTS_WAITING, Events
from ncf_pipeline.ingest.customer_ids import spelled
from ncf_pipeline.serving.publication.store import Store, connected
from ncf_pipeline.settings import Settings

AT_ONCE = 10_000

Entries = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True)
class Backlog:
    """What the stream holds.

    Attributes:
        events: how many.
        last: the id of the newest one; None if there is none.
    """

    events: int
    last: str | None

    @property
    def is_full(self) -> bool:
        """Whether events may have been lost: whoever adds one to a full stream lets the oldest go."""
        return self.events >= MOST_EVENTS_WAITING


def backlog(settings: Settings) -> Backlog:
    """What the stream holds now.

    Raises:
        ListStoreError: Redis cannot be reached or refused.
    """
    with connected(settings, "the events were not read", so="They wait in the stream.") as store:
        newest: Any = store.client.xrevrange(_key(store), count=1)
        return Backlog(int(store.client.xlen(_key(store))), newest[0][0].decode() if newest else None)


def pages(settings: Settings, last: str) -> Iterator[Entries]:
    """The entries up to `last`, from the oldest, in pages. Each page is deleted when the caller asks for the next.

    Whoever is killed before that reads the page again, so the caller must store the same events only once.

    Raises:
        ListStoreError: Redis cannot be reached or refused.
    """
    with connected(settings, "the events were not read", so="Those that are not stored wait in the stream.") as store:
        while True:
            found: Any = store.client.xrange(_key(store), "-", last, count=AT_ONCE)
            if not found:
                return
            yield [(entry.decode(), _fields(fields)) for entry, fields in found]
            store.client.xdel(_key(store), *(entry for entry, _ in found))


def added_at(entry: str) -> datetime:
    """When an entry was added, by its id: milliseconds since 1970 and a number.

    >>> added_at("1767225600000-0").isoformat()
    '2026-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000, UTC)


def erase_from_stream(settings: Settings, customer_id: str) -> str:
    """Deletes a customer's events that have not been taken.

    Returns:
        The id up to which entries were looked at.

    Raises:
        ListStoreError: Redis cannot be reached or refused.
    """
    last = backlog(settings).last or "0-0"
    with connected(settings, "the customer's events were not erased from it") as store:
        for some in _read(store, last):
            theirs = [entry for entry, fields in some if _names(fields, customer_id)]
            if theirs:
                store.client.xdel(_key(store), *theirs)
    return last


def events_naming(settings: Settings, customer_id: str, *, until: str = "+") -> int:
    """How many events in the stream name a customer.

    Args:
        settings: of the list store.
        customer_id: as it is stored.
        until: the last id that counts.

    Raises:
        ListStoreError: Redis cannot be reached or refused.
    """
    with connected(settings, "it was not searched for the customer") as store:
        return sum(_names(fields, customer_id) for some in _read(store, until) for _, fields in some)


def _read(store: Store, last: str) -> Iterator[Entries]:
    first = "-"
    while found := store.client.xrange(_key(store), first, last, count=AT_ONCE):
        entries: Any = found
        yield [(entry.decode(), _fields(fields)) for entry, fields in entries]
        first = f"({entries[-1][0].decode()}"


def _names(fields: dict[str, str], customer_id: str) -> bool:
    return any(spelled(text) == customer_id for name, text in fields.items() if name != Events.PRODUCT)


def _fields(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {name.decode(errors="replace"): text.decode(errors="replace") for name, text in fields.items()}


def _key(store: Store) -> str:
    return f"{store.prefix}:events"
