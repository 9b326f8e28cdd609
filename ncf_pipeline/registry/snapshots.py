"""Snapshots: the interactions before a cutoff, as files (see `snapshot_files`), with a hash of their content."""

import posixpath
import re
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

import pandas as pd
import polars as pl

from ncf_pipeline.columns import Interactions, Looks
from ncf_pipeline.errors import ArtifactError, DatabaseUnavailableError, InputError
from ncf_pipeline.privacy import hold_off, known_erased, refuse_if_erased_since
from ncf_pipeline.registry.snapshot_files import (
    INTERACTIONS,
    LOOKS,
    PRODUCTS,
    Content,
    Gathering,
    bucket_of,
    bucket_of_lines,
    content_sha256,
    customers_of,
    in_order,
    is_there,
    name_of,
    parts_in_turn,
    parts_of,
    read_looks,
    read_part,
    read_products,
    remove_content,
    sha256_of_part,
    sha256_of_parts,
    sha256_with_looks,
    write_content,
    write_looks,
)
from ncf_pipeline.registry.stores import root_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, execute, fetch, query_rows, read_rows, stream, transaction, write
from ncf_pipeline.storage.files import filesystem_of, list_files, new_file, store_error, store_errors
from ncf_pipeline.storage.resources import query
from ncf_pipeline.storage.scratch import scratch_folder
from ncf_pipeline.threads import prefetched

_AGAIN = "Erase the customer again, or prune again."
_FOLDER = re.compile(r"s\d+(-e\d+)?")
_LOCK = 0x736E6170  # "snap": one transaction at a time changes which snapshots have files


@dataclass(frozen=True)
class Snapshot:
    """The interactions before a cutoff, and the products that were bought.

    Attributes:
        snapshot_id: such as s000001.
        cutoff: the first instant that is not in it.
        sha256: of its content, whatever the order of the rows.
        interactions: columns of `columns.Interactions`, by time.
        products: columns of `columns.Products`, every product that was bought, by stock code.
        batches: ids of the batches whose lines are in it, as recorded when it was first taken; None if they were not
            recorded.
        looks: columns of `columns.Looks`, of customers with a purchase; empty for a shop that tells nothing.
        share: of its lines that were read; below 1 for a sample of the customers.
    """

    snapshot_id: str
    cutoff: datetime
    sha256: str
    interactions: pd.DataFrame
    products: pd.DataFrame
    batches: tuple[int, ...] | None = None
    looks: pd.DataFrame = field(default_factory=lambda: _as_pandas(pl.DataFrame(schema=LOOKS)))
    share: float = 1.0

    def whole(self, lines: int) -> int:
        """How many lines of the whole snapshot so many of those that were read stand for."""
        return round(lines / self.share)

    @property
    def customers(self) -> int:
        """Number of customers among the interactions that were read, guests apart."""
        return int(self.interactions[Interactions.CUSTOMER_ID].nunique())

    def parts(self) -> Iterator[pd.DataFrame]:
        """The interactions that were read, as the only part: see `SnapshotInParts.parts`."""
        yield self.interactions


@dataclass(frozen=True)
class SnapshotInParts:
    """A snapshot whose interactions are read part by part, so that memory need hold only one.

    Use it while `privacy.kept_out` keeps erasures out.

    Attributes:
        snapshot_id: such as s000001.
        cutoff: the first instant that is not in it.
        sha256: of its content, whatever the order of the rows.
        products: columns of `columns.Products`, every product that was bought, by stock code.
        lines: number of interactions.
        customers: number of customers, guests apart.
        url: of its folder.
    """

    snapshot_id: str
    cutoff: datetime
    sha256: str
    products: pd.DataFrame
    lines: int
    customers: int
    url: str

    @cached_property
    def looks(self) -> pd.DataFrame:
        """Columns of `columns.Looks`, of customers with a purchase. They are checked with the last part.

        Raises:
            ArtifactError: they are damaged, or the store cannot be reached.
        """
        return _as_pandas(read_looks(self.url))

    def parts(self) -> Iterator[pd.DataFrame]:
        """Reads the interactions, the next part while one is in use.

        The content is checked at the end of the first time: what was made of the parts counts only then.

        Yields:
            Columns of `columns.Interactions`, by time within a part. All lines of a customer are in one part.

        Raises:
            ArtifactError: the files are gone or damaged, or the store cannot be reached.
        """
        return prefetched(self._parts())

    def _parts(self) -> Iterator[pd.DataFrame]:
        products, parts, hashes = read_products(self.url), parts_of(self.url), list[str]()
        for part in parts:
            frame = read_part(part)
            if not self._is_checked.is_set():
                hashes.append(content_sha256(frame, products) if len(parts) == 1 else sha256_of_part(frame))
            yield _as_pandas(frame)
        if len(hashes) == len(parts):
            sha256 = hashes[0] if len(parts) == 1 else sha256_of_parts(hashes, products)
            _check(self, sha256_with_looks(sha256, read_looks(self.url)))
            self._is_checked.set()

    @cached_property
    def _is_checked(self) -> Event:
        return Event()


AnySnapshot: TypeAlias = Snapshot | SnapshotInParts


def newest_cutoff(settings: Settings) -> datetime:
    """The instant just after the newest invoice line.

    Raises:
        InputError: there are no invoices yet.
    """
    (row,) = read_rows(settings, "newest_invoice")
    after = loaded_until(row.newest)
    if after is None:
        raise InputError("There are no invoices yet: load some with `ncf-pipeline ingest FILE`.")
    return after


def loaded_until(newest: datetime | None) -> datetime | None:
    """The instant just after the newest invoice line; None if there is none."""
    return None if newest is None else newest.replace(microsecond=0) + timedelta(seconds=1)


def take_snapshot(settings: Settings, cutoff: datetime | None = None) -> str:
    """Takes a snapshot of what was bought before the cutoff, as the shop knew it then.

    A return at or after the cutoff is not in it: a purchase counts until the instant at which it was taken back.

    Args:
        settings: whose database and artifact store.
        cutoff: the first instant excluded; just after the newest invoice line if None.

    Returns:
        The snapshot's id. The same content at the same cutoff has the same id.

    Raises:
        InputError: there are no purchases before the cutoff, or no invoices at all.
        ArtifactError: the artifact store refused. Nothing was recorded.
        ErasedMeanwhileError: a customer was erased meanwhile. Nothing was recorded.
    """
    cutoff = cutoff or newest_cutoff(settings)
    with transaction(settings) as guard:
        # Before anything is read: if an erasure is running, the reading transaction must begin after its end.
        hold_off(guard)
        return _take(settings, cutoff)


def _take(settings: Settings, cutoff: datetime) -> str:
    with _temporary_folder() as folder:
        gathering = Gathering(folder)
        with transaction(settings) as connection:
            # All queries see the same state of the shop, even if an ingest commits meanwhile.
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            erased = known_erased(connection, settings)
            with connection.cursor() as cursor:
                # Everything is read, and just after a large load the statistics may still be those of a small shop:
                # then a loop within a loop took more than eight minutes for half a million lines.
                cursor.execute("set local enable_nestloop to off")
            stream(connection, query("interactions"), INTERACTIONS, gathering.add, cutoff=cutoff)
            described = fetch(connection, query("snapshot_products"), PRODUCTS)
            looks = fetch(connection, query("looks"), LOOKS, cutoff=cutoff, timezone=settings.shop_timezone)
            batches = _batches(connection, cutoff)
        if not gathering.lines:
            raise InputError(f"There are no purchases before {cutoff}: choose a later cutoff, or load more invoices.")
        content = gathering.content(described).with_looks(looks)
        try:
            with transaction(settings) as connection:
                refuse_if_erased_since(connection, settings, erased)
                return _keep(connection, settings, cutoff, content, batches)
        except DatabaseUnavailableError:
            # An erasure that did not wait for the lost connection has not seen these files.
            with transaction(settings) as connection:
                hold_off(connection)  # an erasure writes files before it records them
                remove_unnamed(settings)
            raise


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder on this machine, where a large shop's lines wait."""
    try:
        with scratch_folder() as folder:
            yield folder
    except OSError as error:
        place = f"The purchases cannot wait in {tempfile.gettempdir()}"
        raise store_error(place, error, "Make room there, or name another folder in TMPDIR.") from error


def read_snapshot(settings: Settings, snapshot_id: str, *, most_lines: int | None = None) -> Snapshot:
    """Reads a snapshot and checks its content.

    Args:
        settings: whose database and artifact store.
        snapshot_id: of the snapshot.
        most_lines: of a snapshot with more lines that is kept in parts, only so many parts are returned that they have
            about as many lines, and one at least. They are a sample of the customers, with all of their lines; of
            guests, one by invoices. All parts are read for the check, one in memory at a time. None: all lines.

    Raises:
        ArtifactError: there is no such snapshot, its files are gone or damaged, or the store cannot be reached.
    """
    with transaction(settings) as connection:
        hold_off(connection)
        record = _record(connection, snapshot_id)
        share = 1.0 if most_lines is None else most_lines / record.lines
        interactions, products, looks, sha256 = _read(record.url, share)
    _check(record, sha256)
    return Snapshot(
        snapshot_id=snapshot_id,
        cutoff=record.cutoff,
        sha256=record.sha256,
        interactions=_as_pandas(interactions),
        products=_as_pandas(products),
        batches=None if record.batches is None else tuple(record.batches),
        looks=_as_pandas(looks),
        share=interactions.height / record.lines,
    )


def open_snapshot(settings: Settings, snapshot_id: str) -> SnapshotInParts:
    """A snapshot whose interactions are read when they are asked for.

    Args:
        settings: whose database and artifact store.
        snapshot_id: of the snapshot.

    Raises:
        ArtifactError: there is no such snapshot, its products are gone or damaged, or the store cannot be reached.
    """
    with transaction(settings) as connection:
        record = _record(connection, snapshot_id)
    return SnapshotInParts(
        snapshot_id=snapshot_id,
        cutoff=record.cutoff,
        sha256=record.sha256,
        products=_as_pandas(read_products(record.url)),
        lines=record.lines,
        customers=record.customers,
        url=record.url,
    )


def read_or_open(settings: Settings, snapshot_id: str) -> AnySnapshot:
    """Reads a snapshot that is kept in one part. One in several parts is read part by part, when it is asked for.

    Call it while `privacy.kept_out` keeps erasures out.

    Raises:
        ArtifactError: there is no such snapshot, its files are gone or damaged, or the store cannot be reached.
    """
    snapshot = open_snapshot(settings, snapshot_id)
    return snapshot if len(parts_of(snapshot.url)) > 1 else read_snapshot(settings, snapshot_id)


def read_snapshot_by_parts(settings: Settings, snapshot_id: str) -> Iterator[pd.DataFrame]:
    """Reads the interactions of a snapshot part by part: see `SnapshotInParts.parts`.

    Raises:
        ArtifactError: there is no such snapshot, its files are gone or damaged, or the store cannot be reached.
    """
    yield from open_snapshot(settings, snapshot_id).parts()


def read_looks_of_snapshot(settings: Settings, snapshot_id: str) -> pd.DataFrame:
    """Reads the looks of a snapshot alone. They are checked with all of its content: see `read_snapshot_by_parts`.

    Raises:
        ArtifactError: there is no such snapshot, its looks are damaged, or the store cannot be reached.
    """
    with transaction(settings) as connection:
        return _as_pandas(read_looks(_record(connection, snapshot_id).url))


def lines_in_order(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of several parts, as they follow each other in the whole snapshot.

    Args:
        lines: columns of `columns.Interactions`, and any others.
    """
    return _as_pandas(in_order(pl.from_pandas(lines)))


def prune_snapshots(settings: Settings, *, keep: Collection[str], unused_since: datetime) -> list[str]:
    """Removes the files of snapshots that nothing needs. Taking the same snapshot again writes them again.

    Args:
        settings: whose database and artifact store.
        keep: ids of snapshots that are needed.
        unused_since: snapshots that were taken again after this instant stay too: a run may be reading them.

    Returns:
        The ids of the snapshots whose files were removed.

    Raises:
        ArtifactError: the artifact store refused. The next call removes what is left.
    """
    numbers = [int(snapshot_id[1:]) for snapshot_id in keep]
    with transaction(settings) as connection:
        # Until the end, no other process may read in the registry that the files exist, or that they are gone.
        _lock(connection)
        pruned = query_rows(connection, "prune_snapshots", keep=numbers, unused_since=unused_since)
        for row in pruned:
            remove_content(row.url)
    return [_name(row.snapshot_id) for row in pruned]


def erase_from_snapshots(
    settings: Settings, root: str, customer_id: str, erasure_id: int, *, without_country: bool
) -> None:
    """Makes a customer's purchases those of a guest in every snapshot of a store, and removes the customer's looks.

    Each changed snapshot gets a new hash.

    The new files are written beside the old ones, then the record names the new ones, then the old ones are removed.
    So the record always names complete files, and a call that was stopped may be repeated.

    Args:
        settings: whose snapshots.
        root: URL of the artifact store: the configured one, or another that the records name.
        customer_id: of the customer to erase.
        erasure_id: becomes a part of the new files' names.
        without_country: whether to remove the country of their purchases too.

    Raises:
        ArtifactError: a snapshot is damaged, or the store refused.
    """
    for snapshot in read_rows(settings, "snapshots"):
        if root_of(snapshot.url) != root or not is_there(snapshot.url):
            continue
        url = f"{root}/snapshots/{_name(snapshot.snapshot_id)}-e{erasure_id}"
        without = _write_without(url, snapshot.url, customer_id, without_country=without_country)
        if without is None:
            continue
        sha256, customers = without
        write(
            settings,
            "record_erased_snapshot",
            snapshot_id=snapshot.snapshot_id,
            sha256=sha256,
            customers=customers,
            url=url,
        )
        if snapshot.url != url:
            remove_content(snapshot.url)
    remove_unnamed(settings)


def _write_without(url: str, before: str, customer_id: str, *, without_country: bool) -> tuple[str, int] | None:
    """Writes a snapshot whose purchases of a customer are those of a guest, and which has none of the customer's looks.

    One part is in memory at a time.

    Args:
        url: of the new files.
        before: of the old ones; it may be the same.
        customer_id: of the customer.
        without_country: whether to remove the country of their purchases too.

    Returns:
        The SHA-256 of the content, and the number of customers; None if nothing in it names the customer.
    """
    parts, products, all_looks = parts_of(before), read_products(before), read_looks(before)
    looks = all_looks.filter(pl.col(Looks.CUSTOMER_ID) != customer_id)
    number = len(parts)
    own = bucket_of(customer_id) % number
    is_theirs = (pl.col(Interactions.CUSTOMER_ID) == customer_id).fill_null(value=False)
    theirs = read_part(parts[own]).filter(is_theirs)
    if theirs.is_empty() and looks.height == all_looks.height:
        return None
    gone = [Interactions.CUSTOMER_ID, *([Interactions.COUNTRY] if without_country else [])]
    theirs = theirs.with_columns(pl.lit(None, INTERACTIONS[name]).alias(name) for name in gone)
    # where a guest's lines belong
    part_of_line = bucket_of_lines(theirs) % number if theirs.height else pl.Series([], dtype=pl.Int64)
    hashes, customers = [], 0
    with new_file(f"{url}/products.parquet") as file:
        products.write_parquet(file)
    write_looks(url, looks)
    for part, source in enumerate(parts):
        left = read_part(source).filter(~is_theirs) if part == own else read_part(source)
        frame = in_order(pl.concat([left, theirs.filter(part_of_line == part)]))
        with new_file(f"{url}/{name_of(part, number)}") as file:
            frame.write_parquet(file)
        hashes.append(content_sha256(frame, products) if number == 1 else sha256_of_part(frame))
        customers += customers_of(frame)
    sha256 = hashes[0] if number == 1 else sha256_of_parts(hashes, products)
    return sha256_with_looks(sha256, looks), customers


def _read(url: str, share: float) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, str]:
    """The interactions, the products and the looks of a snapshot, and their SHA-256; about a share of the lines."""
    products, looks, parts = read_products(url), read_looks(url), parts_of(url)
    if len(parts) == 1:
        only = read_part(parts[0])
        return only, products, looks, sha256_with_looks(content_sha256(only, products), looks)
    wanted = set(parts_in_turn(len(parts))[: max(1, int(share * len(parts)))])
    hashes, kept = list[str](), list[pl.DataFrame]()
    for part, source in enumerate(parts):
        frame = read_part(source)
        hashes.append(sha256_of_part(frame))
        if part in wanted:
            kept.append(frame)
    interactions = in_order(pl.concat(kept))
    sha256 = sha256_with_looks(sha256_of_parts(hashes, products), looks)
    if len(wanted) < len(parts):
        looks = looks.join(interactions.select(Interactions.CUSTOMER_ID).unique(), on=Looks.CUSTOMER_ID, how="semi")
    return interactions, products, looks, sha256


def _record(connection: Connection, snapshot_id: str) -> Any:
    """The row of a snapshot whose files are kept."""
    if not re.fullmatch(r"s\d{1,18}", snapshot_id):
        raise ArtifactError(f"{snapshot_id!r} is no snapshot id. Ids look like s000001.")
    record = next(iter(query_rows(connection, "snapshot", snapshot_id=int(snapshot_id[1:]))), None)
    if record is None:
        raise ArtifactError(f"There is no snapshot {snapshot_id}. Take a new one.")
    if record.pruned_at is not None:
        since = f"{record.pruned_at:%Y-%m-%d}"
        raise ArtifactError(f"{snapshot_id} is no longer kept, since {since}. Take a new snapshot.")
    return record


def _check(record: Any, sha256: str) -> None:
    if sha256 != record.sha256:
        raise ArtifactError(f"{record.url} is damaged: its content has another SHA-256. Take a new snapshot.")


def _batches(connection: Connection, cutoff: datetime) -> list[int]:
    return [row.batch_id for row in query_rows(connection, "snapshot_batches", cutoff=cutoff)]


def _keep(connection: Connection, settings: Settings, cutoff: datetime, content: Content, batches: list[int]) -> str:
    _lock(connection)
    known = query_rows(connection, "find_snapshot", cutoff=cutoff, sha256=content.sha256)
    if known:
        if not is_there(known[0].url, with_looks=content.looks.height > 0):
            write_content(known[0].url, content)
        return _name(known[0].snapshot_id)
    (following,) = query_rows(connection, "next_snapshot_id")
    url = f"{settings.artifacts}/snapshots/{_name(following.snapshot_id)}"
    write_content(url, content)
    execute(
        connection,
        "insert_snapshot",
        snapshot_id=following.snapshot_id,
        cutoff=cutoff,
        lines=content.lines,
        customers=content.customers,
        products=content.products.height,
        sha256=content.sha256,
        url=url,
        batches=batches,
    )
    return _name(following.snapshot_id)


def _lock(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))


def _name(number: int) -> str:
    return f"s{number:06d}"


def remove_unnamed(settings: Settings, *, older_than: datetime | None = None) -> list[str]:
    """Removes the snapshot folders that no record names, or only that of a snapshot that is no longer kept.

    Such files were written by a process that was killed, or whose connection was lost, before its record was.

    Args:
        settings: whose database and artifact store.
        older_than: only those without a file from this instant on; None: all.

    Returns:
        The names of the folders.

    Raises:
        ArtifactError: the artifact store refused. The next call removes what is left.
    """
    with transaction(settings) as connection:
        # A process that takes a snapshot holds this lock until the record is written.
        _lock(connection)
        kept = {posixpath.basename(row.url) for row in query_rows(connection, "snapshots") if row.pruned_at is None}
        url = f"{settings.artifacts}/snapshots"
        newest: dict[str, datetime | None] = {}
        for path, at in list_files(url).items() if older_than is not None else ():
            folder = path.partition("/")[0]
            newest[folder] = max((each for each in (newest.get(folder, at), at) if each is not None), default=None)
        removed = []
        try:
            filesystem, root = filesystem_of(url)
            filesystem.invalidate_cache()  # it remembers files that were removed one by one
            for path in filesystem.ls(root, detail=False) if filesystem.exists(root) else ():
                name = posixpath.basename(path.rstrip("/"))
                at = newest.get(name)
                # What else lies there is not ours; an erasure removes it, because it may name the customer.
                is_old = at is not None and older_than is not None and at < older_than and _FOLDER.fullmatch(name)
                if name not in kept and (older_than is None or is_old):
                    with suppress(FileNotFoundError):  # a bucket with versions still names what was removed
                        filesystem.rm(path, recursive=True)
                    removed.append(name)
        except store_errors() as error:
            raise store_error(f"{url}: a snapshot that no record names was not removed", error, _AGAIN) from error
    return removed


def _as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    converted: pd.DataFrame = frame.to_arrow().to_pandas()
    return converted
