"""The watcher: looks at Airflow again and again, tells on-call what broke, and when it is over."""

import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from ncf_pipeline import alerts
from ncf_pipeline.alerts import KINDS, Alert, EndedRun, Incident
from ncf_pipeline.alerts.kinds import (
    AIRFLOW_DOWN,
    DAG_BROKEN,
    DATABASE_DOWN,
    RETRAIN_LATE,
    RUN_STUCK,
    SCHEDULE_MISSED,
    Kind,
)
from ncf_pipeline.errors import DatabaseError, NcfError, ServiceError, SettingsError
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.settings import Settings
from ncf_pipeline.watcher.judging import (
    Limits,
    broken_alerts,
    dead_alerts,
    missed_alerts,
    red_alert,
    red_runs,
    runs_of,
    stuck_alerts,
)
from ncf_pipeline.watcher.observed import API, DATABASE, Observed, observe, run_now, succeeded_since, tasks_of

logger = logging.getLogger(__name__)

_PATIENCE = 30  # seconds for an answer of Airflow
_LOOKS_BACK = timedelta(days=14)


@dataclass
class _Memory:
    """What the watcher must remember between two looks.

    Attributes:
        dead: parts of Airflow that do not work, each with the instant when that was first seen.
        alive_since: when all of them were first seen to work again.
        database_down: since when Postgres does not answer; None if it does.
        database_told: whether on-call was told so.
    """

    dead: dict[str, datetime] = field(default_factory=dict)
    alive_since: datetime | None = None
    database_down: datetime | None = None
    database_told: bool = False


class Watcher:
    """Watches one Airflow.

    Args:
        settings: name the database of incidents, the channels, Airflow and the heartbeat.
        limits: how long something may last before it is told.

    Raises:
        SettingsError: Airflow's address or login is not set.
    """

    def __init__(self, settings: Settings, limits: Limits | None = None) -> None:
        if settings.airflow_url is None or settings.airflow_password is None:
            raise SettingsError(
                "Airflow's address or password is not set: set NCF_AIRFLOW_URL, NCF_AIRFLOW_USER and "
                "NCF_AIRFLOW_PASSWORD. The user needs to read only (the role Viewer)."
            )
        self._settings, self._limits = settings, limits or Limits()
        self._ui = settings.airflow_url.rstrip("/")
        self._api = AirflowApi(
            self._ui,
            username=settings.airflow_user,
            password=settings.airflow_password.get_secret_value(),
            patience=_PATIENCE,
        )
        self._memory = _Memory()
        if not alerts.channels(settings):
            logger.warning("NCF_ALERTS names no channel here: incidents are recorded, and nobody is told.")

    def watch(self, *, every: float) -> None:
        """Looks again and again, until the process is stopped.

        Args:
            every: seconds between two looks.
        """
        while True:
            began = time.monotonic()
            try:
                self.look()
            except Exception:  # a defect here must not end the watching
                logger.exception("This look at Airflow failed; the next one follows.")
            time.sleep(max(1.0, every - (time.monotonic() - began)))

    def look(self, now: datetime | None = None) -> list[str]:
        """Looks once: tells what broke and what is over, and sends the heartbeat.

        Args:
            now: the present instant, with a zone; None reads the clock.

        Returns:
            The titles of the open incidents of Airflow and its runs.
        """
        now = now or datetime.now(UTC)
        try:
            began_at = alerts.watched(self._settings)
        except DatabaseError as error:
            self._tell_database_down(error, now)
            self._beat(is_well=self._memory.database_told)
            return []
        self._tell_database_up()
        seen = self._observe(max(began_at, now - _LOOKS_BACK), now)
        told = self._tell_dead(seen, now)
        if API not in seen.dead and DATABASE not in seen.dead:
            told += self._tell_others(seen, now)
        alerts.recover_quarantine(self._settings)
        alerts.retell(self._settings)
        self._beat(is_well=not alerts.untold(self._settings))
        return [alert.what for alert in told]

    def _observe(self, since: datetime, now: datetime) -> Observed:
        try:
            return observe(self._api, since=since, now=now, look_after=self._limits.queued)
        except ServiceError as error:
            return Observed({API: self._settings.without_secrets(str(error))})

    def _tell_dead(self, seen: Observed, now: datetime) -> list[Alert]:
        memory = self._memory
        memory.dead = {part: memory.dead.get(part, now) for part in seen.dead}
        if seen.dead:
            memory.alive_since = None
        elif memory.alive_since is None:
            memory.alive_since = now
        lasting = {part: (seen.dead[part], at) for part, at in memory.dead.items() if now - at >= self._limits.dead}
        told = dead_alerts(lasting)
        self._tell_each(told)
        if API not in seen.dead:  # else nothing is known of the others
            self._recover_others(AIRFLOW_DOWN, seen.dead)
        return told

    def _tell_others(self, seen: Observed, now: datetime) -> list[Alert]:
        told: list[Alert] = []
        alive = self._memory.alive_since
        # What has just come back needs a moment for what it has missed.
        if alive is not None and now - alive >= self._limits.dead:
            told += self._kept(DAG_BROKEN, broken_alerts(seen, now))
            told += self._kept(SCHEDULE_MISSED, missed_alerts(seen, now, self._limits))
            stuck = stuck_alerts(seen, now, self._limits)
            told += self._kept(RUN_STUCK, [each for each in stuck if each.kind == RUN_STUCK])
            late = [each for each in stuck if each.kind == RETRAIN_LATE]
            self._tell_each(late)
            told += late
        told += self._tell_red(seen, now)
        self._end_others()
        return told

    def _tell_red(self, seen: Observed, now: datetime) -> list[Alert]:
        red = {each.run: each for each in red_runs(seen, now, self._limits)}
        ended = [
            EndedRun(each.run, each.started_at or each.ended_at, each.ended_at)
            for each in red.values()
            if each.ended_at is not None
        ]
        untold = alerts.untold_runs(self._settings, ended) if ended else []
        told = [red_alert(red[run], tasks_of(self._api, run), self._ui) for run in untold]
        self._tell_each(told)
        return told

    def _end_others(self) -> None:
        """Closes the incidents of runs whose end no task could tell."""
        for incident in alerts.incidents(self._settings, most=1000):
            kind = KINDS.get(incident.kind)
            if kind is not None and (kind.red_run or kind == RETRAIN_LATE) and self._is_over(incident, kind):
                self._log_over(alerts.recover(self._settings, kind, incident.key))

    def _is_over(self, incident: Incident, kind: Kind) -> bool:
        runs = [(run, run_now(self._api, run)) for run in runs_of(incident.runs[-5:])]
        if kind == RETRAIN_LATE:
            return bool(runs) and all(now is None or now.ended_at is not None for _, now in runs)
        if runs and all(now is None or now.state == "success" for _, now in runs):
            return True  # cleared and ended well, marked as a success, or deleted
        dag_id, _, task_id = incident.key.partition(".")
        ended = [now.ended_at for _, now in runs if now is not None and now.ended_at is not None]
        # The watcher detects a failure later than it happened, and the next run may have succeeded meanwhile.
        return succeeded_since(self._api, dag_id, task_id or None, max(ended, default=incident.last_seen_at))

    def _kept(self, kind: Kind, found: list[Alert]) -> list[Alert]:
        """Tells what is broken of a kind, and that the rest of it is over."""
        self._tell_each(found)
        self._recover_others(kind, [alert.key for alert in found])
        return found

    def _tell_each(self, found: list[Alert]) -> None:
        for alert in found:
            if alerts.tell(self._settings, alert):
                logger.error("ALERT %s", self._settings.without_secrets(alert.what))

    def _recover_others(self, kind: Kind, still: Collection[str]) -> None:
        self._log_over(alerts.recover_others(self._settings, kind, still))

    def _log_over(self, titles: list[str]) -> None:
        for title in titles:
            logger.info("OVER %s", title)

    def _tell_database_down(self, error: NcfError, now: datetime) -> None:
        memory = self._memory
        memory.database_down = memory.database_down or now
        if memory.database_told or now - memory.database_down < self._limits.dead:
            return
        alert = Alert(DATABASE_DOWN, "postgres", f"Postgres does not answer: {error}", since=memory.database_down)
        # No incident can be recorded, so the watcher itself remembers that it was told.
        memory.database_told = alerts.tell_unrecorded(self._settings, alert)
        logger.error("ALERT %s", self._settings.without_secrets(alert.what))

    def _tell_database_up(self) -> None:
        memory = self._memory
        if memory.database_told and memory.database_down is not None:
            alert = Alert(DATABASE_DOWN, "postgres", "Postgres does not answer.", since=memory.database_down)
            alerts.record_told(self._settings, alert)
            self._log_over(alerts.recover(self._settings, DATABASE_DOWN, "postgres"))
        memory.database_down, memory.database_told = None, False

    def _beat(self, *, is_well: bool) -> None:
        """Tells the dead man's switch that somebody watches, and that every message has reached somebody."""
        url = self._settings.heartbeat_url
        if url is None or not is_well:
            return
        try:
            httpx.get(url.get_secret_value(), timeout=10, follow_redirects=True).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = self._settings.without_secrets(f"{type(error).__name__}: {error}")
            logger.warning("The heartbeat was not sent to NCF_HEARTBEAT_URL: %s", reason)
