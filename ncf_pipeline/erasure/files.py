"""Erases a customer from the files of the artifact store and from checkpoints, and searches every file there."""

import json
import logging
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, Interactions, Lists
from ncf_pipeline.erasure.masking import names_customer
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.experiments.sentences import FOLDER, PEOPLE_WROTE
from ncf_pipeline.ingest.customer_ids import mask, pattern
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import erase_from_snapshots
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, new_file, open_file, remove_file, store_error, store_errors

logger = logging.getLogger(__name__)

_TEXT = (".html", ".md", ".txt", ".csv")
_ROWS_AT_ONCE = 100_000
_WRITTEN = re.compile(rf"^- (?:{'|'.join(PEOPLE_WROTE)}).*$", re.MULTILINE)
"""The lines of an experiment's report that people wrote. All other numbers in it are totals of groups."""


def search(root: str, customer_id: str) -> dict[str, int]:
    """Counts the files of the artifact store that name the customer, by their top folder.

    Parquet and JSON files are decoded: the id counts in a column of customers, under a customer's key, or in a model's
    vocabulary of customers. In pages and notes it counts unless the text says that it is something else.

    Args:
        root: URL of the artifact store.
        customer_id: to search for.

    Returns:
        Number of files by place; places without any have 0.

    Raises:
        ArtifactError: a file cannot be read, so its content is unknown.
    """
    counts: Counter[str] = Counter()
    for url, folder in _files(root):
        counts[f"artifacts: {folder}"] += _file_names_customer(url, customer_id)
    return dict(counts)


def erase(settings: Settings, customer_id: str, *, without_country: bool, lineage: dict[str, Any]) -> None:
    """Rewrites every file of the artifact store that names the customer, and deletes all checkpoints.

    Call it while `ncf_pipeline.privacy.alone` keeps other runs from writing there. If it is stopped at any point, call
    it again.

    Args:
        settings: for the artifact store, the checkpoints and the database.
        customer_id: of the customer to erase.
        without_country: whether to remove the country of the customer's purchases too.
        lineage: the entry for each changed model's manifest.

    Raises:
        ArtifactError: a file is damaged, or the store refused.
        DatabaseError: Postgres cannot be reached or refused.
    """
    _remove_unfinished(settings.artifacts)
    erase_from_snapshots(settings, customer_id, int(lineage["erasure"]), without_country=without_country)
    for folder in _without_manifest(settings.artifacts):
        artifacts.remove_files(folder)
    for url, folder in _files(settings.artifacts):
        if posixpath.basename(url) == artifacts.MANIFEST:
            model = posixpath.dirname(url)
            artifacts.erase_customer(model, customer_id, lineage, known=_known_manifests(settings, model))
        elif folder == "publications" and url.endswith(".parquet"):
            _erase_from_lists(settings, url, customer_id)
        elif url.endswith(".html") and _file_names_customer(url, customer_id):
            text = _content(url).decode()
            with new_file(url) as file:
                file.write(mask(text, customer_id, written=False).encode())
        elif folder == FOLDER and _file_names_customer(url, customer_id):
            text = _content(url).decode()
            masked = _WRITTEN.sub(lambda line: mask(line[0], customer_id, written=True), text)
            with new_file(url) as file:
                file.write(masked.encode())
    # Checkpoints contain no ids, but a row for each customer of a snapshot that has changed. They only save time.
    for checkpoint in settings.checkpoints_path.glob("*.safetensors*"):
        checkpoint.unlink(missing_ok=True)


def _remove_unfinished(root: str) -> None:
    """Deletes half-written files of killed runs. No run is writing now."""
    for path in list_files(root):
        if ".tmp" in path:
            remove_file(f"{root}/{path}")


def _without_manifest(root: str) -> list[str]:
    """The folders of models that a killed run never finished. No run is writing now."""
    found: dict[str, set[str]] = {}
    for path in list_files(root):
        if re.match(r"(models|backtests)/v\d+/", path):
            found.setdefault(posixpath.dirname(path), set()).add(posixpath.basename(path))
    return [f"{root}/{folder}" for folder, names in found.items() if artifacts.MANIFEST not in names]


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
    yield from lists.iter_batches(_ROWS_AT_ONCE)


def _file_names_customer(url: str, customer_id: str) -> bool:
    if url.endswith(".parquet"):
        return _parquet_names(url, customer_id)
    if url.endswith(".json"):
        try:
            return names_customer(json.loads(_content(url)), customer_id)
        except ValueError as error:
            raise ArtifactError(f"{url} is not valid JSON: {error}. Repair or delete it.") from error
    if url.endswith(_TEXT):
        text = _content(url).decode(errors="replace")
        if posixpath.basename(posixpath.dirname(posixpath.dirname(url))) == FOLDER:
            return any(pattern(customer_id, written=True).search(line) for line in _WRITTEN.findall(text))
        return pattern(customer_id, written=False).search(text) is not None
    return False


def _parquet_names(url: str, customer_id: str) -> bool:
    """Whether the id is in a column of customers, or in the column of keys in a row about a customer."""
    try:
        with open_file(url) as file:
            parquet = pq.ParquetFile(file)
            names = set(parquet.schema_arrow.names)
            used = names & {Interactions.CUSTOMER_ID, Lists.AUDIENCE, Lists.KEY}
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=sorted(used)) if used else ():
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                if (
                    Interactions.CUSTOMER_ID in used
                    and (frame[Interactions.CUSTOMER_ID].cast(pl.String) == customer_id).any()
                ):
                    return True
                if Lists.KEY in used:
                    keys = frame
                    if Lists.AUDIENCE in used:
                        keys = frame.filter(pl.col(Lists.AUDIENCE) == "customer")
                    if (keys[Lists.KEY].cast(pl.String) == customer_id).any():
                        return True
    except (*store_errors(), pa.ArrowException) as error:
        raise store_error(f"{url} cannot be searched", error, "Repair or delete it.") from error
    return False


def _files(root: str) -> list[tuple[str, str]]:
    """The URL and the top folder of every file in the artifact store."""
    return [(f"{root}/{path}", path.partition("/")[0]) for path in sorted(list_files(root))]


def _content(url: str) -> bytes:
    try:
        with open_file(url) as file:
            content: bytes = file.read()
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Repair or delete it.") from error
    return content


def lineage(erasure_id: int) -> dict[str, Any]:
    """The entry for an erasure in a model's manifest."""
    return {"erasure": erasure_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
