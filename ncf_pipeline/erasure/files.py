"""Erases a customer from the files of the artifact store and from checkpoints, and searches every file there."""

import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, Lists
from ncf_pipeline.erasure.contents import ROWS_AT_ONCE, WRITTEN, content_of, names_the_customer
from ncf_pipeline.erasure.old_versions import delete_versions, old_versions_naming
from ncf_pipeline.errors import StoreUnavailableError
from ncf_pipeline.experiments.sentences import FOLDER
from ncf_pipeline.ingest.customer_ids import mask
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry.arrays import remove_arrays, remove_copies
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import erase_from_snapshots
from ncf_pipeline.registry.stores import ArtifactStore
from ncf_pipeline.serving.drafts import FOLDER as DRAFTS
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, new_file, open_file, remove_file, store_error, store_errors
from ncf_pipeline.storage.scratch import remove_dead_folders


def search(store: ArtifactStore, customer_id: str) -> dict[str, int]:
    """Counts the files of an artifact store that name the customer, by their top folder, and its old versions.

    Parquet and JSON files are decoded: the id counts in a column of customers, under a customer's key, or in a model's
    vocabulary of customers. In pages and notes it counts unless the text says that it is something else.

    Args:
        store: to search.
        customer_id: to search for.

    Returns:
        Number of files by place; places without any have 0.

    Raises:
        ArtifactError: a file cannot be read, so its content is unknown. Or the registry names files in the store, and
            it has none.
    """
    counts: Counter[str] = Counter()
    place = "artifacts" if store.is_configured else f"artifacts in {store.root}"
    files = _files(store.root)
    if not files and store.is_expected:
        raise StoreUnavailableError(
            f"{store.root} cannot be searched: it holds no file, and the registry names some there. Is it mounted?"
        )
    for url, folder in files:
        counts[f"{place}: {folder}"] += names_the_customer(url, customer_id)
    counts[f"{place}: old versions"] += len(old_versions_naming(store.root, customer_id))
    return dict(counts)


def erase(
    settings: Settings, store: ArtifactStore, customer_id: str, *, without_country: bool, lineage: dict[str, Any]
) -> None:
    """Rewrites every file of an artifact store that names the customer, and deletes old versions that do.

    In a store that is not the configured one, others may write: only what names the customer is changed or removed.

    Call it while `ncf_pipeline.privacy.alone` keeps other runs from writing there. If it is stopped at any point, call
    it again.

    Args:
        settings: for the database.
        store: the artifact store.
        customer_id: of the customer to erase.
        without_country: whether to remove the country of the customer's purchases too.
        lineage: the entry for each changed model's manifest.

    Raises:
        ArtifactError: a file is damaged, or the store refused.
        DatabaseError: Postgres cannot be reached or refused.
    """
    _remove_unfinished(store)
    number = int(lineage["erasure"])
    erase_from_snapshots(settings, store.root, customer_id, number, without_country=without_country)
    for folder in _shared_by_drafts(store.root):
        if store.is_configured or _names_in(folder, customer_id):
            remove_arrays(folder)  # as for parts
    for folder in _without_manifest(store.root):
        if store.is_configured or _names_in(folder, customer_id):
            artifacts.remove_files(folder)
    for url, folder in _files(store.root):
        if posixpath.basename(url) == artifacts.MANIFEST:
            model = posixpath.dirname(url)
            artifacts.erase_customer(model, customer_id, lineage, known=_known_manifests(settings, model))
        elif folder == "publications" and url.endswith(".parquet"):
            _erase_from_lists(settings, url, customer_id)
        elif folder == DRAFTS and names_the_customer(url, customer_id):
            remove_file(url)  # whoever publishes sees that somebody was erased, and makes all lists again
        elif folder == "snapshots" and not store.is_configured and names_the_customer(url, customer_id):
            remove_file(url)  # the record names another file, which was written without the customer
        elif url.endswith(".html") and names_the_customer(url, customer_id):
            text = content_of(url).decode()
            with new_file(url) as file:
                file.write(mask(text, customer_id, written=False).encode())
        elif folder == FOLDER and names_the_customer(url, customer_id):
            text = content_of(url).decode()
            masked = WRITTEN.sub(lambda line: mask(line[0], customer_id, written=True), text)
            with new_file(url) as file:
                file.write(masked.encode())
    delete_versions(old_versions_naming(store.root, customer_id))


def delete_leftovers(settings: Settings) -> None:
    """Deletes what runs have left on this machine: checkpoints, copies of arrays, and unpacked files of killed ingests.

    Checkpoints and copies contain no ids, but a row for each customer of a snapshot that has changed. They only save
    time.
    """
    remove_copies(settings.cache_path)
    for checkpoint in settings.checkpoints_path.glob("*.safetensors*"):
        checkpoint.unlink(missing_ok=True)
    remove_dead_folders()


def _names_in(folder: str, customer_id: str) -> bool:
    return any(names_the_customer(f"{folder}/{name}", customer_id) for name in list_files(folder))


def _remove_unfinished(store: ArtifactStore) -> None:
    """Deletes half-written files of killed runs. No run is writing to the configured store now."""
    dead_since = datetime.now(UTC) - timedelta(days=7)
    for path, written_at in list_files(store.root).items():
        is_dead = written_at is not None and written_at < dead_since
        if ".tmp" in path and (store.is_configured or is_dead):
            remove_file(f"{store.root}/{path}")


def _without_manifest(root: str) -> list[str]:
    """The folders of models that a killed run never finished. No run is writing now."""
    found: dict[str, set[str]] = {}
    for path in list_files(root):
        if re.match(r"(models|backtests)/v\d+/", path):
            found.setdefault(posixpath.dirname(path), set()).add(posixpath.basename(path))
    return [f"{root}/{folder}" for folder, names in found.items() if artifacts.MANIFEST not in names]


def _shared_by_drafts(root: str) -> list[str]:
    """The folders of what the shards of a draft share."""
    found = (re.match(r"d\d+/shared(?=/)", path) for path in list_files(f"{root}/{DRAFTS}"))
    return sorted({f"{root}/{DRAFTS}/{matched[0]}" for matched in found if matched})


def _known_manifests(settings: Settings, url: str) -> KnownManifests | None:
    """What the database knows of the model in a folder; None if the folder is not that of a version."""
    matched = re.search(r"/(models|backtests)/v(\d+)$", url)
    return KnownManifests(settings, int(matched[2]), is_backtest=matched[1] == "backtests") if matched else None


def _erase_from_lists(settings: Settings, url: str, customer_id: str) -> None:
    """Removes the customer's lists from a publication's file, and corrects its number of customers in the registry."""
    key, customers = customer_id, 0
    try:
        with open_file(url) as file:
            lists = pq.ParquetFile(file)
            theirs = pc.field(Lists.AUDIENCE).isin(["customer"]) & (pc.field(Lists.KEY) == key)
            has_lists = any(len(pa.Table.from_batches([batch]).filter(theirs)) for batch in _batches(lists))
        if not has_lists:
            return
        with open_file(url) as file, new_file(url) as rewritten:
            lists = pq.ParquetFile(file)
            with pq.ParquetWriter(rewritten, lists.schema_arrow) as writer:
                for batch in _batches(lists):
                    kept = pa.Table.from_batches([batch]).filter(~theirs)
                    of_customers = pc.field(Lists.AUDIENCE) == "customer"
                    customers += len(kept.filter(of_customers & (pc.field(Lists.LIST_NAME) == FOR_YOU)))
                    writer.write_table(kept)
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Delete it: its lists are no longer live.") from error
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.publication set customers = %s where url = %s", (customers, url))


def _batches(lists: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    yield from lists.iter_batches(ROWS_AT_ONCE)


def _files(root: str) -> list[tuple[str, str]]:
    """The URL and the top folder of every file in the artifact store."""
    return [(f"{root}/{path}", path.partition("/")[0]) for path in sorted(list_files(root))]


def lineage(erasure_id: int) -> dict[str, Any]:
    """The entry for an erasure in a model's manifest."""
    return {"erasure": erasure_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
