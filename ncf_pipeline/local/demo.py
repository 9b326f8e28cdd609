"""The main job as a user does it: put a workbook into the inbox, then start two DAGs in Airflow."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ncf_pipeline.errors import RunError, ServiceError
from ncf_pipeline.local.airflow_api import AirflowApi, TaskState
from ncf_pipeline.local.airflow_environment import ADMIN, admin_password
from ncf_pipeline.local.demo_data import put_into_inbox
from ncf_pipeline.local.processes import is_alive, last_words, memory_mb
from ncf_pipeline.local.state import read_services
from ncf_pipeline.settings import Settings

INGEST, RETRAIN, REFRESH = "ingest_invoices", "retrain_recommender", "refresh_lists"
SCHEDULES = (INGEST, RETRAIN, REFRESH, "watch_freshness", "measure_uplift", "find_bundles", "prune_artifacts")
"""What the demo leaves switched on: each DAG that has a schedule. None of them starts a run for the past."""

_POLL_SECONDS = 0.5  # between two requests for a run's state
_MEMORY_SECONDS = 2.0  # between two measurements
_REFRESH_SECONDS = 120.0  # that `refresh_lists` may take


class Watcher(Protocol):
    """Shows the progress of the runs."""

    def run_moved(self, dag_id: str, tasks: list[TaskState]) -> None:
        """Called each time a run's state was read, with all its tasks."""

    def task_ended(self, task: TaskState) -> None:
        """Called once for each task that succeeded or was skipped."""

    def task_tries_again(self, task: TaskState, error: str) -> None:
        """Called when a try failed and another one follows."""


@dataclass
class Measured:
    """Time and memory of the demo.

    Attributes:
        seconds: that each part took, by its name.
        peak_memory_mb: the most memory that all servers and tasks had together, in MB.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: int = 0

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Measures how long the block takes."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[part] = time.monotonic() - start


def run_main_job(
    settings: Settings, workbook: Path, watcher: Watcher, measured: Measured, *, fresh: bool
) -> dict[str, list[TaskState]]:
    """Ingests a workbook and retrains through Airflow's REST API, as a user's clicks do.

    Args:
        settings: with the addresses of running servers, including Airflow.
        workbook: the invoices.
        watcher: shows progress.
        measured: is filled in.
        fresh: True if Airflow was started for this job. Unfinished runs were then interrupted, and are marked failed.

    Returns:
        The tasks of each run, by DAG.

    Raises:
        RunError: a task failed, with its error in the message, or a person ended a run.
        InputError: the workbook cannot be copied into the inbox.
        ServiceError: a server died.
    """
    url = read_services(settings.home).airflow_url
    if url is None:
        raise ServiceError("Airflow does not run: `ncf-pipeline up` starts it.")
    ended = {}
    with AirflowApi(url, username=ADMIN, password=admin_password(settings.home)) as api:
        api.wait_for_dags(SCHEDULES)
        for dag_id in SCHEDULES:
            if fresh:
                api.end_unfinished_runs(dag_id)
            api.unpause(dag_id)
        put_into_inbox(settings, workbook)
        for dag_id in (INGEST, RETRAIN):
            with measured.timed(dag_id):
                ended[dag_id] = _follow(settings, api, dag_id, api.trigger(dag_id), watcher, measured)
        # The new invoices have started it as well. Let it finish writing.
        _wait(lambda: not api.unfinished_runs(REFRESH), patience=_REFRESH_SECONDS)
    return ended


def _follow(
    settings: Settings, api: AirflowApi, dag_id: str, run_id: str, watcher: Watcher, measured: Measured
) -> list[TaskState]:
    reported: set[tuple[str, int, int]] = set()
    measure_at = 0.0
    while True:
        _check_servers(settings)
        if time.monotonic() > measure_at:
            measure_at = time.monotonic() + _MEMORY_SECONDS
            used = memory_mb(read_services(settings.home).processes.values())
            measured.peak_memory_mb = max(measured.peak_memory_mb, used)
        state = api.run_state(dag_id, run_id)  # before the tasks, so that none is missed at the end
        tasks = api.tasks(dag_id, run_id)
        for task in sorted(tasks, key=lambda task: task.ended_at or ""):
            if (task.task_id, task.map_index, task.try_number) in reported:
                continue
            if task.state == "failed":
                raise RunError(f"{dag_id}.{task.task_id} failed: {api.error_of(task)} (log: {_log(settings, task)})")
            if task.state in ("success", "skipped"):
                reported.add((task.task_id, task.map_index, task.try_number))
                watcher.task_ended(task)
            elif task.state == "up_for_retry":
                reported.add((task.task_id, task.map_index, task.try_number))
                watcher.task_tries_again(task, api.error_of(task))
        watcher.run_moved(dag_id, tasks)
        if state == "success":
            return tasks
        if state == "failed":
            raise RunError(f"The run {run_id} of {dag_id} was ended by hand, or took too long.")
        time.sleep(_POLL_SECONDS)


def _check_servers(settings: Settings) -> None:
    for process in read_services(settings.home).processes.values():
        if not is_alive(process):
            raise ServiceError(f"{process.name} died: {last_words(process)}")


def _log(settings: Settings, task: TaskState) -> Path:
    folder = settings.home.resolve() / "airflow" / "logs" / f"dag_id={task.dag_id}" / f"run_id={task.run_id}"
    folder /= f"task_id={task.task_id}"
    if task.map_index >= 0:
        folder /= f"map_index={task.map_index}"
    return folder / f"attempt={task.try_number}.log"


def _wait(done: Callable[[], bool], *, patience: float) -> None:
    deadline = time.monotonic() + patience
    while not done() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
