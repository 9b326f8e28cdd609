"""One incident is one alert, however often it is met, and one message once it is over.

The state is in `ops.incident`. A row stays locked while its message is on the way, so that two tasks which meet the
same incident tell it once; one that nobody could be told of is told when it is met again, or by `retell`.
"""

import logging
from typing import Any

from psycopg2.extras import RealDictCursor

from ncf_pipeline.alerts.channels import deliver
from ncf_pipeline.alerts.kinds import KINDS, LINES_QUARANTINED, Kind, Severity
from ncf_pipeline.alerts.messages import Alert, recovery_body
from ncf_pipeline.errors import NcfError
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, transaction
from ncf_pipeline.storage.resources import query

logger = logging.getLogger(__name__)

_LOOKS = {Severity.PAGE: "failure", Severity.WARN: "warning", Severity.INFO: "info"}


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
            row = _one(
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
            if row["told_at"] is None:
                told = _tell_opened(settings, row)
                if told:
                    _mark(connection, row)
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
            closed = _all(connection, "close_incident", kind=kind.name, key=key)
            for row in closed:
                if row["told_at"] is not None and _tell_closed(settings, row):
                    _mark(connection, row)
    except NcfError as error:
        logger.error("It was not noted that an incident is over: %s", error)  # noqa: TRY400
        return []
    for row in closed:
        logger.info("Over: %s", row["title"])
    return [row["title"] for row in closed]


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
        rows = _all(connection, "corrected_quarantine_incidents", kind=LINES_QUARANTINED.name)
    return [title for row in rows for title in recover(settings, LINES_QUARANTINED, row["key"])]


def retell(settings: Settings) -> int:
    """Sends what could not be delivered when it happened.

    Returns:
        How many messages could be delivered now.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    delivered = 0
    with transaction(settings) as connection:
        for row in _all(connection, "untold_incidents"):
            send = _tell_opened if row["closed_at"] is None else _tell_closed
            if send(settings, row):
                _mark(connection, row)
                delivered += 1
    return delivered


def incidents(settings: Settings, *, over_too: bool = False, most: int = 50) -> list[dict[str, Any]]:
    """What is broken now, newest first: the rows of `ops.incident`.

    Args:
        settings: where incidents are kept.
        over_too: also what is over, and what just happened.
        most: how many at most.
    """
    with transaction(settings) as connection:
        return _all(connection, "incidents", over_too=over_too, most=most)


def _tell_opened(settings: Settings, row: dict[str, Any]) -> bool:
    return _send(settings, Severity(row["severity"]), row["title"], f"{row['body']}\nIncident {row['incident_id']}")


def _tell_closed(settings: Settings, row: dict[str, Any]) -> bool:
    body = recovery_body(since=row["since"], closed_at=row["closed_at"], times=row["times"])
    severity = Severity(row["severity"])
    return _send(settings, severity, row["title"], f"{body}\nIncident {row['incident_id']}", over=True)


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


def _mark(connection: Connection, row: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(query("mark_incident_told"), {"incident_id": row["incident_id"]})


def _one(connection: Connection, name: str, **parameters: Any) -> dict[str, Any]:
    return _all(connection, name, **parameters)[0]


def _all(connection: Connection, name: str, **parameters: Any) -> list[dict[str, Any]]:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query(name), parameters)
        return [dict(row) for row in cursor.fetchall()]
