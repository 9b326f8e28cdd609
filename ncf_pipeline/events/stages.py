"""`events take` and `events load`, for the command and the DAG."""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from ncf_pipeline.events import stream
from ncf_pipeline.events.checking import Checker
from ncf_pipeline.events.files import rows_of
from ncf_pipeline.events.landing import Counts, land, remove_old
from ncf_pipeline.ingest.fetching import check_unchanged, fetch
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.locks import Lock
from ncf_pipeline.storage.scratch import scratch_folder

__all__ = ["load", "take"]

STREAM = "stream"

_LOCK = Lock(0x65766E74, "takes events")  # "evnt"

logger = logging.getLogger(__name__)


def take(settings: Settings, *, now: datetime | None = None) -> Counts:
    """Moves the events that wait in the stream into Postgres; then removes those that are beyond their time.

    It may be killed at any point and run again: nothing is lost, and nothing counts twice.

    Args:
        settings: of the list store and the database.
        now: the present instant, with a zone; None reads the clock.

    Returns:
        What became of them; all 0 if none waited.

    Raises:
        ListStoreError: Redis cannot be reached or refused. Events that are not stored wait there.
        DatabaseError: Postgres cannot be reached or refused.
        SettingsError: somebody was erased, and the key that recognises them is missing.
    """
    counts = Counts()
    with _LOCK.held(settings):
        waiting = stream.backlog(settings)
        if waiting.is_full:
            logger.warning(
                "The stream of events was full, so the oldest may be lost. Take them more often: NCF_EVENTS_SCHEDULE."
            )
        checker = _checker(settings, now)
        land(settings, STREAM, [], counts, release=True)
        for page in stream.pages(settings, waiting.last) if waiting.last is not None else ():
            events = [checker.event(entry, fields, at=stream.added_at(entry)) for entry, fields in page]
            land(settings, STREAM, events, counts)
        remove_old(settings, checker.now)
    logger.info("%s", counts)
    return counts


def load(
    settings: Settings,
    locations: Iterable[str],
    *,
    now: datetime | None = None,
    on_progress: Callable[[Counts], None] | None = None,
) -> Counts:
    """Loads files of events. The same file again, or another one with the same events, changes nothing.

    Args:
        settings: of the database.
        locations: paths or URLs.
        now: the present instant, with a zone; None reads the clock.
        on_progress: called after each page.

    Returns:
        What became of their events.

    Raises:
        InputError: a file cannot be used. The files before it, and the rows before a broken one, are loaded.
        DatabaseError: Postgres cannot be reached or refused. Run it again.
        SettingsError: somebody was erased, and the key that recognises them is missing.
    """
    counts = Counts()
    with _LOCK.held(settings):
        checker = _checker(settings, now)
        land(settings, STREAM, [], counts, release=True)
        for location in locations:
            with scratch_folder() as folder:
                source = fetch(location, folder, max_mb=settings.max_unpacked_mb)
                for page in rows_of(source.path, source.name, folder, max_unpacked_mb=settings.max_unpacked_mb):
                    land(settings, source.sha256, [checker.event(row, texts) for row, texts in page], counts)
                    if on_progress is not None:
                        on_progress(counts)
                check_unchanged(source)
        remove_old(settings, checker.now)
    logger.info("%s", counts)
    return counts


def _checker(settings: Settings, now: datetime | None) -> Checker:
    return Checker(now or datetime.now(UTC), settings.events_days, ZoneInfo(settings.shop_timezone))
