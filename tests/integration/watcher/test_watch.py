"""What on-call hears of an Airflow that can no longer tell: a real database and webhook, and an Airflow of answers.

The answers have the shape that Airflow 3.3.2 gave; tests/e2e/local/test_watching.py kills a real one.
"""

import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from ncf_pipeline import alerts
from ncf_pipeline.alerts import Alert, Run
from ncf_pipeline.alerts.kinds import INGEST_FAILED, RETRAIN_LATE
from ncf_pipeline.errors import ServiceError, SettingsError
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.watcher.observed import our_dags
from ncf_pipeline.watcher.watch import Watcher

NOW = datetime.now(UTC)
PAST_ALL = timedelta(minutes=20)  # whatever is told is told within this time


def ago(**span):
    return (NOW - timedelta(**span)).isoformat()


class Airflow:
    """Answers as Airflow's REST API does, of the runs and tasks that a test gives it."""

    def __init__(self):
        self.answers = True
        self.health = {name: {"status": "healthy"} for name in ("metadatabase", "scheduler", "triggerer")}
        self.health["dag_processor"] = {"status": "healthy", "latest_dag_processor_heartbeat": ago(seconds=3)}
        self.dags = {name: {"dag_id": name, "is_paused": False, "next_dagrun_run_after": None} for name in our_dags()}
        self.errors, self.runs, self.instances = [], [], []

    def run(self, dag_id, state, *, run_id="scheduled__1", queued=10.0, began=None, ended=None):
        """Adds a run; times are minutes ago."""
        run = {
            "dag_id": dag_id,
            "dag_run_id": run_id,
            "state": state,
            "queued_at": ago(minutes=queued),
            "start_date": None if began is None else ago(minutes=began),
            "end_date": None if ended is None else ago(minutes=ended),
            "duration": None if began is None or ended is None else (began - ended) * 60,
        }
        self.runs.append(run)
        return run

    def task(self, run, task_id, state, *, queued=10.0, ended=None):
        """Adds a task of a run."""
        self.instances.append(
            {
                "dag_id": run["dag_id"],
                "dag_run_id": run["dag_run_id"],
                "task_id": task_id,
                "state": state,
                "queued_when": ago(minutes=queued),
                "end_date": None if ended is None else ago(minutes=ended),
            }
        )

    def read(self, path, *, missing=False):
        if not self.answers:
            raise ServiceError("Airflow does not answer at http://127.0.0.1:9: Connection refused.")
        url = urlsplit(path)
        asked = {name: values for name, values in parse_qs(url.query).items() if name != "limit"}
        if url.path == "/api/v2/monitor/health":
            return self.health
        if url.path == "/api/v2/dags":
            return {"dags": list(self.dags.values())}
        if url.path == "/api/v2/importErrors":
            return {"import_errors": self.errors}
        dag_id, run_id, tasks = re.fullmatch(
            r"/api/v2/dags/([^/]+)/dagRuns(?:/([^/]+)(/taskInstances)?)?", url.path
        ).groups()
        rows = self.instances if tasks else self.runs
        found = [
            row
            for row in rows
            if dag_id in ("~", row["dag_id"])
            and run_id in (None, "~", row["dag_run_id"].replace("+", "%2B").replace(":", "%3A"))
            and row["state"] in asked.get("state", [row["state"]])
            and row.get("task_id") in asked.get("task_id", [row.get("task_id")])
            and ("end_date_gte" not in asked or (row["end_date"] or "") >= asked["end_date_gte"][0])
        ]
        if run_id not in (None, "~") and not tasks:
            assert missing
            return found[0] if found else None
        return {"task_instances": found} if tasks else {"dag_runs": found}


@pytest.fixture
def airflow():
    return Airflow()


@pytest.fixture
def watched(member, webhook, airflow):
    """What a watcher says that has looked for longer than any limit, under compose's role; and its settings."""
    told = member("publishing").model_copy(
        update={
            "alerts": SecretStr(webhook.url),
            "airflow_url": "http://airflow.example",
            "airflow_password": SecretStr("a-password-4711"),
        }
    )
    with transaction(told) as connection, connection.cursor() as cursor:
        cursor.execute("insert into ops.watch (name, began_at) values ('airflow', now() - interval '9 days')")
    watcher = Watcher(told)
    watcher._api = airflow
    watcher.look(NOW - PAST_ALL)

    def look(at=NOW):
        watcher.look(at)
        titles = [message["title"] for message in webhook.got]
        webhook.got.clear()
        return titles

    assert look(NOW - PAST_ALL + timedelta(seconds=1)) == []
    look.settings = told
    return look


def test_a_healthy_airflow_is_not_told(watched, airflow):
    done = airflow.run("ingest_invoices", "success", began=9, ended=8)
    airflow.task(done, "merge", "success", ended=8)
    airflow.run("refresh_lists", "running", run_id="asset__1", began=5)
    assert watched() == watched() == []


def test_a_killed_task_is_told_once_and_is_over_when_the_task_succeeds(watched, airflow):
    red = airflow.run("ingest_invoices", "failed", run_id="manual__2026-11-26T22:25:43+00:00", began=9, ended=5)
    airflow.task(red, "land", "failed", ended=5)
    airflow.task(red, "merge", "upstream_failed", ended=5)
    title = "ingest_invoices.land failed without a word: it was killed, or its worker was lost."
    assert watched() == [f"[warn] {title}"]
    assert watched() == []
    (incident,) = alerts.incidents(watched.settings)
    assert (incident.kind, incident.key) == ("ingest_failed", "ingest_invoices.land")
    assert incident.runs == ("ingest_invoices/manual__2026-11-26T22:25:43+00:00",)
    assert "http://airflow.example/dags/ingest_invoices/runs/manual__2026-11-26T22%3A25%3A43%2B00%3A00" in incident.body
    later = airflow.run("ingest_invoices", "success", run_id="scheduled__2", began=0, ended=-1)
    assert watched() == [], "the task was skipped, so nothing is over"
    airflow.task(later, "land", "success", ended=-1)
    assert watched() == [f"[over] {title}"]
    assert watched() == []


def test_a_failure_that_is_over_before_it_is_noticed_is_told_with_its_end(watched, airflow):
    red = airflow.run("watch_freshness", "failed", began=9, ended=5)
    airflow.task(red, "look", "failed", ended=5)
    airflow.task(
        airflow.run("watch_freshness", "success", run_id="scheduled__2", began=4, ended=3), "look", "success", ended=3
    )
    assert [title.split()[0] for title in watched()] == ["[warn]", "[over]"]
    assert watched() == []


def test_what_a_task_told_by_itself_is_not_told_again(watched, airflow, webhook):
    red = airflow.run("ingest_invoices", "failed", began=9, ended=5)
    airflow.task(red, "land", "failed", ended=5)
    run = Run("ingest_invoices", "scheduled__1")
    alerts.tell(watched.settings, Alert(INGEST_FAILED, "ingest_invoices.land", "No room.", run=run))
    webhook.got.clear()
    assert watched() == []


def test_a_run_that_has_just_ended_is_left_to_its_task_for_a_moment(watched, airflow):
    red = airflow.run("refresh_lists", "failed", began=9, ended=1)
    airflow.task(red, "refresh", "failed", ended=1)
    assert watched() == []
    assert len(watched(NOW + timedelta(minutes=2))) == 1


@pytest.mark.parametrize("ending", ["cleared", "deleted"])
def test_a_red_run_without_a_failed_task_is_told_and_ends_with_the_run(watched, airflow, ending):
    red = airflow.run("retrain_recommender", "failed", began=900, ended=5)
    airflow.task(red, "backtest", "skipped", ended=5)
    (title,) = watched()
    assert title.endswith(
        "The run scheduled__1 of retrain_recommender ended red, and none of its tasks failed: it was stopped."
    )
    if ending == "cleared":
        red["state"] = "success"
    else:
        airflow.runs.remove(red)
    assert watched() == [title.replace("[warn]", "[over]")]


def test_runs_that_ended_before_anybody_watched_are_not_told(watched, airflow):
    airflow.run("ingest_invoices", "failed", began=60 * 24 * 11, ended=60 * 24 * 10)
    assert watched() == []


def test_a_run_that_never_begins_is_told_and_ends_when_it_begins(watched, airflow):
    run = airflow.run("refresh_lists", "queued", queued=16)
    airflow.dags["refresh_lists"]["is_paused"] = True
    (title,) = watched()
    assert (
        title
        == "[warn] The run scheduled__1 of refresh_lists has waited for 16 min to begin because its DAG is paused."
    )
    run |= {"state": "running", "start_date": ago(minutes=0)}
    assert watched() == [title.replace("[warn]", "[over]")]


def test_a_run_behind_another_of_its_dag_is_not_told(watched, airflow):
    airflow.run("refresh_lists", "running", began=5)
    airflow.run("refresh_lists", "queued", run_id="asset__2", queued=40)
    assert watched() == []


def test_a_task_that_no_worker_takes_is_told(watched, airflow):
    run = airflow.run("ingest_invoices", "running", queued=30, began=30)
    airflow.task(run, "land", "queued", queued=17)
    (title,) = watched()
    assert title.endswith("waits: no worker takes its task land.")


@pytest.mark.parametrize(("usual", "is_told"), [(2, True), (15, True), (25, False)])
def test_a_run_that_takes_twice_its_usual_time_is_told(watched, airflow, usual, is_told):
    airflow.run("ingest_invoices", "success", run_id="scheduled__0", began=100 + usual, ended=100)
    run = airflow.run("ingest_invoices", "running", queued=40, began=40)
    airflow.task(run, "land", "running", queued=40)
    assert bool(watched()) is is_told


def test_a_run_that_waits_for_a_person_is_not_told(watched, airflow):
    airflow.run("rollback_model", "success", run_id="scheduled__0", began=102, ended=100)
    run = airflow.run("rollback_model", "running", queued=50, began=50)
    airflow.task(run, "choose", "awaiting_input", queued=50)
    assert watched() == []


def test_a_late_retrain_is_the_incident_of_its_deadline_and_over_when_it_has_ended(watched, airflow, webhook):
    airflow.run("retrain_recommender", "success", run_id="scheduled__0", began=700, ended=690)
    run = airflow.run("retrain_recommender", "running", queued=500, began=500)
    late = Alert(RETRAIN_LATE, "retrain_recommender", "late.", run=Run("retrain_recommender", "scheduled__1"))
    alerts.tell(watched.settings, late)
    webhook.got.clear()
    assert watched() == []
    run |= {"state": "success", "end_date": ago(minutes=0)}
    assert watched() == ["[over] late."]


def test_a_schedule_that_does_not_fire_is_told(watched, airflow):
    airflow.dags["ingest_invoices"]["next_dagrun_run_after"] = ago(minutes=11)
    (title,) = watched()
    assert title.startswith("[warn] ingest_invoices did not start: its run was due at ")
    airflow.dags["ingest_invoices"]["next_dagrun_run_after"] = ago(minutes=-60)
    assert watched() == [title.replace("[warn]", "[over]")]


def test_a_dag_that_is_paused_misses_no_schedule(watched, airflow):
    airflow.dags["ingest_invoices"] |= {"next_dagrun_run_after": ago(minutes=11), "is_paused": True}
    assert watched() == []


def test_a_dag_that_cannot_be_read_or_is_gone_is_told(watched, airflow):
    stack = "Traceback (most recent call last):\n  File ...\nImportError: no such name\n"
    airflow.errors = [
        {"filename": "ingest_invoices.py", "stack_trace": stack},
        {"filename": "somebody_elses.py", "stack_trace": stack},
    ]
    del airflow.dags["prune_artifacts"]
    del airflow.dags["take_events"], airflow.dags["load_catalogue"]  # they are there where they are asked for
    broken, gone = watched()
    assert broken == "[warn] The DAG ingest_invoices cannot be read: ImportError: no such name."
    assert gone == "[warn] The DAG prune_artifacts cannot be read: Airflow does not have it."
    airflow.errors = []
    assert watched() == [broken.replace("[warn]", "[over]")]


def test_a_dead_scheduler_is_told_once_and_nothing_that_follows_from_it(watched, airflow):
    airflow.health["scheduler"] = {"status": "unhealthy", "latest_scheduler_heartbeat": ago(minutes=1)}
    airflow.dags["ingest_invoices"]["next_dagrun_run_after"] = ago(minutes=11)
    airflow.run("refresh_lists", "queued", queued=40)
    assert watched() == [], "a restart takes a moment"
    (title,) = watched(NOW + timedelta(minutes=4))
    assert title.startswith("[warn] Airflow's scheduler does not work: its last sign of life was at ")
    assert watched(NOW + timedelta(minutes=5)) == []
    airflow.health["scheduler"] = {"status": "healthy"}
    assert watched(NOW + timedelta(minutes=6)) == [title.replace("[warn]", "[over]")]
    assert len(watched(NOW + timedelta(minutes=10))) == 2, "what it has not caught up with after a moment"


def test_an_api_that_does_not_answer_is_told_and_closes_nothing(watched, airflow):
    airflow.run("refresh_lists", "queued", queued=16)
    assert len(watched()) == 1
    airflow.answers = False
    assert watched(NOW + timedelta(minutes=1)) == []
    (title,) = watched(NOW + timedelta(minutes=5))
    assert title.startswith("[warn] Airflow's api-server does not work: Airflow does not answer at ")
    airflow.answers = True
    assert watched(NOW + timedelta(minutes=6)) == [title.replace("[warn]", "[over]")]


def test_postgres_that_does_not_answer_is_told_once_and_is_over(settings, webhook, airflow):
    gone = SecretStr("postgresql://ncf:a-long-password@127.0.0.1:9/ncf")
    watcher = Watcher(
        settings.model_copy(
            update={
                "alerts": SecretStr(webhook.url),
                "airflow_url": "http://x",
                "airflow_password": SecretStr("secret"),
            }
        )
    )
    watcher._api = airflow
    here = watcher._settings
    watcher._settings = here.model_copy(update={"database_url": gone})
    for minutes in (0, 2, 4, 5, 6):
        watcher.look(NOW + timedelta(minutes=minutes))
    (alert,) = webhook.got
    assert alert["title"].startswith("[warn] Postgres does not answer: ")
    assert "a-long-password" not in str(alert)
    watcher._settings = here
    watcher.look(NOW + timedelta(minutes=7))
    assert [message["title"] for message in webhook.got[1:]] == ["[over] Postgres does not answer."]
    (incident,) = alerts.incidents(here, over_too=True)
    assert incident.kind == "database_down"
    assert incident.recovery_told_at is not None


@contextmanager
def switch():
    """A dead man's switch, which counts calls."""

    class Switch(BaseHTTPRequestHandler):
        def do_GET(self):
            server.calls += 1
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Switch)
    server.calls = 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_heartbeat_stops_while_a_message_reaches_nobody(watched, airflow, webhook):
    with switch() as server:
        url = SecretStr(f"http://127.0.0.1:{server.server_address[1]}/ping")
        watcher = Watcher(watched.settings.model_copy(update={"heartbeat_url": url}))
        watcher._api = airflow
        watcher.look(NOW)
        assert server.calls == 1
        red = airflow.run("ingest_invoices", "failed", began=9, ended=5)
        airflow.task(red, "land", "failed", ended=5)
        webhook.broken = True
        watcher.look(NOW)
        assert server.calls == 1
        webhook.broken = False
        watcher.look(NOW)
        assert server.calls == 2
        assert len(webhook.got) == 1


def test_a_watcher_that_fell_silent_is_noticed_and_one_that_never_was_is_not(settings):
    limit = timedelta(minutes=10)
    assert alerts.silent_since(settings, limit) is None
    alerts.watched(settings)
    assert alerts.silent_since(settings, limit) is None
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update ops.watch set looked_at = now() - interval '11 minutes'")
    assert alerts.silent_since(settings, limit) is not None


def test_without_an_address_it_says_what_to_set(settings):
    with pytest.raises(SettingsError, match="set NCF_AIRFLOW_URL, NCF_AIRFLOW_USER and NCF_AIRFLOW_PASSWORD"):
        Watcher(settings)
