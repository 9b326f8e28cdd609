"""The same stages in Airflow: runs of the DAGs, with kills and stops of its scheduler, workers and tasks."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from unittest.mock import patch

import psutil

from chaos import schedule
from chaos.judge import RedRun
from chaos.lanes import Diary, Lane, Step, read
from chaos.readers import Readers
from chaos.schedule import FORGET, INGEST, REFRESH, RETRAIN, ROLLBACK, Fault, Job
from chaos.world import Shop, World, inherited, kill
from ncf_pipeline.errors import NcfError, ServiceError
from ncf_pipeline.local import start_airflow
from ncf_pipeline.local.airflow_api import FINISHED, AirflowApi
from ncf_pipeline.local.airflow_environment import ADMIN, admin_password
from ncf_pipeline.local.services import down, up
from ncf_pipeline.local.state import read_services
from ncf_pipeline.registry import versions as registry

DAGS: Mapping[str, str] = {
    INGEST: "ingest_invoices", RETRAIN: "retrain_recommender", REFRESH: "refresh_lists", ROLLBACK: "rollback_model",
    FORGET: "forget_customer",
}  # fmt: skip
WATCH = "watch_freshness"

LANES: Mapping[str, tuple[str, ...]] = {
    "airflow 1": (INGEST, REFRESH),
    "airflow 2": (ROLLBACK, FORGET),
    "airflow 3": (RETRAIN,),
}
"""No two lanes run the same DAG, which has one active run at most."""

SHORTER = {
    # Airflow's own patience with a lost task is five minutes; a whole run of chaos has sixteen.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "20",
}

_RUN_PATIENCE = 600.0  # seconds; two retries come after 30 s and 60 s, a lost task costs 30 s more
_LAST_PATIENCE = 180.0  # seconds for what still runs when the time for faults is over
_POLL = 0.4


class Airflow:
    """The embedded Airflow of a shop, which is started again whenever a fault ended a part of it."""

    def __init__(self, world: World, shop: Shop) -> None:
        self.world, self._shop = world, shop
        self._lock = threading.RLock()
        self._environment = {
            **inherited(),
            **{name: value for name, value in shop.environment.items() if not name.startswith("NCF_")},
        }

    def start(self) -> None:
        """Starts what does not run, as `ncf-pipeline up` does."""
        real = vars(start_airflow)["airflow_environment"]

        def environment(*arguments: Any, **named: Any) -> dict[str, str]:
            return {**real(*arguments, **named), **SHORTER, "TMPDIR": self._environment["TMPDIR"]}

        with self._lock, patch.object(start_airflow, "airflow_environment", environment):
            for last in (False, False, True):
                try:
                    up(self._shop.settings)
                except ServiceError:
                    if last:
                        raise
                    time.sleep(2)
                else:
                    return

    def stop(self) -> None:
        down(self._shop.settings)

    def api(self) -> AirflowApi:
        url = read_services(self._shop.settings.home).airflow_url
        assert url is not None
        return AirflowApi(url, username=ADMIN, password=admin_password(self._shop.settings.home))

    def hit(self, fault: Fault, pid: int | None) -> bool:
        """Causes a fault, and starts again what it ended; returns whether it hit anything."""
        if fault.kind in schedule.BLOWS:
            self.world.blows.append(time.time())
        if fault.kind in (schedule.TASK, schedule.EVERY_TRY, schedule.TASK_STOP, schedule.WORKER):
            return pid is not None and _hit_task(fault, pid)
        with self._lock:
            services = read_services(self._shop.settings.home)
            name = {
                schedule.SCHEDULER: "airflow-scheduler",
                schedule.SCHEDULER_STOP: "airflow-scheduler",
                schedule.DAG_PROCESSOR: "airflow-dag-processor",
                schedule.METADATA: "postgres",
            }[fault.kind]
            process = services.processes.get(name)
            if process is None:
                return False
            if fault.kind == schedule.SCHEDULER_STOP:
                os.kill(process.pid, signal.SIGSTOP)
                time.sleep(fault.seconds)
                os.kill(process.pid, signal.SIGCONT)
            else:
                kill(process)
                self.start()
            return True


def _hit_task(fault: Fault, pid: int) -> bool:
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        task = psutil.Process(pid)
        if fault.kind == schedule.WORKER:
            task.parent().kill()
        elif fault.kind in (schedule.TASK, schedule.EVERY_TRY):
            task.kill()
        else:
            task.suspend()
            time.sleep(fault.seconds)
            task.resume()
        return True
    return False


class Orchestra(Lane):
    """Runs the jobs of one lane of Airflow, as runs of its DAGs."""

    def __init__(
        self, name: str, world: World, airflow: Airflow, shop: Shop, diary: Diary, readers: Readers,
        jobs: Iterable[Job], until: float,
    ) -> None:  # fmt: skip
        super().__init__(name, world, shop, diary, readers, jobs, until)
        self._airflow, self._api = airflow, airflow.api()

    def do(self, job: Job) -> None:
        conf = self._conf(job)
        if conf is None:
            return
        faults = list(job.faults)
        for _ in range(4):
            state = self._run(job, conf, faults)
            if state == "success":
                self.done += 1
                self._succeeded(job, conf)
                return
            faults = []
        self._diary.give_up(f"{self.name}, job {job.number}: {DAGS[job.stage]} was red again and again without a fault")

    def _run(self, job: Job, conf: Mapping[str, Any], faults: list[Fault]) -> str:
        """A run of the DAG; the first fault hits its task, the others later tasks or tries. Returns its state."""
        dag, began = DAGS[job.stage], time.monotonic()
        run_id = str(self._asked(lambda: self._api.trigger(dag, dict(conf))))
        hit: set[tuple[str, int]] = set()
        doomed = ""  # the task that is killed on every try
        state = "queued"
        patience = min(began + _RUN_PATIENCE, max(self._until, began) + _LAST_PATIENCE)
        while state not in FINISHED and time.monotonic() < patience:
            time.sleep(_POLL)
            state = str(self._asked(lambda: self._api.run_state(dag, run_id)))
            if not faults or (time.monotonic() > self._until and not doomed):
                continue
            for task in self._running(dag, run_id):
                place = (task["task_id"], task["try_number"])
                if place in hit or not faults or (doomed and task["task_id"] != doomed):
                    continue
                hit.add(place)
                fault = faults[0]
                if fault.kind == schedule.EVERY_TRY:
                    doomed = task["task_id"]
                else:
                    faults.pop(0)
                time.sleep(min(fault.at, 0.3) if doomed else fault.at)
                landed = self._airflow.hit(fault, task.get("pid"))
                self._write(job, fault, landed=landed, code=0, began=began, words=f"{dag}.{task['task_id']}")
        code = 0 if state == "success" else 1 if state in FINISHED else None
        if code is None:
            self._diary.give_up(
                f"{self.name}, job {job.number}: {dag} {run_id} is {state} after {patience - began:.0f} s"
            )
            self._asked(lambda: self._api.end_unfinished_runs(dag))
        self._write(job, None, landed=False, code=code, began=began, words=f"{dag} {run_id}: {state}")
        return state

    def _write(
        self, job: Job, fault: Fault | None, *, landed: bool, code: int | None, began: float, words: str
    ) -> None:
        seconds = round(time.monotonic() - began, 2)
        self._diary.write(Step(self.name, job.number, job.stage, fault, landed, code, seconds, words))

    def _running(self, dag: str, run_id: str) -> list[dict[str, Any]]:
        path = f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances?state=running"
        return list(asked(self._airflow, self._api, path)["task_instances"])

    def _asked(self, ask: Any) -> Any:
        """An answer of Airflow, which may be starting again."""
        return answered(self._airflow, ask)

    def _succeeded(self, job: Job, conf: Mapping[str, Any]) -> None:
        if job.stage == INGEST:
            self._shop.record(INGEST, conf["paths"][0])
        elif job.stage == FORGET:
            self._shop.record(FORGET, conf["customer"])
            self._readers.tell_erased(self._shop.name, conf["customer"])

    def _conf(self, job: Job) -> dict[str, Any] | None:
        if job.stage == INGEST:
            day = self._shop.next_day()
            return None if day is None else {"paths": [str(day)]}
        if job.stage in (REFRESH, RETRAIN):
            return {"seed": job.number} if job.stage != REFRESH else {}
        with self._world.calm:
            self._world.ensure()
            if job.stage == ROLLBACK:
                published = sorted({entry.version for entry in registry.publications(self._shop.settings)})
                return {"version": published[math.floor(job.pick * len(published))]} if published else None
            customers = read(
                self._shop,
                "select distinct customer_id from retail.invoice_line where customer_id is not null order by 1",
            )
        return {"customer": str(customers[math.floor(job.pick * len(customers))][0])} if customers else None


def answered(airflow: Airflow, ask: Any) -> Any:
    """An answer of Airflow, which may be starting again.

    Raises:
        ServiceError: it does not answer for minutes.
    """
    deadline = time.monotonic() + 180
    while True:
        try:
            return ask()
        except NcfError:
            if time.monotonic() > deadline or airflow.world.stopping:
                raise
            time.sleep(1)
            airflow.start()


def red_runs(airflow: Airflow) -> tuple[list[RedRun], int]:
    """The runs that ended red, and the number of all runs."""
    red, runs = [], 0
    with airflow.api() as api:
        for dag in sorted({*DAGS.values(), WATCH}):
            for run in asked(airflow, api, f"/api/v2/dags/{dag}/dagRuns?limit=500")["dag_runs"]:
                runs += 1
                if run["state"] != "failed":
                    continue
                run_id, ended = run["dag_run_id"], datetime.fromisoformat(run["end_date"])
                tasks = asked(airflow, api, f"/api/v2/dags/{dag}/dagRuns/{run_id}/taskInstances")["task_instances"]
                failed = [task["task_id"] for task in tasks if task["state"] == "failed"] or [""]
                red += [RedRun(f"{dag}.{task}".rstrip("."), run_id, ended) for task in failed]
    return red, runs


def asked(airflow: Airflow, api: AirflowApi, path: str) -> Any:
    """What Airflow answers to a path."""
    return answered(airflow, lambda: api._ask("GET", path))  # noqa: SLF001 - it logs in by itself


def ready(airflow: Airflow) -> None:
    """Starts Airflow, and unpauses the DAGs."""
    airflow.start()
    with airflow.api() as api:
        dags = sorted({*DAGS.values(), WATCH})
        api.wait_for_dags(dags, patience=180)
        for dag in dags:
            api.unpause(dag)


def settle(airflow: Airflow, *, patience: float) -> None:
    """Waits until no run is left, and has the shop watched once more."""
    with airflow.api() as api:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(
            answered(airflow, lambda dag=dag: api.unfinished_runs(dag)) for dag in {*DAGS.values(), WATCH}
        ):
            time.sleep(1)
        run_id = answered(airflow, lambda: api.trigger(WATCH))
        while (
            time.monotonic() < deadline + 60 and answered(airflow, lambda: api.run_state(WATCH, run_id)) not in FINISHED
        ):
            time.sleep(1)
