import ast
import json
from itertools import pairwise
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("airflow")

PROJECT = Path(__file__).parents[2]
EXPECTED = {
    "measure_uplift": ["measure", "publish"],
    "ingest_invoices": ["discover", "land", "validate", "quarantine", "merge"],
    "retrain_recommender": [
        "snapshot",
        "live_performance",
        "backtest",
        "gate",
        "refit",
        "approve",
        "register",
        "prepare",
        "score",
        "publish",
        "held",
    ],
    "refresh_lists": ["prepare", "score", "publish"],
    "rollback_model": ["choose", "roll_back"],
    "find_bundles": ["find"],
    "preview_rules": ["compute"],
    "prune_artifacts": ["prune"],
    "forget_customer": ["forget"],
    "watch_freshness": ["look"],
    "correct_quarantine": ["choose", "release", "check", "discard"],
}


def test_each_dag_has_its_tasks(dags):
    assert {dag_id: sorted(task.task_id for task in dag.tasks) for dag_id, dag in dags.items()} == {
        dag_id: sorted(tasks) for dag_id, tasks in EXPECTED.items()
    }


@pytest.mark.parametrize("dag_id", EXPECTED)
def test_a_dag_runs_once_at_a_time_without_catching_up_and_documents_itself(dags, dag_id):
    dag = dags[dag_id]
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert dag.doc_md
    assert dag.tags
    assert dag.dagrun_timeout


@pytest.mark.parametrize("dag_id", EXPECTED)
def test_every_task_is_retried_and_alerts(dags, dag_id):
    from ncf_pipeline.airflow.alerts import alert, recovered

    for task in dags[dag_id].tasks:
        assert task.retries == 2
        assert task.retry_exponential_backoff
        assert alert in as_list(task.on_failure_callback)
        assert recovered in as_list(task.on_success_callback)
        assert task.doc or task.python_callable.__doc__


def as_list(callbacks):
    """The callbacks of a task: of a mapped one, as they were given."""
    return callbacks if isinstance(callbacks, list | tuple) else [callbacks]


@pytest.mark.parametrize("dag_id", ["ingest_invoices", "retrain_recommender"])
@pytest.mark.parametrize("hours", [0.01, 1, 20])
def test_unpausing_a_schedule_starts_no_run_for_the_past(dags, dag_id, hours, monkeypatch):
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction
    from pendulum import datetime, duration

    written = dags[dag_id].timetable
    timetable = trigger.CronTriggerTimetable(
        written.expression, timezone="UTC", run_immediately=written.run_immediately
    )  # as the scheduler reads it
    due = timetable._align_to_prev(datetime(2026, 11, 23, 12))
    monkeypatch.setattr(trigger, "utcnow", lambda: due + duration(hours=hours))
    first = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
    )
    assert first.run_after > due + duration(hours=hours)


def test_publishing_is_reached_only_through_the_gate_and_the_refit(dags):
    tasks = dags["retrain_recommender"].task_dict
    assert tasks["gate"].downstream_task_ids == {"refit", "held"}
    assert tasks["refit"].downstream_task_ids == {"approve", "held"}
    assert tasks["approve"].upstream_task_ids == {"refit", "backtest"}
    assert tasks["approve"].downstream_task_ids == {"register"}  # the only task that a rejection skips
    assert tasks["register"].upstream_task_ids == {"approve", "backtest"}
    assert tasks["register"].downstream_task_ids == {"prepare", "held"}
    assert tasks["prepare"].upstream_task_ids == {"register", "backtest"}
    assert tasks["score"].upstream_task_ids == {"prepare"}
    assert tasks["publish"].upstream_task_ids == {"score", "backtest"}


@pytest.mark.parametrize("dag_id", ["refresh_lists", "retrain_recommender"])
def test_scoring_is_mapped_over_shards_and_two_of_a_run_work_at_once(dags, dag_id):
    tasks = dags[dag_id].task_dict
    assert tasks["score"].is_mapped
    assert not tasks["prepare"].is_mapped
    assert not tasks["publish"].is_mapped
    assert tasks["score"].max_active_tis_per_dagrun == 2


def test_the_tasks_of_a_retrain_are_the_stages_of_run_in_its_order(dags, monkeypatch):
    from types import SimpleNamespace

    from ncf_pipeline.settings import Settings
    from ncf_pipeline.training import retrain
    from ncf_pipeline.training.approval import Answer

    order = []

    def stage(name, result):
        return lambda *_, **__: order.append(name) or result

    passed = {
        "backtest": 7,
        "prepare": ["a part"],
        "gate": SimpleNamespace(promote=True, reasons=()),
        "refit": True,
        "register": True,
    }
    for name in ("snapshot", "live_performance", "backtest", "gate", "refit", "register", "prepare", "publish"):
        monkeypatch.setattr(retrain, name, stage(name, passed.get(name)))
    monkeypatch.setattr(retrain, "score_shards", stage("score", True))
    retrain.run(Settings(), run_key="", requested_by="", ask=stage("approve", Answer(True, "anna")))

    tasks = dags["retrain_recommender"].task_dict
    assert {*order, "held"} == tasks.keys()
    assert order[:2] == ["snapshot", "live_performance"]
    assert tasks["live_performance"].upstream_task_ids == {"snapshot"}
    assert tasks["live_performance"].downstream_task_ids == set()
    for earlier, later in pairwise(name for name in order if name != "live_performance"):
        assert later in tasks[earlier].downstream_task_ids


def test_only_training_uses_the_gpu_queue_and_pool(dags):
    on_gpu = {task.task_id for task in dags["retrain_recommender"].tasks if task.queue == "gpu" and task.pool == "gpu"}
    assert on_gpu == {"backtest", "refit"}


def test_the_form_of_a_retrain_has_its_params_with_bounds(dags):
    params = dags["retrain_recommender"].params
    assert list(params) == ["cutoff", "holdout_days", "k", "top_n", "seed", "trees", "approval"]
    for name in params:
        assert params.get_param(name).schema["title"]
        assert params.get_param(name).description
    assert (params["cutoff"], params["holdout_days"], params["k"], params["top_n"]) == (None, 28, 5, 10)


def test_the_form_of_an_ingest_offers_the_ready_mappings_and_needs_none(dags):
    from ncf_pipeline.ingest.mappings.ready_made import ready

    params = dags["ingest_invoices"].params
    assert (params["paths"], params["mapping"]) == ([], None)
    assert sorted(params.get_param("mapping").schema["examples"]) == list(ready())
    assert params.get_param("mapping").description


@pytest.mark.parametrize("path", sorted((PROJECT / "dags").glob("*.py")), ids=lambda path: path.stem)
def test_a_dag_file_imports_nothing_heavy_at_its_top(path):
    light = ("datetime", "typing", "airflow", "ncf_pipeline.airflow", "ncf_pipeline.settings")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            assert any(node.module == name or node.module.startswith(f"{name}.") for name in light), node.module
        assert not isinstance(node, ast.Import)


def test_tasks_with_a_version_link_to_its_page(dags):
    from ncf_pipeline.airflow.links import ModelLink

    tasks = dags["retrain_recommender"].tasks
    linked = [task for task in tasks if any(link.name == "Model" for link in task.operator_extra_links)]
    assert {task.task_id for task in linked} == {"gate", "refit", "register", "prepare", "publish", "held"}

    class Rendered:
        op_args = (7, "approved by somebody")

    assert ModelLink().get_link(Rendered(), ti_key=None).endswith("/recommender/models/v7")


def test_a_run_reads_folders_by_their_mappings_and_tells_once_of_one_that_has_none(
    dags, connections, webhook, monkeypatch
):
    config = json.dumps({"path": webhook.url, "tag": "warn"})
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps({"conn_type": "apprise", "extra": {"config": config}}))
    inbox = connections.inbox_path
    for folder, invoice in (("uci", 1), ("nobody", 2)):
        (inbox / folder).mkdir(parents=True)
        (inbox / folder / "day.csv").write_text(
            "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
            f"{invoice},71053,LANTERN,6,2010-12-01 08:26:00,3.39,17850,France\n"
        )

    def run():
        state = str(dags["ingest_invoices"].test().state)
        told, webhook.got[:] = [message["title"] for message in webhook.got], []
        return state, told

    told = "1 file waits in the inbox's folder 'nobody', and there is no mapping of that name."
    assert run() == ("success", [f"[warn] {told}"])
    assert (inbox.parent / "processed" / "uci" / "day.csv").exists()
    assert run() == ("success", [])
    (inbox / "nobody").rename(inbox / "uci-2")
    (inbox / "uci-2" / "day.csv").rename(inbox / "uci" / "day.csv")
    assert run() == ("success", [f"[over] {told}"])
    assert not (inbox / "uci" / "day.csv").exists()


def test_a_catalogue_is_loaded_by_airflow_where_its_file_is_named(dags, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    from ncf_pipeline.airflow.alerts import alert

    assert "load_catalogue" not in dags
    monkeypatch.setenv("NCF_CATALOGUE", "https://shop.example/products.csv?sig=secret")
    for schedule in (None, "0 1 * * *"):
        if schedule is not None:
            monkeypatch.setenv("NCF_CATALOGUE_SCHEDULE", schedule)
        bag = DagBag(str(PROJECT / "dags" / "load_catalogue.py"))
        assert not bag.import_errors
        (dag,) = bag.dags.values()
        assert (dag.dag_id, dag.max_active_runs, dag.catchup) == ("load_catalogue", 1, False)
        assert getattr(dag.timetable, "expression", None) == schedule
        assert dag.params.dump() == {"file": None, "whole": False, "columns": []}
        assert "secret" not in str(dag.params.dump()) + dag.doc_md
        assert alert in as_list(dag.task_dict["load"].on_failure_callback)


def test_events_are_taken_by_schedule_only_if_there_is_one(dags, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    from ncf_pipeline.airflow.alerts import alert

    assert "take_events" not in dags
    monkeypatch.setenv("NCF_EVENTS_SCHEDULE", "5 * * * *")
    bag = DagBag(str(PROJECT / "dags" / "take_events.py"))
    assert not bag.import_errors
    (dag,) = bag.dags.values()
    assert (dag.dag_id, dag.timetable.expression, dag.catchup) == ("take_events", "5 * * * *", False)
    assert alert in as_list(dag.task_dict["take"].on_failure_callback)
