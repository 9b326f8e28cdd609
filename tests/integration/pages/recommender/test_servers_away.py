"""Every page while a server is away, and every error: a page that says what is missing, and never a password."""

import re

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import SecretStr
from shown_words import words

from ncf_pipeline.pages.recommender.app import create_app

pytestmark = pytest.mark.xdist_group("recommender page")

SENT = {"number": "14646", "product": "23000", "a": "14", "b": "13"}
PERSON = {"accept": "text/html"}
AWAY = {
    "Postgres": {"database_url": SecretStr("postgresql://ncf:the-password@127.0.0.1:1/none")},
    "Redis": {"redis_url": SecretStr("redis://:the-password@127.0.0.1:1/0")},
}


def visit(settings):
    app = create_app(lambda: settings)
    return app, TestClient(app, headers=PERSON, follow_redirects=False, raise_server_exceptions=False)


def filled(path):
    """The address of a route, of the experiment spring or of number 1."""
    return re.sub(r"{(\w+)}", lambda found: "spring" if found[1] == "name" else "1", path)


@pytest.mark.parametrize("server", AWAY)
def test_every_page_works_as_far_as_it_can_and_says_which_server_is_missing(shop, pages_of, server):
    _, with_all = visit(shop)
    app, without = visit(shop.model_copy(update=AWAY[server]))
    for method, path in pages_of(app):
        sent = {"data": SENT} if method == "POST" else {}
        usual, page = (client.request(method, filled(path), **sent) for client in (with_all, without))
        assert page.headers["content-type"].startswith("text/html"), path
        assert "the-password" not in page.text, path
        assert page.status_code in {usual.status_code, 503}, path
        assert f"{server} does not answer" in words(page) or words(page) == words(usual), path


def test_every_error_is_a_page(shop):
    app, client = visit(shop)
    statuses = set()
    for route in app.routes:
        if not isinstance(route, APIRoute):
            continue
        for method in ("GET", "POST"):
            answer = client.request(method, filled(route.path).replace("1", "999999"), data={"unknown": "1"})
            statuses.add(answer.status_code)
            if answer.status_code >= 400:
                assert answer.headers["content-type"].startswith("text/html"), route.path
                assert "<h1>" in answer.text, route.path
    assert statuses >= {200, 403, 404, 405, 422}
