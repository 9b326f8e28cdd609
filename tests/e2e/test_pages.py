"""The pages in Airflow's UI: who sees them, and how somebody who is not logged in gets there."""

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("airflow")

PERSON = {"accept": "text/html,*/*;q=0.8"}
ROLES = ("viewer", "user", "op", "admin")


@pytest.fixture
def app(dags):
    from ncf_pipeline.airflow.pages import app

    return app


@pytest.fixture(scope="module")
def airflow(dags, tmp_path_factory):
    """Airflow's own API server as an application, with a user of each role, whose password is its name."""
    from airflow.api_fastapi.app import create_app, purge_cached_app

    passwords = tmp_path_factory.mktemp("airflow") / "passwords.json"
    passwords.write_text(json.dumps({role: role for role in ROLES}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS", ",".join(f"{role}:{role}" for role in ROLES))
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


def test_every_page_first_requires_a_login(app):
    from fastapi.routing import APIRoute
    from fastapi.testclient import TestClient

    pages = [(method, route.path) for route in app.routes if isinstance(route, APIRoute) for method in route.methods]
    assert len(pages) == 9
    pages.remove(("GET", "/login"))
    with TestClient(app, follow_redirects=False) as stranger:
        for method, template in pages:
            path = template.format(batch_id=1, version=1, name="spring", figure="effect")
            asked = stranger.request(method, path, data={"number": "14646"})
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
    assert ("<h1>Customer 14646</h1>" in looked_up.text) is may_look
    program = client.post("/recommender/customer", data={"number": "14646"}, headers={"accept": "*/*"})
    assert program.status_code == looked_up.status_code
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
        page.wait_for_url("**/auth/login?*")
        page.fill("input[name=username]", "viewer")
        page.fill("input[name=password]", "viewer")
        page.keyboard.press("Enter")
        page.wait_for_url("**/recommender/runbook#redis-does-not-answer")
        assert page.locator("#redis-does-not-answer").is_visible()
        page.goto(f"{address}/recommender/")
        assert "You may not look customers up" in page.inner_text("section:has(#customer)")
        page.goto(f"{address}/recommender/models/v99")
        assert page.inner_text("h1") == "Not found"
        page.get_by_role("link", name="Back to the start").click()
        page.wait_for_url("**/recommender/")
        page.close()
