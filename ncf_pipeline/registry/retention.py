"""Which models and lists still have their files.

Every function here raises SettingsError if no database is set and the embedded one does not run, and DatabaseError if
Postgres cannot be reached or refuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import execute, read_records, read_rows, transaction, write


@dataclass(frozen=True)
class KeptPublication:
    """A publication whose file still exists.

    Attributes:
        number: of the publication.
        version: of the model that made its lists.
        state: `open`, `refused` or `published`.
        at: when it went live; when it was opened if it never did. At most a day after it was opened by the database's
            clock, because a publisher's may have been ahead.
    """

    number: int
    version: int
    state: str
    at: datetime


def kept_publications(settings: Settings) -> list[KeptPublication]:
    """All publications whose files still exist, newest first."""
    return read_records(settings, KeptPublication, "kept_publications")


def database_now(settings: Settings) -> datetime:
    """The present instant by the clock of the database, which all machines share."""
    (row,) = read_rows(settings, "database_now")
    at: datetime = row.at
    return at


def publication_numbers(settings: Settings) -> set[int]:
    """The numbers of all publications, pruned and refused ones included."""
    return {row.number for row in read_rows(settings, "publication_numbers")}


def discard_models(settings: Settings, versions: Sequence[int]) -> None:
    """Records, in the audit table too, that these versions can no longer serve. The champion is left out."""
    with transaction(settings) as connection:
        execute(connection, "set_actor", actor="prune", reason="nobody needs its model any more")
        execute(connection, "prune_versions", versions=list(versions))


def discard_publications(settings: Settings, numbers: Sequence[int]) -> None:
    """Records that the lists of these publications cannot be published again."""
    write(settings, "prune_publications", numbers=list(numbers))
