"""What people decide about lines in quarantine: who, when and why.

A page asks for a release, and `stages.release_request` carries it out on a worker. Commands and the form of the DAG
release at once. Either way there is one record of it, and of each discard.

Every function here that takes settings raises DatabaseError if Postgres cannot be reached or refuses.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from ncf_pipeline import alerts
from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import ChangedMeanwhileError, InputError
from ncf_pipeline.ingest.corrections import discard_in, quarantined_lines
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, execute, query_rows, read_rows, transaction

_EVERY_REQUEST = 2**63 - 1

State = Literal["waiting", "running", "done", "failed", "dropped"]


@dataclass(frozen=True)
class Request:
    """A decision about lines in quarantine.

    Attributes:
        request_id: its number.
        action: `release` or `discard`.
        lines: how many lines it is about.
        first_lines: the numbers of up to ten of them.
        changes: column to the new text of its cell; None if there is none, or if they are in a workbook.
        by_workbook: whether the new cells are in a workbook.
        actor: who decided.
        reason: why; None if they said nothing.
        asked_at: when.
        state: `done`; a release that a page asked for first waits for a worker, and may fail or be dropped.
        batch_id: the batch that brought the released lines; None before, and of a discard.
        error: why it failed.
        ended_at: when it was done, failed or was dropped.
    """

    request_id: int
    action: Literal["release", "discard"]
    lines: int
    first_lines: tuple[int, ...]
    changes: Mapping[str, str] | None
    by_workbook: bool
    actor: str
    reason: str | None
    asked_at: datetime
    state: State
    batch_id: int | None
    error: str | None
    ended_at: datetime | None

    @property
    def is_open(self) -> bool:
        """Whether a worker still has to carry it out."""
        return self.state in ("waiting", "running")


@dataclass(frozen=True)
class Asked:
    """What a worker has to release.

    Attributes:
        request_id: its number.
        quarantine_ids: the lines.
        changes: column to the new text of its cell, in each of the lines.
        by_workbook: whether the new cells are in the workbook instead.
        workbook: its content; None if there is none, or if it is no longer kept.
        asked_at: when.
        begun_before: whether a worker that was killed has begun it.
    """

    request_id: int
    quarantine_ids: tuple[int, ...]
    changes: Mapping[str, str]
    by_workbook: bool
    workbook: bytes | None
    asked_at: datetime
    begun_before: bool


def check_columns(changes: Mapping[str, str]) -> None:
    """Checks that only columns of an invoice are changed.

    Raises:
        InputError: there is no such column.
    """
    if unknown := sorted(set(changes) - set(InvoiceLines.ALL)):
        raise InputError(f"There is no column {unknown[0]}; the columns are {', '.join(InvoiceLines.ALL)}.")


def ask(
    settings: Settings,
    quarantine_ids: Sequence[int],
    *,
    actor: str,
    reason: str | None,
    changes: Mapping[str, str] | None = None,
    workbook: bytes | None = None,
) -> int:
    """Asks a worker to release lines; returns the number of the request. `stages.release_request` carries it out.

    Args:
        settings: whose database.
        quarantine_ids: of waiting lines.
        actor: who asks.
        reason: why, for later readers.
        changes: column to the new text of its cell, in each of the lines; None or empty: check them again as they are.
        workbook: corrected lines, instead of changes.

    Raises:
        ChangedMeanwhileError: a line does not wait any more, or somebody has asked for it already.
        InputError: no line is named, or there is no such column.
    """
    check_columns(changes or {})
    with transaction(settings) as connection:
        _check_free(connection, quarantine_ids)
        execute(connection, "remove_old_workbooks")
        return _insert(
            connection,
            quarantine_ids,
            changes or {},
            workbook=workbook,
            actor=actor,
            reason=reason,
            state="waiting",
        )


def discard(settings: Settings, quarantine_ids: Sequence[int], *, actor: str, reason: str) -> int:
    """Discards lines for somebody who has seen them; returns the number of the record.

    Args:
        settings: whose database.
        quarantine_ids: of waiting lines.
        actor: who discards them.
        reason: why, for later readers.

    Raises:
        ChangedMeanwhileError: a line does not wait any more, or somebody has asked to release it.
        InputError: no line is named.
    """
    with transaction(settings) as connection:
        _check_free(connection, quarantine_ids)
        discard_in(connection, quarantine_ids, note=reason, actor=actor)
        (newest,) = query_rows(
            connection, "quarantine_requests", before=_EVERY_REQUEST, request_id=None, line=quarantine_ids[0], most=1
        )
    alerts.recover_quarantine(settings, later=True)
    return int(newest.request_id)


def waiting_ids(settings: Settings, *, batch_id: int | None, rule_id: str | None, up_to: int, count: int) -> list[int]:
    """The waiting lines of a batch or with a rule, as somebody has seen them on a page.

    Args:
        settings: whose database.
        batch_id: only lines of this batch.
        rule_id: only lines that broke this rule.
        up_to: the newest line that they had seen.
        count: how many lines they had seen.

    Raises:
        ChangedMeanwhileError: there are fewer or more now.
    """
    rows = read_rows(settings, "waiting_ids", batch_id=batch_id, rule_id=rule_id, up_to=up_to)
    if len(rows) != count:
        raise ChangedMeanwhileError(
            f"{count:,} {'line' if count == 1 else 'lines'} waited when you opened the page, and {len(rows):,} of them "
            f"{'waits' if len(rows) == 1 else 'wait'} now. Look at them again."
        )
    return [row.quarantine_id for row in rows]


def request(settings: Settings, request_id: int) -> Request:
    """A decision.

    Raises:
        InputError: there is none of this number.
    """
    rows = read_rows(settings, "quarantine_requests", before=_EVERY_REQUEST, request_id=request_id, line=None, most=1)
    if not rows:
        raise InputError(f"There is no request {request_id} about lines in quarantine.")
    return _request(rows[0])


def history(settings: Settings, *, before: int | None = None, line: int | None = None, most: int = 20) -> list[Request]:
    """Decisions, the newest first.

    Args:
        settings: whose database.
        before: only those with a smaller number.
        line: only those about this line.
        most: how many.
    """
    rows = read_rows(
        settings, "quarantine_requests", before=before or _EVERY_REQUEST, request_id=None, line=line, most=most
    )
    return [_request(row) for row in rows]


def begin(settings: Settings, request_id: int) -> Asked | None:
    """Begins to carry a request out; returns what it asks for, or None if it was dropped or is done."""
    rows = read_rows(settings, "begin_quarantine_request", request_id=request_id)
    if not rows:
        return None
    (row,) = rows
    return Asked(
        request_id,
        tuple(row.quarantine_ids),
        row.changes or {},
        row.by_workbook,
        None if row.workbook is None else bytes(row.workbook),
        row.asked_at,
        row.begun_before,
    )


def released_before(settings: Settings, asked: Asked) -> int | None:
    """The batch that brought the lines of a request already, if a worker was killed just before it recorded that."""
    if asked.by_workbook or not asked.begun_before:
        return None  # the same workbook, read again, changes nothing
    lines = quarantined_lines(settings, state=None, quarantine_ids=asked.quarantine_ids)
    batches = {line.resolved_by for line in lines}
    since = all(line.state == "released" and line.resolved_at and line.resolved_at > asked.asked_at for line in lines)
    return batches.pop() if lines and since and len(batches) == 1 else None


def finish(settings: Settings, request_id: int, batch_id: int) -> None:
    """Records the batch that brought the lines of a request."""
    read_rows(settings, "end_quarantine_request", request_id=request_id, state="done", batch_id=batch_id, error=None)


def fail(settings: Settings, request_id: int, error: str) -> None:
    """Records why a request could not be carried out."""
    error = settings.without_secrets(error)
    read_rows(settings, "end_quarantine_request", request_id=request_id, state="failed", batch_id=None, error=error)


def drop(settings: Settings, request_id: int) -> None:
    """Takes a request back that no worker has carried out. Its lines wait as before.

    Raises:
        InputError: it is done already, or there is none.
    """
    rows = read_rows(
        settings, "end_quarantine_request", request_id=request_id, state="dropped", batch_id=None, error=None
    )
    if not rows:
        raise InputError(f"Request {request_id} has ended already, so it cannot be taken back.")


def record_release(
    settings: Settings,
    quarantine_ids: Sequence[int],
    changes: Mapping[str, str],
    *,
    actor: str | None,
    reason: str | None,
    batch_id: int,
) -> None:
    """Records a release that was made at once."""
    with transaction(settings) as connection:
        _insert(connection, quarantine_ids, changes, actor=actor, reason=reason, state="done", batch_id=batch_id)


def _insert(
    connection: Connection,
    quarantine_ids: Sequence[int],
    changes: Mapping[str, str],
    *,
    actor: str | None,
    reason: str | None,
    state: State,
    workbook: bytes | None = None,
    batch_id: int | None = None,
) -> int:
    (row,) = query_rows(
        connection,
        "insert_quarantine_request",
        action="release",
        quarantine_ids=sorted(set(quarantine_ids)),
        changes=json.dumps(changes) if changes else None,
        workbook=workbook,
        actor=actor,
        reason=reason,
        state=state,
        batch_id=batch_id,
    )
    return int(row.request_id)


def _check_free(connection: Connection, quarantine_ids: Sequence[int]) -> None:
    """Refuses lines that somebody else has settled, or asked for. Other decisions wait until the transaction ends."""
    if not quarantine_ids:
        raise InputError("No line was named.")
    ids = list(quarantine_ids)
    execute(connection, "lock_quarantine_requests")
    settled = query_rows(connection, "lines_not_waiting", quarantine_ids=ids)
    if settled:
        raise ChangedMeanwhileError("\n".join([*(_settled(row) for row in settled), "Nothing was changed."]))
    for row in query_rows(connection, "lines_asked_for", quarantine_ids=ids):
        both = sorted(set(row.quarantine_ids) & set(ids))
        line = f"line {both[0]}" if len(both) == 1 else f"{len(both):,} of these lines"
        raise ChangedMeanwhileError(
            f"{row.actor} has asked to release {line} already (request {row.request_id}), and it is not done yet.\n"
            "Nothing was changed."
        )


def _settled(row: Any) -> str:
    if row.state is None:
        return f"There is no line {row.quarantine_id} in quarantine."
    by = f" by {row.actor}" if row.actor else f" by batch {row.resolved_by}" if row.resolved_by else ""
    note = f": {row.note.rstrip('.')}" if row.note else ""
    return f"Line {row.quarantine_id} was {row.state}{by} on {row.resolved_at:%Y-%m-%d at %H:%M}{note}."


def _request(row: Any) -> Request:
    return Request(**{**row._asdict(), "first_lines": tuple(row.first_lines)})
