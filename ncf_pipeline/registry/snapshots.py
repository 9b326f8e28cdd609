"""Snapshots: the interactions before a cutoff, as Parquet files, with a hash of their content."""

import hashlib
import posixpath
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from ncf_pipeline.columns import Interactions, Products
from ncf_pipeline.errors import ArtifactError, DatabaseUnavailableError, InputError
from ncf_pipeline.privacy import hold_off, known_erased, refuse_if_erased_since
from ncf_pipeline.registry.stores import root_of
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, execute, fetch, query_rows, read_rows, transaction, write
from ncf_pipeline.storage.files import (
    file_exists,
    filesystem_of,
    list_files,
    new_file,
    open_file,
    remove_file,
    store_error,
    store_errors,
)
from ncf_pipeline.storage.resources import query

_INTERACTIONS = pl.Schema(
    {
        Interactions.CUSTOMER_ID: pl.String(),
        Interactions.STOCK_CODE: pl.String(),
        Interactions.INVOICE_NO: pl.String(),
        Interactions.PURCHASED_AT: pl.Datetime("us"),
        Interactions.QUANTITY: pl.Float64(),
        Interactions.UNIT_PRICE: pl.Float64(),
        Interactions.COUNTRY: pl.String(),
        Interactions.DESCRIPTION: pl.String(),
        Interactions.RETURNED_AT: pl.Datetime("us"),
    }
)
_FILES = ("interactions", "products")
_PRODUCTS = pl.Schema({Products.STOCK_CODE: pl.String(), Products.DESCRIPTION: pl.String()})
_NUMBERS = {Interactions.CUSTOMER_ID: pl.Int64(), Interactions.QUANTITY: pl.Int64()}
"""Types of earlier snapshots. If the values still are such numbers, the content has the hash that it had then."""

_NUMBER = r"^(?:0|[1-9][0-9]{0,17})$"
"""An id that a 64-bit integer holds; 017850 is not 17850."""

_ORDER = [
    Interactions.PURCHASED_AT,
    Interactions.INVOICE_NO,
    Interactions.STOCK_CODE,
    Interactions.CUSTOMER_ID,
    Interactions.QUANTITY,
    Interactions.UNIT_PRICE,
    Interactions.COUNTRY,
    Interactions.DESCRIPTION,
    Interactions.RETURNED_AT,
]
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
    """

    snapshot_id: str
    cutoff: datetime
    sha256: str
    interactions: pd.DataFrame
    products: pd.DataFrame
    batches: tuple[int, ...] | None = None


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
    with transaction(settings) as connection:
        # All queries see the same state of the shop, even if an ingest commits meanwhile.
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        erased = known_erased(connection, settings)
        interactions, products = _frames(connection, cutoff)
        batches = _batches(connection, cutoff)
    if interactions.is_empty():
        raise InputError(f"There are no purchases before {cutoff}: choose a later cutoff, or load more invoices.")
    try:
        with transaction(settings) as connection:
            refuse_if_erased_since(connection, settings, erased)
            return _keep(connection, settings, cutoff, interactions, products, batches)
    except DatabaseUnavailableError:
        # An erasure that did not wait for the lost connection has not seen these files.
        with transaction(settings) as connection:
            hold_off(connection)  # an erasure writes files before it records them
            remove_unnamed(settings)
        raise


def read_snapshot(settings: Settings, snapshot_id: str) -> Snapshot:
    """Reads a snapshot and checks its content.

    Raises:
        ArtifactError: there is no such snapshot, its files are gone or damaged, or the store cannot be reached.
    """
    if not re.fullmatch(r"s\d{1,18}", snapshot_id):
        raise ArtifactError(f"{snapshot_id!r} is no snapshot id. Ids look like s000001.")
    with transaction(settings) as connection:
        hold_off(connection)
        record = next(iter(query_rows(connection, "snapshot", snapshot_id=int(snapshot_id[1:]))), None)
        if record is None:
            raise ArtifactError(f"There is no snapshot {snapshot_id}. Take a new one.")
        if record.pruned_at is not None:
            since = f"{record.pruned_at:%Y-%m-%d}"
            raise ArtifactError(f"{snapshot_id} is no longer kept, since {since}. Take a new snapshot.")
        interactions, products = _read_files(record.url)
    if content_sha256(interactions, products) != record.sha256:
        raise ArtifactError(f"{record.url} is damaged: its content has another SHA-256. Take a new snapshot.")
    return Snapshot(
        snapshot_id=snapshot_id,
        cutoff=record.cutoff,
        sha256=record.sha256,
        interactions=_as_pandas(interactions),
        products=_as_pandas(products),
        batches=None if record.batches is None else tuple(record.batches),
    )


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
            for name in _FILES:
                remove_file(f"{row.url}/{name}.parquet")
    return [_name(row.snapshot_id) for row in pruned]


def erase_from_snapshots(
    settings: Settings, root: str, customer_id: str, erasure_id: int, *, without_country: bool
) -> None:
    """Makes a customer's purchases those of a guest in every snapshot of a store. Each changed one gets a new hash.

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
        if root_of(snapshot.url) != root or not _is_there(snapshot.url):
            continue
        interactions, products = _read_files(snapshot.url)
        theirs = (pl.col(Interactions.CUSTOMER_ID) == customer_id).fill_null(value=False)
        if not interactions.select(theirs.any()).item():
            continue
        gone = [Interactions.CUSTOMER_ID, *([Interactions.COUNTRY] if without_country else [])]
        # Null on their lines: a `when` without an `otherwise`.
        interactions = interactions.with_columns(pl.when(~theirs).then(pl.col(name)).alias(name) for name in gone)
        interactions = _in_order(interactions)
        url = f"{root}/snapshots/{_name(snapshot.snapshot_id)}-e{erasure_id}"
        _write(url, interactions, products)
        write(
            settings,
            "record_erased_snapshot",
            snapshot_id=snapshot.snapshot_id,
            sha256=content_sha256(interactions, products),
            customers=interactions[Interactions.CUSTOMER_ID].drop_nulls().n_unique(),
            url=url,
        )
        if snapshot.url != url:
            for name in _FILES:
                remove_file(f"{snapshot.url}/{name}.parquet")
    remove_unnamed(settings)


def content_sha256(interactions: pl.DataFrame, products: pl.DataFrame) -> str:
    """The SHA-256 of the rows' values, whatever their order and their storage format.

    Ids that are all numbers are hashed as numbers, and so are whole quantities: snapshots from when they were stored as
    numbers keep their hash, and a snapshot that is taken again is recognised.

    Args:
        interactions: columns of `columns.Interactions`.
        products: columns of `columns.Products`.
    """
    digest = hashlib.sha256()
    for frame in (_in_order(_as_numbers(interactions)), products.sort(Products.STOCK_CODE)):
        digest.update(f"{frame.height}:{frame.columns}".encode())
        for column in frame:
            digest.update(column.is_null().cast(pl.UInt8).to_numpy().data)
            if column.dtype == pl.String:
                ends, texts = _texts(column.fill_null(""))
                digest.update(np.diff(ends).astype("<i8", copy=False).data)
                digest.update(texts)
            else:
                kind = "<f8" if column.dtype == pl.Float64 else "<i8"
                numbers = column if column.dtype == pl.Float64 else column.cast(pl.Int64)
                digest.update(numbers.fill_null(0).to_numpy().astype(kind, copy=False).data)
    return digest.hexdigest()


def _texts(column: pl.Series) -> tuple[npt.NDArray[np.int64], memoryview]:
    """Where each text of a column without nulls ends, after a first 0, and all texts in UTF-8, one after the other."""
    texts = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, ends, content = texts.buffers()
    places = np.frombuffer(ends, np.int64, len(texts) + 1, texts.offset * np.int64().itemsize)
    return places, memoryview(content or b"")[places[0] : places[-1]]


def _in_order(interactions: pl.DataFrame) -> pl.DataFrame:
    """The interactions by time; at one time, in an order that depends on their values alone."""
    if interactions.schema[Interactions.CUSTOMER_ID] != pl.String:
        return interactions.sort(_ORDER)
    place, length = _ORDER.index(Interactions.CUSTOMER_ID), pl.col(Interactions.CUSTOMER_ID).str.len_chars()
    return interactions.sort([*_ORDER[:place], length, *_ORDER[place:]])  # see `id_order`


def _as_numbers(interactions: pl.DataFrame) -> pl.DataFrame:
    """The interactions with whole numbers in the columns of `_NUMBERS` that have nothing else."""
    customer, quantity = pl.col(Interactions.CUSTOMER_ID), pl.col(Interactions.QUANTITY)
    whole = interactions.select(
        customer.drop_nulls().unique().str.contains(_NUMBER).all(),
        ((quantity - quantity.floor() == 0) & (quantity.abs() < 2**53)).all(),
    ).row(0, named=True)
    return interactions.cast({name: kind for name, kind in _NUMBERS.items() if whole[name]})


def _frames(connection: Connection, cutoff: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    interactions = _in_order(fetch(connection, query("interactions"), _INTERACTIONS, cutoff=cutoff))
    described = fetch(connection, query("snapshot_products"), _PRODUCTS)
    bought = interactions.select(Products.STOCK_CODE).unique()
    products = bought.join(described, on=Products.STOCK_CODE, how="left").sort(Products.STOCK_CODE)
    # A product without a good description is still a product: its stock code stands for the description.
    products = products.with_columns(pl.col(Products.DESCRIPTION).fill_null(pl.col(Products.STOCK_CODE)))
    return interactions, products


def _batches(connection: Connection, cutoff: datetime) -> list[int]:
    return [row.batch_id for row in query_rows(connection, "snapshot_batches", cutoff=cutoff)]


def _keep(
    connection: Connection,
    settings: Settings,
    cutoff: datetime,
    interactions: pl.DataFrame,
    products: pl.DataFrame,
    batches: list[int],
) -> str:
    sha256 = content_sha256(interactions, products)
    _lock(connection)
    known = query_rows(connection, "find_snapshot", cutoff=cutoff, sha256=sha256)
    if known:
        if not _is_there(known[0].url):
            _write(known[0].url, interactions, products)
        return _name(known[0].snapshot_id)
    (following,) = query_rows(connection, "next_snapshot_id")
    url = f"{settings.artifacts}/snapshots/{_name(following.snapshot_id)}"
    _write(url, interactions, products)
    execute(
        connection,
        "insert_snapshot",
        snapshot_id=following.snapshot_id,
        cutoff=cutoff,
        lines=interactions.height,
        customers=interactions[Interactions.CUSTOMER_ID].drop_nulls().n_unique(),
        products=products.height,
        sha256=sha256,
        url=url,
        batches=batches,
    )
    return _name(following.snapshot_id)


def _lock(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))


def _name(number: int) -> str:
    return f"s{number:06d}"


def _write(url: str, interactions: pl.DataFrame, products: pl.DataFrame) -> None:
    for name, frame in (("products", products), ("interactions", interactions)):
        with new_file(f"{url}/{name}.parquet") as file:
            frame.write_parquet(file)


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


def _is_there(url: str) -> bool:
    return all(file_exists(f"{url}/{name}.parquet") for name in _FILES)


def _read_files(url: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    return _read(f"{url}/interactions.parquet", _INTERACTIONS), _read(f"{url}/products.parquet", _PRODUCTS)


def _read(url: str, schema: pl.Schema) -> pl.DataFrame:
    try:
        with open_file(url) as file:
            frame = pl.read_parquet(file.read())
    except FileNotFoundError as error:
        raise ArtifactError(f"{url} is missing: the snapshot is incomplete. Take a new one.") from error
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{url} is damaged: {error}. Take a new snapshot.") from error
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Take a new snapshot.") from error
    frame = frame.cast(
        {name: schema[name] for name, kind in _NUMBERS.items() if name in schema and frame.schema.get(name) == kind}
    )
    if frame.schema != schema:
        raise ArtifactError(f"{url} does not have the columns of a snapshot. Take a new one.")
    return frame


def _as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    converted: pd.DataFrame = frame.to_arrow().to_pandas()
    return converted
