"""What Airflow's REST API says of itself and of our DAGs, at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from ncf_pipeline.alerts import Run
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.storage.resources import resource

PARTS: Mapping[str, str] = {
    "metadatabase": "database",
    "scheduler": "scheduler",
    "dag_processor": "dag-processor",
    "triggerer": "triggerer",
}
"""The parts of Airflow in the answer about its health, and their names for people."""

API, DATABASE = "api-server", PARTS["metadatabase"]


@dataclass(frozen=True)
class RunNow:
    """A run, as it is now.

    Attributes:
        run: its DAG and its id.
        state: `queued`, `running`, `success` or `failed`.
        queued_at: when it was queued; None if Airflow does not say.
        started_at: when it began; None before.
        ended_at: when it ended; None before.
    """

    run: Run
    state: str
    queued_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class TaskNow:
    """A task of a run, as it is now.

    Attributes:
        task_id: its name in the DAG.
        state: None before it is scheduled.
        queued_at: when it was queued for a worker; None before.
        ended_at: when its last try ended; None before.
        log: the path of its log in Airflow's UI.
    """

    task_id: str
    state: str | None
    queued_at: datetime | None
    ended_at: datetime | None
    log: str


@dataclass(frozen=True)
class Observed:
    """What can be seen of Airflow.

    Attributes:
        dead: parts that do not work, and why. If the API server is one of them, the rest is empty.
        broken: why a DAG's file cannot be read, by DAG.
        missing: DAGs that Airflow does not have, or no longer.
        due_at: when the next run of a DAG that is not paused is due, by DAG.
        paused: DAGs that are paused.
        unfinished: runs that have begun or wait to begin.
        failed: runs that ended red.
        tasks: of the runs above that need a look.
        usual: how long the longest of a DAG's last successful runs took.
    """

    dead: Mapping[str, str]
    broken: Mapping[str, str] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()
    due_at: Mapping[str, datetime] = field(default_factory=dict)
    paused: frozenset[str] = frozenset()
    unfinished: tuple[RunNow, ...] = ()
    failed: tuple[RunNow, ...] = ()
    tasks: Mapping[Run, tuple[TaskNow, ...]] = field(default_factory=dict)
    usual: Mapping[str, timedelta] = field(default_factory=dict)


WHERE_ASKED_FOR = frozenset({"load_catalogue", "take_events"})
"""DAGs that only exist in a shop that has set their schedule or file, which the watcher need not know."""


def our_dags() -> frozenset[str]:
    """Returns the ids of this package's DAGs: each is in a file of its name."""
    return frozenset(entry.stem for entry in resource("dags").glob("*.py"))


def dead_parts(health: Mapping[str, Any]) -> dict[str, str]:
    """Returns the parts that do not work, and why. A part that was never started is not one of them."""
    dead = {}
    for key, name in PARTS.items():
        part = health.get(key) or {}
        if part.get("status") not in ("healthy", None):
            beat = part.get(f"latest_{key}_heartbeat")
            dead[name] = f"its last sign of life was at {beat}" if beat else "it gives no sign of life"
    return dead


def observe(api: AirflowApi, *, since: datetime, now: datetime, look_after: timedelta) -> Observed:
    """Asks Airflow.

    Args:
        api: of the Airflow.
        since: runs that ended red before are left out.
        now: the present instant, with a zone.
        look_after: tasks are asked for of runs that are at work for longer.

    Raises:
        ServiceError: the API does not answer, or refuses.
    """
    dead = dead_parts(api.read("/api/v2/monitor/health"))
    if DATABASE in dead:
        return Observed(dead)
    ours = our_dags()
    dags = {each["dag_id"]: each for each in api.read("/api/v2/dags?limit=100&tags=recommender")["dags"]}
    broken = _broken(api.read("/api/v2/importErrors?limit=100")["import_errors"], ours)
    unfinished = _runs(api, "state=queued&state=running", ours)
    failed = _runs(api, f"state=failed&end_date_gte={_query(since)}&order_by=-end_date", ours)
    slow = [each for each in unfinished if each.queued_at is None or now - each.queued_at > look_after]
    return Observed(
        dead,
        broken,
        missing=ours - WHERE_ASKED_FOR - set(dags) - set(broken),
        due_at={
            name: _instant(dag["next_dagrun_run_after"])
            for name, dag in dags.items()
            if name in ours and dag["next_dagrun_run_after"] and not dag["is_paused"]
        },
        paused=frozenset(name for name, dag in dags.items() if dag["is_paused"]),
        unfinished=unfinished,
        failed=failed,
        tasks={each.run: tasks_of(api, each.run) for each in slow},
        usual={name: usual for name in {each.run.dag_id for each in slow} if (usual := _usual(api, name))},
    )


def tasks_of(api: AirflowApi, run: Run) -> tuple[TaskNow, ...]:
    """Returns the tasks of a run."""
    found = api.read(f"{_path(run)}/taskInstances?limit=100")["task_instances"]
    return tuple(
        TaskNow(
            task_id=task["task_id"],
            state=task["state"],
            queued_at=_instant_or_none(task["queued_when"]),
            ended_at=_instant_or_none(task["end_date"]),
            log=f"/dags/{_quoted(run.dag_id)}/runs/{_quoted(run.run_id)}/tasks/{_of_mapped(task)}",
        )
        for task in found
    )


def _of_mapped(task: dict[str, Any]) -> str:
    """A task's name in an address of Airflow's UI; of a mapped one, with its number."""
    number = task.get("map_index", -1)
    return _quoted(task["task_id"]) + (f"/mapped/{number}" if number >= 0 else "")


def run_now(api: AirflowApi, run: Run) -> RunNow | None:
    """Returns a run as it is now; None if somebody has deleted it."""
    answer = api.read(_path(run), missing=True)
    return None if answer is None else _run(answer)


def succeeded_since(api: AirflowApi, dag_id: str, task_id: str | None, since: datetime) -> bool:
    """Returns whether a task of a DAG, or a whole run of it, has ended well since then."""
    query = f"state=success&end_date_gte={_query(since)}&limit=1"
    if task_id is None:
        return bool(api.read(f"/api/v2/dags/{_quoted(dag_id)}/dagRuns?{query}")["dag_runs"])
    path = f"/api/v2/dags/{_quoted(dag_id)}/dagRuns/~/taskInstances?task_id={_quoted(task_id)}&{query}"
    return bool(api.read(path)["task_instances"])


def _broken(errors: list[dict[str, Any]], ours: frozenset[str]) -> dict[str, str]:
    broken = {}
    for error in errors:
        name = str(error["filename"]).rpartition("/")[2].removesuffix(".py")
        lines = str(error["stack_trace"]).strip().splitlines() or ["Airflow does not say why"]
        if name in ours:
            broken[name] = lines[-1].strip()
    return broken


def _runs(api: AirflowApi, query: str, ours: frozenset[str]) -> tuple[RunNow, ...]:
    runs = (_run(answer) for answer in api.read(f"/api/v2/dags/~/dagRuns?{query}&limit=100")["dag_runs"])
    return tuple(each for each in runs if each.run.dag_id in ours)


def _run(answer: Mapping[str, Any]) -> RunNow:
    return RunNow(
        Run(answer["dag_id"], answer["dag_run_id"]),
        answer["state"],
        _instant_or_none(answer["queued_at"]),
        _instant_or_none(answer["start_date"]),
        _instant_or_none(answer["end_date"]),
    )


def _usual(api: AirflowApi, dag_id: str) -> timedelta | None:
    path = f"/api/v2/dags/{_quoted(dag_id)}/dagRuns?state=success&order_by=-end_date&limit=20"
    took = [run["duration"] for run in api.read(path)["dag_runs"] if run["duration"] is not None]
    return timedelta(seconds=max(took)) if took else None


def _path(run: Run) -> str:
    return f"/api/v2/dags/{_quoted(run.dag_id)}/dagRuns/{_quoted(run.run_id)}"


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _query(at: datetime) -> str:
    return quote(at.isoformat(), safe="")


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _instant_or_none(text: str | None) -> datetime | None:
    return None if text is None else _instant(text)
