"""Training data, frozen: the interactions before a cutoff, as Parquet, with a hash of their content."""

import hashlib
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import fsspec
import pandas as pd
import polars as pl
import pyarrow as pa

from ncf_pipeline.columns import Interactions, Products
from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, fetch, transaction
from ncf_pipeline.storage.files import file_exists, new_file, remove_file, store_errors
from ncf_pipeline.storage.resources import query

_INTERACTIONS = pl.Schema(
    {
        Interactions.CUSTOMER_ID: pl.Int64(),
        Interactions.STOCK_CODE: pl.String(),
        Interactions.INVOICE_NO: pl.String(),
        Interactions.PURCHASED_AT: pl.Datetime("us"),
        Interactions.QUANTITY: pl.Int64(),
        Interactions.UNIT_PRICE: pl.Float64(),
        Interactions.COUNTRY: pl.String(),
        Interactions.DESCRIPTION: pl.String(),
        Interactions.RETURNED_AT: pl.Datetime("us"),
    }
)
_PRODUCTS = pl.Schema({Products.STOCK_CODE: pl.String(), Products.DESCRIPTION: pl.String()})
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
_LOCK = 0x736E6170  # "snap": one snapshot is recorded at a time


@dataclass(frozen=True)
class Snapshot:
    """A frozen set of interactions.

    Attributes:
        snapshot_id: such as s000001.
        cutoff: first instant that is not in it.
        sha256: of its content, whatever the physical order.
        interactions: columns of `columns.Interactions`, by time.
        products: columns of `columns.Products`, every product that was bought, by stock code.
        batches: ids of the batches whose lines are in it, as when it was frozen first; None if nobody noted them.
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
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select max(invoice_date) from retail.invoice_line")
        (newest,) = cursor.fetchone() or (None,)
    if newest is None:
        raise InputError("There are no invoices yet: load some with `ncf-pipeline ingest FILE`.")
    after: datetime = newest.replace(microsecond=0) + timedelta(seconds=1)
    return after


def take_snapshot(settings: Settings, cutoff: datetime | None = None) -> str:
    """Freezes what was bought before the cutoff, as it was known then.

    A return after the cutoff is not in it: a purchase counts until the instant that it was taken back.

    Args:
        settings: whose database and artifact store.
        cutoff: first instant excluded; just after the newest invoice line if None.

    Returns:
        The snapshot's id. The same content at the same cutoff gives the same one.

    Raises:
        InputError: there are no purchases before the cutoff.
        ArtifactError: the artifact store refused. Nothing was recorded.
    """
    cutoff = cutoff or newest_cutoff(settings)
    with transaction(settings) as guard:
        # Before anything is looked at: the view must not be older than an erasure that this waits for.
        hold_off(guard)
        return _freeze(settings, cutoff)


def _freeze(settings: Settings, cutoff: datetime) -> str:
    with transaction(settings) as connection:
        # One view of the shop for all that is read, whatever an ingest commits meanwhile.
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        interactions, products = _frames(connection, cutoff)
        batches = _batches(connection, cutoff)
    if interactions.is_empty():
        raise InputError(f"There are no purchases before {cutoff}: choose a later cutoff, or load more invoices.")
    with transaction(settings) as connection:
        return _keep(connection, settings, cutoff, interactions, products, batches)


def read_snapshot(settings: Settings, snapshot_id: str) -> Snapshot:
    """Reads a snapshot and checks its content.

    Raises:
        ArtifactError: there is no such snapshot, its files are gone, or their content is not what was frozen.
    """
    if not re.fullmatch(r"s\d{1,18}", snapshot_id):
        raise ArtifactError(f"{snapshot_id!r} is no snapshot's id, such as s000001.")
    with transaction(settings) as connection, connection.cursor() as cursor:
        hold_off(connection)
        cursor.execute(query("snapshot"), {"snapshot_id": int(snapshot_id[1:])})
        record = cursor.fetchone()
        if record is None:
            raise ArtifactError(f"There is no snapshot {snapshot_id}. Take a new one.")
        cutoff, sha256, url, batches, pruned_at = record
        if pruned_at is not None:
            raise ArtifactError(f"{snapshot_id} is no longer kept, since {pruned_at:%Y-%m-%d}. Take a new snapshot.")
        interactions = _read(f"{url}/interactions.parquet", _INTERACTIONS)
        products = _read(f"{url}/products.parquet", _PRODUCTS)
    if content_sha256(interactions, products) != sha256:
        raise ArtifactError(f"{url} is damaged: its content is not what was frozen. Take a new snapshot.")
    frames = _as_pandas(interactions), _as_pandas(products)
    return Snapshot(snapshot_id, cutoff, sha256, *frames, batches=None if batches is None else tuple(batches))


def prune_snapshots(settings: Settings, *, keep: Collection[str], unused_since: datetime) -> list[str]:
    """Removes the files of snapshots that nobody needs; the same content, frozen again, brings them back.

    Args:
        settings: whose database and artifact store.
        keep: ids of snapshots that are needed.
        unused_since: whose content somebody asked for later than this stays too, for a run may be reading it.

    Returns:
        The ids of those that were removed.

    Raises:
        ArtifactError: the artifact store refused. The next call removes what is left.
    """
    numbers = [int(snapshot_id[1:]) for snapshot_id in keep]
    with transaction(settings) as connection, connection.cursor() as cursor:
        # Until the end nobody is told that the files are there, or that they are gone.
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute(query("prune_snapshots"), {"keep": numbers, "unused_since": unused_since})
        pruned = cursor.fetchall()
        for _, url in pruned:
            for name in ("interactions", "products"):
                remove_file(f"{url}/{name}.parquet")
    return [_name(number) for number, _ in pruned]


def erase_from_snapshots(settings: Settings, customer_id: int, erasure_id: int, *, without_country: bool) -> None:
    """Makes a customer's purchases those of a guest in every snapshot, under a new hash, and says so in its record.

    The files are written beside the old ones, then the record names them, then the old ones go: whenever it is
    stopped, the record names whole ones, and it may be called again.

    Args:
        settings: whose snapshots.
        customer_id: who is erased.
        erasure_id: names the new files.
        without_country: whether the country of their purchases goes too.

    Raises:
        ArtifactError: a snapshot is damaged, or the store refused.
    """
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select snapshot_id, url from ml.snapshot order by snapshot_id")
        snapshots = cursor.fetchall()
    for number, url in snapshots:
        if not _is_there(url):
            continue
        interactions = _read(f"{url}/interactions.parquet", _INTERACTIONS)
        products = _read(f"{url}/products.parquet", _PRODUCTS)
        theirs = (pl.col(Interactions.CUSTOMER_ID) == customer_id).fill_null(value=False)
        if not interactions.select(theirs.any()).item():
            continue
        gone = [Interactions.CUSTOMER_ID, *([Interactions.COUNTRY] if without_country else [])]
        # None where it is theirs; a when without an otherwise is null there.
        interactions = interactions.with_columns(pl.when(~theirs).then(pl.col(name)).alias(name) for name in gone)
        interactions = interactions.sort(_ORDER)
        new = f"{settings.artifacts}/snapshots/{_name(number)}-e{erasure_id}"
        _write(new, interactions, products)
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute(
                query("record_erased_snapshot"),
                {
                    "snapshot_id": number,
                    "sha256": content_sha256(interactions, products),
                    "customers": interactions[Interactions.CUSTOMER_ID].drop_nulls().n_unique(),
                    "url": new,
                },
            )
    _remove_unnamed(settings)


def content_sha256(interactions: pl.DataFrame, products: pl.DataFrame) -> str:
    """Of the rows' values, whatever their order and however they are stored."""
    digest = hashlib.sha256()
    for frame in (interactions.sort(_ORDER), products.sort(Products.STOCK_CODE)):
        digest.update(f"{frame.height}:{frame.columns}".encode())
        for column in frame:
            digest.update(column.is_null().cast(pl.UInt8).to_numpy().tobytes())
            if column.dtype == pl.String:
                lengths, text = column.str.len_bytes().fill_null(0), column.fill_null("").str.join("")
                digest.update(lengths.cast(pl.Int64).to_numpy().astype("<i8").tobytes())
                digest.update(str(text.item()).encode())
            else:
                kind = "<f8" if column.dtype == pl.Float64 else "<i8"
                numbers = column if column.dtype == pl.Float64 else column.cast(pl.Int64)
                digest.update(numbers.fill_null(0).to_numpy().astype(kind).tobytes())
    return digest.hexdigest()


def _frames(connection: Connection, cutoff: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    interactions = fetch(connection, query("interactions"), _INTERACTIONS, cutoff=cutoff).sort(_ORDER)
    described = fetch(connection, query("snapshot_products"), _PRODUCTS)
    bought = interactions.select(Products.STOCK_CODE).unique()
    products = bought.join(described, on=Products.STOCK_CODE, how="left").sort(Products.STOCK_CODE)
    # A product that nobody has described well is still a product.
    products = products.with_columns(pl.col(Products.DESCRIPTION).fill_null(pl.col(Products.STOCK_CODE)))
    return interactions, products


def _batches(connection: Connection, cutoff: datetime) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(query("snapshot_batches"), {"cutoff": cutoff})
        return [batch_id for (batch_id,) in cursor.fetchall()]


def _keep(
    connection: Connection,
    settings: Settings,
    cutoff: datetime,
    interactions: pl.DataFrame,
    products: pl.DataFrame,
    batches: list[int],
) -> str:
    sha256 = content_sha256(interactions, products)
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute(query("find_snapshot"), {"cutoff": cutoff, "sha256": sha256})
        known = cursor.fetchone()
        if known is not None:
            number, url = known
            if not _is_there(url):
                _write(url, interactions, products)
            return _name(number)
        cursor.execute("select nextval(pg_get_serial_sequence('ml.snapshot', 'snapshot_id'))")
        (number,) = cursor.fetchone() or (0,)
        url = f"{settings.artifacts}/snapshots/{_name(number)}"
        _write(url, interactions, products)
        cursor.execute(
            query("insert_snapshot"),
            {
                "snapshot_id": number,
                "cutoff": cutoff,
                "lines": interactions.height,
                "customers": interactions[Interactions.CUSTOMER_ID].drop_nulls().n_unique(),
                "products": products.height,
                "sha256": sha256,
                "url": url,
                "batches": batches,
            },
        )
    return _name(number)


def _name(number: int) -> str:
    return f"s{number:06d}"


def _write(url: str, interactions: pl.DataFrame, products: pl.DataFrame) -> None:
    for name, frame in (("products", products), ("interactions", interactions)):
        with new_file(f"{url}/{name}.parquet") as file:
            frame.write_parquet(file)


def _remove_unnamed(settings: Settings) -> None:
    """Removes the folders of snapshots that no record names."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        # Whoever takes a snapshot holds it until the record is there.
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute("select url from ml.snapshot")
        named = {posixpath.basename(url) for (url,) in cursor.fetchall()}
        try:
            filesystem, folder = fsspec.core.url_to_fs(f"{settings.artifacts}/snapshots")
            for path in filesystem.ls(folder, detail=False) if filesystem.exists(folder) else ():
                if posixpath.basename(path.rstrip("/")) not in named:
                    filesystem.rm(path, recursive=True)
        except store_errors() as error:
            raise ArtifactError(f"{folder}: an older snapshot was not removed: {error}.") from error


def _is_there(url: str) -> bool:
    return all(file_exists(f"{url}/{name}.parquet") for name in ("interactions", "products"))


def _read(url: str, schema: pl.Schema) -> pl.DataFrame:
    try:
        with fsspec.open(url, "rb") as file:
            frame = pl.read_parquet(file.read())
    except FileNotFoundError as error:
        raise ArtifactError(f"{url} is missing: the snapshot is incomplete. Take a new one.") from error
    except pl.exceptions.PolarsError as error:
        raise ArtifactError(f"{url} is damaged: {error}. Take a new snapshot.") from error
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be read: {error}. Take a new snapshot.") from error
    if frame.schema != schema:
        raise ArtifactError(f"{url} has not the columns of a snapshot. Take a new one.")
    return frame


def _as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    nullable = {pa.int64(): pd.Int64Dtype()}
    converted: pd.DataFrame = frame.to_arrow().to_pandas(types_mapper=nullable.get)
    if Interactions.QUANTITY in converted:
        converted[Interactions.QUANTITY] = converted[Interactions.QUANTITY].astype("int64")
    return converted
