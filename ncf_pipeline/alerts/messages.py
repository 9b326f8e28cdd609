"""The text of an alert."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ncf_pipeline.alerts.kinds import Kind, check_kind

RUNBOOK = "docs/runbook.md"


@dataclass(frozen=True)
class Run:
    """A run of a DAG.

    Attributes:
        dag_id: of its DAG.
        run_id: its id in Airflow.
    """

    dag_id: str
    run_id: str

    def __str__(self) -> str:
        return f"{self.dag_id}/{self.run_id}"


@dataclass(frozen=True)
class EndedRun:
    """When a run began and ended.

    Attributes:
        run: the run.
        started_at: when it began, the last time if it was cleared.
        ended_at: when it ended.
    """

    run: Run
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Alert:
    """One thing that broke.

    Attributes:
        kind: a constant of `ncf_pipeline.alerts.kinds`.
        key: tells two incidents of a kind apart, such as a task's or a batch's name. One incident is one alert.
        what: what broke, in one line.
        details: more about it, such as examples; lines of text.
        since: since when it is broken.
        shoppers: whether they are affected; None for the kind's text.
        did: what the system did by itself; None for the kind's text.
        look: the one command or link that shows more; None for the kind's command.
        run: the run that it is about; None if it is about no run.

    Raises:
        InputError: there is no such kind.
    """

    kind: Kind
    key: str
    what: str
    details: str | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    shoppers: str | None = None
    did: str | None = None
    look: str | None = None
    run: Run | None = None

    def __post_init__(self) -> None:
        """Refuses an unknown kind."""
        check_kind(self.kind)

    def body(self, runbook: str = RUNBOOK) -> str:
        """Returns the message below its title.

        Args:
            runbook: the path or URL at which people open the runbook.
        """
        lines = (
            self.details,
            f"Shoppers: {self.shoppers or self.kind.shoppers}",
            f"Since: {instant(self.since)}",
            f"By itself: {self.did or self.kind.did}",
            f"Look further: {self.look or self.kind.look}",
            f"Runbook: {runbook}#{self.kind.anchor}",
        )
        return "\n".join(filter(None, lines))


def recovery_body(*, since: datetime, closed_at: datetime, times: int) -> str:
    """Returns the message that an incident is over.

    Args:
        since: since when it was broken.
        closed_at: when it ended.
        times: how often it was detected.
    """
    detected = "once" if times == 1 else f"{times:,} times"
    lasted = duration(closed_at - since)
    return f"Over after {lasted}: since {instant(since)}, detected {detected}. Nothing is left to do."


def instant(at: datetime) -> str:
    """Formats an instant for people.

    >>> instant(datetime(2026, 11, 24, 2, 30, tzinfo=UTC))
    '2026-11-24 02:30 UTC'
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration(span: timedelta) -> str:
    """Formats a time span for people.

    >>> duration(timedelta(minutes=1505))
    '1 d 1 h 5 min'
    """
    minutes = max(0, round(span.total_seconds() / 60))
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than a minute"
