"""Whether an event can be used, and what it says. Pure: what needs the shop's products is asked in `landing`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from ncf_pipeline.columns import EVENT_KINDS, Events, InvoiceLines
from ncf_pipeline.ingest.customer_ids import is_possible, spelled
from ncf_pipeline.storefront.asking import code_of

LONGEST = 300
"""Characters of a text that are kept in quarantine."""

FUTURE = timedelta(minutes=5)
"""So far a clock may be ahead."""

GUESTS = ("", "0")
"""Ids that stand for nobody, as on invoices."""


@dataclass(frozen=True)
class Event:
    """An event as it was told.

    Attributes:
        entry: where it was: the id in the stream, or the row in the file.
        happened_at: an instant in UTC; None if it is not readable.
        kind: one of `columns.EVENT_KINDS`, if `reason` is None.
        stock_code: in the spelling of lists; empty if it can be none.
        customer_id: as it is stored; None for a visitor without a login.
        session: the first 16 bytes of the SHA-256 of the session's id; None if there is none.
        original: for quarantine: what was told, by column, without the session's id.
        reason: why it cannot be used; None if it can.
    """

    entry: str
    happened_at: datetime | None
    kind: str
    stock_code: str
    customer_id: str | None
    session: bytes | None
    original: dict[str, str]
    reason: str | None


@dataclass(frozen=True)
class Checker:
    """Checks events at one instant.

    Attributes:
        now: the instant, with a zone.
        days: older events are not kept.
        zone: of times without one: the shop's.
    """

    now: datetime
    days: int
    zone: ZoneInfo

    def event(self, entry: str, told: Mapping[str, str | None], *, at: datetime | None = None) -> Event:
        """Reads an event.

        Args:
            entry: where it was.
            told: its texts, by `columns.Events`; what else there is, is ignored.
            at: when it came; for an event that does not say when it happened.
        """
        text = {name: _clean(told.get(name) or "") for name in Events.ALL}
        customer = spelled(text[Events.CUSTOMER])
        customer_id = customer if customer not in GUESTS else None
        session = session_hash(text[Events.SESSION]) if text[Events.SESSION] else None
        kind, stock_code = text[Events.KIND].lower(), code_of(text[Events.PRODUCT]) or ""
        happened_at = at if at is not None and not text[Events.AT] else self._instant(text[Events.AT])
        original = {
            Events.KIND: text[Events.KIND],
            InvoiceLines.STOCK_CODE: text[Events.PRODUCT],
            InvoiceLines.CUSTOMER_ID: customer_id or "",
            Events.SESSION: session.hex() if session is not None else "",
            Events.AT: happened_at.isoformat() if happened_at is not None else text[Events.AT],
        }
        reason = None
        if kind not in EVENT_KINDS:
            reason = "unknown kind"
        elif not stock_code:
            reason = "no product"
        elif customer_id is not None and not is_possible(customer_id):
            reason = "no possible customer"
        elif customer_id is None and session is None:
            reason = "no customer and no session"
        elif happened_at is None:
            reason = "no readable time"
        elif happened_at > self.now + FUTURE:
            reason = "in the future"
        elif happened_at < self.now - timedelta(days=self.days):
            reason = "too old"
        kept = {name: _shortened(value) for name, value in original.items() if value}
        return Event(entry, happened_at, kind, stock_code, customer_id, session, kept, reason)

    def _instant(self, text: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(text)
            return (at if at.tzinfo is not None else at.replace(tzinfo=self.zone)).astimezone(UTC)
        except (ValueError, OverflowError):
            return None


def session_hash(session: str) -> bytes:
    """The first half of the SHA-256 of a session's id. Who sees it cannot open the session.

    >>> session_hash("4f2a").hex()
    'dd3f4b1d37aa66d2b1f7ce5dc7a4c8f5'
    """
    return hashlib.sha256(session.encode()).digest()[:16]


def _clean(text: str) -> str:
    """The text without white space around it, and without what Postgres cannot store."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode().strip()


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
