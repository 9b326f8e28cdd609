"""Erases a customer from Postgres, the artifact store and Redis, and searches every place before and after.

docs/adr/0003-erasure.md says what stays. If an erasure is killed at any point, run it again.
"""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline import privacy
from ncf_pipeline.erasure import files, postgres, record
from ncf_pipeline.erasure.list_store import rewrite_files
from ncf_pipeline.erasure.old_versions import not_listed
from ncf_pipeline.errors import ArtifactError, ErasureError, InputError, PassingError, StoreUnavailableError
from ncf_pipeline.events.stream import erase_from_stream, events_naming
from ncf_pipeline.ingest.customer_ids import spelled
from ncf_pipeline.privacy import masked
from ncf_pipeline.registry.stores import ArtifactStore, artifact_stores
from ncf_pipeline.serving.publication.erasing import erase_customer, keys_of_customer
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, transaction

__all__ = ["Forgotten", "forget"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Forgotten:
    """The result of an erasure.

    Attributes:
        customer: the id, masked.
        erasure: its number in `retail.erasure`.
        places: how many rows, files or keys named the customer before, for each place that was searched.
        left: the same after the erasure; all 0.
        not_covered: places that were not searched, in words.
    """

    customer: str
    erasure: int
    places: dict[str, int]
    left: dict[str, int]
    not_covered: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def forget(settings: Settings, customer_id: str, *, requested_by: str, gone: Collection[str] = ()) -> Forgotten:
    """Erases a customer, and proves it by a search of every place.

    Artifact stores are searched wherever the registry points. If one cannot be reached, the others are erased, and the
    erasure stays open until it is run again and reaches all of them.

    Args:
        settings: for the database, the artifact store, the checkpoints, Redis and the erasure key.
        customer_id: the shop's id of the customer, as it is stored: 14646, C-1001, anna@example.com. What programs add
            around it, as in 14646.0, is taken off, as `ingest` does.
        requested_by: the person or the trigger of the run; stored in the record.
        gone: URLs of artifact stores that no longer exist, as a person says; stored in the record.

    Returns:
        Where the customer was found before, and what the erasure does not cover.

    Raises:
        InputError: nothing names this customer, or only in another spelling, and they were not erased before. The id
            may be wrong.
        ErasureError: after the erasure, a place still names the customer, or refuses to be searched.
        StoreUnavailableError: an artifact store cannot be reached now. The customer is erased everywhere else.
        SettingsError: the erasure key is missing, or is not the one used before; or a server is not set.
        ArtifactError: a file cannot be read, so its content is unknown; or the store refused.
        DatabaseError: Postgres cannot be reached or refused.
        ListStoreError: Redis cannot be reached or refused.
    """
    customer_id = spelled(customer_id)
    if customer_id in ("", "0"):
        raise InputError("A guest has no id, so nothing names one. Name the customer to erase.")
    who = masked(customer_id)
    logger.info("Waiting until no other run reads or writes customers.")
    with privacy.alone(settings):
        known = record.is_known(settings, customer_id)
        others = _other_spellings(settings, customer_id)
        if others.shown and not others.is_stored and not known:
            raise InputError(
                f"No customer is stored as {who}, but one is {others.shown}, so nothing was erased. If that is the "
                "customer, name it in that spelling."
            )
        stores = [store for store in artifact_stores(settings) if store.root not in {each.rstrip("/") for each in gone}]
        before, away = _search(settings, stores, customer_id)
        if not any(before.values()) and not known:
            _refuse_what_is_away(f"Nothing that can be reached names customer {who}", away)
            raise InputError(f"Nothing names customer {who}, so nothing was erased. Check the id.")
        # Even if the search found nothing: a killed run may have left only its last steps undone.
        with transaction(settings) as connection:
            opened = record.open_erasure(connection, settings, customer_id, requested_by)
            postgres.erase(connection, customer_id, without_country=opened.without_country)
        logger.info("Erased customer %s from the database. Old files cannot bring the customer back.", who)
        stores = [store for store in stores if store.root not in away]
        for store in stores:
            with _noting(store, away):
                files.erase(
                    settings,
                    store,
                    customer_id,
                    without_country=opened.without_country,
                    lineage=files.lineage(opened.erasure_id),
                )
        files.delete_leftovers(settings)
        logger.info("Erased customer %s from the artifact store.", who)
        erase_customer(settings, customer_id)
        taken_until = erase_from_stream(settings, customer_id)
        in_files_of_redis = rewrite_files(settings)
        logger.info("Erased customer %s from every publication in Redis.", who)
        postgres.vacuum(settings)
        reachable = [store for store in stores if store.root not in away]
        # Whoever visits the shop again meanwhile is a new customer.
        left, still_away = _search(settings, reachable, customer_id, events_until=taken_until)
    _refuse_what_is_left(who, left)
    _refuse_what_is_away(f"Customer {who} is erased from all that can be reached", {**away, **still_away})
    report = {"found": {name: n for name, n in before.items() if n}, **({"gone": sorted(gone)} if gone else {})}
    record.finish_erasure(settings, opened.erasure_id, report)
    logger.info("Erasure %d is done. Searched %d places: none names the customer.", opened.erasure_id, len(left))
    another = [f"another customer, whose id is the same but {others.shown}"] if others.shown else []
    not_covered = (
        *another,
        *(f"{url}, which no longer exists, as {requested_by} says" for url in sorted(gone)),
        *in_files_of_redis,
        *_not_covered(settings, stores),
    )
    return Forgotten(who, opened.erasure_id, before, left, not_covered)


def search(settings: Settings, customer_id: str) -> dict[str, int]:
    """Counts the rows, files and keys that name a customer, by place. Places without any have 0.

    Raises:
        ErasureError, StoreUnavailableError: an artifact store that the registry names cannot be searched.
    """
    counts, away = _search(settings, artifact_stores(settings), customer_id)
    _refuse_what_is_away("What can be reached was searched", away)
    return counts


def _search(
    settings: Settings, stores: Sequence[ArtifactStore], customer_id: str, *, events_until: str = "+"
) -> tuple[dict[str, int], dict[str, ArtifactError]]:
    """The counts of `search`; and why an artifact store cannot be searched, by its URL."""
    counts: Counter[str] = Counter()
    away: dict[str, ArtifactError] = {}
    with transaction(settings) as connection:
        counts.update(postgres.search(connection, customer_id))
    for store in stores:
        with _noting(store, away):
            counts.update(files.search(store, customer_id))
    counts["Redis: keys"] = len(keys_of_customer(settings, customer_id))
    counts["Redis: events"] = events_naming(settings, customer_id, until=events_until)
    return dict(counts), away


@contextmanager
def _noting(store: ArtifactStore, away: dict[str, ArtifactError]) -> Iterator[None]:
    """Notes an error of a store that only the registry names: it must not keep the others from being erased."""
    try:
        yield
    except ArtifactError as error:
        if store.is_configured:
            raise
        logger.warning("%s", error)
        away[store.root] = error


def _refuse_what_is_away(done: str, away: Mapping[str, ArtifactError]) -> None:
    if not away:
        return
    kind = StoreUnavailableError if any(isinstance(each, PassingError) for each in away.values()) else ErasureError
    roots = " ".join(f"--gone {root}" for root in away)
    raise kind(
        f"{done}, but not everything can: {' '.join(map(str, away.values()))} The erasure is not done until it is run "
        f"again and reaches that. If it no longer exists, say so: ncf-pipeline forget CUSTOMER {roots} (in Airflow, in "
        "the DAG's form)"
    )


@dataclass(frozen=True)
class _Spellings:
    """Whether an id is stored, and in words how others are written that differ in case or zeros only."""

    is_stored: bool
    shown: str


def _other_spellings(settings: Settings, customer_id: str) -> _Spellings:
    with transaction(settings) as connection:
        stored = [row.customer_id for row in query_rows(connection, "spellings_of_customer", customer_id=customer_id)]
    shown = [_difference(customer_id, each) for each in stored if each != customer_id]
    return _Spellings(customer_id in stored, " and one ".join(shown))


def _difference(customer_id: str, other: str) -> str:
    """How another spelling differs, without naming the customer."""
    zeros = len(other) - len(other.lstrip("0"))
    words = []
    if zeros != len(customer_id) - len(customer_id.lstrip("0")):
        words.append(
            f"with {zeros} {'zero' if zeros == 1 else 'zeros'} in front" if zeros else "without zeros in front"
        )
    if customer_id.lstrip("0") != other.lstrip("0"):
        capitals = [str(at) for at, letter in enumerate(other, 1) if letter.isupper()]
        if not capitals:
            words.append("in small letters")
        elif other == other.upper():
            words.append("in capital letters")
        else:
            words.append(f"with capital letters at {', '.join(capitals)} only")
    return " and ".join(words)


def _refuse_what_is_left(who: str, left: dict[str, int]) -> None:
    if places := [f"{name} ({count})" for name, count in left.items() if count]:
        raise ErasureError(
            f"Customer {who} is not fully erased. These places still name the customer: {', '.join(places)}. Run the "
            "erasure again. If a place remains, this version does not know it: erase the customer there by hand."
        )


def _not_covered(settings: Settings, stores: Sequence[ArtifactStore]) -> tuple[str, ...]:
    inbox = settings.inbox_path.resolve()
    own_files = []
    for folder in (inbox, inbox.parent / "processed", inbox.parent / "rejected"):
        count = sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0
        if count:
            own_files.append(
                f"{count} of the shop's own files in {folder}, which may name the customer; ingesting them again does "
                "not bring the customer back"
            )
    kept = [why for store in stores if (why := not_listed(store.root)) is not None]
    return (
        *own_files,
        *kept,
        "backups, Postgres' write-ahead log and the server logs, until they are deleted",
        "the models' product weights, which the customer's purchases helped to train, until the next retrain",
    )
