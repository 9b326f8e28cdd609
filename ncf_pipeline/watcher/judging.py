"""What is broken, from what can be seen of Airflow. No input or output."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncf_pipeline.alerts import Alert, Run, failure_of
from ncf_pipeline.alerts.kinds import (
    AIRFLOW_DOWN,
    DAG_BROKEN,
    RETRAIN_LATE,
    RUN_STOPPED,
    RUN_STUCK,
    SCHEDULE_MISSED,
)
from ncf_pipeline.alerts.messages import duration, instant
from ncf_pipeline.watcher.observed import Observed, RunNow, TaskNow

_WAITS_FOR_A_PERSON = ("deferred", "awaiting_input")
_RETRAIN = "retrain_recommender"


@dataclass(frozen=True)
class Limits:
    """How long something may last before it is told. Whatever is told is told within 20 minutes.

    Attributes:
        dead: a part of Airflow, or Postgres, without a sign of life.
        queued: a run, or a task, that waits to begin.
        usual: times the longest of a DAG's last runs that one may take, and never less than `queued`.
        overdue: a schedule that did not fire.
        ended: a red run, so that its task may tell by itself, and say why.
    """

    dead: timedelta = timedelta(minutes=3)
    queued: timedelta = timedelta(minutes=15)
    usual: float = 2
    overdue: timedelta = timedelta(minutes=10)
    ended: timedelta = timedelta(minutes=2)


def dead_alerts(dead: Mapping[str, tuple[str, datetime]]) -> list[Alert]:
    """An alert for each part of Airflow that does not work: why, and since when."""
    return [
        Alert(AIRFLOW_DOWN, part, f"Airflow's {part} does not work: {why.rstrip('.')}.", since=since)
        for part, (why, since) in dead.items()
    ]


def broken_alerts(observed: Observed, now: datetime) -> list[Alert]:
    """An alert for each DAG whose file cannot be read, or that Airflow does not have."""
    broken = {**observed.broken, **dict.fromkeys(observed.missing, "Airflow does not have it")}
    return [
        Alert(DAG_BROKEN, name, f"The DAG {name} cannot be read: {why.rstrip('.')}.", since=now)
        for name, why in sorted(broken.items())
    ]


def missed_alerts(observed: Observed, now: datetime, limits: Limits) -> list[Alert]:
    """An alert for each schedule that is overdue, although nothing of its DAG is at work."""
    at_work = {each.run.dag_id for each in observed.unfinished}
    return [
        Alert(
            SCHEDULE_MISSED,
            name,
            f"{name} did not start: its run was due at {instant(due_at)}.",
            since=due_at,
        )
        for name, due_at in sorted(observed.due_at.items())
        if now - due_at > limits.overdue and name not in at_work and name not in observed.broken
    ]


def stuck_alerts(observed: Observed, now: datetime, limits: Limits) -> list[Alert]:
    """An alert for each run that does not begin, or does not end in twice its usual time."""
    alerts = []
    running = {each.run.dag_id for each in observed.unfinished if each.state == "running"}
    for each in observed.unfinished:
        if each.state == "queued":
            if each.run.dag_id in running or each.queued_at is None or now - each.queued_at <= limits.queued:
                continue
            why = " because its DAG is paused" if each.run.dag_id in observed.paused else ""
            what, since = f"has waited for {duration(now - each.queued_at)} to begin{why}", each.queued_at
        else:
            found = _why_slow(each, observed, now, limits)
            if found is None:
                continue
            what, since = found
        kind, key = (RUN_STUCK, str(each.run))
        if each.run.dag_id == _RETRAIN and each.state == "running":
            kind, key = RETRAIN_LATE, _RETRAIN  # the same incident as that of the deadline
        alerts.append(
            Alert(kind, key, f"The run {each.run.run_id} of {each.run.dag_id} {what}.", since=since, run=each.run)
        )
    return alerts


def _why_slow(each: RunNow, observed: Observed, now: datetime, limits: Limits) -> tuple[str, datetime] | None:
    tasks = observed.tasks.get(each.run, ())
    if each.started_at is None or any(task.state in _WAITS_FOR_A_PERSON for task in tasks):
        return None
    at_work = any(task.state == "running" for task in tasks)
    for task in tasks:
        if task.state == "queued" and task.queued_at and now - task.queued_at > limits.queued and not at_work:
            return f"waits: no worker takes its task {task.task_id}", task.queued_at
    usual = observed.usual.get(each.run.dag_id)
    if usual is None:
        return None
    limit = max(limits.queued, usual * limits.usual)
    if now - each.started_at <= limit:
        return None
    took = f"has not ended after {duration(now - each.started_at)}"
    return f"{took}; of the last ones, the longest took {duration(usual)}", each.started_at


def red_runs(observed: Observed, now: datetime, limits: Limits) -> Iterator[RunNow]:
    """The runs that ended red long enough ago that their tasks would have told."""
    for each in observed.failed:
        if each.ended_at is not None and now - each.ended_at > limits.ended:
            yield each


def red_alert(ended: RunNow, tasks: Collection[TaskNow], ui: str) -> Alert:
    """The alert of a run that ended red and did not tell by itself.

    Args:
        ended: the run.
        tasks: of the run.
        ui: the address of Airflow's UI.
    """
    run, since = ended.run, ended.ended_at
    assert since is not None
    failed = sorted((task.ended_at or since, task.task_id, task.log) for task in tasks if task.state == "failed")
    if not failed:
        what = f"The run {run.run_id} of {run.dag_id} ended red, and none of its tasks failed: it was stopped."
        return Alert(RUN_STOPPED, run.dag_id, what, since=since, run=run)
    at, task_id, log = failed[0]
    kind = failure_of(run.dag_id)
    return Alert(
        kind,
        f"{run.dag_id}.{task_id}",
        f"{run.dag_id}.{task_id} failed without a word: it was killed, or its worker was lost.",
        details=f"Run: {run.run_id}\nOften, the machine had no memory left: the kernel's log says so.",
        since=at,
        did=f"The watcher of Airflow noticed it. {kind.did}",
        look=f"{ui}{log}",
        run=run,
    )


def runs_of(incident_runs: Collection[str]) -> list[Run]:
    """The runs that an incident names, the newest last."""
    return [Run(dag_id, run_id) for dag_id, _, run_id in (text.partition("/") for text in incident_runs)]
