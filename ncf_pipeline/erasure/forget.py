"""A customer erased everywhere: from Postgres, the artifact store and Redis; searched for before and after.

What stays is in docs/adr/0003-erasure.md. May be killed at any point and run again.
"""

import logging
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline import privacy as erased
from ncf_pipeline.erasure import files, record
from ncf_pipeline.erasure import postgres as tables
from ncf_pipeline.errors import ErasureError, InputError
from ncf_pipeline.privacy import masked
from ncf_pipeline.serving.publication.erasing import erase_customer, keys_of_customer
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction

__all__ = ["Forgotten", "forget"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forgotten:
    """What an erasure found and left.

    Attributes:
        customer: masked.
        erasure: its number in `retail.erasure`; None where nothing was left to erase.
        places: each place that was searched, with the rows, files or keys that named the customer before.
        left: likewise after; all 0.
        not_covered: what only people can look through.
    """

    customer: str
    erasure: int | None
    places: dict[str, int]
    left: dict[str, int]
    not_covered: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, so that it travels as JSON."""
        return asdict(self)


def forget(settings: Settings, customer_id: int, *, requested_by: str) -> Forgotten:
    """Erases a customer, and proves it by a search of every place.

    Args:
        settings: of this run.
        customer_id: the shop's.
        requested_by: a person, or what triggered the run; kept in the record.

    Raises:
        InputError: nothing names this customer, and nobody has erased them: the number may be a wrong one.
        ErasureError: something still names them.
        ArtifactError: a file cannot be read, so that nobody knows what is in it.
        ListStoreError: Redis cannot be reached. Run it again.
    """
    who = masked(str(customer_id))
    logger.info("Waiting until nobody reads or writes customers.")
    with erased.alone(settings):
        known = record.is_known(settings, customer_id)
        before = search(settings, customer_id)
        if not any(before.values()) and not known:
            raise InputError(f"Nothing names customer {who}: nobody was erased. Is the number right?")
        # Also where nothing is found: a run that was killed may have come that far.
        with transaction(settings) as connection:
            opened = record.open_erasure(connection, settings, customer_id, requested_by)
            tables.erase(connection, customer_id, without_country=opened.without_country)
        logger.info("Customer %s is erased from the database, and cannot come back with an old file.", who)
        files.erase(
            settings,
            customer_id,
            without_country=opened.without_country,
            lineage=files.lineage(opened.erasure_id),
        )
        logger.info("Customer %s is erased from the artifact store.", who)
        erase_customer(settings, customer_id)
        logger.info("Customer %s is erased from every publication in Redis.", who)
        tables.forget_old_rows(settings)
        left = search(settings, customer_id)
    _refuse_what_is_left(who, left)
    record.finish_erasure(settings, opened.erasure_id, {"found": {name: n for name, n in before.items() if n}})
    logger.info("Erasure %d is done: %d places searched, nothing names the customer.", opened.erasure_id, len(left))
    return Forgotten(who, opened.erasure_id, before, left, _not_covered(settings))


def search(settings: Settings, customer_id: int) -> dict[str, int]:
    """How many rows, files and keys name a customer, by place; places that do not are there with 0."""
    found: Counter[str] = Counter()
    with transaction(settings) as connection:
        found.update(tables.search(connection, customer_id))
    found.update(files.search(settings, customer_id))
    found["Redis: keys"] = len(keys_of_customer(settings, customer_id))
    return dict(found)


def _refuse_what_is_left(who: str, left: dict[str, int]) -> None:
    if places := [f"{name} ({count})" for name, count in left.items() if count]:
        raise ErasureError(
            f"Customer {who} is not erased yet: {', '.join(places)} still names them. Run it again; what stays is a "
            "place that this version does not know: erase it by hand."
        )


def _not_covered(settings: Settings) -> tuple[str, ...]:
    inbox = settings.inbox_path.resolve()
    told = []
    for folder in (inbox, inbox.parent / "processed", inbox.parent / "rejected"):
        count = sum(path.is_file() for path in folder.iterdir()) if folder.is_dir() else 0
        if count:
            told.append(
                f"{folder} has {count} of the shop's own files, which may name them; sent again, they bring nobody back"
            )
    return (
        *told,
        "backups, write-ahead logs and server logs of Postgres and Redis, until they are dropped",
        "weights of products that their purchases helped to train, until the next retrain",
    )
