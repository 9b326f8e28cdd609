"""The embedded Airflow, started once for all tests here, which depend on their order."""

import os
import signal
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpx
import pandas as pd
import psutil
import pytest
from pydantic import SecretStr

from ncf_pipeline import synthetic
from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ServiceError
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local import start_airflow
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.local.airflow_environment import ADMIN, admin_password_path
from ncf_pipeline.local.processes import is_alive
from ncf_pipeline.local.services import down, up
from ncf_pipeline.local.state import read_services
from ncf_pipeline.local.status import status
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.serving import publication
from ncf_pipeline.settings import Settings, load_settings
from ncf_pipeline.training.decision import thresholds

pytestmark = [pytest.mark.xdist_group("embedded airflow"), pytest.mark.timeout(900)]

ALL = {
    "postgres",
    "redis",
    "airflow-api-server",
    "airflow-scheduler",
    "airflow-dag-processor",
    "airflow-triggerer",
    "airflow-watcher",
}

HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
CUSTOMER = "917850123"  # no number of a process, which logs are full of
GOOD = f"536365,85123A,HOLDER,6,2021-03-01 08:26:00,2.55,{CUSTOMER},France"
ZERO = f"536365,71053,LANTERN,0,2021-03-01 08:26:00,3.39,{CUSTOMER},France"


@pytest.fixture(scope="module")
def taken_ports():
    """The port that was taken after it was chosen for Airflow, seconds before Airflow listens on it."""
    return []


@pytest.fixture(scope="module")
def running(home, taken_ports, on_call):
    """Settings of a home in which everything runs, though its first port is taken. A retrain's deadline is a second."""
    started = start_airflow.start_component
    squatter = socket.socket()
    squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended do not hold the port

    def take_the_port_and_start(name, environment, **options):
        if name == "api-server" and not taken_ports:
            taken_ports.append(int(environment["AIRFLOW__API__PORT"]))
            with suppress(OSError):  # another test's server has taken it already
                squatter.bind(("127.0.0.1", taken_ports[0]))
                squatter.listen()
        return started(name, environment, **options)

    with squatter, pytest.MonkeyPatch.context() as patch:
        patch.setattr(start_airflow, "start_component", take_the_port_and_start)
        yield up(Settings(home=home, alerts=SecretStr(on_call.url), retrain_deadline_hours=1 / 3600))


def as_asked(running):
    """Returns the settings with which it was started, to start it again."""
    return load_settings(
        home=running.home, alerts=running.alerts, retrain_deadline_hours=running.retrain_deadline_hours
    )


@pytest.fixture
def api(running):
    password = admin_password_path(running.home).read_text().strip()
    with AirflowApi(status(running).airflow_url, username=ADMIN, password=password) as api:
        yield api


def pids(settings):
    return {name: process.pid for name, process in read_services(settings.home).processes.items() if is_alive(process)}


def wait_for_end(api, dag_id, run_id):
    """Waits until a run has ended, well or not. Each question costs the API server time that the run needs."""
    while api.run_state(dag_id, run_id) not in ("success", "failed"):
        time.sleep(1)


def test_everything_runs_and_status_says_so(running):
    state = status(running)
    assert set(state.running) == ALL
    assert state.died == ()
    assert state.airflow_url.startswith("http://127.0.0.1:")


def test_airflow_moves_if_its_port_is_taken_while_it_starts(running, taken_ports):
    (taken,) = taken_ports
    assert not status(running).airflow_url.endswith(f":{taken}")


def test_every_process_listens_only_on_loopback(running):
    listening = {}
    for name, pid in pids(running).items():
        server = psutil.Process(pid)
        for member in (server, *server.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                for connection in member.net_connections("inet"):
                    if connection.status == psutil.CONN_LISTEN or connection.type.name == "SOCK_DGRAM":
                        listening.setdefault(name, set()).add(connection.laddr.ip)
    assert listening == {"postgres": {"127.0.0.1"}, "redis": {"127.0.0.1"}, "airflow-api-server": {"127.0.0.1"}}


def test_only_the_password_in_the_file_logs_in(running, api):
    api.wait_for_dags(["ingest_invoices", "retrain_recommender", "refresh_lists"])
    url = status(running).airflow_url
    refused = pytest.raises(ServiceError, match="refused to log in admin")
    with AirflowApi(url, username=ADMIN, password="guess") as stranger, refused:
        stranger.wait_for_dags(["ingest_invoices"])
    assert httpx.get(f"{url}/api/v2/dags", trust_env=False).status_code == 401


def test_the_gpu_pool_has_one_slot_unless_an_operator_changes_it(api):
    def pool():
        return api._ask("GET", "/api/v2/pools/gpu")

    assert pool()["slots"] == 1
    api._ask("PATCH", "/api/v2/pools/gpu?update_mask=slots", {"name": "gpu", "slots": 2, "include_deferred": False})
    api.ensure_pool("gpu", slots=1, description="")
    assert pool()["slots"] == 2


def test_up_again_changes_nothing(running):
    before, said = pids(running), []
    up(as_asked(running), say=said.append)
    assert (pids(running), said) == (before, [])


def test_the_scheduler_has_started_what_tasks_are_forked_from(running):
    children = psutil.Process(pids(running)["airflow-scheduler"]).children()
    assert [child for child in children if "ncf_pipeline.local.task_libraries" in " ".join(child.cmdline())]


def test_up_restarts_only_killed_processes_and_stops_their_children(running):
    before = pids(running)
    scheduler = psutil.Process(before["airflow-scheduler"])
    left = scheduler.children()
    assert left
    os.kill(scheduler.pid, signal.SIGKILL)
    psutil.wait_procs([scheduler], timeout=10)
    assert status(running).died == ("airflow-scheduler",)
    up(as_asked(running))
    after = pids(running)
    assert {name for name in ALL if before[name] != after[name]} == {"airflow-scheduler"}
    assert not [worker for worker in left if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]


def test_a_failed_run_says_why_in_one_line(running, api):
    api.unpause("ingest_invoices")
    run_id = api.trigger("ingest_invoices", {"paths": ["/nowhere/at all.csv"]})
    wait_for_end(api, "ingest_invoices", run_id)
    (failed,) = [task for task in api.tasks("ingest_invoices", run_id) if task.state == "failed"]
    assert failed.task_id == "discover"
    assert api.error_of(failed).startswith("InputError: /nowhere/at all.csv: there is no such file")
    assert api.unfinished_runs("ingest_invoices") == []


def test_a_task_links_to_the_page_of_its_batch_which_only_users_can_open(running, api):
    running.inbox_path.mkdir(parents=True, exist_ok=True)
    (running.inbox_path / "a day.csv").write_text(f"{HEADER}\n{GOOD}\n{ZERO}\n")
    api.unpause("ingest_invoices")
    run_id = api.trigger("ingest_invoices", {})
    wait_for_end(api, "ingest_invoices", run_id)
    links = api._ask("GET", f"/api/v2/dags/ingest_invoices/dagRuns/{run_id}/taskInstances/validate/links")
    url = links["extra_links"]["Data Docs"]
    assert url == f"{status(running).airflow_url}/recommender/data-docs/invoices/batch-000001.html"
    assert httpx.get(url, trust_env=False, timeout=60).status_code == 401
    token = api._client.headers["Authorization"].removeprefix("Bearer ")
    opened = httpx.get(url, cookies={"_token": token}, trust_env=False, timeout=60)
    assert "A quantity is not 0." in opened.text
    assert opened.headers["Content-Security-Policy"].startswith("default-src 'none'")
    missing = httpx.get(url.replace("000001", "000099"), cookies={"_token": token}, trust_env=False, timeout=60)
    assert missing.status_code == 404
    assert missing.json()["detail"].startswith("Batch 99 has no page")
    model = f"{status(running).airflow_url}/recommender/models/v99"
    assert httpx.get(model, trust_env=False, timeout=60).status_code == 401
    missing = httpx.get(model, cookies={"_token": token}, trust_env=False, timeout=60)
    assert missing.status_code == 404
    assert missing.json()["detail"].startswith("There is no model version")


def test_only_users_see_the_recommender_page_in_the_navigation(running, api, browser):
    url = status(running).airflow_url
    for refused in (
        httpx.get(f"{url}/recommender/", trust_env=False, timeout=60),
        httpx.get(f"{url}/recommender/runbook", trust_env=False),
        httpx.post(f"{url}/recommender/customer", data={"number": CUSTOMER}, trust_env=False),
    ):
        assert (refused.status_code, refused.json()) == (401, {"detail": "Not authenticated"})
    plugins = api._ask("GET", "/api/v2/plugins")["plugins"]
    (entry,) = [view for plugin in plugins for view in plugin["external_views"]]
    assert (entry["name"], entry["destination"]) == ("Lists", "nav")
    token = api._client.headers["Authorization"].removeprefix("Bearer ")
    # Only the cookie, as a page of another site would send it.
    forged = {"cookies": {"_token": token}, "headers": {"Sec-Fetch-Site": "cross-site"}, "trust_env": False}
    assert httpx.post(f"{url}/recommender/customer", data={"number": CUSTOMER}, **forged).status_code == 403

    context = browser.new_context(color_scheme="light")
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    page = context.new_page()
    page.goto(url)
    page.get_by_role("link", name="Lists", exact=True).click()
    frame = page.frame_locator("iframe[title=Lists]")
    # of the line with no quantity
    assert frame.locator("h1").inner_text(timeout=60_000).endswith("1 thing needs attention")
    assert "a day.csv" in frame.locator("#batches ~ .batches").inner_text()
    frame.get_by_label("Customer id").fill(CUSTOMER)
    frame.get_by_role("button", name="Show lists").click()
    frame.get_by_text("France · 1 order").wait_for()
    assert CUSTOMER not in page.url
    frame.get_by_role("link", name="Back to the overview").click()
    frame.get_by_role("link", name="Data Docs").first.click()
    frame.get_by_text("A quantity is not 0.").first.wait_for()
    frame.get_by_role("link", name="Now", exact=True).click()
    frame.get_by_role("link", name="refresh_lists").first.click()  # leads out of the frame
    page.wait_for_url("**/dags/refresh_lists**")
    context.close()
    log = (running.home / "logs" / "airflow-api-server.log").read_text()
    assert "/recommender/customer" in log
    assert CUSTOMER not in log


@pytest.fixture
def serving(running, tmp_path):
    """Publishes lists of a champion that knows the newest purchases; returns the publication's number."""
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=150, products=100, days=150)
    ingest(running, [str(tmp_path / "shop.xlsx")])
    cutoff = newest_cutoff(running)
    version = registry.open_version(
        running,
        run_key="serving",
        snapshot_id="s000001",
        cutoff=cutoff,
        holdout_start=cutoff - timedelta(days=28),
        config={},
        requested_by="test",
    )
    registry.record_decision(running, version, GateDecision(True, (), thresholds(running), ()), details={})
    registry.record_artifact(running, version, "memory://model")
    assert registry.promote(running, version, actor="test", reason="test") == []
    entry = registry.Publication(1, version, cutoff, "memory://lists", 0, 0, datetime.now(UTC))
    registry.open_publication(running, entry)
    lists = pd.DataFrame(
        [("fallback", "*", name, ["71053"]) for name in ("for_you", "new_arrivals")], columns=Lists.ALL
    )
    meta = {"model_version": f"v{version}", "cutoff": cutoff.isoformat(), "top_n": 10}
    publication.publish(running, [lists], number=1, meta=meta)
    registry.record_publication(running, entry)
    return status(running).live_publication


def test_a_backfilled_week_publishes_nothing_older_and_on_call_is_alerted_that_it_is_late(
    running, api, serving, on_call
):
    dag_id = "retrain_recommender"
    api.unpause(dag_id)
    missed = {"from_date": "2021-04-18T00:00:00Z", "to_date": "2021-04-20T00:00:00Z"}  # the Monday between
    api._ask("POST", "/api/v2/backfills", {"dag_id": dag_id, "run_backwards": False, "dag_run_conf": {}, **missed})
    (run,) = api._ask("GET", f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]
    assert (run["run_type"], run["logical_date"]) == ("backfill", "2021-04-19T04:00:00Z")
    wait_for_end(api, dag_id, run["dag_run_id"])
    ended = {task.task_id: task.state for task in api.tasks(dag_id, run["dag_run_id"])}
    assert (ended["refit"], ended["register"], ended["held"], ended["publish"]) == (*["success"] * 3, "skipped")
    # The current week is scheduled too, after it.
    candidate = registry.model_version(running, 2)
    assert candidate.requested_by.endswith("(backfill)")
    assert candidate.cutoff == datetime(2021, 4, 19, 4)  # it knows no later purchases
    (reason,) = registry.gate_decision(running, candidate.version).reasons
    assert reason.endswith("an older model does not replace a newer one.")
    assert status(running).live_publication == serving

    late = f"The run {run['dag_run_id']} of {dag_id} missed its deadline, "
    patience = time.monotonic() + 120
    while not [message for message in on_call.got if late in message["title"]]:
        assert time.monotonic() < patience, [message["title"] for message in on_call.got]
        time.sleep(0.5)
    alerts = [message for message in on_call.got if late in message["title"]]
    assert alerts[0]["title"].startswith("[warn]")
    assert "Runbook: docs/runbook.md#a-retrain-takes-too-long" in alerts[0]["message"]


def test_down_stops_everything(running):
    down(running)
    assert pids(running) == {}
    assert status(running).airflow_url is None
