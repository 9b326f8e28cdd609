"""Questions to a person in a real Airflow: the tests, in their order, answer the same retrain again and again."""

import json
import time

import psycopg2
import pytest
import redis

from ncf_pipeline import synthetic
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.local.airflow_environment import ADMIN, admin_password_path
from ncf_pipeline.local.passwords import password as kept
from ncf_pipeline.local.postgres import SUPERUSER, database_url
from ncf_pipeline.local.services import METADATA_DATABASE, up
from ncf_pipeline.local.state import read_services
from ncf_pipeline.local.status import status
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.settings import Settings

pytestmark = [pytest.mark.xdist_group("embedded airflow"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def running(home):
    """Settings of a home in which everything runs, and OpenLineage's events are written to a file."""
    transport = {"type": "file", "log_file_path": str(home / "lineage.jsonl"), "append": True}
    (home / "airflow").mkdir(parents=True)
    (home / "airflow" / "airflow.cfg").write_text(f"[openlineage]\ntransport = {json.dumps(transport)}\n")
    return up(Settings(home=home))


@pytest.fixture(scope="module")
def api(running):
    password = admin_password_path(running.home).read_text().strip()
    with AirflowApi(status(running).airflow_url, username=ADMIN, password=password) as api:
        yield api


RETRAIN, ROLLBACK = "retrain_recommender", "rollback_model"
# What a new decision of the gate repeats.
ANSWERED = ["gate", "approve", "register", "prepare", "score", "publish", "held"]


def asked(running, api, dag_id, run_id, task_id):
    """Waits for the question to a person, and returns it."""
    while (task := {task.task_id: task for task in api.tasks(dag_id, run_id)}[task_id]).state != "awaiting_input":
        assert api.run_state(dag_id, run_id) not in ("success", "failed")
        time.sleep(1)
    # As a person would, answer only after the worker that asked has exited. Otherwise Airflow takes its exit for the
    # end of the answered task.
    gone = f"task_id='{task_id}', run_id='{run_id}', try_number={task.try_number}, "
    while gone not in (running.home / "logs" / "airflow-scheduler.log").read_text():
        time.sleep(1)
    return api._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails")


def answer(api, dag_id, run_id, task_id, option, **params):
    path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"
    api._ask("PATCH", path, {"chosen_options": [option], "params_input": params})


def ended(api, dag_id, run_id):
    """Waits until a run has succeeded, and returns the states of its tasks."""
    while (state := api.run_state(dag_id, run_id)) not in ("success", "failed"):
        time.sleep(1)
    tasks = api.tasks(dag_id, run_id)
    assert state == "success", [api.error_of(task) for task in tasks if task.state == "failed"]
    return {task.task_id: task.state for task in tasks}


def ask_again(api, run_id):
    """Clears the gate and the tasks after it, as a person would, without another training."""
    what = {"dag_run_id": run_id, "task_ids": ANSWERED, "only_failed": False, "dry_run": False}
    api._ask("POST", f"/api/v2/dags/{RETRAIN}/clearTaskInstances", what)
    while {task.task_id: task.state for task in api.tasks(RETRAIN, run_id)}["gate"] != "success":
        time.sleep(1)


def pass_the_deadline(running):
    """Lets the time for an answer expire."""
    secret = kept(running.home, "postgres_postgres")
    port = read_services(running.home).ports["postgres"]
    url = database_url(port, role=SUPERUSER, password=secret, database=METADATA_DATABASE)
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("update task_instance set trigger_timeout = now() where state = 'awaiting_input'")
        assert cursor.rowcount == 1


def last_event(running):
    event = registry.model_events(running, 1)[-1]
    return event.from_state, event.to_state, event.actor, event.reason


def live(running):
    with redis.Redis.from_url(running.list_store(), decode_responses=True) as store:
        return store.get(f"{running.key_prefix}:current")


@pytest.fixture(scope="module")
def retrain(running, api):
    """A retrain of a small shop that needs approval; the tests below answer it one after the other."""
    synthetic.write_workbook(running.home / "shop.xlsx", customers=250, products=200, days=200, seed=1)
    ingest(running, [str(running.home / "shop.xlsx")])
    api.wait_for_dags([RETRAIN, ROLLBACK])
    api.unpause(RETRAIN)
    return api.trigger(RETRAIN, {"seed": 3, "approval": True})


def test_a_rejected_version_is_held_and_the_registry_says_by_whom_and_why(running, api, retrain):
    question = asked(running, api, RETRAIN, retrain, "approve")
    assert question["subject"] == "May v1 serve?"
    assert question["options"] == ["Approve", "Reject"]
    assert question["defaults"] == ["Reject"]
    assert "Without an answer within 24 hours: Reject." in question["body"]
    assert list(question["params"]) == ["reason"]
    answer(api, RETRAIN, retrain, "approve", "Reject", reason="too many umbrellas")
    states = ended(api, RETRAIN, retrain)
    assert {task: states[task] for task in ("approve", "register", "publish", "held")} == {
        "approve": "success",
        "register": "skipped",
        "publish": "skipped",
        "held": "success",
    }
    reason = "rejected by admin (approval): too many umbrellas"
    assert last_event(running) == ("candidate", "held", "admin (approval)", reason)
    assert registry.gate_decision(running, 1).reasons[-1] == reason
    assert live(running) is None


def test_a_version_without_an_answer_in_time_is_held(running, api, retrain):
    ask_again(api, retrain)
    asked(running, api, RETRAIN, retrain, "approve")
    pass_the_deadline(running)
    assert ended(api, RETRAIN, retrain)["held"] == "success"
    who = "nobody in time (approval)"
    assert last_event(running) == ("candidate", "held", who, f"rejected by {who}: no reason given")
    assert live(running) is None


def test_an_approved_version_goes_live_and_the_registry_says_by_whom(running, api, retrain):
    ask_again(api, retrain)
    asked(running, api, RETRAIN, retrain, "approve")
    answer(api, RETRAIN, retrain, "approve", "Approve", reason=None)
    states = ended(api, RETRAIN, retrain)
    assert (states["register"], states["publish"], states["held"]) == ("success", "success", "skipped")
    _, state, actor, reason = last_event(running)
    assert (state, actor) == ("champion", "admin (manual)")
    assert reason == "the gate let it through; approved by admin (approval)"
    assert live(running) == "p000001"


def test_a_rollback_without_a_version_offers_those_that_can_serve_and_waits(running, api, retrain):
    api.unpause(ROLLBACK)
    run_id = api.trigger(ROLLBACK)
    question = asked(running, api, ROLLBACK, run_id, "choose")
    assert question["options"] == ["v1"]
    assert "| v1 | champion | " in question["body"]
    assert "| a second |" in question["body"]
    answer(api, ROLLBACK, run_id, "choose", "v1")
    assert ended(api, ROLLBACK, run_id) == {"choose": "success", "roll_back": "success"}
    given = api._ask(
        "GET", f"/api/v2/dags/{ROLLBACK}/dagRuns/{run_id}/taskInstances/roll_back/xcomEntries/return_value"
    )
    assert "'version': 1" in str(given["value"]) or '"version": 1' in str(given["value"])
    assert live(running) == "p000001"


def test_events_of_openlineage_name_the_tables_and_artifacts(running, retrain):
    events = [json.loads(line) for line in (running.home / "lineage.jsonl").read_text().splitlines()]
    flows = {}
    for event in events:
        if event["eventType"] == "COMPLETE":
            flows[event["job"]["name"]] = tuple(
                {f"{data['namespace']} {data['name']}" for data in event[side]} for side in ("inputs", "outputs")
            )
    port = read_services(running.home).ports["postgres"]
    ncf, home = f"postgres://127.0.0.1:{port} ncf", running.artifacts.removeprefix("file:///")
    assert flows["retrain_recommender.snapshot"] == (
        {f"{ncf}.retail.{table}" for table in ("invoice_line", "product", "excluded_stock_code", "shop_event")},
        {f"{ncf}.ml.snapshot", f"file:// {home}/snapshots/s000001"},
    )
    reads, writes = flows["retrain_recommender.backtest"]
    categories = {f"{ncf}.retail.product_category", f"{ncf}.retail.catalogue"}
    assert reads == {f"file:// {home}/snapshots/s000001", *categories}
    assert {f"file:// {home}/backtests/v000001", f"{ncf}.ml.evaluation"} <= writes
    reads, writes = flows["retrain_recommender.publish"]
    assert f"file:// {home}/models/v000001" in reads
    assert f"file:// {home}/publications/p000001.parquet" in writes
    secrets = [file.read_text().strip() for file in (running.home / "secrets").iterdir()]
    assert len(secrets) > 5
    assert not [secret for secret in secrets if secret in json.dumps(events)]
