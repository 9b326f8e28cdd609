"""Alerts and metrics of the DAGs, and the secrets that no log shows."""

import json
import re
import socket
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import psycopg2
import pytest
import redis

from ncf_pipeline import alerts

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(300)]

PROJECT = Path(__file__).parents[2]
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
GOOD = "536365,85123A,HOLDER,6,2010-12-01 08:26:00,2.55,17850,France"
ZERO = "536365,71053,LANTERN,0,2010-12-01 08:26:00,3.39,17850,France"


@pytest.fixture
def on_call(connections, webhook, monkeypatch):
    """Settings of the DAGs, whose alerts reach the webhook through the connection `alerts`."""
    config = json.dumps({"path": webhook.url, "tag": "warn"})
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps({"conn_type": "apprise", "extra": {"config": config}}))
    return connections


def drop(settings, *lines):
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    (settings.inbox_path / "day.csv").write_text("\n".join([HEADER, *lines]))


def ingest_letters(dags, settings):
    """Returns a run that fails at `land`. It has no params, because `dag.test` keeps them for the next run."""
    settings.inbox_path.mkdir(parents=True, exist_ok=True)
    (settings.inbox_path / "letters.csv").write_text("Dear,Sir\n1,2\n")
    return dags["ingest_invoices"].test()


def titles(webhook):
    return [message["title"] for message in webhook.got]


def test_a_failed_task_is_one_alert_and_its_success_one_recovery(dags, on_call, webhook):
    for _ in range(2):
        assert str(ingest_letters(dags, on_call).state) == "failed"
    (alert,) = webhook.got
    assert alert["title"].startswith("[warn] ingest_invoices.land failed: letters.csv")
    lines = dict(line.split(": ", 1) for line in alert["message"].splitlines() if ": " in line)
    assert lines["Shoppers"].startswith("not affected.")
    assert lines["By itself"].startswith("The task was tried once.")
    assert lines["Look further"].startswith("http")
    assert lines["Runbook"] == "docs/runbook.md#invoices-are-not-loaded"
    drop(on_call, GOOD)
    assert str(dags["ingest_invoices"].test().state) == "success"
    assert titles(webhook)[1:] == [alert["title"].replace("[warn]", "[over]")]


def test_a_failed_delivery_does_not_hide_the_failure_of_the_task(dags, on_call, webhook, caplog):
    webhook.broken = True
    run = ingest_letters(dags, on_call)
    assert {task.task_id: str(task.state) for task in run.get_task_instances()}["land"] == "failed"
    assert "ALERT ingest_invoices.land failed: letters.csv" in caplog.text
    assert "An alert was not delivered to channel 1 (json, warn)" in caplog.text


def test_lines_in_quarantine_are_one_alert_that_is_over_when_none_is_left(dags, on_call, webhook):
    from ncf_pipeline.ingest import corrections

    drop(on_call, GOOD, ZERO)
    dags["ingest_invoices"].test()
    (alert,) = webhook.got
    assert alert["title"] == "[warn] Batch 1 (day.csv) has lines in quarantine; its other lines are merged."
    assert "A quantity is not 0. Broken by 1 row (" in alert["message"]
    assert "Look further: ncf-pipeline quarantine list --batch 1" in alert["message"]
    corrections.discard_lines(on_call, [1], note="a test order")
    assert len(webhook.got) == 1, "where no channel is set, the message is left to what has one"
    assert str(dags["watch_freshness"].test().state) == "success"
    assert titles(webhook)[1:] == [alert["title"].replace("[warn]", "[over]")]


def test_a_late_retrain_and_a_stopped_run_are_alerts(on_call, webhook):
    from ncf_pipeline.airflow.alerts import retrain_late, run_failed

    context = {
        "dag_run": {"dag_id": "retrain_recommender", "dag_run_id": "scheduled__1"},
        "deadline": {"id": "1", "deadline_time": "2026-11-23T10:00:00Z"},
    }
    retrain_late(context=context)
    run = SimpleNamespace(dag_id="retrain_recommender", run_id="scheduled__1", start_date=None)
    run_failed({"dag_run": run, "reason": "task_failure"})
    run_failed({"dag_run": run, "reason": "timed_out"})
    late, stopped = webhook.got
    assert "missed its deadline, 2026-11-23T10:00:00Z." in late["title"]
    assert "#a-retrain-takes-too-long" in late["message"]
    assert stopped["title"] == "[warn] The run scheduled__1 of retrain_recommender was stopped: it took too long."
    assert alerts.recover_after(on_call, "retrain_recommender.publish") == [late["title"].removeprefix("[warn] ")]


def test_a_shard_that_failed_is_over_when_the_lists_are_published_and_not_when_another_shard_is_scored(
    on_call, webhook
):
    from ncf_pipeline.airflow.alerts import alert, recovered

    def instance(task_id, map_index=-1):
        upstream = {"score"} if task_id == "publish" else set()
        return SimpleNamespace(
            dag_id="refresh_lists", task_id=task_id, map_index=map_index, try_number=3, start_date=None, end_date=None,
            duration=1.0, log_url="http://airflow/log", task=SimpleNamespace(upstream_task_ids=upstream),
        )  # fmt: skip

    run = {"run_id": "asset__1", "dag_run": SimpleNamespace(run_type="asset_triggered"), "dag": None}
    for shard in (0, 2):
        alert({"task_instance": instance("score", shard), "exception": RuntimeError("No memory."), **run})
    assert titles(webhook) == ["[warn] refresh_lists.score failed: No memory."]
    recovered({"task_instance": instance("score", 1)})
    assert len(webhook.got) == 1
    recovered({"task_instance": instance("publish")})
    assert titles(webhook)[1:] == ["[over] refresh_lists.score failed: No memory."]


def test_the_retrain_has_a_deadline_whose_callback_a_worker_can_import(deadlines):
    (deadline,) = deadlines["retrain_recommender"]
    module, _, name = deadline.callback.path.rpartition(".")
    assert callable(getattr(import_module(module), name))
    assert deadline.interval.total_seconds() == 6 * 3600


@pytest.fixture
def statsd(monkeypatch):
    """Returns the StatsD metrics that have reached a UDP port, by name."""
    from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    from airflow.sdk.observability.stats import Stats

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.setblocking(False)
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_PORT", str(listener.getsockname()[1]))
        Stats.initialize(factory=get_stats_factory(), export_legacy_names=False)

        def received():
            lines = []
            while True:
                try:
                    lines.append(listener.recv(65536).decode())
                except BlockingIOError:
                    return dict(line.split(":", 1) for line in lines)

        yield received
        monkeypatch.undo()
        Stats.initialize(factory=get_stats_factory(), export_legacy_names=False)


def test_metrics_reach_statsd(dags, connections, statsd):
    drop(connections, GOOD, ZERO)
    dags["ingest_invoices"].test()
    sent = statsd()
    assert sent["airflow.ncf.ingest.lines_read"] == "2|c"
    assert sent["airflow.ncf.ingest.lines_merged"] == "1|c"
    assert sent["airflow.ncf.ingest.lines_quarantined"] == "1|c"
    assert sent["airflow.ncf.stage.duration.ingest_invoices.merge"].endswith("|ms")
    dags["watch_freshness"].test()
    assert statsd()["airflow.ncf.incidents.open"] == "1|g"


def test_no_log_shows_a_secret(dags, servers, connections, webhook, monkeypatch, caplog, capfd):
    server_url, store_url = servers
    monkeypatch.setenv("NCF_ALERTS", f"{webhook.url.replace('json://', 'json://caller:webhook-password-4711@')}")
    database = connections.database().rpartition("@")[2]
    connection = psycopg2.connect(server_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("drop role if exists watched")
        cursor.execute("create role watched login password 'database-password-4711' in role ncf")
    with redis.Redis.from_url(store_url) as store:
        store.execute_command("ACL", "SETUSER", "watched", "on", ">store-password-4711", "~*", "+@all")
    try:
        monkeypatch.setenv("AIRFLOW_CONN_RETAIL_DB", f"postgresql://watched:database-password-4711@{database}")
        at = store_url.rpartition("@")[2]
        monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", f"redis://watched:store-password-4711@{at}")
        drop(connections, GOOD, ZERO)
        assert str(dags["ingest_invoices"].test().state) == "success"
        assert str(dags["watch_freshness"].test().state) == "success"
        assert str(dags["retrain_recommender"].test().state) == "failed"
        webhook.broken = True
        ingest_letters(dags, connections)
        monkeypatch.setenv("AIRFLOW_CONN_RETAIL_DB", "postgresql://watched:database-password-4711@127.0.0.1:9/shop")
        monkeypatch.setattr(dags["watch_freshness"].task_dict["look"], "retries", 0)
        dags["watch_freshness"].test()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'watched'")
            cursor.execute("drop owned by watched")
            cursor.execute("drop role watched")
        connection.close()
    shown = caplog.text + "".join(capfd.readouterr())
    shown += "".join(file.read_text() for file in _airflow_logs())
    assert "ALERT" in shown
    assert "was not delivered" in shown
    for secret in ("database-password-4711", "store-password-4711", "webhook-password-4711", "a-token-of-42"):
        assert secret not in shown
        assert secret not in str(webhook.got)


def _airflow_logs():
    from airflow.sdk.configuration import conf

    return [file for file in Path(conf.get("logging", "base_log_folder")).rglob("*") if file.is_file()]


def test_the_dashboard_shows_every_metric_and_no_other():
    from ncf_pipeline.airflow import metrics

    dashboard = json.loads((PROJECT / "docker" / "grafana" / "recommender.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    known = {metrics.prometheus_name(name) for name in metrics.ALL}
    assert [name for name in known if name not in asked] == []
    for name in re.findall(r"airflow_[a-z_]+", asked):
        assert name in known


def test_a_backfill_has_one_run_for_each_missed_week(dags):
    from airflow.models.backfill import _get_info_list
    from airflow.serialization.serialized_objects import DagSerialization
    from pendulum import datetime

    dag = DagSerialization.from_dict(DagSerialization.to_dict(dags["retrain_recommender"]))
    infos = _get_info_list(from_date=datetime(2026, 11, 1), to_date=datetime(2026, 11, 24), reverse=False, dag=dag)
    assert [str(info.logical_date.date()) for info in infos] == ["2026-11-02", "2026-11-09", "2026-11-16", "2026-11-23"]
