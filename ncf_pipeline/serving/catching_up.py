"""Writes into the registry what Redis has served since a publisher died before it could."""

import logging
from contextlib import suppress
from datetime import UTC, datetime

from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)


def record_what_serves(settings: Settings) -> None:
    """Records the live publication, if the registry does not know yet that it is live.

    A publisher makes its lists live in Redis first, and then records them. If it is killed in between, or Postgres is,
    shoppers see lists whose version has never served, as the registry has it. So whoever changes the live lists next
    calls this first: measurements and rollbacks then know who served.

    Raises:
        ListStoreError: Redis cannot be reached, or refused.
        DatabaseError: Postgres cannot be reached, or refused.
    """
    meta = publication.live_publication(settings)
    if meta is None:
        return
    since = datetime.now(UTC)
    with suppress(KeyError, ValueError):  # a damaged meta
        since = datetime.fromisoformat(meta["published_at"])
    if registry.record_served(settings, publication.number_of(meta["name"]), since):
        logger.warning("%s has been live without a record. It has one now.", meta["name"])
