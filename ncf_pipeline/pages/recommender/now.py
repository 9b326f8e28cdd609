"""The top of the page: is all well, what serves since when, how old it is, and what is broken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ncf_pipeline import alerts
from ncf_pipeline.alerts.kinds import KINDS, Severity
from ncf_pipeline.alerts.messages import duration
from ncf_pipeline.errors import NcfError, SettingsError
from ncf_pipeline.serving.watch import Live, broken_lists, look
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

PATIENCE = 2.0
"""Seconds that the page waits for an answer of Redis."""


@dataclass(frozen=True)
class Trouble:
    """Something that is broken.

    Attributes:
        severity: as on-call hears it: `page`, `warn` or `info`.
        title: what broke.
        since: since when.
        facts: what else to know, by name: shoppers, what the system did, where to look.
        runbook: the heading of its section there, and its anchor.
        incident: its number; None for what was just seen, and of which nobody was told.
    """

    severity: str
    title: str
    since: datetime
    facts: Mapping[str, str]
    runbook: tuple[str, str] | None
    incident: int | None = None


@dataclass(frozen=True)
class Now:
    """How things stand.

    Attributes:
        live: what the storefront reads.
        age: of the lists, in words; None where there are none.
        limit: how old they may be, in words.
        freshness: their age as a share of that, in percent, at most 100.
        serving: the row of `serving_now.sql`; None where the database does not answer.
        broken: the most urgent first.
        database_error: why the database does not answer.
    """

    live: Live
    age: str | None
    limit: str
    freshness: float
    serving: Any | None
    broken: Sequence[Trouble]
    database_error: str | None = None

    @property
    def verdict(self) -> str:
        """`page`, `warn`, `new` (nothing serves yet, and nothing is wrong) or `good`."""
        if self.database_error or any(trouble.severity == Severity.PAGE for trouble in self.broken):
            return "page"
        if self.broken:
            return "warn"
        return "good" if self.live.publication else "new"


def now(settings: Settings, at: datetime) -> Now:
    """Looks at everything that says whether all is well. Redis and the database may both be away.

    Args:
        settings: whose.
        at: the instant, with its zone.
    """
    live = _look(settings)
    limit = timedelta(hours=settings.max_list_age_hours)
    age = at - live.published_at if live.published_at else None
    share = 0.0 if age is None else min(100.0, 100 * (age / limit))
    told = duration(age) if age is not None else None
    try:
        (serving,) = read_rows(settings, "serving_now")
        incidents = alerts.incidents(settings)
    except NcfError as error:
        seen = broken_lists(settings, live, at, published=False)
        broken = [_seen(alert) for alert in seen]
        return Now(live, told, duration(limit), share, None, broken, settings.without_secrets(str(error)))
    seen = broken_lists(settings, live, at, published=serving.has_published)
    kept = {row["kind"] for row in incidents}
    broken = [_kept(row) for row in incidents] + [_seen(alert) for alert in seen if alert.kind.name not in kept]
    broken.sort(key=lambda trouble: list(Severity).index(Severity(trouble.severity)))
    return Now(live, told, duration(limit), share, serving, broken)


def _look(settings: Settings) -> Live:
    try:
        return look(settings, timeout=PATIENCE)
    except (SettingsError, ValueError) as error:  # none is set, or what is set is none
        return Live(error=settings.without_secrets(str(error)).rstrip("."))


def _kept(row: Mapping[str, Any]) -> Trouble:
    """An incident that on-call was told."""
    kind = KINDS.get(row["kind"])
    lines = [line.partition(": ") for line in row["body"].splitlines()]
    facts = {name: words for name, colon, words in lines if colon and name in ("Shoppers", "By itself", "Look further")}
    runbook = (kind.title, kind.anchor) if kind else None
    return Trouble(row["severity"], row["title"], row["since"], facts, runbook, row["incident_id"])


def _seen(alert: alerts.Alert) -> Trouble:
    """What the page sees itself, before the watch tells it."""
    kind = alert.kind
    facts = {"Shoppers": kind.shoppers, "By itself": kind.did, "Look further": kind.look}
    return Trouble(kind.severity.value, alert.what, alert.since, facts, (kind.title, kind.anchor))
