"""The pages in Airflow's UI: who sees them, and how somebody who is not logged in gets there."""

import html
import json
import re
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest

pytestmark = pytest.mark.xdist_group("airflow")

DAGS = Path(__file__).parents[2] / "dags"
PERSON = {"accept": "text/html,*/*;q=0.8"}
USERS = {"viewer": "viewer", "user": "user", "op": "op", "admin": "admin", "merchandiser": "user"}
"""With their roles; each password is the name."""


@pytest.fixture
def app(dags):
    from ncf_pipeline.airflow.pages import app

    return app


@pytest.fixture(scope="module")
def airflow(dags, tmp_path_factory):
    """Airflow's own API server as an application, with a user of each role."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    passwords = tmp_path_factory.mktemp("airflow") / "passwords.json"
    passwords.write_text(json.dumps({user: user for user in USERS}))
    with pytest.MonkeyPatch.context() as patch:
        users = ",".join(f"{user}:{role}" for user, role in USERS.items())
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", users)
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(passwords))
        yield create_app(apps="core")
        purge_cached_app()


@pytest.fixture
def visit(airflow, connections):
    """Opens the pages as a person with a role, or as nobody."""
    from fastapi.testclient import TestClient

    def at(role=None, headers=PERSON):
        client = TestClient(airflow, base_url="http://localhost:8080", headers=headers, follow_redirects=False)
        if role:
            token = client.post("/auth/token", json={"username": role, "password": role}).json()["access_token"]
            client.cookies.set("_token", token)
        return client

    return at


def log_in(page, who):
    """Fills in Airflow's login, to which the page has led."""
    page.wait_for_url("**/auth/login?*")
    page.fill("input[name=username]", who)
    page.fill("input[name=password]", who)
    page.keyboard.press("Enter")


def test_every_page_first_requires_a_login(app):
    from fastapi.routing import APIRoute
    from fastapi.testclient import TestClient

    pages = [(method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods]
    assert len(pages) == 48
    pages.remove(("GET", "/login"))
    with TestClient(app, follow_redirects=False) as stranger:
        for method, template in pages:
            path = template.format(batch_id=1, version=1, name="spring", figure="effect", preview_id=1, number=1)
            asked = stranger.request(method, path, data={"number": "14646", "dag": "refresh_lists", "to": "on"})
            assert (asked.status_code, asked.json()) == (401, {"detail": "Not authenticated"}), path
            led = stranger.request(method, path, data={"number": "14646"}, headers=PERSON)
            assert led.status_code == 303, path
            assert "14646" not in led.headers["location"]


def test_the_entry_in_the_navigation_leads_to_existing_pages_and_icons(app):
    from fastapi.testclient import TestClient

    from ncf_pipeline.airflow.plugin import RecommenderPlugin

    (view,) = RecommenderPlugin.external_views
    (mounted,) = RecommenderPlugin.fastapi_apps
    assert view["href"] == f"{mounted['url_prefix']}/".lstrip("/")
    with TestClient(app) as anybody:
        for name in ("icon", "icon_dark_mode"):
            assert anybody.get(view[name].removeprefix("recommender")).headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize(("role", "may_look"), [("viewer", False), ("user", False), ("op", True), ("admin", True)])
def test_only_op_and_admin_look_customers_up(visit, role, may_look):
    client = visit(role)
    overview = client.get("/recommender/")
    assert overview.status_code == 200
    assert ('<form class="lookup"' in overview.text) is may_look
    looked_up = client.post("/recommender/customer", data={"number": "14646"})
    assert looked_up.status_code == (200 if may_look else 403)
    assert ("<h1>Customer <bdi>14646</bdi></h1>" in looked_up.text) is may_look
    program = client.post("/recommender/customer", data={"number": "14646"}, headers={"accept": "*/*"})
    assert program.status_code == looked_up.status_code
    why = client.post("/recommender/products-why", data={"number": "14646", "product": "none"})
    assert why.status_code == (404 if may_look else 403)
    if not may_look:
        assert program.json()["detail"].endswith("the permission to read Recommender customers.")


def test_an_auth_manager_that_tells_views_apart_grants_it_by_name(visit, monkeypatch):
    from ncf_pipeline.airflow import pages

    class ByName:
        """As FAB's: a user has permissions, each an action and the name of a view."""

        def is_authorized_custom_view(self, *, method, resource_name, user):
            return (user, method, resource_name) == ("on-call", "GET", "Recommender customers")

    monkeypatch.setattr(pages, "get_auth_manager", ByName)
    assert pages.sees_customers("on-call")
    assert not pages.sees_customers("analyst")


@pytest.mark.parametrize(("role", "may_change"), [("viewer", False), ("user", False), ("op", True), ("admin", True)])
def test_only_op_and_admin_change_rules_and_the_record_names_them(visit, connections, role, may_change):
    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.storage.database import transaction

    with transaction(connections) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', 'HOLDER', now())")
    client = visit(role)
    page = client.get("/recommender/rules", params={"product": "85123A"})
    assert page.status_code == 200
    assert ('action="rules-save"' in page.text) is may_change
    form = {"token": page.text.partition('name="token" value="')[2].partition('"')[0], "rule": "hidden"}
    saved = client.post("/recommender/rules-save", data=form | {"stock_code": "85123A", "seen": "0"})
    assert saved.status_code == (303 if may_change else 403)
    assert [change.actor for change in changes.history(connections)] == ([role] if may_change else [])
    if may_change:
        assert saved.headers["location"].startswith("rules?product=85123A&saved=")
        of_another = visit("admin" if role == "op" else "op")
        stolen = of_another.post("/recommender/rules-save", data=form | {"stock_code": "85123A"})
        assert stolen.status_code == 403
        assert "was not made for you" in stolen.text
    else:
        assert "the permission to edit Recommender rules" in saved.text


def test_an_auth_manager_that_tells_views_apart_grants_the_change_of_rules_by_name(visit, monkeypatch):
    from ncf_pipeline.airflow import pages

    class ByName:
        """As FAB's."""

        def is_authorized_custom_view(self, *, method, resource_name, user):
            return (user, method, resource_name) == ("merchandiser", "PUT", "Recommender rules")

    monkeypatch.setattr(pages, "get_auth_manager", ByName)
    assert pages.changes_rules("merchandiser")
    assert not pages.changes_rules("on-call")


def test_hide_a_product_in_airflow_in_a_browser_with_redis_away(airflow, connections, browser, monkeypatch):
    from web_server import serving

    from ncf_pipeline.serving.rules import changes
    from ncf_pipeline.serving.rules.values import Rule
    from ncf_pipeline.storage.database import transaction

    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", "redis://127.0.0.1:1/0")
    with transaction(connections) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', 'WHITE HOLDER', now())")
    with serving(airflow) as address:
        page = browser.new_page()
        page.goto(f"{address}/recommender/rules")
        log_in(page, "op")
        page.wait_for_url("**/recommender/rules")
        page.fill("#find", "holder white")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="White holder").click()
        page.get_by_text("Leave it out").first.click()
        page.get_by_role("button", name="Leave it out").click()
        page.wait_for_url("**/recommender/rules?product=85123A&saved=*")
        assert "Saved as change" in page.inner_text("[role=status]")
        assert changes.rules(connections) == [Rule("hidden", "85123A")]
        page.get_by_role("link", name="Overview").click()
        page.wait_for_url("**/recommender/")
        page.close()


def test_see_first_what_a_rule_changes_starts_a_run_with_the_users_own_rights(visit, dags, connections):
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    from ncf_pipeline.serving.rules import changes, previews
    from ncf_pipeline.storage.database import transaction

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(DagBag(str(DAGS), bundle_name="dags-folder"), "dags-folder", None)
    with transaction(connections) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', 'HOLDER', now())")
    client = visit("op")
    page = client.get("/recommender/rules", params={"product": "85123A"})
    form = {"token": page.text.partition('name="token" value="')[2].partition('"')[0], "rule": "hidden"}
    asked = client.post("/recommender/rules-save", data=form | {"stock_code": "85123A", "then": "preview"})
    assert asked.status_code == 303, asked.text
    (preview,) = previews.open_previews(connections)
    assert asked.headers["location"].startswith(f"rules-preview-{preview.preview_id}")
    with create_session() as session:
        runs = session.query(DagRun).filter(DagRun.dag_id == "preview_rules")
        run = runs.order_by(DagRun.id.desc()).first()
        assert (run.conf, run.triggering_user_name) == ({"preview": preview.preview_id}, "op")
    assert client.get(f"/recommender/rules-preview-{preview.preview_id}").status_code == 200
    assert changes.rules(connections) == []


@pytest.mark.parametrize(
    "path", ["/recommender/models/v7", "/recommender/runbook?from=a%20mail", "/recommender/customer"]
)
def test_somebody_who_is_not_logged_in_is_led_to_airflows_login_and_back(visit, path):
    from urllib.parse import parse_qs, quote, urlsplit

    client = visit()
    led = client.get(path)
    assert led.status_code == 303
    assert led.headers["location"] == f"/recommender/login?next={quote(path, safe='')}"
    login = client.get(led.headers["location"])
    assert login.status_code == 200
    address = login.text.partition('id="log-in" href="')[2].partition('"')[0]
    led = client.get(address)
    assert led.status_code == 307
    assert urlsplit(led.headers["location"]).path == "/auth/login"
    assert parse_qs(urlsplit(led.headers["location"]).query) == {"next": [path]}


def test_after_the_login_a_form_leads_to_the_page_that_it_stands_under(visit):
    client = visit()
    for path, page in (("rules-save", "rules"), ("products-why", "products"), ("customer", "customer")):
        led = client.post(f"/recommender/{path}", data={"number": "14646"})
        assert led.headers["location"] == f"/recommender/login?next=%2Frecommender%2F{page}"


@pytest.mark.parametrize(
    "next_", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", ""]
)
def test_the_login_leads_to_no_other_site(visit, next_):
    page = visit().get("/recommender/login", params={"next": next_})
    assert 'href="/api/v2/auth/login?next=%2Frecommender%2F"' in page.text
    assert "evil" not in page.text


def test_a_token_that_airflow_does_not_know_leads_to_the_login(visit):
    client = visit()
    client.cookies.set("_token", "of.another.installation")
    assert client.get("/recommender/").headers["location"].startswith("/recommender/login?")
    assert client.get("/recommender/", headers={"accept": "*/*"}).status_code in (401, 403)


def test_answers_in_airflow_are_protected_and_name_no_folder(visit, connections):
    client = visit("admin")
    for path in (
        "/",
        "/static/page.css",
        "/none",
        "/models/v99",
        "/data-docs/invoices/batch-000099.html",
        "/models/vx",
    ):
        answer = client.get(f"/recommender{path}")
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"], path
        if answer.status_code >= 400:
            assert "<h1>" in answer.text
            assert str(connections.home) not in answer.text
            assert connections.artifacts not in answer.text
    assert visit("admin", {}).get("/recommender/data-docs/invoices/batch-000099.html").json() == {
        "detail": "Batch 99 has no page. A page is written when a batch is checked."
    }


def test_the_page_of_a_batch_leads_back_to_the_overview(visit, connections):
    folder = Path(connections.artifacts.removeprefix("file://")) / "data_docs" / "invoices"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "batch-000001.html").write_text("<html><body><main id='main'>Batch 1</main></body></html>")
    page = visit("viewer").get("/recommender/data-docs/invoices/batch-000001.html")
    assert '<a class="brand" href="../../">' in page.text
    assert '<a href="../../" aria-current="page">Overview</a>' in page.text
    assert "Batch 1" in page.text


def test_from_an_alerts_link_through_the_login_to_the_section_of_the_runbook(airflow, connections, browser):
    from web_server import serving

    with serving(airflow) as address:
        page = browser.new_page()
        page.goto(f"{address}/recommender/runbook#redis-does-not-answer")
        log_in(page, "viewer")
        page.wait_for_url("**/recommender/runbook#redis-does-not-answer")
        assert page.locator("#redis-does-not-answer").is_visible()
        page.goto(f"{address}/recommender/")
        assert "You may not look customers up" in page.inner_text("section:has(#customer)")
        page.goto(f"{address}/recommender/models/v99")
        assert page.inner_text("h1") == "Not found"
        page.get_by_role("link", name="Back to the start").click()
        page.wait_for_url("**/recommender/")
        page.close()


@pytest.fixture(scope="module")
def known(dags):
    """Airflow knows the DAGs, as after `up`: each is paused."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(DagBag(str(Path(__file__).parents[2] / "dags")), "dags-folder", None)


@pytest.fixture
def press(visit, known):
    """Presses a button of the page `now` as a person with a role, with the token of the form or another one."""
    pages = {}

    def send(role, path, headers=None, **fields):
        client = pages.setdefault(role, visit(role))
        token = re.search(r'name="token" value="([^"]*)"', client.get("/recommender/now").text)
        fields = {"token": token[1] if token else ""} | fields
        return client.post(f"/recommender/{path}", data=fields, headers={"accept": "text/html", **(headers or {})})

    return send


def audit():
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [(log.event, log.dag_id, log.owner) for log in session.scalars(select(Log).order_by(Log.id))]


def said(page):
    return html.unescape(" ".join(re.sub("<[^>]*>", " ", page.text).split()))


def test_a_fresh_shop_reads_what_to_switch_on_in_three_steps_and_what_it_means_that_it_is_off(visit, known):
    page = visit("admin").get("/recommender/now")
    assert len(re.findall('<li class="next"><strong>', page.text)) == 3
    assert "ingest_invoices is off: files in the inbox are not loaded." in said(page)
    assert "measure_uplift off Nobody measures uplift" in said(page)
    assert "Nothing runs. Nothing is due." in said(page)
    assert "measure_uplift : Nobody measures uplift" in said(visit("viewer").get("/recommender/"))


def test_a_viewer_sees_the_page_and_no_button_and_may_press_none(visit, press):
    page = visit("viewer").get("/recommender/now")
    assert (page.status_code, "<form" in page.text) == (200, False)
    before = audit()
    for path, fields in (("now-start", {}), ("now-switch", {"to": "on"})):
        refused = press("viewer", path, dag="refresh_lists", **fields)
        assert (refused.status_code, "You may not" in refused.text) == (403, True)
    assert audit() == before


def test_one_button_switches_on_what_belongs_together_or_nothing(visit, press):
    before = len(audit())
    assert press("admin", "now-switch", dag=["ingest_invoices", "no_such_dag"], to="on").status_code == 404
    done = press("admin", "now-switch", dag=["ingest_invoices", "refresh_lists"], to="on")
    page = visit("admin").get(f"/recommender/{done.headers['location']}")
    assert "ingest_invoices and refresh_lists are switched on." in said(page)
    assert "refresh_lists on when invoices have changed" in said(page)
    assert len(re.findall('<li class="(?:next|done)"><strong>', page.text)) == 3
    assert "Next: ingest_invoices , 20" in said(page)
    press("admin", "now-switch", dag=["ingest_invoices", "refresh_lists"], to="off")
    assert [event for event, *_ in audit()[before:]] == ["unpause", "unpause", "pause", "pause"]


@pytest.mark.parametrize("role", ["user", "admin"])
def test_switched_on_started_once_and_switched_off_each_in_the_audit_log(visit, press, role):
    before = len(audit())
    refused = press(role, "now-start", dag="find_bundles")
    assert (refused.status_code, "started in Airflow" in refused.text) == (422, True)
    refused = press(role, "now-start", dag="watch_freshness")
    assert (refused.status_code, "Switch it on first." in refused.text) == (409, True)
    done = press(role, "now-switch", dag="watch_freshness", to="on")
    assert (done.status_code, done.headers["location"]) == (303, "now?did=switched-on&dag=watch_freshness")
    page = visit(role).get("/recommender/now?did=switched-on&dag=watch_freshness")
    assert "watch_freshness is switched on." in said(page)
    assert "watch_freshness on" in said(page)
    assert press(role, "now-start", dag="watch_freshness").status_code == 303
    page = visit(role).get("/recommender/now")
    assert re.search(rf"waits since 20\d\d-\d\d-\d\d \d\d:\d\d UTC , by {role}", said(page))
    again = press(role, "now-start", dag="watch_freshness")
    assert (again.status_code, "Nothing was started." in again.text) == (409, True)
    assert press(role, "now-switch", dag="watch_freshness", to="off").status_code == 303
    assert audit()[before:] == [
        ("unpause", "watch_freshness", role),
        ("trigger_dag_run", "watch_freshness", role),
        ("pause", "watch_freshness", role),
    ]
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session

    with create_session() as session:
        session.query(DagRun).filter(DagRun.dag_id == "watch_freshness").delete()


@pytest.mark.parametrize(
    ("headers", "fields", "status"),
    [
        ({}, {"token": ""}, 403),
        ({}, {"token": "1795802517.cd7ee29fadeab66af562931e82"}, 403),
        ({"sec-fetch-site": "cross-site"}, {}, 403),
        ({"origin": "http://elsewhere.example"}, {}, 403),
        ({}, {"dag": "no_such_dag"}, 404),
        ({}, {"to": "sideways"}, 422),
    ],
)
def test_a_form_that_is_not_ours_changes_nothing(press, headers, fields, status):
    before = audit()
    refused = press("admin", "now-switch", headers=headers, **{"dag": "refresh_lists", "to": "on"} | fields)
    assert refused.status_code == status
    assert "<h1>" in refused.text
    assert audit() == before


def test_the_token_of_somebody_else_is_refused(visit, press):
    theirs = re.search(r'name="token" value="([^"]*)"', visit("op").get("/recommender/now").text)[1]
    refused = press("admin", "now-switch", dag="refresh_lists", to="on", token=theirs)
    assert (refused.status_code, "was not made for you" in refused.text) == (403, True)


def test_without_airflows_database_the_page_says_so(visit, known, monkeypatch):
    from sqlalchemy.exc import OperationalError

    from ncf_pipeline.airflow import work

    def away():
        raise OperationalError("select", {}, Exception("refused"))

    client = visit("admin")
    monkeypatch.setattr(work, "create_session", away)
    page = client.get("/recommender/now")
    assert page.status_code == 503
    assert "Airflow cannot say what runs. Airflow's database does not answer" in said(page)
    assert client.get("/recommender/").status_code == 200


@pytest.fixture
def broken_lines(connections, tmp_path):
    """Two lines wait: 1 and 2."""
    from ncf_pipeline.ingest.stages import ingest

    lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    lines += [f"536365,8512{n}A,HOLDER,{n},2010-12-01 08:26:00,2.55,17850,France" for n in (0, 0, 6)]
    (tmp_path / "day.csv").write_text("\n".join(lines))
    ingest(connections, [str(tmp_path / "day.csv")])


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("user", False), ("op", True), ("admin", True)])
def test_only_op_and_admin_see_and_settle_lines_in_quarantine(visit, connections, broken_lines, role, may):
    from ncf_pipeline.ingest import requests

    client = visit(role)
    page = client.get("/recommender/quarantine?rule=quantity_is_not_zero")
    assert page.status_code == 200
    assert "quantity_is_not_zero" in page.text
    assert ("17850" in page.text, "quarantine-line-1" in page.text) == (False, may)
    line = client.get("/recommender/quarantine-line-1")
    assert (line.status_code, "17850" in line.text) == ((200, True) if may else (403, False))
    token = re.search(r'name="token" value="([^"]*)"', line.text)
    form = {"line": "1", "reason": "a test order", "token": token[1] if token else ""}
    done = client.post("/recommender/quarantine-discard", data=form)
    assert done.status_code == (303 if may else 403)
    assert [record.actor for record in requests.history(connections)] == ([role] if may else [])
    assert ("the permission to edit Recommender quarantine" in done.text) is not may


def test_correct_a_line_in_airflow_in_a_browser_and_a_run_releases_it(
    airflow, visit, dags, known, connections, broken_lines, browser, monkeypatch
):
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from web_server import serving

    from ncf_pipeline.ingest import requests
    from ncf_pipeline.ingest.corrections import discard_lines, quarantined_lines

    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", "redis://127.0.0.1:1/0")
    with serving(airflow) as address:
        page = browser.new_page()
        page.goto(f"{address}/recommender/quarantine")
        log_in(page, "op")
        page.wait_for_url("**/recommender/quarantine")
        page.get_by_role("link", name="Line 1").click()
        page.fill("#quantity", "4")
        page.fill("#release-why", "a typing mistake")
        page.get_by_role("button", name="Check it again and release it").click()
        page.wait_for_url("**/recommender/quarantine-request-1*")
        assert "It waits for a worker" in page.inner_text("[role=status]")
        assert "correct_quarantine is switched off" in page.inner_text("[role=status]")
        with create_session() as session:
            runs = session.query(DagRun).filter(DagRun.dag_id == "correct_quarantine").order_by(DagRun.id.desc())
            run = runs.first()
            assert (run.conf, run.triggering_user_name) == ({"request": 1}, "op")
            session.delete(run)
        given = {"request": 1, "action": "release", "lines": [], "set": [], "note": None}
        assert str(dags["correct_quarantine"].test(run_conf=given).state) == "success"
        page.goto(f"{address}/recommender/quarantine-request-1")
        assert "Released. It is loaded with batch 2." in page.inner_text("[role=status]")
        (record,) = requests.history(connections)
        assert (record.actor, record.reason, record.state) == ("op", "a typing mistake", "done")

        page.goto(f"{address}/recommender/quarantine-line-2")
        discard_lines(connections, [2], note="a test order", actor="ben")
        page.fill("#quantity", "4")
        page.get_by_role("button", name="Check it again and release it").click()
        page.wait_for_selector("[role=alert]")
        assert "Line 2 was discarded by ben" in page.inner_text("[role=alert]")
        assert quarantined_lines(connections) == []
        page.close()


def test_an_auth_manager_that_tells_views_apart_grants_lines_in_quarantine_by_name(monkeypatch):
    from ncf_pipeline.airflow import pages

    class ByName:
        """As FAB's."""

        def is_authorized_custom_view(self, *, method, resource_name, user):
            return (user, resource_name) == ("clerk", "Recommender quarantine") and method == "GET"

    monkeypatch.setattr(pages, "get_auth_manager", ByName)
    assert pages.sees_lines("clerk")
    assert not pages.settles_lines("clerk")
    assert not pages.sees_lines("on-call")


@pytest.fixture
def two_versions(connections):
    """v1 has served, and v2 serves; both with files that nobody reads here."""
    from datetime import UTC, datetime

    from ncf_pipeline.evaluation.gate import GateDecision
    from ncf_pipeline.registry import versions as registry
    from ncf_pipeline.registry.versions import Publication
    from ncf_pipeline.training.decision import thresholds

    at = datetime(2011, 12, 1)
    for number in (1, 2, 3):
        version = registry.open_version(
            connections, run_key=f"run {number}", snapshot_id=f"s{number:06d}", cutoff=at, holdout_start=at,
            config={"seed": number}, requested_by="test",
        )  # fmt: skip
        decision = GateDecision(True, ("because",), thresholds(connections), ())
        registry.record_decision(connections, version, decision, details={})
        registry.record_artifact(connections, version, f"memory://v{version}")
        if number < 3:
            assert registry.promote(connections, version, actor="test", reason="because") == []
            entry = Publication(number, version, at, f"memory://p{number}", 1, 1, datetime.now(UTC))
            registry.open_publication(connections, entry)
            registry.record_publication(connections, entry)


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("user", False), ("op", True), ("admin", True)])
def test_only_op_and_admin_decide_which_version_serves(visit, known, connections, two_versions, role, may):
    client = visit(role)
    page = client.get("/recommender/versions?a=1&b=2")
    assert (page.status_code, "versions-serve" in page.text) == (200, may)
    token = re.search(r'name="token" value="([^"]*)"', page.text)
    form = {"version": "3", "may_serve": "yes", "reason": "x", "token": token[1] if token else ""}
    answer = client.post("/recommender/versions-answer", data=form)
    assert answer.status_code == (422 if may else 403)
    assert ("No run waits for an answer about v3." in said(answer)) is may


def test_roll_back_in_airflow_in_a_browser_with_redis_away(
    airflow, known, connections, two_versions, browser, monkeypatch
):
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from web_server import serving

    from ncf_pipeline.registry import versions as registry

    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", "redis://127.0.0.1:1/0")
    with serving(airflow) as address:
        page = browser.new_page()
        page.goto(f"{address}/recommender/versions?a=1&b=2")
        log_in(page, "op")
        page.wait_for_url("**/recommender/versions?a=1&b=2")
        assert "seed" in page.inner_text("section:has(#facts)")
        page.fill("#serve-0", "too many umbrellas")
        page.get_by_role("button", name="Roll back to v1").click()
        page.wait_for_url("**/recommender/versions?a=1&b=2&did=paused")
        assert "rollback_model is switched off" in page.inner_text("[role=status]")
        with create_session() as session:
            run = session.query(DagRun).filter(DagRun.dag_id == "rollback_model").order_by(DagRun.id.desc()).first()
            conf = {"version": 1, "reason": "too many umbrellas", "instead_of": 2}
            assert (run.conf, run.triggering_user_name) == (conf, "op")
            session.delete(run)

        registry.restore(connections, 1, actor="ben", reason="faster")
        page.goto(f"{address}/recommender/versions?a=2&b=1")
        page.evaluate("() => { document.querySelector('[name=instead_of]').value = '2' }")
        page.fill("#serve-0", "stale")
        page.get_by_role("button", name="Serve v2").click()
        page.wait_for_selector("[role=alert]")
        assert "v1 serves by now, and v2 did when you decided." in page.inner_text("[role=alert]")
        page.close()


def test_the_question_of_a_run_is_answered_from_the_page_once(visit, known, connections, two_versions):
    from airflow.models import DagRun, TaskInstance
    from airflow.models.hitl import HITLDetail
    from airflow.utils.session import create_session

    client = visit("op")
    started = client.post("/api/v2/dags/retrain_recommender/dagRuns", json={"logical_date": None, "conf": {}})
    assert started.status_code == 200, started.text
    run_id = started.json()["dag_run_id"]
    try:
        with create_session() as session:
            of_run = (TaskInstance.run_id == run_id, TaskInstance.task_id == "approve")
            task = session.query(TaskInstance).filter(*of_run).one()
            session.add(HITLDetail(ti_id=task.id, options=["Approve", "Reject"], subject="May v3 serve?", params={}))
        page = client.get("/recommender/versions?a=3&b=2")
        token = re.search(r'name="token" value="([^"]*)"', page.text)[1]
        form = {"version": "3", "may_serve": "yes", "reason": "good lists", "token": token}
        done = client.post("/recommender/versions-answer", data=form)
        assert done.headers["location"] == "versions?a=3&did=approved", said(done)
        with create_session() as session:
            detail = session.query(HITLDetail).filter(HITLDetail.subject == "May v3 serve?").one()
            assert (detail.chosen_options, detail.params_input) == (["Approve"], {"reason": "good lists"})
            assert detail.responded_by["name"] == "op"
        again = client.post("/recommender/versions-answer", data=form)
        assert (again.status_code, "No run waits for an answer about v3." in said(again)) == (422, True)
    finally:
        with create_session() as session:
            session.query(DagRun).filter(DagRun.run_id == run_id).delete()


@pytest.mark.parametrize(("role", "may"), [("viewer", False), ("user", False), ("op", True), ("admin", True)])
def test_only_op_and_admin_start_and_stop_experiments_and_lists_are_refreshed(
    visit, known, connections, two_versions, role, may
):
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    from ncf_pipeline.experiments import records
    from ncf_pipeline.storage.database import transaction

    with transaction(connections) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.invoice_line values ('1', 1, '85123A', 'A', 1, '2011-12-01', 1, '14600', 'France', 1)"
        )
    client = visit(role)
    page = client.get("/recommender/experiments")
    assert (page.status_code, "experiments-start" in page.text) == (200, may)
    form = dict(re.findall(r'name="(token|seen|share|weeks|effect)" value="([^"]*)"', page.text))
    started = client.post("/recommender/experiments-start", data=form | {"name": "spring", "hypothesis": "More."})
    assert started.status_code == (303 if may else 403)
    assert [entry.started_by for entry in records.experiments(connections)] == ([role] if may else [])
    stopped = client.post("/recommender/experiments-stop", data=form | {"name": "spring", "reason": "enough"})
    assert stopped.status_code == (303 if may else 403)
    if may:
        assert started.headers["location"] == "experiment-spring?did=started&refresh=paused"
        assert "spring has ended: everybody sees" in said(client.get(f"/recommender/{stopped.headers['location']}"))
        with create_session() as session:
            runs = session.query(DagRun).filter(DagRun.dag_id == "refresh_lists", DagRun.triggering_user_name == role)
            assert runs.count() == 2
            runs.delete()


def test_an_auth_manager_that_tells_views_apart_grants_experiments_by_name(monkeypatch):
    from ncf_pipeline.airflow import pages

    class ByName:
        def is_authorized_custom_view(self, *, method, resource_name, user):
            return (user, method, resource_name) == ("analyst", "PUT", "Recommender experiments")

    monkeypatch.setattr(pages, "get_auth_manager", ByName)
    assert pages.runs_experiments("analyst")
    assert not pages.runs_experiments("merchandiser")


@pytest.fixture
def by_view(monkeypatch):
    """An auth manager that tells views apart, as FAB's: the merchandiser may change rules, and look nobody up."""
    from ncf_pipeline.airflow import pages

    class ByView:
        def __init__(self, manager):
            self._manager = manager

        def __getattr__(self, name):
            return getattr(self._manager, name)

        def is_authorized_custom_view(self, *, method, resource_name, user):
            may_change = resource_name == "Recommender rules" and user.get_name() == "merchandiser"
            return may_change or user.get_name() == "admin"

    manager = pages.get_auth_manager
    monkeypatch.setattr(pages, "get_auth_manager", lambda: ByView(manager()))


@pytest.fixture
def listed(connections):
    """Lists of 17850 in Redis."""
    import pandas as pd

    from ncf_pipeline.columns import Lists
    from ncf_pipeline.serving import publication

    rows = [("customer", "17850", name, ["85126A"]) for name in ("for_you", "discover", "buy_again")]
    rows += [("product", "85126A", name, []) for name in ("bought_together", "similar")]
    rows += [("fallback", "*", name, ["85126A"]) for name in ("for_you", "new_arrivals")]
    meta = {"model_version": "v2", "cutoff": "2011-12-01T00:00:00", "top_n": 10}
    publication.publish(connections, [pd.DataFrame(rows, columns=list(Lists.ALL))], number=2, meta=meta)


@pytest.mark.parametrize("who", ["admin", "merchandiser", "viewer"])
def test_everybody_does_in_a_browser_what_they_may_and_is_refused_the_rest(
    airflow, known, by_view, connections, broken_lines, two_versions, listed, browser, who
):
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from web_server import serving

    from ncf_pipeline.experiments import records
    from ncf_pipeline.serving.rules import changes, previews

    looks_up = settles = decides = experiments = who == "admin"
    changes_rules = switches = who != "viewer"
    with serving(airflow) as address:
        page = browser.new_context().new_page()

        def refused(path, **fields):
            """Sends what no form of theirs sends."""
            answer = page.request.post(f"{root}{path}", form=fields, headers=PERSON)
            return answer.status == 403 and "<h1>You may not do this</h1>" in answer.text()

        root = f"{address}/recommender/"
        page.goto(f"{root}products")
        log_in(page, who)
        page.wait_for_url("**/recommender/products")
        page.fill("#find", "holdre")
        page.keyboard.press("Enter")
        page.get_by_role("link", name="Holder").click()
        page.wait_for_url("**/recommender/products?product=85126A")
        assert page.inner_text("h1") == "Holder"
        assert page.locator("form[action=products-why]").count() == looks_up
        if looks_up:
            page.fill("#number", "17850")
            page.get_by_role("button", name="Why?").click()
            page.wait_for_url("**/recommender/products-why")
            assert "It is shown: number 1." in page.inner_text(".reasons")
            page.fill("#number", " ")
            page.evaluate("() => document.querySelector('[action=products-why]').submit()")
            assert "printable characters" in page.inner_text("[role=alert]")
        else:
            assert "You may not look customers up" in page.inner_text("section:has(#why)")
            assert refused("products-why", number="17850", product="85126A")
        page.goto(f"{root}products?product=NONE")
        assert "The shop has no product NONE." in page.inner_text("[role=alert]")

        page.goto(f"{root}customer")
        if looks_up:
            page.fill("#number", "17850")
            page.keyboard.press("Enter")
            page.wait_for_selector(".shelf")
            assert page.inner_text("h1").split() == ["Customer", "17850"]
            assert page.locator(".shelf .card").count() == 3
        else:
            assert "You may not look customers up" in page.inner_text("main")
            assert refused("customer", number="17850")

        page.goto(f"{root}quarantine?rule=quantity_is_not_zero")
        if settles:
            page.get_by_role("link", name="Line 1").click()
            page.get_by_role("button", name="Discard it").click()
            assert page.locator("#discard-why:invalid").count() == 1  # the browser asks for the reason
            page.fill("#discard-why", "a test order")
            page.keyboard.press("Enter")
            page.wait_for_url("**/recommender/quarantine-request-1")
            assert "Discarded." in page.inner_text("[role=status]")
        else:
            assert "You may see how many lines wait, and not the lines" in page.inner_text("main")
            page.goto(f"{root}quarantine-line-1")
            assert page.inner_text("h1") == "You may not do this"
            assert refused("quarantine-discard", line="1", reason="a test order")

        page.goto(f"{root}versions?a=3&b=2")
        if decides:
            page.fill("#answer-0", "good lists")
            page.get_by_role("button", name="Approve v3").click()
            assert "No run waits for an answer about v3." in page.inner_text("[role=alert]")
        else:
            assert "You may look, and not decide." in page.inner_text("section:has(#decide)")
            assert refused("versions-answer", version="3", may_serve="yes", reason="good lists")
            assert refused("versions-serve", version="1", instead_of="2", reason="umbrellas")

        page.goto(f"{root}rules?product=85126A")
        if changes_rules:
            page.get_by_text("Leave it out").first.click()
            page.get_by_role("button", name="See first what it changes").first.click()
            page.wait_for_url("**/recommender/rules-preview-1*")
            assert "It waits for a worker of Airflow." in page.inner_text("[role=status]")
            page.get_by_role("button", name="Throw away").click()
            page.get_by_text("No rule was changed.").wait_for()
            page.goto(f"{root}rules?product=85126A")
            page.get_by_text("Leave it out").first.click()
            page.get_by_role("button", name="Leave it out").click()
            page.wait_for_url("**/recommender/rules?product=85126A&saved=*")
        else:
            assert "You may look, and not change anything." in page.inner_text("main")
            assert refused("rules-save", rule="hidden", stock_code="85126A")
            assert refused("rules-save", rule="hidden", stock_code="85126A", then="preview")
            assert previews.open_previews(connections) == []
        assert [change.actor for change in changes.history(connections)] == ([who] if changes_rules else [])

        page.goto(f"{root}experiments")
        if experiments:
            page.locator("#start button[aria-disabled=false]").wait_for()
            page.fill("#name", "spring")
            page.fill("#hypothesis", "They sell more.")
            page.get_by_role("button", name="Start what is planned above").click()
            page.wait_for_url("**/recommender/experiment-spring?did=started*")
            page.fill("#reason", "enough")
            page.get_by_role("button", name="Stop spring").click()
            page.wait_for_url("**/recommender/experiment-spring?did=stopped*")
        else:
            assert "You may look and plan, and not start." in page.inner_text("section:has(#starting)")
            assert refused("experiments-start", share=5, weeks=12, effect=5, name="spring", hypothesis="More.")
        assert [entry.ended_by for entry in records.experiments(connections)] == ([who] if experiments else [])

        page.goto(f"{root}now")
        if switches:
            for does, done in (("on", "on"), ("off", "off. Nobody is told if the lists are old or gone")):
                page.locator("#watch_freshness").get_by_role("button", name=f"Switch {does}").click()
                page.wait_for_url(f"**/recommender/now?did=switched-{does}*")
                assert f"watch_freshness is switched {done}." in page.inner_text("[role=status]")
        else:
            assert page.locator("form").count() == 0
            assert refused("now-switch", dag="watch_freshness", to="on")

        page.goto(f"{root}trends")
        page.get_by_role("link", name="The numbers of Lines loaded a day").click()
        assert page.get_by_role("link", name="batch 1", exact=True).count() == 1
        page.goto(f"{root}trends-none")
        assert "There is no trend none." in page.inner_text("main")
        page.context.close()
    with create_session() as session:
        session.query(DagRun).filter(DagRun.triggering_user_name == who).delete()


def test_trends_lead_to_the_run_that_loaded_and_to_the_one_that_published(visit, dags, known, connections):
    from airflow.models import DagRun
    from airflow.utils.session import create_session

    connections.inbox_path.mkdir(parents=True, exist_ok=True)
    lines = ["InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"]
    lines += [f"5363{n},85{n}A,HOLDER,6,2010-12-{n} 08:26:00,2.55,178{n},France" for n in range(10, 30)]
    (connections.inbox_path / "days.csv").write_text("\n".join(lines))
    runs = {trend: dags[dag_id].test() for trend, dag_id in (("loaded", "ingest_invoices"), ("age", "refresh_lists"))}
    assert {str(run.state) for run in runs.values()} == {"success"}
    client = visit("viewer")
    for trend, run in runs.items():
        link = f'/dags/{run.dag_id}/runs/{quote(run.run_id, safe="")}" target="_top">its run'
        assert link in client.get(f"/recommender/trends-{trend}").text
        assert f",{run.run_id}" in client.get(f"/recommender/trends-{trend}.csv").text
    assert f"/dags/refresh_lists/runs/{quote(runs['age'].run_id, safe='')}" in client.get("/recommender/trends").text
    with create_session() as session:  # Airflow removes old runs, and what they returned
        session.query(DagRun).filter(DagRun.run_id.in_([run.run_id for run in runs.values()])).delete()
    for trend, run in runs.items():
        page = client.get(f"/recommender/trends-{trend}")
        # Runs of other tests, whose databases are gone, may have returned the same number.
        assert (page.status_code, quote(run.run_id, safe="") in page.text) == (200, False)


def test_nobody_sees_any_of_them_and_comes_back_to_each_after_the_login(visit):
    client = visit()
    for path in (
        "products?product=85126A", "customer", "quarantine", "quarantine-line-1", "versions?a=1&b=2", "rules",
        "rules-preview-1", "bundles", "experiments", "experiment-spring", "now", "trends", "trends-precision",
    ):  # fmt: skip
        led = client.get(f"/recommender/{path}")
        assert led.status_code == 303
        assert led.headers["location"] == f"/recommender/login?{urlencode({'next': f'/recommender/{path}'})}"


class Hand:
    """A person at a browser: what they click and type is counted."""

    def __init__(self, page):
        self.page, self.clicks, self.keys = page, 0, 0

    def click(self, found, **position):
        self.clicks += 1
        found.click(**position)

    def choose(self, found, option):
        """Opens a choice and clicks an option."""
        self.clicks += 2
        found.select_option(option)

    def type(self, text):
        self.keys += len(text)
        self.page.keyboard.type(text)

    def press(self, *keys):
        self.keys += len(keys)
        for key in keys:
            self.page.keyboard.press(key)

    def __call__(self, role, name):
        return self.page.get_by_role(role, name=name, exact=True)


@pytest.fixture
def sold(connections, two_versions, listed, tmp_path):
    """85123A is sold in EIRE, where one of two customers is shown it."""
    import pandas as pd

    from ncf_pipeline.columns import Lists
    from ncf_pipeline.storage.database import transaction

    rows = [("customer", who, "for_you", codes) for who, codes in (("14911", ["85123A"]), ("14156", ["22423"]))]
    pd.DataFrame(rows, columns=list(Lists.ALL)).to_parquet(tmp_path / "lists.parquet")
    with transaction(connections) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.product values ('85123A', 'WHITE HOLDER', now()), ('22423', 'CAKESTAND', now());"
            "insert into retail.invoice_line values"
            " ('1', 1, '85123A', 'WHITE HOLDER', 1, '2011-11-01', 2.55, '14911', 'EIRE', 1),"
            " ('2', 1, '22423', 'CAKESTAND', 1, '2011-11-02', 12.75, '14156', 'EIRE', 1)"
        )
        cursor.execute("update ml.publication set url = %s where number = 2", ((tmp_path / "lists.parquet").as_uri(),))


def hide_in_a_country(hand, dags):
    friday = date.today() + timedelta(days=(4 - date.today().weekday()) % 7 or 7)
    hand.click(hand("link", "Rules"))
    hand.click(hand("textbox", "Product, by code or name"))
    hand.type("85123A")
    hand.press("Enter")
    hand.click(hand.page.get_by_text("Hide it at once", exact=True).first)
    hand.choose(hand.page.locator("#hide-country"), "EIRE")
    hand.click(hand.page.locator("#hide-until"), position={"x": 12, "y": 12})
    hand.type(f"{friday:%m%d%Y}")
    hand.press("Enter")
    said = hand.page.locator("[role=status]").inner_text()
    assert f"from customers of EIRE until {friday}" in said
    assert "1 of 2 customers in EIRE were shown it in for_you" in said


def find_out_why(hand, dags):
    hand.click(hand("link", "Products"))
    hand.click(hand("textbox", "Product, by code or name"))
    hand.type("85123A")
    hand.press("Enter")
    hand.click(hand.page.locator("#number"))
    hand.type("14911")
    hand.press("Enter")
    assert "They are in EIRE, and it is hidden there at once until" in hand.page.locator(".reasons").inner_text()


def correct_a_cell(hand, dags):
    hand.click(hand("link", "Quarantine"))
    hand.click(hand("link", "Line 1"))
    hand.click(hand.page.locator("#quantity"))
    hand.press("Control+a")
    hand.type("4")
    hand.press("Enter")
    hand.page.get_by_text("It waits for a worker").wait_for()
    given = {"request": 1, "action": "release", "lines": [], "set": [], "note": None}
    assert str(dags["correct_quarantine"].test(run_conf=given).state) == "success"
    hand.page.reload()  # as the page does by itself
    assert "Released." in hand.page.locator("[role=status]").inner_text()


def compare_and_roll_back(hand, dags):
    hand.click(hand("link", "Versions"))
    hand.click(hand("link", "Compare v1 with what serves"))
    assert "seed" in hand.page.locator("section:has(#facts)").inner_text()
    hand.click(hand.page.locator("#serve-0"))
    hand.type("too many umbrellas")
    hand.press("Enter")
    assert "rollback_model is" in hand.page.locator("[role=status]").inner_text()


def start_an_experiment(hand, dags):
    hand.click(hand("link", "Experiments"))
    hand.page.locator("#start button[aria-disabled=false]").wait_for()  # it is planned: until then nothing is started
    hand.click(hand.page.locator("#name"))
    hand.type("spring")
    hand.press("Tab")
    hand.type("They sell more.")
    hand.press("Enter")
    hand.page.wait_for_url("**/experiment-spring?did=started*")
    assert "5.0% of the customers see best sellers" in hand.page.locator("[role=status]").inner_text()


TASKS = {
    hide_in_a_country: "Hide 85123A in EIRE until Friday, and see what that changes",
    find_out_why: "Find out why a customer is not shown a product",
    correct_a_cell: "Correct a cell in quarantine, and release its line",
    compare_and_roll_back: "Compare two versions, and roll back",
    start_an_experiment: "Start an experiment, and see what its share sees",
}


def test_five_tasks_take_no_more_clicks_and_keys_than_the_documentation_says(
    airflow, known, dags, connections, broken_lines, sold, browser
):
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from web_server import serving

    stated = (Path(__file__).parents[2] / "docs" / "merchandising.md").read_text()
    with serving(airflow) as address:
        page = browser.new_context(locale="en-US").new_page()
        page.goto(f"{address}/recommender/")
        log_in(page, "op")
        page.wait_for_url("**/recommender/")
        taken, most = {}, {}
        for act, task in TASKS.items():
            hand = Hand(page)
            page.get_by_role("link", name="Overview", exact=True).click()
            page.wait_for_url("**/recommender/")
            act(hand, dags)
            taken[task] = (hand.clicks, hand.keys)
            (numbers,) = re.findall(rf"^\| {re.escape(task)} \| (\d+) \| (\d+) \|", stated, re.MULTILINE)
            most[task] = (int(numbers[0]), int(numbers[1]))
        page.context.close()
    with create_session() as session:
        session.query(DagRun).filter(DagRun.triggering_user_name == "op").delete()
    assert {task: (clicks <= most[task][0], keys <= most[task][1]) for task, (clicks, keys) in taken.items()} == (
        dict.fromkeys(TASKS.values(), (True, True))
    ), taken
