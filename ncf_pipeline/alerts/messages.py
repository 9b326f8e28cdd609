"""What an alert says, and in which words."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ncf_pipeline.alerts.kinds import Kind, check_kind

RUNBOOK = "docs/runbook.md"


@dataclass(frozen=True)
class Alert:
    """What broke, before anybody is told.

    Attributes:
        kind: one of `ncf_pipeline.alerts.kinds`.
        key: tells two incidents of a kind apart, e.g. a task's or a batch's name. One incident is one alert.
        what: what broke, in one line.
        details: what to see beside it, such as examples; lines of text.
        since: since when it is broken.
        shoppers: whether they are affected; as the kind says where None.
        did: what the system did by itself; likewise.
        look: the one command or link to look further; likewise.
    """

    kind: Kind
    key: str
    what: str
    details: str | None = None
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    shoppers: str | None = None
    did: str | None = None
    look: str | None = None

    def __post_init__(self) -> None:
        """Refuses a kind that is none."""
        check_kind(self.kind)

    def body(self, runbook: str = RUNBOOK) -> str:
        """All but what broke.

        Args:
            runbook: where people open it: a path or a URL.
        """
        told = (
            self.details,
            f"Shoppers: {self.shoppers or self.kind.shoppers}",
            f"Since: {instant(self.since)}",
            f"By itself: {self.did or self.kind.did}",
            f"Look further: {self.look or self.kind.look}",
            f"Runbook: {runbook}#{self.kind.anchor}",
        )
        return "\n".join(filter(None, told))


def recovery_body(*, since: datetime, closed_at: datetime, times: int) -> str:
    """What is said once an incident is over.

    Args:
        since: since when it was broken.
        closed_at: when it was found to be over.
        times: how often it was met.
    """
    met = "once" if times == 1 else f"{times:,} times"
    return f"It is over, after {duration(closed_at - since)}: since {instant(since)}, met {met}. Nothing is left to do."


def instant(at: datetime) -> str:
    """As people read it: `2026-11-24 02:30 UTC`."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration(span: timedelta) -> str:
    """As people read it: days, hours and minutes."""
    minutes = max(0, round(span.total_seconds() / 60))
    parts = [(minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "less than a minute"
