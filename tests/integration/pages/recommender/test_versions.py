"""The page of versions: two side by side, their lists, and the forms that decide which one serves."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import SecretStr
from shown_words import words

from ncf_pipeline.pages.forms import form_token
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.pages.recommender.versions import Deciding
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.storage.database import transaction

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("recommender page")]

KEY = b"a key of the test"
WEEKS, HELD = 14, 4
"""v14 serves; v4 is held."""


@pytest.fixture(scope="module")
def published(history, tmp_path_factory):
    """The lists of v14 and v13 as files; those of v12 are gone."""
    folder = tmp_path_factory.mktemp("lists")
    newest = registry.publications(history)[0]
    for number, version in ((90, 12), (91, 13), (92, 14)):
        path = folder / f"p{number}.parquet"
        registry.open_publication(
            history, entry := replace(newest, number=number, version=version, url=f"file://{path}")
        )
        registry.record_publication(history, entry)
        if version > 12:
            rows = [
                ("customer", "14646", "for_you", ["23000", "23001"][:: 1 if version == 13 else -1]),
                ("product", "23000", "similar", ["23001", "23002"] if version == 13 else ["23002"]),
            ]
            pd.DataFrame(rows, columns=["audience", "key", "list_name", "stock_codes"]).to_parquet(path)


@pytest.fixture
def ask(history, published):
    """Makes a client of the page for `anna`; `started` and `answered` hold what it asked of Airflow."""

    def of(settings=history, *, may_decide=True, may_see=True, start=True, waits=True, who="anna"):
        def begin(request, dag_id, conf):
            if isinstance(start, Exception):
                raise start
            client.started.append((dag_id, conf))
            return start

        def answer(request, version, may_serve, reason):
            client.answered.append((version, may_serve, reason))
            return waits

        access = Deciding(lambda: may_decide, lambda: who, KEY, begin, answer=answer)
        app = FastAPI()
        pages = create_app(lambda: settings, decides_versions=access, sees_customers=lambda: may_see)
        app.mount("/recommender", pages)
        client = TestClient(app, base_url="http://shop.example/recommender/")
        client.headers["accept"] = "text/html"
        client.started, client.answered = [], []
        return client

    return of


def form(**fields):
    return {"token": form_token(KEY, "anna"), **fields}


def test_two_versions_are_side_by_side_in_metrics_thresholds_and_data(ask):
    page = ask().get("versions", params={"a": 14, "b": 13})
    assert page.status_code == 200
    assert len(page.content) < 60_000
    text = words(page)
    assert "Precision@5 0.3360 [0.3210, 0.3510] 0.3340 [0.3190, 0.3490]" in text
    assert "Snapshot s000013 s000012" in text
    assert "State serves has served" in text
    assert "scores of single customers are not kept" in text
    assert "ncf-pipeline rollback" in text
    assert 'aria-current="page">Versions<' in page.text


def test_the_incumbent_of_a_version_is_compared_customer_by_customer(ask):
    text = words(ask().get("versions", params={"a": 14, "b": 10}))
    assert "v14 is ahead of v10 by +0.0080 [-0.0020, +0.0180] in for_you, customer by customer" in text
    assert "are not kept" not in text
    assert text == words(ask().get("versions", params={"a": 14, "b": 10}))


def test_without_a_choice_the_newest_is_compared_and_older_ones_are_paged(ask):
    page = ask().get("versions")
    assert re.findall(r'<option value="(\d+)" selected', page.text) == ["14", "13"]
    assert len(re.findall(r'<li><a href="models/v', page.text)) == WEEKS
    older = ask().get("versions", params={"before": 3})
    assert re.findall(r'<li><a href="models/v(\d+)', older.text) == ["2", "1"]
    assert ask().get("versions", params={"a": 99}).status_code == 404
    assert ask().get("versions", params={"a": "x"}).status_code == 422


def test_lists_of_a_product_and_of_a_customer_are_side_by_side(ask):
    page = words(ask().get("versions", params={"a": 14, "b": 13, "product": "23000"}))
    assert "Spaceboy lunch box 23001 only here" in page
    customer = ask().post("versions-customer", data={"a": "14", "b": "13", "number": "14646"})
    assert "for customer 14646" in words(customer)
    assert customer.text.count("<ol>") == 2
    gone = words(ask().get("versions", params={"a": 14, "b": 12, "product": "23000"}))
    assert "The lists of p000090 are no longer kept." in gone
    never = words(ask().get("versions", params={"a": 14, "b": HELD, "product": "23000"}))
    assert f"v{HELD} never published lists." in never
    refused = ask(may_see=False).post("versions-customer", data={"a": "14", "b": "13", "number": "14646"})
    assert refused.status_code == 403
    assert "14646" not in ask(may_see=False).get("versions").text


def test_a_roll_back_starts_the_dag_with_who_sees_which_version_serve_and_why(ask):
    client = ask()
    page = client.get("versions", params={"a": 13, "b": 14})
    assert "Roll back to v13" in words(page)
    done = client.post("versions-serve", data=form(version="13", instead_of="14", reason="too many  umbrellas"))
    assert "rollback_model is running" in words(done)
    conf = {"version": 13, "reason": "too many umbrellas", "instead_of": 14}
    assert client.started == [("rollback_model", conf)]
    paused = ask(start=False).post("versions-serve", data=form(version="13", instead_of="14", reason="x"))
    assert "rollback_model is switched off" in words(paused)
    refused = HTTPException(403, "You may not start rollback_model.")
    refused = ask(start=refused).post("versions-serve", data=form(version="13", instead_of="14", reason="x"))
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"version": "13", "instead_of": "12"}, 409, "v14 serves by now, and v12 did when you decided."),
        ({"version": "14", "instead_of": "13"}, 409, "v14 serves already."),
        ({"version": str(HELD), "instead_of": "14"}, 422, "v4 never served"),
        ({"version": "13", "instead_of": "14", "reason": " "}, 422, "Say why"),
        ({"version": "99", "instead_of": "14"}, 404, "There is no model version 99"),
    ],
)
def test_a_decision_that_is_stale_or_impossible_is_refused_in_a_sentence(ask, fields, status, says):
    client = ask()
    refused = client.post("versions-serve", data=form(**{"reason": "x"} | fields))
    assert (refused.status_code, says in words(refused)) == (status, True), words(refused)
    assert client.started == []


def test_a_version_without_its_files_says_so_and_cannot_serve(ask, history):
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set pruned_at = '2011-12-01' where version = 13")
    try:
        page = words(ask().get("versions", params={"a": 14, "b": 13}))
        assert "Its files were removed on 1 Dec 2011, so it cannot serve again." in page
        assert "Roll back to v13" not in page
        refused = ask().post("versions-serve", data=form(version="13", instead_of="14", reason="x"))
        assert "The files of v13 were removed on 2011-12-01" in words(refused)
    finally:
        with transaction(history) as connection, connection.cursor() as cursor:
            cursor.execute("update ml.model_version set pruned_at = null where version = 13")


def test_a_candidate_is_approved_or_rejected_where_a_run_asks(ask, history):
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute("update ml.model_version set state = 'candidate' where version = 13")
    try:
        client = ask()
        assert "Approve v13" in words(client.get("versions", params={"a": 13, "b": 14}))
        done = client.post("versions-answer", data=form(version="13", may_serve="yes", reason="good"))
        assert "Approved." in words(done)
        client.post("versions-answer", data=form(version="13", may_serve="no", reason="bad"))
        assert client.answered == [(13, True, "good"), (13, False, "bad")]
        nobody = ask(waits=False).post("versions-answer", data=form(version="13", may_serve="yes", reason="x"))
        assert nobody.status_code == 422
        assert "No run waits for an answer about v13." in words(nobody)
    finally:
        with transaction(history) as connection, connection.cursor() as cursor:
            cursor.execute("update ml.model_version set state = 'retired' where version = 13")
    late = ask().post("versions-answer", data=form(version="13", may_serve="yes", reason="x"))
    assert late.status_code == 409
    assert "v13 does not wait for approval any more. It has served." in words(late)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("versions-serve", {"version": "13", "instead_of": "14", "reason": "x"}),
        ("versions-answer", {"version": "13", "may_serve": "yes", "reason": "x"}),
    ],
)
def test_a_decision_needs_permission_a_token_and_the_own_site(ask, path, fields):
    refused = ask(may_decide=False).post(path, data=form(**fields))
    assert (refused.status_code, "the permission to edit Recommender versions" in words(refused)) == (403, True)
    assert ask().post(path, data=fields).status_code == 403
    assert "was not made for you" in words(ask(who="ben").post(path, data=form(**fields)))
    other = ask().post(path, data=form(**fields), headers={"origin": "https://evil.example"})
    assert "comes from another site" in words(other)
    page = ask(may_decide=False).get("versions")
    assert "versions-serve" not in page.text


def test_with_postgres_away_the_page_says_so_and_redis_does_not_matter(ask, history):
    away = history.model_copy(update={"database_url": SecretStr("postgresql://nobody:secret@127.0.0.1:1/none")})
    answer = ask(away).get("versions")
    assert (answer.status_code, "Postgres does not answer" in words(answer)) == (503, True)
    assert "secret" not in answer.text
    without_redis = history.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert ask(without_redis).get("versions").status_code == 200


def test_a_version_beside_itself_is_said_to_be_the_same(ask):
    text = words(ask().get("versions", params={"a": 14, "b": 14}))
    assert "This is v14 beside itself: choose another version, if there is one." in text
    assert "never scored on the same customers" not in text
