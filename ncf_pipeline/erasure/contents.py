"""Whether the content of a file in the artifact store names a customer. It is decoded, so context decides."""

import json
import posixpath
import re
from collections.abc import Callable
from typing import IO

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ncf_pipeline.columns import Interactions, Lists
from ncf_pipeline.erasure.masking import names_customer
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.experiments.sentences import FOLDER, PEOPLE_WROTE
from ncf_pipeline.ingest.customer_ids import pattern
from ncf_pipeline.storage.files import open_file, store_error, store_errors

ROWS_AT_ONCE = 100_000
WRITTEN = re.compile(rf"^- (?:{'|'.join(PEOPLE_WROTE)}).*$", re.MULTILINE)
"""The lines of an experiment's report that people wrote. All other numbers in it are totals of groups."""

_TEXT = (".html", ".md", ".txt", ".csv")


def names_the_customer(url: str, customer_id: str, opened: Callable[[str], IO[bytes]] = open_file) -> bool:
    """Whether a file names a customer.

    Args:
        url: of the file; its name says what it holds.
        customer_id: to search for.
        opened: opens it to read.

    Raises:
        ArtifactError: the file cannot be read, so its content is unknown.
    """
    if url.endswith(".parquet"):
        return _parquet_names(url, customer_id, opened)
    if url.endswith(".npy"):
        return _array_names(url, customer_id, opened)
    if url.endswith(".json"):
        try:
            return names_customer(json.loads(content_of(url, opened)), customer_id)
        except ValueError as error:
            raise ArtifactError(f"{url} is not valid JSON: {error}. Repair or delete it.") from error
    if url.endswith(_TEXT):
        text = content_of(url, opened).decode(errors="replace")
        if posixpath.basename(posixpath.dirname(posixpath.dirname(url))) == FOLDER:
            return any(pattern(customer_id, written=True).search(line) for line in WRITTEN.findall(text))
        return pattern(customer_id, written=False).search(text) is not None
    return False


def _parquet_names(url: str, customer_id: str, opened: Callable[[str], IO[bytes]]) -> bool:
    """Whether the id is in a column of customers, or in the column of keys in a row about a customer."""
    try:
        with opened(url) as file:
            parquet = pq.ParquetFile(file)
            names = set(parquet.schema_arrow.names)
            used = names & {Interactions.CUSTOMER_ID, Lists.AUDIENCE, Lists.KEY}
            for batch in parquet.iter_batches(ROWS_AT_ONCE, columns=sorted(used)) if used else ():
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


def _array_names(url: str, customer_id: str, opened: Callable[[str], IO[bytes]]) -> bool:
    """Whether the id is among an array's texts, which are the bytes of a JSON list: see `model.lists.shared`."""
    try:
        with opened(url) as file:
            np.lib.format.read_magic(file)
            _, _, kind = np.lib.format.read_array_header_1_0(file)
            texts = json.loads(file.read()) if kind == np.uint8 else ()
    except store_errors() as error:
        raise store_error(f"{url} cannot be searched", error, "Delete it.") from error
    return customer_id in texts


def content_of(url: str, opened: Callable[[str], IO[bytes]] = open_file) -> bytes:
    """All bytes of a file.

    Raises:
        ArtifactError: it cannot be read.
    """
    try:
        with opened(url) as file:
            content: bytes = file.read()
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, "Repair or delete it.") from error
    return content
