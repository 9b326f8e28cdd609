"""Tells other systems what changed, so that caches and pages know: a Redis stream, and a webhook where one is set.

The database writes an announcement in the transaction of each change (migration 0042): the pattern of the transactional
outbox. Here they are told afterwards, at least once and in order, each with a number of its own by which a receiver
knows one that it has already. What cannot be told now is told by the next change or watch.

- The stream `ncf:changes` has an entry for each, with the fields `id`, `kind`, `at` and `data` (JSON). It keeps about
  the last `STREAM_LENGTH`.
- The webhook is posted as the Standard Webhooks specification 1.0.0 (standardwebhooks.com) says: `webhook-id`,
  `webhook-timestamp`, and `webhook-signature` by HMAC-SHA256.
"""

import base64
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from ncf_pipeline.errors import NcfError
from ncf_pipeline.serving.publication.store import connected
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, query_rows, read_records, read_rows, transaction
from ncf_pipeline.storage.locks import Lock

logger = logging.getLogger(__name__)

STREAM_LENGTH = 10_000
"""Entries that the stream keeps, about."""

KEPT_DAYS = 30
GIVEN_UP_DAYS = 3
"""After so many days, a webhook is no longer told."""

POST_SECONDS = 5.0
"""How long a webhook may take to answer."""

_POSTING_SECONDS = 20.0  # for all posts of one call: whoever changed something waits meanwhile
_AT_ONCE = 1000
_LOCK = Lock(0x746F6C64, "tells other systems what changed")  # "told"


@dataclass(frozen=True)
class Announcement:
    """A change, and who has been told.

    Attributes:
        announcement_id: its number, ascending.
        kind: `publication` or `rollback` (other lists are live), `hidden` or `shown` (a product), `alert` or
            `alert_over`.
        announced_at: when it happened.
        details: what changed, by kind; see docs/storefront.md.
        streamed_at: when it went into the stream; None: not yet.
        post: of the webhook: `waiting`, `posted`, `not asked for` or `given up`.
        posts_failed: tries of the webhook that failed.
    """

    announcement_id: int
    kind: str
    announced_at: datetime
    details: dict[str, Any]
    streamed_at: datetime | None
    post: str
    posts_failed: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "announced_at": self.announced_at.isoformat(),
            "streamed_at": self.streamed_at.isoformat() if self.streamed_at else None,
        }


@dataclass(frozen=True)
class Told:
    """What one call told.

    Attributes:
        streamed: entries that were added to the stream.
        posted: that the webhook took.
        error: why the rest was not told, without secrets; None if all was told, or waits for its next try.
    """

    streamed: int = 0
    posted: int = 0
    error: str | None = None


@dataclass(frozen=True)
class Waiting:
    """What has not been told.

    Attributes:
        waiting: how many announcements.
        since: when the oldest of them happened; None if there is none.
        not_streamed: how many of them are not in the stream.
    """

    waiting: int
    since: datetime | None
    not_streamed: int


def announce(settings: Settings) -> Told:
    """Tells what has not been told yet. Never raises: whoever changed something has done so; the next call tells it.

    Args:
        settings: whose database, list store and webhook.
    """
    try:
        with _LOCK.held(settings):
            streamed, error = _stream(settings)
            posted, why = _post(settings)
            with transaction(settings) as connection:
                execute(connection, "remove_old_announcements", days=KEPT_DAYS)
    except NcfError as failed:
        streamed, posted, error, why = 0, 0, str(failed), None
    error = settings.without_secrets(error or why or "") or None
    if error is not None:
        logger.warning("Other systems were not told of every change; the next change or watch tells it: %s", error)
    return Told(streamed, posted, error)


def announcements(settings: Settings, *, most: int = 50) -> list[Announcement]:
    """The last announcements, the newest first.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    return read_records(settings, Announcement, "announcements", most=most)


def waiting(settings: Settings) -> Waiting:
    """What has not been told.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    (row,) = read_rows(settings, "waiting_announcements")
    return Waiting(row.waiting, row.since, row.not_streamed)


def signature(secret: bytes, message_id: str, sent_at: int, body: bytes) -> str:
    """Signs a message by Standard Webhooks 1.0.0, "Signature scheme" (symmetric).

    Args:
        secret: the key's bytes.
        message_id: the header `webhook-id`.
        sent_at: the header `webhook-timestamp`, seconds since 1970.
        body: as it is sent.

    The example is that of the specification's own libraries:

    >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = hmac.new(secret, f"{message_id}.{sent_at}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(signed).decode()}"


def _stream(settings: Settings) -> tuple[int, str | None]:
    """Adds to the stream what is not in it; returns how many, and why not all."""
    rows = [row for row in _to_tell(settings) if not row.streamed]
    if not rows:
        return 0, None
    try:
        with connected(settings, "the stream of changes was not written", so="It is written later.") as store:
            pipeline = store.client.pipeline(transaction=False)
            for row in rows:
                pipeline.xadd(f"{store.prefix}:changes", _fields(row), maxlen=STREAM_LENGTH, approximate=True)
            pipeline.execute()
    except NcfError as error:
        return 0, str(error)
    with transaction(settings) as connection:
        execute(connection, "announcements_streamed", ids=[row.announcement_id for row in rows])
    return len(rows), None


def _post(settings: Settings) -> tuple[int, str | None]:
    """Posts what waits, in order, until one fails; returns how many, and why not all."""
    if settings.webhook_url is None:
        with transaction(settings) as connection:
            execute(connection, "announcements_not_posted")
        return 0, None
    url, secret = settings.webhook_url.get_secret_value(), settings.webhook_key
    if secret is None:
        return 0, "NCF_WEBHOOK_SECRET is not set, and nothing is posted that a receiver could not check."
    posted, until = 0, time.monotonic() + _POSTING_SECONDS
    with httpx.Client(timeout=POST_SECONDS, follow_redirects=False) as client:
        for row in _to_tell(settings):
            if not row.waits:
                continue
            if row.next_post_at > datetime.now(UTC) or time.monotonic() > until:
                break  # those behind it wait too, so that a receiver sees changes in order
            why = _post_one(client, url, secret, f"{settings.key_prefix}-{row.announcement_id}", row)
            with transaction(settings) as connection:
                if why is None:
                    execute(connection, "announcement_posted", announcement_id=row.announcement_id)
                    posted += 1
                    continue
                (failed,) = query_rows(
                    connection, "announcement_post_failed", announcement_id=row.announcement_id, days=GIVEN_UP_DAYS
                )
            if failed.is_given_up:
                logger.error("The webhook was not told of announcement %d, and will not be.", row.announcement_id)
                continue
            return posted, f"NCF_WEBHOOK_URL: {why}"
    return posted, None


def _post_one(client: httpx.Client, url: str, secret: bytes, message_id: str, row: Any) -> str | None:
    """Posts one announcement; returns why the receiver did not take it."""
    body = json.dumps(
        {"type": row.kind, "timestamp": row.announced_at.isoformat(), "data": row.details}, separators=(",", ":")
    ).encode()
    sent_at = int(time.time())
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": signature(secret, message_id, sent_at, body),
    }
    try:
        answer = client.post(url, content=body, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"{type(error).__name__}: {error}"
    return None if answer.is_success else f"it answered {answer.status_code}"


def _to_tell(settings: Settings) -> Sequence[Any]:
    return read_rows(settings, "announcements_to_tell", most=_AT_ONCE)


def _fields(row: Any) -> dict[Any, Any]:
    return {
        "id": row.announcement_id,
        "kind": row.kind,
        "at": row.announced_at.isoformat(),
        "data": json.dumps(row.details, separators=(",", ":")),
    }
