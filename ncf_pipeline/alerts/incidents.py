"""Incidents: one alert for each, however often it is detected, and one message when it is over.

The table `ops.incident` holds their state. A row is locked while its message is sent, so two tasks that detect the same
incident send one alert. If delivery fails, the alert is sent when the incident is detected again, or by `retell`.
"""

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ncf_pipeline.alerts.channels import channels, deliver
from ncf_pipeline.alerts.kinds import KINDS, LINES_QUARANTINED, RED_RUN, Kind, Severity
from ncf_pipeline.alerts.messages import Alert, EndedRun, Run, recovery_body
from ncf_pipeline.errors import NcfError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction
from ncf_pipeline.storage.resources import query

logger = logging.getLogger(__name__)

_MANY = 10_000
_LOOKS = {Severity.PAGE: "failure", Severity.WARN: "warning", Severity.INFO: "info"}


@dataclass(frozen=True)
class Incident:
    """A row of `ops.incident`.

    Attributes:
        incident_id: its number.
        kind: the `name` of a kind in `ncf_pipeline.alerts.kinds`.
        key: tells two incidents of a kind apart.
        severity: how urgent it is.
        lasts: False if it just happened, so that it cannot end.
        title: what broke, in one line.
        body: the rest of the message, as text of several lines.
        since: since when it is broken.
        opened_at: when it was first detected.
        last_seen_at: when it was last detected.
        times: how often it was detected.
        told_at: when on-call was told; None before.
        closed_at: when it ended; None while it is open.
        recovery_told_at: when on-call was told that it ended; None before.
        runs: of Airflow that it is about, as `dag_id/run_id`, in the order in which they were noted.
    """

    incident_id: int
    kind: str
    key: str
    severity: Severity
    lasts: bool
    title: str
    body: str
    since: datetime
    opened_at: datetime
    last_seen_at: datetime
    times: int
    told_at: datetime | None
    closed_at: datetime | None
    recovery_told_at: datetime | None
    runs: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The columns by name, as `ncf-pipeline alerts list --json` prints them."""
        return asdict(self)


def tell(settings: Settings, alert: Alert, *, later: bool = False) -> bool:
    """Alerts on-call, unless they know of the incident already. Never raises.

    A run that ended red has one open incident: if two of its tasks fail, the second one is counted in the first one's.

    Args:
        settings: name the database of incidents and the channels.
        alert: what broke.
        later: if no channel is set here, as where a person runs a command, leave the message to `retell`.

    Returns:
        True if a message was sent now, or would have been if a channel were set.
    """
    sent = False
    title = settings.without_secrets(alert.what)
    body = settings.without_secrets(alert.body(settings.runbook_url))
    try:
        with transaction(settings) as connection:
            kind, key = _incident_of(connection, alert)
            (incident,) = _read(
                connection,
                "open_incident",
                kind=kind,
                key=key,
                severity=str(alert.kind.severity),
                lasts=alert.kind.lasts,
                title=title,
                body=body,
                since=alert.since,
            )
            if alert.run is not None:
                _note(connection, alert.run, incident.incident_id)
            if incident.told_at is None and not (later and not channels(settings)):
                sent = _tell_opened(settings, incident)
                if sent:
                    _mark_told(connection, incident)
    except NcfError as error:
        logger.error("The incident was not recorded, so on-call may be alerted more than once: %s", error)  # noqa: TRY400
        if not sent:
            sent = _send(settings, alert.kind.severity, title, body)
    return sent


def tell_unrecorded(settings: Settings, alert: Alert) -> bool:
    """Alerts on-call without a record, while the database of incidents does not answer. Never raises.

    Returns:
        True if a channel got the message, or none is set.
    """
    body = settings.without_secrets(alert.body(settings.runbook_url))
    return _send(settings, alert.kind.severity, settings.without_secrets(alert.what), body)


def record_told(settings: Settings, alert: Alert) -> None:
    """Records an incident of which on-call was told without a record. Never raises."""
    try:
        with transaction(settings) as connection:
            (incident,) = _read(
                connection,
                "open_incident",
                kind=alert.kind.name,
                key=alert.key,
                severity=str(alert.kind.severity),
                lasts=alert.kind.lasts,
                title=settings.without_secrets(alert.what),
                body=settings.without_secrets(alert.body(settings.runbook_url)),
                since=alert.since,
            )
            _mark_told(connection, incident)
    except NcfError as error:
        logger.error("The incident was not recorded: %s", error)  # noqa: TRY400


def answered(settings: Settings, run: Run) -> None:
    """Records that a run ended red because of what a person entered, and that its log tells this person.

    Nobody tells on-call of the run then. Never raises.

    Args:
        settings: name the database of incidents.
        run: that failed.
    """
    try:
        with transaction(settings) as connection:
            _note(connection, run, None)
    except NcfError as error:
        logger.error("It was not recorded that the run was answered, so on-call may be alerted: %s", error)  # noqa: TRY400


def untold_runs(settings: Settings, runs: Collection[EndedRun]) -> list[Run]:
    """Returns the runs of which nobody was told that they ended red.

    Args:
        settings: name the database of incidents.
        runs: that ended red.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        rows = query_rows(
            connection,
            "untold_runs",
            dag_ids=[each.run.dag_id for each in runs],
            run_ids=[each.run.run_id for each in runs],
            started=[each.started_at for each in runs],
            ended=[each.ended_at for each in runs],
            kinds=list(RED_RUN),
        )
    return [Run(row.dag_id, row.run_id) for row in rows]


def recover(settings: Settings, kind: Kind, key: str | None = None, *, later: bool = False) -> list[str]:
    """Closes incidents, and tells on-call if they had been alerted. Never raises.

    Args:
        settings: name the database of incidents and the channels.
        kind: of the incidents.
        key: of the incident; None for every open incident of the kind.
        later: if no channel is set here, leave the message to `retell`.

    Returns:
        The titles of the incidents that were closed.
    """
    try:
        with transaction(settings) as connection:
            closed = _read(connection, "close_incident", kind=kind.name, key=key)
            for incident in closed:
                is_left = later and not channels(settings)
                if incident.told_at is not None and not is_left and _tell_closed(settings, incident):
                    _mark_told(connection, incident)
    except NcfError as error:
        logger.error("The end of an incident was not recorded: %s", error)  # noqa: TRY400
        return []
    for incident in closed:
        logger.info("Over: %s", incident.title)
    return [incident.title for incident in closed]


def recover_others(settings: Settings, kind: Kind, still: Collection[str]) -> list[str]:
    """Closes the incidents of a kind that are no longer detected. Never raises.

    Args:
        settings: name the database of incidents and the channels.
        kind: of the incidents.
        still: keys of those that are still detected.

    Returns:
        The titles of the incidents that were closed.
    """
    try:
        open_ = [each.key for each in incidents(settings, most=_MANY) if each.kind == kind.name]
    except NcfError as error:
        logger.error("The end of an incident was not recorded: %s", error)  # noqa: TRY400
        return []
    return [title for key in open_ if key not in still for title in recover(settings, kind, key)]


def recover_after(settings: Settings, task: str) -> list[str]:
    """Closes the incidents that a task's success ends: its own failure, and kinds that name it in `over_when`.

    Args:
        settings: name the database of incidents and the channels.
        task: as `dag.task`.

    Returns:
        The titles of the incidents that were closed.
    """
    over = [title for kind in KINDS.values() if task in kind.over_when for title in recover(settings, kind)]
    failures = [kind for kind in KINDS.values() if kind.red_run]
    return over + [title for kind in failures for title in recover(settings, kind, task)]


def recover_quarantine(settings: Settings, *, later: bool = False) -> list[str]:
    """Closes the incidents of batches of which no line waits in quarantine any more.

    Args:
        settings: name the database of incidents and the channels.
        later: if no channel is set here, leave the message to `retell`.

    Returns:
        The titles of the incidents that were closed.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        rows = query_rows(connection, "corrected_quarantine_incidents", kind=LINES_QUARANTINED.name)
    return [title for row in rows for title in recover(settings, LINES_QUARANTINED, row.key, later=later)]


def retell(settings: Settings) -> int:
    """Sends the messages that could not be delivered before.

    Returns:
        The number of messages that were delivered now.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    delivered = 0
    with transaction(settings) as connection:
        for incident in _read(connection, "untold_incidents"):
            send = _tell_opened if incident.closed_at is None else _tell_closed
            if send(settings, incident):
                _mark_told(connection, incident)
                delivered += 1
    return delivered


def untold(settings: Settings) -> bool:
    """Returns whether a message still waits to be delivered.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        return bool(_read(connection, "untold_incidents"))


def watched(settings: Settings) -> datetime:
    """Records that the watcher of Airflow looks now.

    Returns:
        When it looked for the first time. Runs that ended before are not told.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        (row,) = query_rows(connection, "note_watch")
    began_at: datetime = row.began_at
    return began_at


def silent_since(settings: Settings, limit: timedelta) -> datetime | None:
    """Returns since when the watcher of Airflow has not looked; None if it does, or there never was one.

    Args:
        settings: name the database of incidents.
        limit: a shorter silence means nothing.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        rows = query_rows(connection, "silent_watch", seconds=limit.total_seconds())
    return rows[0].looked_at if rows else None


def incidents(settings: Settings, *, over_too: bool = False, most: int = 50) -> list[Incident]:
    """Returns the open incidents, newest first.

    Args:
        settings: name the database of incidents.
        over_too: also return incidents that are over, and events.
        most: the largest number to return.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        return _read(connection, "incidents", over_too=over_too, most=most)


def _incident_of(connection: Connection, alert: Alert) -> tuple[str, str]:
    """The kind and the key of the incident that an alert opens, or of the one that its red run has already."""
    if alert.run is not None and alert.kind.red_run:
        with connection.cursor() as cursor:  # until the end of the transaction
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"incident of {alert.run}",))
        run = {"dag_id": alert.run.dag_id, "run_id": alert.run.run_id}
        for row in query_rows(connection, "open_incident_of_run", **run, kinds=list(RED_RUN)):
            return row.kind, row.key
    return alert.kind.name, alert.key


def _note(connection: Connection, run: Run, incident_id: int | None) -> None:
    with connection.cursor() as cursor:
        parameters = {"dag_id": run.dag_id, "run_id": run.run_id, "incident_id": incident_id}
        cursor.execute(query("note_incident_run"), parameters)


def _tell_opened(settings: Settings, incident: Incident) -> bool:
    body = f"{incident.body}\nIncident {incident.incident_id}"
    return _send(settings, incident.severity, incident.title, body)


def _tell_closed(settings: Settings, incident: Incident) -> bool:
    closed_at = incident.closed_at or incident.last_seen_at
    recovery = recovery_body(since=incident.since, closed_at=closed_at, times=incident.times)
    body = f"{recovery}\nIncident {incident.incident_id}"
    return _send(settings, incident.severity, incident.title, body, over=True)


def _send(settings: Settings, severity: Severity, title: str, body: str, *, over: bool = False) -> bool:
    """Returns True if a channel got the message, or no channel receives its severity."""
    reasons = deliver(
        settings,
        severity,
        f"[{'over' if over else severity}] {title}",
        body,
        notify_type="success" if over else _LOOKS[severity],
    )
    return not reasons or not all(reasons.values())


def _mark_told(connection: Connection, incident: Incident) -> None:
    with connection.cursor() as cursor:
        cursor.execute(query("mark_incident_told"), {"incident_id": incident.incident_id})


def _read(connection: Connection, name: str, **parameters: Any) -> list[Incident]:
    """Runs a query that returns rows of `ops.incident`."""
    return [
        Incident(
            incident_id=row.incident_id,
            kind=row.kind,
            key=row.key,
            severity=Severity(row.severity),
            lasts=row.lasts,
            title=row.title,
            body=row.body,
            since=row.since,
            opened_at=row.opened_at,
            last_seen_at=row.last_seen_at,
            times=row.times,
            told_at=row.told_at,
            closed_at=row.closed_at,
            recovery_told_at=row.recovery_told_at,
            runs=tuple(getattr(row, "runs", ())),
        )
        for row in query_rows(connection, name, **parameters)
    ]
