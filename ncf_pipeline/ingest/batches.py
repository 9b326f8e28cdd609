"""A batch's record: what it is made of, how far it is, and where its lines went."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg2.extras import RealDictCursor

from ncf_pipeline.errors import InputError
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.storage.database import Connection
from ncf_pipeline.storage.resources import query

_LANDING = 0x6C616E64  # "land": one run lands at a time, so that two never take the same file


@dataclass(frozen=True)
class RejectedFile:
    """A file that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class BatchCounts:
    """Where the lines of a batch went: `read = merged + unchanged + quarantined`.

    Attributes:
        batch_id: of the batch.
        status: landed, merged or rejected.
        read: lines in its files.
        merged: lines of invoices that were new or had changed.
        unchanged: lines that were there already.
        quarantined: lines that broke a critical rule.
        replaced: lines of earlier batches that gave way.
        reason: what else a person should know.
        rejected_files: files that were refused when the batch was landed.
    """

    batch_id: int
    status: str
    read: int
    merged: int
    unchanged: int
    quarantined: int
    replaced: int
    reason: str | None = None
    rejected_files: tuple[RejectedFile, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, so that it travels as JSON."""
        return {**asdict(self), "rejected_files": [asdict(file) for file in self.rejected_files]}

    def __str__(self) -> str:
        text = (
            f"batch {self.batch_id}: {self.read:,} lines read = {self.merged:,} merged + {self.unchanged:,} unchanged "
            f"+ {self.quarantined:,} quarantined"
        )
        return f"{text} ({self.reason})" if self.reason else text


def locked_batch(connection: Connection, batch_id: int) -> dict[str, Any]:
    """The record of a batch, held until the transaction ends, so that one stage runs once at a time.

    Raises:
        InputError: there is no such batch.
    """
    hold_off(connection)
    return _batch(connection, f"{query('batch').rstrip()}\nfor update", batch_id)


def batch_record(connection: Connection, batch_id: int) -> dict[str, Any]:
    """The record of a batch.

    Raises:
        InputError: there is no such batch.
    """
    return _batch(connection, query("batch"), batch_id)


def counts_of(record: dict[str, Any]) -> BatchCounts:
    """The counts in a batch's record."""
    return BatchCounts(
        batch_id=record["batch_id"],
        status=record["status"],
        read=record["lines_read"],
        merged=record["lines_merged"],
        unchanged=record["lines_unchanged"],
        quarantined=record["lines_quarantined"],
        replaced=record["lines_replaced"],
        reason=record["reason"],
        rejected_files=tuple(RejectedFile(**file) for file in record["rejected_files"] or ()),
    )


def lock_landing(connection: Connection) -> None:
    """Waits until no other run lands files, and lets none until the transaction ends."""
    hold_off(connection)
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LANDING,))


def drop_landed_lines(connection: Connection, batch_id: int) -> None:
    """Removes the landed lines of a batch that is finished.

    Where no other batch has any, the table is emptied instead: that takes no time and leaves no dead rows behind,
    which every later batch would have to read past.
    """
    with connection.cursor() as cursor:
        # Only while nobody lands: rows of a transaction that has not ended are not seen, and would be lost.
        cursor.execute(
            "select pg_try_advisory_xact_lock(%s) "
            "and not exists (select 1 from raw.batch where status = 'landed' and batch_id <> %s)",
            (_LANDING, batch_id),
        )
        (alone,) = cursor.fetchone() or (False,)
        if alone:
            cursor.execute("truncate raw.landed_line")
        else:
            cursor.execute("delete from raw.landed_line where batch_id = %s", (batch_id,))


def locations(connection: Connection, batch_id: int) -> list[str]:
    """Where the files of a batch were found."""
    with connection.cursor() as cursor:
        cursor.execute("select location from raw.batch_file where batch_id = %s order by file_number", (batch_id,))
        return [row[0] for row in cursor.fetchall()]


def called(names: Sequence[str]) -> str:
    """What people call a set of files."""
    return names[0] if len(names) == 1 else f"{len(names)} files: {names[0]} … {names[-1]}"


def _batch(connection: Connection, statement: str, batch_id: int) -> dict[str, Any]:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(statement, {"batch_id": batch_id})
        row = cursor.fetchone()
    if row is None:
        raise InputError(f"There is no batch {batch_id}. `ncf-pipeline ingest FILE` makes one.")
    return dict(row)
