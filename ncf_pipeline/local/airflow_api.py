"""Airflow's REST API, as far as a user's clicks go: log in, unpause, trigger, look, read a log."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from ncf_pipeline.errors import ServiceError

FINISHED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""States in which a task or a run stays."""


@dataclass(frozen=True)
class TaskState:
    """One task of a run, as it stands."""

    dag_id: str
    run_id: str
    task_id: str
    state: str | None  # None before it is scheduled
    try_number: int
    seconds: float | None  # of its last try
    ended_at: str | None  # ISO 8601, of its last try
    machine: str | None  # whose worker ran its last try

    @property
    def finished(self) -> bool:
        """Whether it stays in this state."""
        return self.state in FINISHED


_PATIENCE = 120  # seconds for an answer: on a machine that trains, all of Airflow may share two cores with it


class AirflowApi:
    """A logged-in connection to one Airflow."""

    def __init__(self, url: str, *, username: str, password: str) -> None:
        self._login = {"username": username, "password": password}
        # A proxy of the company has no business between two processes of this machine.
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=_PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ensure_pool(self, name: str, *, slots: int, description: str) -> None:
        """Makes a pool, unless there is one of that name: its size is the operator's to set."""
        if self._ask("GET", f"/api/v2/pools/{name}", missing=True) is None:
            pool = {"name": name, "slots": slots, "description": description, "include_deferred": False}
            self._ask("POST", "/api/v2/pools", pool)

    def wait_for_dags(self, dag_ids: Iterable[str], *, patience: float = 90) -> None:
        """Returns when the DAG processor has read these DAGs.

        Raises:
            ServiceError: one is broken, or not read in time.
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
        """Lets a DAG run, by its schedule and by hand."""
        self._ask("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Starts a run by hand, with params in `conf`; gives its id."""
        run = self._ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """`queued`, `running`, `success` or `failed`."""
        return str(self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def unfinished_runs(self, dag_id: str) -> list[str]:
        """Ids of the runs that wait or run."""
        found = self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns?state=queued&state=running")
        return [run["dag_run_id"] for run in found["dag_runs"]]

    def end_unfinished_runs(self, dag_id: str) -> None:
        """Marks runs that wait or run as failed, so that a new one need not wait for them."""
        for run_id in self.unfinished_runs(dag_id):
            self._ask("PATCH", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}", {"state": "failed"})

    def tasks(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The tasks of a run."""
        found = self._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances")
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
            )
            for task in found["task_instances"]
        ]

    def error_of(self, task: TaskState) -> str:
        """What the log of a task's last try says went wrong, in one line."""
        path = f"/api/v2/dags/{task.dag_id}/dagRuns/{task.run_id}/taskInstances/{task.task_id}/logs/{task.try_number}"
        log = self._ask("GET", f"{path}?full_content=true", missing=True) or {}
        content = log.get("content") or []
        events = [event for event in content if isinstance(event, dict)]
        for event in reversed(events):
            for problem in event.get("error_detail") or []:
                return f"{problem.get('exc_type')}: {problem.get('exc_value')}".splitlines()[0]
        grave = [event for event in events if event.get("level") in ("error", "critical")]
        said = [str(event.get("event", "")).strip() for event in (grave or events)]
        return next((line.splitlines()[0] for line in reversed(said) if line), "its log is empty")

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
        return answer.json()

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
