"""A client of Airflow's REST API for what a user clicks: log in, unpause, trigger, read states and logs."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from ncf_pipeline.errors import ServiceError

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""Final states of a task or a run."""


@dataclass(frozen=True)
class TaskState:
    """The current state of one task of a run.

    Attributes:
        dag_id: of its DAG.
        run_id: of its run.
        task_id: its name in the DAG.
        state: None before it is scheduled.
        try_number: of its last try, from 1.
        seconds: that its last try took.
        ended_at: when its last try ended, as ISO 8601.
        machine: the host name of the worker that ran its last try.
        map_index: which of a mapped task it is, from 0; -1 if it is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    state: str | None
    try_number: int
    seconds: float | None
    ended_at: str | None
    machine: str | None
    map_index: int = -1

    @property
    def finished(self) -> bool:
        """Whether its state is final."""
        return self.state in FINISHED


_PATIENCE = 120  # seconds for an answer: while a model trains, Airflow may share two cores with it


class AirflowApi:
    """A connection to one Airflow; it logs in when needed. Every method may raise `ServiceError`."""

    def __init__(self, url: str, *, username: str, password: str, patience: float = _PATIENCE) -> None:
        self._login = {"username": username, "password": password}
        # No proxy between two processes of this machine.
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def read(self, path: str, *, missing: bool = False) -> Any:
        """Returns what the API answers, as JSON.

        Args:
            path: with its query; parts that come from elsewhere are quoted.
            missing: return None if there is no such thing.
        """
        return self._ask("GET", path, missing=missing)

    def ensure_pool(self, name: str, *, slots: int, description: str) -> None:
        """Creates a pool, unless one of that name exists: its size is for the operator to set.

        Args:
            name: of the pool.
            slots: how many tasks it runs at once.
            description: shown in the UI.
        """
        if self._ask("GET", f"/api/v2/pools/{name}", missing=True) is None:
            pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            self._ask("POST", "/api/v2/pools", pool)

    def wait_for_dags(self, dag_ids: Iterable[str], *, patience: float = 90) -> None:
        """Waits until the DAG processor has read these DAGs.

        Args:
            dag_ids: of the DAGs.
            patience: seconds to wait.

        Raises:
            ServiceError: a DAG file is broken, or a DAG is not read in time.
        """
        deadline = time.monotonic() + patience
        for dag_id in dag_ids:
            while self._ask("GET", f"/api/v2/dags/{dag_id}", missing=True) is None:
                broken = self._ask("GET", "/api/v2/importErrors")["import_errors"]
                if broken:
                    last_line = broken[0]["stack_trace"].strip().splitlines()[-1]
                    raise ServiceError(f"The DAG file {broken[0]['filename']} is broken: {last_line}")
                if time.monotonic() > deadline:
                    raise ServiceError(f"Airflow has not read the DAG {dag_id} after {patience:.0f} s.")
                time.sleep(0.5)

    def unpause(self, dag_id: str) -> None:
        """Unpauses a DAG."""
        self._ask("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Starts a manual run with the params in `conf`; returns its id."""
        run = self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Returns `queued`, `running`, `success` or `failed`."""
        return str(self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def unfinished_runs(self, dag_id: str) -> list[str]:
        """Returns the ids of the runs that are queued or running."""
        runs = self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns?state=queued&state=running")["dag_runs"]
        return [run["dag_run_id"] for run in runs]

    def end_unfinished_runs(self, dag_id: str) -> None:
        """Marks queued and running runs as failed, so that a new run does not wait for them."""
        for run_id in self.unfinished_runs(dag_id):
            self._ask("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """Returns the tasks of a run."""
        instances = self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return [
            TaskState(
                dag_id=dag_id,
                run_id=run_id,
                task_id=task["task_id"],
                state=task["state"],
                try_number=int(task["try_number"] or 0),
                seconds=task["duration"],
                ended_at=task["end_date"],
                machine=task["hostname"] or None,
                map_index=int(task["map_index"]),
            )
            for task in instances
        ]

    def error_of(self, task: TaskState) -> str:
        """Returns the error of a task's last try, in one line, from its log."""
        path = f"/api/v2/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        log = self._ask("GET", f"{path}?full_content=true&map_index={task.map_index}", missing=True) or {}
        content = log.get("content") or []
        events = [event for event in content if isinstance(event, dict)]
        for event in reversed(events):
            for problem in event.get("error_detail") or []:
                return f"{problem.get('exc_type')}: {problem.get('exc_value')}".splitlines()[0]
        grave = [event for event in events if event.get("level") in ("error", "critical")]
        texts = [str(event.get("event", "")).strip() for event in (grave or events)]
        return next((line.splitlines()[0] for line in reversed(texts) if line), "its log is empty")

    def _ask(self, method: str, path: str, body: Any = None, *, missing: bool = False) -> Any:
        try:
            answer = self._client.request(method, path, json=body)
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                self._log_in()
                answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise ServiceError(f"Airflow does not answer at {self._client.base_url}: {error}.") from error
        if missing and answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise ServiceError(f"Airflow refused {method} {path} ({answer.status_code}): {_detail(answer)}")
        try:
            return answer.json()
        except ValueError as error:
            raise ServiceError(f"Airflow's answer to {method} {path} is not JSON: is its address right?") from error

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json=self._login)
        if answer.is_error:
            raise ServiceError(f"Airflow refused to log in {self._login['username']}: {_detail(answer)}")
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("detail", answer.text))
    except ValueError:
        return answer.text[:200]
