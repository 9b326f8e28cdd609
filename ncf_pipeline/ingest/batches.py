"""A batch's record: its files, how far it has come, and where its lines went."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.validation_report import ValidationReport
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.storage.database import Connection, query_rows, rehearsed

_LANDING_LOCK = 0x6C616E64  # "land": one run lands at a time, so that two never take the same file
_REHEARSAL_LOCK = 0x64727920  # "dry ": shared by all rehearsals, whose landed lines a truncation would wait for

_NAMED = 5

Status = Literal["landed", "merged", "rejected"]


@dataclass(frozen=True)
class RejectedFile:
    """A file that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class MappedFile:
    """A file that a mapping read.

    Attributes:
        name: what people call the file.
        mapping: the mapping's name.
        sha256: of what the mapping said then.
    """

    name: str
    mapping: str
    sha256: str


@dataclass(frozen=True)
class BatchCounts:
    """Where the lines of a batch went: `read = merged + unchanged + quarantined + left_out`.

    Attributes:
        batch_id: of the batch.
        status: landed (not finished), merged or rejected.
        read: lines in its files.
        merged: lines of invoices that were new or had changed.
        unchanged: lines that the database already had.
        quarantined: lines that broke a critical rule.
        replaced: lines of earlier batches that this one replaced.
        replaced_invoices: the first invoices whose lines it replaced.
        invoices_replaced: number of invoices whose earlier lines were replaced or taken back.
        lost: replaced lines for whose product the new load of their invoice has no line.
        lost_invoices: the first invoices that lost such lines.
        invoices_incomplete: number of stored invoices that are without a line of their new load, because it waits in
            quarantine. What they lost is not in `lost`.
        incomplete_invoices: the first of them.
        left_out: lines that a mapping leaves out, such as those of orders that are not paid.
        left_out_reasons: reason to the number of lines that were left out for it.
        reason: why the batch was rejected, or a note for people.
        rejected_files: files that were offered with the batch and refused.
    """

    batch_id: int
    status: Status
    read: int
    merged: int
    unchanged: int
    quarantined: int
    replaced: int
    reason: str | None = None
    rejected_files: tuple[RejectedFile, ...] = ()
    replaced_invoices: tuple[str, ...] = ()
    left_out: int = 0
    left_out_reasons: Mapping[str, int] = field(default_factory=dict)
    invoices_replaced: int = 0
    lost: int = 0
    lost_invoices: tuple[str, ...] = ()
    invoices_incomplete: int = 0
    incomplete_invoices: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            **asdict(self),
            "rejected_files": [asdict(file) for file in self.rejected_files],
            **{
                name: list(getattr(self, name))
                for name in ("replaced_invoices", "lost_invoices", "incomplete_invoices")
            },
        }

    def __str__(self) -> str:
        text = (
            f"batch {self.batch_id}: {self.read:,} lines read = {self.merged:,} merged + {self.unchanged:,} unchanged "
            f"+ {self.quarantined:,} quarantined"
        )
        text += f" + {self.left_out:,} left out" if self.left_out else ""
        return f"{text} ({self.reason})" if self.reason else text


@dataclass(frozen=True)
class Batch:
    """A batch's record in `raw.batch`.

    Attributes:
        source: what people call its files.
        counts: where its lines went.
        locations: paths or URLs of its files, in the order in which they were read.
        same_as: the earlier batch with the same bytes, if the files were not read again.
        report: result of validation; None before.
        created_at: when it was landed.
        validated_at: when its rules were checked; None before.
        quarantined_at: when its broken lines were put into quarantine; None before.
        mapped_files: those of its files that a mapping read.
    """

    source: str
    counts: BatchCounts
    locations: tuple[str, ...]
    same_as: int | None
    report: ValidationReport | None
    created_at: datetime
    validated_at: datetime | None
    quarantined_at: datetime | None
    mapped_files: tuple[MappedFile, ...] = ()

    @property
    def batch_id(self) -> int:
        """Its number."""
        return self.counts.batch_id

    @property
    def read_as(self) -> int:
        """The batch whose lines were read: the one with the same bytes, or this one."""
        return self.same_as or self.batch_id


def locked_batch(connection: Connection, batch_id: int) -> Batch:
    """The record of a batch, locked until the transaction ends, so that a stage runs once at a time.

    Raises:
        InputError: there is no such batch.
    """
    hold_off(connection)
    with connection.cursor() as cursor:
        cursor.execute("select from raw.batch where batch_id = %s for update", (batch_id,))
    return batch_record(connection, batch_id)


def batch_record(connection: Connection, batch_id: int) -> Batch:
    """The record of a batch.

    Raises:
        InputError: there is no such batch.
    """
    rows = query_rows(connection, "batch", batch_id=batch_id)
    if not rows:
        raise InputError(f"There is no batch {batch_id}. `ncf-pipeline ingest FILE` makes one.")
    (row,) = rows
    counts = BatchCounts(
        batch_id=row.batch_id,
        status=row.status,
        read=row.lines_read,
        merged=row.lines_merged,
        unchanged=row.lines_unchanged,
        quarantined=row.lines_quarantined,
        replaced=row.lines_replaced,
        reason=row.reason,
        rejected_files=tuple(
            RejectedFile(name=file["name"], reason=file["reason"]) for file in row.rejected_files or ()
        ),
        replaced_invoices=tuple(row.replaced_invoices or ()),
        left_out=row.lines_left_out,
        left_out_reasons=row.left_out or {},
        invoices_replaced=row.invoices_replaced,
        lost=row.lines_lost,
        lost_invoices=tuple(row.lost_invoices or ()),
        invoices_incomplete=row.invoices_incomplete,
        incomplete_invoices=tuple(row.incomplete_invoices or ()),
    )
    return Batch(
        source=row.source,
        counts=counts,
        locations=tuple(row.locations or ()),
        same_as=row.same_as,
        report=ValidationReport.from_dict(row.report) if row.report is not None else None,
        created_at=row.created_at,
        validated_at=row.validated_at,
        quarantined_at=row.quarantined_at,
        mapped_files=tuple(MappedFile(**file) for file in row.mapped_files or ()),
    )


def lock_landing(connection: Connection) -> None:
    """Waits until no other run lands files, and keeps others from it until the transaction ends.

    A rehearsal takes no file, so it neither waits nor lets others wait.
    """
    hold_off(connection)
    if rehearsed() is not None:
        return
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(%s)", (_LANDING_LOCK,))


def join_rehearsals(connection: Connection) -> None:
    """Lets no landed lines be dropped by truncation until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock_shared(%s)", (_REHEARSAL_LOCK,))


def drop_landed_lines(connection: Connection, batch_id: int) -> None:
    """Removes the landed lines of a finished batch.

    If no other batch has landed lines, the table is truncated: that takes no time and leaves no dead rows, which every
    later batch would have to read past.
    """
    if rehearsed() is not None:
        return  # they go with its transaction, and a truncated table would let others wait
    with connection.cursor() as cursor:
        # Only while no run lands or rehearses: the rows of its open transaction cannot be seen. They would be lost.
        cursor.execute(
            "select pg_try_advisory_xact_lock(%s) and pg_try_advisory_xact_lock(%s) "
            "and not exists (select 1 from raw.batch where status = 'landed' and batch_id <> %s)",
            (_LANDING_LOCK, _REHEARSAL_LOCK, batch_id),
        )
        (alone,) = cursor.fetchone() or (False,)
        if alone:
            cursor.execute("truncate raw.landed_line")
        else:
            cursor.execute("delete from raw.landed_line where batch_id = %s", (batch_id,))


def read_by(files: Sequence[MappedFile]) -> list[str]:
    """Which mapping read which files, a line for each mapping.

    >>> read_by([MappedFile("a.csv", "shopify", "e3"), MappedFile("b.csv", "shopify", "e3")])
    ['read by the mapping shopify: a.csv, b.csv']
    """
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(file.mapping, []).append(file.name)
    return [
        f"read by the mapping {mapping}: {', '.join(of[:_NAMED])}{', …' if len(of) > _NAMED else ''}"
        for mapping, of in names.items()
    ]


def name_files(names: Sequence[str]) -> str:
    """What people call a set of files.

    >>> name_files(["a.csv"])
    'a.csv'
    >>> name_files(["a.csv", "b.csv", "c.csv"])
    '3 files: a.csv … c.csv'
    """
    return names[0] if len(names) == 1 else f"{len(names)} files: {names[0]} … {names[-1]}"
