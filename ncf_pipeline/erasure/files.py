"""A customer out of the artifact store and the checkpoints, and every file there searched."""

import json
import logging
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ncf_pipeline.columns import FOR_YOU, Interactions, Lists
from ncf_pipeline.erasure.masking import mask, names_customer, pattern
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.experiments.sentences import FOLDER, PEOPLE_WROTE
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry.snapshots import erase_from_snapshots
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files, new_file, remove_file, store_errors

logger = logging.getLogger(__name__)

_TEXT = (".html", ".md", ".txt", ".csv")
_ROWS_AT_ONCE = 100_000
_WRITTEN = re.compile(rf"^- (?:{'|'.join(PEOPLE_WROTE)}).*$", re.MULTILINE)
"""What people wrote in an experiment's report. All other numbers in it are of groups."""


def search(settings: Settings, customer_id: int) -> dict[str, int]:
    """How many files of the artifact store name the customer, by the folder that they are in.

    Parquet and JSON are decoded: what counts is a customer's column, key or vocabulary. In pages and notes it is the
    number, where nothing says that it is another thing.

    Raises:
        ArtifactError: a file cannot be read, so that nobody knows what is in it.
    """
    found: Counter[str] = Counter()
    for url, folder in _files(settings):
        found[f"artifacts: {folder}"] += _names(url, customer_id)
    return dict(found)


def erase(settings: Settings, customer_id: int, *, without_country: bool, lineage: dict[str, Any]) -> None:
    """Rewrites every file of the artifact store that names the customer, and removes all checkpoints.

    Nobody may write there meanwhile: see `ncf_pipeline.privacy.alone`. May be stopped at any point and called again.

    Args:
        settings: whose artifact store and checkpoints.
        customer_id: who is erased.
        without_country: whether the country of their purchases goes too.
        lineage: what a model's manifest says of it.

    Raises:
        ArtifactError: a file is damaged, or the store refused.
    """
    _remove_unfinished(settings)
    erase_from_snapshots(settings, customer_id, int(lineage["erasure"]), without_country=without_country)
    for url, folder in _files(settings):
        if posixpath.basename(url) == artifacts.MANIFEST:
            artifacts.erase_customer(posixpath.dirname(url), customer_id, lineage)
        elif folder == "publications" and url.endswith(".parquet"):
            _erase_from_lists(settings, url, customer_id)
        elif url.endswith(".html") and _names(url, customer_id):
            text = _content(url).decode()
            with new_file(url) as file:
                file.write(mask(text, customer_id, written=False).encode())
        elif folder == FOLDER and _names(url, customer_id):
            text = _content(url).decode()
            masked = _WRITTEN.sub(lambda line: mask(line[0], customer_id, written=True), text)
            with new_file(url) as file:
                file.write(masked.encode())
    # They hold no ids, but a row for each customer of a snapshot that is another one now. They only save time.
    for checkpoint in settings.checkpoints_path.glob("*.safetensors*"):
        checkpoint.unlink(missing_ok=True)


def _remove_unfinished(settings: Settings) -> None:
    """What runs that were killed have left half-written: nobody writes now."""
    for path in list_files(settings.artifacts):
        if ".tmp" in path:
            remove_file(f"{settings.artifacts}/{path}")


def _erase_from_lists(settings: Settings, url: str, customer_id: int) -> None:
    """A publication's lists without the customer's, and its number of customers in the registry."""
    key, customers = str(customer_id), 0
    try:
        with fsspec.open(url) as file:
            lists = pq.ParquetFile(file)
            theirs = pc.field(Lists.AUDIENCE).isin(["customer"]) & (pc.field(Lists.KEY) == key)
            found = any(len(pa.Table.from_batches([batch]).filter(theirs)) for batch in _batches(lists))
        if not found:
            return
        with fsspec.open(url) as file, new_file(url) as rewritten:
            lists = pq.ParquetFile(file)
            with pq.ParquetWriter(rewritten, lists.schema_arrow) as writer:
                for batch in _batches(lists):
                    kept = pa.Table.from_batches([batch]).filter(~theirs)
                    of_customers = pc.field(Lists.AUDIENCE) == "customer"
                    customers += len(kept.filter(of_customers & (pc.field(Lists.LIST_NAME) == FOR_YOU)))
                    writer.write_table(kept)
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be read: {error}. Remove it: its lists were live long ago.") from error
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.publication set customers = %s where url = %s", (customers, url))


def _batches(lists: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    yield from lists.iter_batches(_ROWS_AT_ONCE)


def _names(url: str, customer_id: int) -> bool:
    if url.endswith(".parquet"):
        return _parquet_names(url, customer_id)
    if url.endswith(".json"):
        try:
            return names_customer(json.loads(_content(url)), customer_id)
        except ValueError as error:
            raise ArtifactError(f"{url} is no JSON: {error}. Repair or remove it.") from error
    if url.endswith(_TEXT):
        text = _content(url).decode(errors="replace")
        if posixpath.basename(posixpath.dirname(posixpath.dirname(url))) == FOLDER:
            return any(pattern(customer_id, written=True).search(line) for line in _WRITTEN.findall(text))
        return pattern(customer_id, written=False).search(text) is not None
    return False


def _parquet_names(url: str, customer_id: int) -> bool:
    """Whether a column of customers has the number, or a column of keys in rows of customers."""
    try:
        with fsspec.open(url) as file:
            parquet = pq.ParquetFile(file)
            names = set(parquet.schema_arrow.names)
            used = names & {Interactions.CUSTOMER_ID, Lists.AUDIENCE, Lists.KEY}
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=sorted(used)) if used else ():
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                if (
                    Interactions.CUSTOMER_ID in used
                    and (frame[Interactions.CUSTOMER_ID].cast(pl.String) == str(customer_id)).any()
                ):
                    return True
                if Lists.KEY in used:
                    keys = frame
                    if Lists.AUDIENCE in used:
                        keys = frame.filter(pl.col(Lists.AUDIENCE) == "customer")
                    if (keys[Lists.KEY].cast(pl.String) == str(customer_id)).any():
                        return True
    except (*store_errors(), pa.ArrowException) as error:
        raise ArtifactError(f"{url} cannot be searched: {error}. Repair or remove it.") from error
    return False


def _files(settings: Settings) -> list[tuple[str, str]]:
    """The URL of every file of the artifact store, with the first folder below its root."""
    paths = sorted(list_files(settings.artifacts))
    return [(f"{settings.artifacts}/{path}", path.partition("/")[0]) for path in paths]


def _content(url: str) -> bytes:
    try:
        with fsspec.open(url) as file:
            content: bytes = file.read()
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be read: {error}. Repair or remove it.") from error
    return content


def lineage(erasure_id: int) -> dict[str, Any]:
    """What a manifest says of an erasure."""
    return {"erasure": erasure_id, "at": datetime.now(UTC).isoformat(timespec="seconds")}
