"""One incident is one alert, however often it is met, and one message once it is over.

The state is in `ops.incident`. A row stays locked while its message is on the way, so that two tasks which meet the
same incident tell it once; one that nobody could be told of is told when it is met again, or by `retell`.
"""

import logging
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ncf_pipeline.alerts.channels import deliver
from ncf_pipeline.alerts.kinds import KINDS, LINES_QUARANTINED, Kind, Severity
from ncf_pipeline.alerts.messages import Alert, recovery_body
from ncf_pipeline.errors import NcfError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction
from ncf_pipeline.storage.resources import query

logger = logging.getLogger(__name__)

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

    def as_dict(self) -> dict[str, Any]:
        """The columns by name, as `ncf-pipeline alerts list --json` prints them."""
        return asdict(self)


def tell(settings: Settings, alert: Alert) -> bool:
    """Lets on-call hear of what broke, unless they have heard of it already. Never raises.

    Args:
        settings: where incidents are kept and alerts go.
        alert: what broke.

    Returns:
        Whether a message was sent now, or would have been if a channel were set.
    """
    told = False
    title = settings.without_secrets(alert.what)
    body = settings.without_secrets(alert.body(settings.runbook_url))
    try:
        with transaction(settings) as connection:
            (incident,) = _read(
                connection,
                "open_incident",
                kind=alert.kind.name,
                key=alert.key,
                severity=str(alert.kind.severity),
                lasts=alert.kind.lasts,
                title=title,
                body=body,
                since=alert.since,
            )
            if incident.told_at is None:
                told = _tell_opened(settings, incident)
                if told:
                    _mark_told(connection, incident)
    except NcfError as error:
        logger.error("The incident was not kept, so it may be told more than once: %s", error)  # noqa: TRY400
        if not told:
            told = _send(settings, alert.kind.severity, title, body)
    return told


def recover(settings: Settings, kind: Kind, key: str | None = None) -> list[str]:
    """Notes that what was broken is well again, and says so if on-call had heard of it. Never raises.

    Args:
        settings: where incidents are kept and alerts go.
        kind: of the incident.
        key: of the incident; all open ones of the kind if None.

    Returns:
        What was broken; empty if nothing was.
    """
    try:
        with transaction(settings) as connection:
            closed = _read(connection, "close_incident", kind=kind.name, key=key)
            for incident in closed:
                if incident.told_at is not None and _tell_closed(settings, incident):
                    _mark_told(connection, incident)
    except NcfError as error:
        logger.error("It was not noted that an incident is over: %s", error)  # noqa: TRY400
        return []
    for incident in closed:
        logger.info("Over: %s", incident.title)
    return [incident.title for incident in closed]


def recover_after(settings: Settings, task: str) -> list[str]:
    """Notes what the success of a task says is over: its own failure, and what its kind names.

    Args:
        settings: where incidents are kept and alerts go.
        task: as `dag.task`.
    """
    over = [title for kind in KINDS.values() if task in kind.over_when for title in recover(settings, kind)]
    from_failures = [kind for kind in KINDS.values() if kind.name.endswith("_failed")]
    return over + [title for kind in from_failures for title in recover(settings, kind, task)]


def recover_quarantine(settings: Settings) -> list[str]:
    """Notes batches in quarantine that were corrected or discarded.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    with transaction(settings) as connection:
        rows = query_rows(connection, "corrected_quarantine_incidents", kind=LINES_QUARANTINED.name)
    return [title for row in rows for title in recover(settings, LINES_QUARANTINED, row.key)]


def retell(settings: Settings) -> int:
    """Sends what could not be delivered when it happened.

    Returns:
        How many messages could be delivered now.

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


def incidents(settings: Settings, *, over_too: bool = False, most: int = 50) -> list[Incident]:
    """What is broken now, newest first: the rows of `ops.incident`.

    Args:
        settings: where incidents are kept.
        over_too: also what is over, and what just happened.
        most: how many at most.
    """
    with transaction(settings) as connection:
        return _read(connection, "incidents", over_too=over_too, most=most)


def _tell_opened(settings: Settings, incident: Incident) -> bool:
    body = f"{incident.body}\nIncident {incident.incident_id}"
    return _send(settings, incident.severity, incident.title, body)


def _tell_closed(settings: Settings, incident: Incident) -> bool:
    closed_at = incident.closed_at or incident.last_seen_at
    recovery = recovery_body(since=incident.since, closed_at=closed_at, times=incident.times)
    body = f"{recovery}\nIncident {incident.incident_id}"
    return _send(settings, incident.severity, incident.title, body, over=True)


def _send(settings: Settings, severity: Severity, title: str, body: str, *, over: bool = False) -> bool:
    """Whether anybody got it, or nobody wants it."""
    failed = deliver(
        settings,
        severity,
        f"[{'over' if over else severity}] {title}",
        body,
        notify_type="success" if over else _LOOKS[severity],
    )
    return not failed or not all(failed.values())


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
        )
        for row in query_rows(connection, name, **parameters)
    ]
