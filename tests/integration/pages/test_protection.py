"""What every answer of both sites has, pages, errors and style sheets alike, and what no answer says."""

import re
from contextlib import ExitStack
from datetime import datetime

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from ncf_pipeline.errors import (
    ArtifactError,
    DatabaseUnavailableError,
    ListStoreUnavailableError,
    StoreUnavailableError,
    UncheckedError,
)
from ncf_pipeline.experiments import records
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.pages import purchases
from ncf_pipeline.pages.demo_shop import app as demo_shop
from ncf_pipeline.pages.recommender import app as recommender

PERSON = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PROGRAM = {"accept": "application/json"}


@pytest.fixture
def visit():
    """Opens a site as a browser on the same machine does; an error of the server is an answer."""
    with ExitStack() as opened:

        def at(app, headers=PERSON, **options):
            options = {"base_url": "http://localhost:8090", "follow_redirects": False} | options
            return opened.enter_context(TestClient(app, headers=headers, raise_server_exceptions=False, **options))

        yield at


@pytest.fixture
def shop(settings):
    return demo_shop.create_app(settings)


@pytest.fixture
def recommends(settings):
    return recommender.create_app(lambda: settings)


def fails():
    raise RuntimeError("/srv/shop/secret")


# A page, a redirect, style, icons, and errors: no page, no file, no such method, no valid value.
OF_THE_SHOP = [
    "/",
    "/go?number=1",
    "/static/shop.css",
    "/none",
    "/static/none.css",
    "/products/NONE",
    "/static/%2e%2e/x",
]
OF_THE_SHOP += [f"/?number={'1' * 300}", f"/customers/{'1' * 300}"]
OF_THE_RECOMMENDER = ["/", "/customer", "/static/page.css", "/static/icon.svg", "/static/theme.js", "/none/of/these"]
OF_THE_RECOMMENDER += ["/static/none.css", "/experiment-none", "/experiment-NONE", "/experiment-none/effect.svg"]


@pytest.mark.parametrize("headers", [PERSON, PROGRAM], ids=["person", "program"])
@pytest.mark.parametrize(
    ("site", "paths", "frames", "expected"),
    [
        ("shop", OF_THE_SHOP, "'none'", {200, 303, 404, 405, 422, 500}),
        ("recommends", OF_THE_RECOMMENDER, "'self'", {200, 404, 405, 422, 500}),
    ],
    ids=["shop", "recommender"],
)
def test_every_answer_is_protected_and_no_answer_names_a_folder(
    request, visit, settings, site, paths, frames, expected, headers
):
    app = request.getfixturevalue(site)
    app.add_api_route("/broken", fails)
    client, statuses = visit(app, headers), set()
    answers = [client.get(path) for path in [*paths, "/broken"]] + [client.post("/"), client.options("/broken")]
    for answer in answers:
        statuses.add(answer.status_code)
        assert answer.headers["x-content-type-options"] == "nosniff", answer.url
        assert answer.headers["referrer-policy"] == "same-origin", answer.url
        policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == "'none'", answer.url
        assert policy["frame-ancestors"] == frames, answer.url
        assert "'unsafe-inline'" not in policy.get("script-src", ""), answer.url
        assert "form-action" in policy
        assert not re.search(r"/srv/|/tmp/|/home|file://|Traceback", answer.text), answer.url
        assert str(settings.home) not in answer.text
        if answer.status_code >= 400:
            assert answer.headers["cache-control"] == "no-store"
            kind = "text/html" if headers is PERSON else "application/json"
            assert answer.headers["content-type"].startswith(kind), answer.url
    assert statuses >= expected


def test_a_person_reads_what_happened_and_a_program_gets_it_as_json(visit, shop):
    shop.add_api_route("/broken", fails)
    client = visit(shop)
    page = client.get("/products/NONE")
    assert (page.status_code, "<h1>Not found</h1>" in page.text) == (404, True)
    assert "There is no product NONE." in page.text
    assert client.get("/products/NONE", headers=PROGRAM).json() == {"detail": "There is no product NONE."}
    page = client.get("/broken")
    assert "<h1>Something failed</h1>" in page.text
    assert "The server&#39;s log says why." in page.text


def test_the_page_of_an_error_finds_its_style_at_any_depth(visit, recommends):
    outside = FastAPI()
    outside.mount("/recommender", recommends)
    client = visit(outside)
    page = client.get("/recommender/none/of/these")
    assert page.status_code == 404
    for address in re.findall(r'<(?:script|link)[^>]*(?:src|href)="([^"]*)"', page.text):
        assert client.get(address).status_code == 200, address
    assert re.findall(r'<a [^>]*href="([^"]*)">Back to the start', page.text) == ["/recommender/"]


@pytest.mark.parametrize(
    ("error", "status", "names"),
    [
        (DatabaseUnavailableError("Postgres at /srv/pg refuses"), 503, "Postgres does not answer"),
        (ListStoreUnavailableError("the server at /srv/r refuses"), 503, "Redis does not answer"),
        (StoreUnavailableError("/srv/shop is away"), 503, "The store of models and reports does not answer"),
        (UncheckedError("no room in /srv"), 503, "This cannot be read now"),
        (ArtifactError("/srv/shop is damaged"), 500, "This cannot be read"),
    ],
)
def test_what_cannot_be_read_names_the_server_and_the_log_says_why(visit, recommends, caplog, error, status, names):
    def away():
        raise error

    recommends.add_api_route("/away", away)
    answer = visit(recommends).get("/away")
    assert answer.status_code == status
    assert "cannot be read" in answer.text
    assert names in answer.text
    assert "/srv" not in answer.text
    assert str(error) in caplog.text


def test_a_figure_that_is_missing_does_not_say_where_it_would_be(visit, recommends, settings, caplog):
    design = Design("spring", "Lists sell.", "holdout", 0.5, "salt", datetime(2011, 12, 9), minimum_effect=0.1)
    entry = records.start(settings, design, by="test")
    records.end(settings, entry.number, by="test", why="nobody looked", stopped_at=datetime(2011, 12, 10))
    answer = visit(recommends, PROGRAM).get("/experiment-spring/effect.svg")
    assert (answer.status_code, answer.json()) == (404, {"detail": "The experiment spring has no such figure."})
    assert experiment_report.folder(settings, "spring") in caplog.text


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "localhost.evil.example", "", "[::2]:8090"])
def test_the_demo_shop_answers_nobody_whose_name_merely_leads_to_this_machine(visit, shop, host):
    client = visit(shop)
    for path in ("/", "/customers/14646", "/static/shop.css", "/none"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 400, path
        assert answer.headers["content-security-policy"].endswith("frame-ancestors 'none'")


@pytest.mark.parametrize("host", ["localhost:8090", "127.0.0.1", "[::1]:8090", "LOCALHOST"])
def test_the_demo_shop_answers_browsers_on_this_machine(visit, shop, host):
    assert visit(shop).get("/", headers={"host": host}).status_code == 200


def test_the_demo_shop_answers_under_the_names_that_it_is_given(visit, settings):
    named = demo_shop.create_app(settings, hosts=[*demo_shop.LOCAL, "shop.example"])
    assert visit(named, base_url="http://shop.example:8090").get("/").status_code == 200


def test_who_may_not_look_customers_up_sees_the_page_without_the_form(visit, settings, monkeypatch):
    app = recommender.create_app(lambda: settings, sees_customers=lambda: False)
    client = visit(app)
    page = client.get("/")
    assert page.status_code == 200
    assert "<form" not in page.text
    assert recommender.CUSTOMERS in page.text
    monkeypatch.setattr(purchases, "customer", None)  # nothing is read
    refused = client.post("/customer", data={"number": "14646"})
    assert refused.status_code == 403
    assert f"It needs the permission to read {recommender.CUSTOMERS}." in refused.text
    assert "14646" not in refused.text
