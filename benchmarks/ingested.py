"""A shop's interactions, ingested from its files by a Postgres of its own, and kept as Parquet."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ncf_pipeline.columns import Interactions
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local.services import serving
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.settings import Settings


def ingested(*sources: Path) -> pd.DataFrame:
    """The interactions of files or folders after ingest, as a snapshot of everything holds them."""
    with (
        tempfile.TemporaryDirectory(prefix="ncf-ingested-") as home,
        serving(Settings(home=Path(home), approval=False)) as settings,
    ):
        ingest(settings, [str(source) for source in sources])
        return read_snapshot(settings, take_snapshot(settings)).interactions


def kept(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Reads a table of interactions, or makes and keeps it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        make().to_parquet(temporary)
        temporary.replace(path)
    return read(path)


def read(path: Path) -> pd.DataFrame:
    """Reads a table that `kept` has written."""
    return pd.read_parquet(path).astype({Interactions.CUSTOMER_ID: "str"})
