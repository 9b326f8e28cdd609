"""The top of the page: what serves and since when, how old the lists are, and what is broken."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncf_pipeline import alerts
from ncf_pipeline.alerts.kinds import KINDS, LINES_QUARANTINED, Severity
from ncf_pipeline.alerts.messages import duration
from ncf_pipeline.errors import NcfError, SettingsError
from ncf_pipeline.serving.watch import Live, broken_lists, look
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_records

PATIENCE = 2.0
"""Seconds that the page waits for Redis to answer."""


@dataclass(frozen=True)
class Trouble:
    """Something that is broken.

    Attributes:
        severity: as in the alert: `page`, `warn` or `info`.
        title: what is broken.
        since: when it broke.
        facts: more about it, by name: how it affects shoppers, what the system did, where to look.
        runbook: heading and anchor of its section in the runbook; None if it has none.
        incident: number of the open incident; None if the page has seen it before on-call was alerted.
        page: what to do on the page on which a person mends it, and its address; None if there is none.
    """

    severity: str
    title: str
    since: datetime
    facts: Mapping[str, str]
    runbook: tuple[str, str] | None
    incident: int | None = None
    page: tuple[str, str] | None = None


@dataclass(frozen=True)
class Serving:
    """What the registry says about the champion and the newest retrain; the row of `serving_now.sql`.

    Attributes:
        champion: version of the champion, 0 for the baselines; None, like the next four, if nothing serves yet.
        cutoff: of the champion: it knows the purchases before it.
        serves_since: when it became the champion.
        actor: who or what promoted it.
        reason: in the actor's words.
        newest: the newest model; None, like the next three, if there is no version.
        newest_state: its state.
        newest_at: when its retrain started.
        newest_may_serve: the gate's decision on it; None before there is one.
        has_invoices: whether a batch is merged.
        has_published: whether lists were ever published.
    """

    champion: int | None
    cutoff: datetime | None
    serves_since: datetime | None
    actor: str | None
    reason: str | None
    newest: int | None
    newest_state: str | None
    newest_at: datetime | None
    newest_may_serve: bool | None
    has_invoices: bool
    has_published: bool


@dataclass(frozen=True)
class Now:
    """What serves now, and what is broken.

    Attributes:
        live: what the storefront reads.
        age: of the live lists, in words; None if no lists are live.
        limit: how old the lists may be, in words.
        freshness: their age in percent of the limit, at most 100.
        serving: what the registry says; None if Postgres does not answer.
        broken: the most urgent first.
        database_error: why Postgres does not answer; None if it does.
    """

    live: Live
    age: str | None
    limit: str
    freshness: float
    serving: Serving | None
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
    """Checks Redis, Postgres and the open incidents. It also returns if Redis, Postgres or both do not answer.

    Args:
        settings: of the installation.
        at: the present, with a time zone.
    """
    live = _look(settings)
    limit = timedelta(hours=settings.max_list_age_hours)
    age = at - live.published_at if live.published_at else None
    share = 0.0 if age is None else min(100.0, 100 * (age / limit))
    age_in_words = duration(age) if age is not None else None
    try:
        (serving,) = read_records(settings, Serving, "serving_now")
        incidents = alerts.incidents(settings)
    except NcfError as error:
        seen = broken_lists(settings, live, at, published=False)
        broken = [_seen(alert) for alert in seen]
        return Now(live, age_in_words, duration(limit), share, None, broken, settings.without_secrets(str(error)))
    seen = broken_lists(settings, live, at, published=serving.has_published)
    reported = {incident.kind for incident in incidents}
    broken = [_reported(incident) for incident in incidents]
    broken += [_seen(alert) for alert in seen if alert.kind.name not in reported]
    broken.sort(key=lambda trouble: list(Severity).index(Severity(trouble.severity)))
    return Now(live, age_in_words, duration(limit), share, serving, broken)


def _look(settings: Settings) -> Live:
    try:
        return look(settings, timeout=PATIENCE)
    except (SettingsError, ValueError) as error:  # no Redis is set, or its URL is not one
        return Live(error=settings.without_secrets(str(error)).rstrip("."))


def _reported(incident: alerts.Incident) -> Trouble:
    """An open incident, about which on-call was alerted."""
    kind = KINDS.get(incident.kind)
    lines = [line.partition(": ") for line in incident.body.splitlines()]
    facts = {name: words for name, colon, words in lines if colon and name in ("Shoppers", "By itself", "Look further")}
    runbook = (kind.title, kind.anchor) if kind else None
    page = _page_of(incident)
    return Trouble(incident.severity.value, incident.title, incident.since, facts, runbook, incident.incident_id, page)


def _page_of(incident: alerts.Incident) -> tuple[str, str] | None:
    """The page on which a person mends it: what to do there, and its address."""
    if incident.kind != LINES_QUARANTINED.name:
        return None
    batch = re.search(r"[0-9]+", incident.key)
    return "Correct or discard the lines", f"quarantine{f'?batch={batch[0]}' if batch else ''}"


def _seen(alert: alerts.Alert) -> Trouble:
    """Something that the page sees before the watch alerts on-call."""
    kind = alert.kind
    facts = {"Shoppers": kind.shoppers, "By itself": kind.did, "Look further": kind.look}
    return Trouble(kind.severity.value, alert.what, alert.since, facts, (kind.title, kind.anchor))
