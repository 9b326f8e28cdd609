"""What the registry knows of models and lists whose files are kept, or no longer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, read_records, transaction, write


@dataclass(frozen=True)
class KeptPublication:
    """A publication whose file is kept: `state` is `open`, `refused` or `published`, `at` when it last changed."""

    number: int
    version: int
    state: str
    at: datetime


def kept_publications(settings: Settings) -> list[KeptPublication]:
    """Those whose files are kept, newest first."""
    return read_records(settings, KeptPublication, "kept_publications")


def publication_numbers(settings: Settings) -> set[int]:
    """All numbers that the registry knows."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select number from ml.publication")
        return {number for (number,) in cursor.fetchall()}


def discard_models(settings: Settings, versions: Sequence[int]) -> None:
    """Notes, in the audit table too, that these versions can no longer serve. The champion is left out."""
    with transaction(settings) as connection:
        execute(connection, "set_actor", actor="prune", reason="nobody needs its model any more")
        execute(connection, "prune_versions", versions=list(versions))


def discard_publications(settings: Settings, numbers: Sequence[int]) -> None:
    """Notes that the lists of these publications cannot be published again."""
    write(settings, "prune_publications", numbers=list(numbers))
