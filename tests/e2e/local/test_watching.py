"""A real Airflow whose tasks and scheduler are killed: on-call hears of each once, and once that it is over."""

import os
import signal
import time

import psycopg2
import pytest
from pydantic import SecretStr

from ncf_pipeline import alerts
from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.local.airflow_environment import ADMIN, admin_password_path, watcher_environment
from ncf_pipeline.local.services import up
from ncf_pipeline.local.state import AIRFLOW, read_services
from ncf_pipeline.local.status import status
from ncf_pipeline.settings import Settings

pytestmark = [pytest.mark.xdist_group("watched airflow"), pytest.mark.timeout(1200)]

DAG = "watch_freshness"
PATIENCE = 20 * 60  # seconds within which on-call hears of anything


@pytest.fixture(scope="module")
def running(home, on_call):
    """Settings of a home in which everything runs; its watcher looks every minute, as everywhere."""
    return up(Settings(home=home, alerts=SecretStr(on_call.url), watch_schedule="off"))


@pytest.fixture
def api(running):
    password = admin_password_path(running.home).read_text().strip()
    with AirflowApi(status(running).airflow_url, username=ADMIN, password=password) as api:
        yield api


def wait_until(happens):
    deadline = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found


def titles(on_call):
    return [message["title"] for message in on_call.got]


def kill_until_red(api, settings, run_id):
    """Kills the run's only task on each of its tries, while it waits for a table."""
    path = f"/api/v2/dags/{DAG}/dagRuns/{run_id}/taskInstances"
    with psycopg2.connect(settings.database()) as connection, connection.cursor() as cursor:
        cursor.execute("lock table ml.publication in access exclusive mode")
        killed = set()
        while api.run_state(DAG, run_id) not in ("failed", "success"):
            (task,) = api.read(path)["task_instances"]
            if task["state"] == "running" and task["pid"] and task["pid"] not in killed:
                killed.add(task["pid"])
                time.sleep(2)  # until the task itself runs
                os.kill(task["pid"], signal.SIGKILL)
            time.sleep(0.2)
    return killed


def test_a_task_that_is_killed_is_told_once_and_once_that_it_is_over(running, api, on_call):
    api.wait_for_dags([DAG])
    api.unpause(DAG)
    run_id = api.trigger(DAG)
    assert kill_until_red(api, running, run_id)
    (title,) = wait_until(lambda: titles(on_call))
    assert title == f"[warn] {DAG}.look failed without a word: it was killed, or its worker was lost."
    (incident,) = alerts.incidents(running)
    assert incident.runs == (f"{DAG}/{run_id}",)
    again = api.trigger(DAG)
    wait_until(lambda: api.run_state(DAG, again) == "success")
    wait_until(lambda: len(on_call.got) > 1)
    assert titles(on_call)[1:] == [title.replace("[warn]", "[over]")]
    assert alerts.incidents(running) == []


def test_a_scheduler_that_is_killed_is_told_once_and_once_that_it_is_over(running, api, on_call):
    on_call.got.clear()
    os.kill(read_services(running.home).processes[f"{AIRFLOW}-scheduler"].pid, signal.SIGKILL)
    (title,) = wait_until(lambda: titles(on_call))
    assert title.startswith("[warn] Airflow's scheduler does not work: its last sign of life was at ")
    up(Settings(home=running.home, alerts=running.alerts, watch_schedule="off"))
    wait_until(lambda: len(on_call.got) > 1)
    assert titles(on_call)[1:] == [title.replace("[warn]", "[over]")]


def test_the_watcher_may_only_read(running):
    services = read_services(running.home)
    environment = watcher_environment(running, port=services.ports[AIRFLOW])
    with AirflowApi(
        environment["NCF_AIRFLOW_URL"],
        username=environment["NCF_AIRFLOW_USER"],
        password=environment["NCF_AIRFLOW_PASSWORD"],
    ) as api:
        assert api.read("/api/v2/dags?limit=1")["dags"]
        with pytest.raises(ServiceError, match="refused PATCH"):
            api.unpause(DAG)
