"""Checked events into `retail.shop_event`, or into `raw.quarantined_event` with the reason. Each counts once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from psycopg2.extras import Json, execute_values

from ncf_pipeline.events.checking import Event
from ncf_pipeline.privacy import Erased, hold_off, known_erased
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, execute, query_rows, read_rows, transaction

MOST_AN_HOUR = 1000
"""Events of one visitor in an hour. Whoever has more is a program: none of that hour is used."""

QUARANTINE_DAYS = 30
"""What is in quarantine is removed after so many days."""


@dataclass
class Counts:
    """What became of events. `read + released` is the sum of the others.

    Attributes:
        read: that were told.
        released: that waited for their product, which is known by now.
        added: new ones.
        known: that were there already.
        erased: of customers who were erased since; they are not stored.
        quarantined: by reason.
    """

    read: int = 0
    released: int = 0
    added: int = 0
    known: int = 0
    erased: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "quarantined": dict(sorted(self.quarantined.items()))}

    def __str__(self) -> str:
        """One line for a person."""
        waiting = ", ".join(f"{count:,} {reason}" for reason, count in self.quarantined.most_common())
        parts = [
            f"{self.added:,} new",
            *([f"{self.known:,} known already"] if self.known else []),
            *([f"{self.erased:,} of erased customers, which are not stored"] if self.erased else []),
            *([f"in quarantine {self.quarantined.total():,}: {waiting}"] if waiting else []),
        ]
        released = f", and {self.released:,} whose product is known by now" if self.released else ""
        return f"Read {self.read:,} events{released}: {'; '.join(parts)}."


@dataclass(frozen=True)
class Waiting:
    """Events in quarantine that have one reason.

    Attributes:
        reason: why they cannot be used.
        events: how many they are.
        newest: when the last of them was set aside.
        example: the last one, by column.
    """

    reason: str
    events: int
    newest: datetime
    example: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "newest": self.newest.isoformat()}


def land(settings: Settings, source: str, events: Sequence[Event], counts: Counts, *, release: bool = False) -> None:
    """Stores events in one transaction, and counts what became of them. The same events again change nothing.

    Only the number of events of an hour with too many is approximate: those that come again count again.

    Args:
        settings: of the database.
        source: `stream`, or the SHA-256 of a file.
        events: at most some ten thousand.
        counts: is added to.
        release: also lands those that waited for their product, which is known by now.

    Raises:
        DatabaseError: Postgres cannot be reached or refused. Nothing was stored.
        SettingsError: somebody was erased, and the key that recognises them is missing.
    """
    with transaction(settings) as connection:
        hold_off(connection)
        erased = known_erased(connection, settings)
        kept = _without_erased(events, erased)
        usable = [event for event in kept if event.reason is None]
        refused = [event for event in kept if event.reason is not None]
        execute(connection, "make_given_events")
        _insert(
            connection,
            "insert into given_event (entry, kind, stock_code, customer_id, session, happened_at) values %s",
            [(e.entry, e.kind, e.stock_code, e.customer_id, e.session, e.happened_at) for e in usable],
        )
        _insert(
            connection,
            "insert into raw.quarantined_event (source, entry, original, reason) values %s on conflict do nothing",
            [(source, e.entry, Json(e.original), e.reason) for e in refused],
        )
        released = query_rows(connection, "release_events")[0].released if release else 0
        done = {
            row.reason: row.events for row in query_rows(connection, "land_events", source=source, most=MOST_AN_HOUR)
        }
    added = done.pop("added")
    counts.read += len(events)
    counts.released += released
    counts.erased += len(events) - len(kept)
    counts.quarantined.update(event.reason for event in refused if event.reason is not None)
    counts.quarantined.update(done)
    counts.added += added
    counts.known += len(usable) + released - added - sum(done.values())


def remove_old(settings: Settings, now: datetime) -> None:
    """Removes events that are older than `NCF_EVENTS_DAYS`, and what has been in quarantine for 30 days.

    Args:
        settings: of the database.
        now: the present instant, with a zone.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    with transaction(settings) as connection:
        execute(connection, "remove_old_events", now=now, days=settings.events_days, quarantine_days=QUARANTINE_DAYS)


def quarantined(settings: Settings) -> list[Waiting]:
    """What is in quarantine, the most frequent reason first.

    Raises:
        DatabaseError: Postgres cannot be reached or refused.
    """
    rows = [Waiting(**row._asdict()) for row in read_rows(settings, "quarantined_events")]
    return sorted(rows, key=lambda row: (-row.events, row.reason))


def _insert(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if rows:
        with connection.cursor() as cursor:
            execute_values(cursor, statement, rows, page_size=1000)


def _without_erased(events: Sequence[Event], erased: Erased) -> list[Event]:
    """The events without those of erased customers from before their erasure; a later one is a new customer's."""
    gone = erased.among({event.customer_id for event in events if event.customer_id is not None})
    # Like the mark of an erasure, this takes the shop's clock for this machine's.
    until = {customer: mark.until.astimezone() for customer, mark in gone.items()}
    return [
        event
        for event in events
        if event.customer_id not in until
        or (event.happened_at is not None and event.happened_at >= until[event.customer_id])
    ]
