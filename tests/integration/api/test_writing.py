"""Hiding and dismissing over HTTP: the same stages as the commands, and only with a writer's key."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from web_api import READER, WRITER

from ncf_pipeline.columns import Lists
from ncf_pipeline.events import stages as events
from ncf_pipeline.serving import hiding, publication
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

LIST = "/customers/14646/lists/for_you"


@pytest.fixture
def shop(settings):
    rows = [("customer", "14646", "for_you", ["A", "B", "C"]), ("fallback", "*", "for_you", ["F"])]
    publication.publish(settings, [pd.DataFrame(rows, columns=list(Lists.ALL))], meta={"model_version": "v7"})
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('A', 'HOLDER', now())")
        cursor.execute(
            "insert into retail.invoice_line values ('1', 1, 'A', 'HOLDER', 1, '2011-12-01', 2.55, '14646', 'EIRE', 1)"
        )
    return settings


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/hidden", None),
        ("PUT", "/hidden", {"stock_codes": ["A"]}),
        ("DELETE", "/hidden?stock_code=A", None),
        ("GET", "/dismissals", None),
        ("POST", "/dismissals", {"customer": "14646", "stock_code": "A"}),
        ("DELETE", "/dismissals?customer=14646&stock_code=A", None),
        ("POST", "/events", {"kind": "view", "stock_code": "A", "session": "s"}),
    ],
)
def test_a_reader_may_not_write(shop, asks, method, path, body):
    answer = asks(shop).request(method, path, json=body)
    assert (answer.status_code, answer.json()["detail"]) == (403, "This key may only read. Send a writer's key.")
    assert hiding.hidden_products(shop) == []


def test_what_is_hidden_is_gone_at_once_and_comes_back(shop, asks):
    api = asks(shop, key=WRITER)
    until = datetime.now(UTC) + timedelta(days=1)
    asked = {"stock_codes": ["a", "typo", "A"], "country": "eire", "until": until.isoformat(), "why": "=recall"}
    assert api.put("/hidden", json=asked).json() == {"hidden": ["A", "TYPO"], "unknown": ["TYPO"]}
    first, _ = api.get("/hidden").json()["hidden"]
    assert datetime.fromisoformat(first.pop("until")) == until
    first.pop("hidden_at")
    assert first == {"stock_code": "A", "country": "EIRE", "why": "=recall", "hidden_by": "API, desk"}
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as client:
        assert client.for_customer("14646", country="EIRE").stock_codes == ("B", "C")
    gone = api.delete("/hidden", params={"stock_code": ["A", "B"], "country": "EIRE"})
    assert gone.json() == {"shown": ["A"], "not_hidden": ["B"]}
    assert [each["stock_code"] for each in api.get("/hidden").json()["hidden"]] == ["TYPO"]


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"country": "Eier"}, "Nobody orders from 'Eier', so nothing changed. Did you mean EIRE?"),
        ({"until": "2011-01-01T00:00:00Z"}, "2011-01-01T00:00+00:00 is not later than now. Nothing was hidden."),
        ({"until": "9999-12-31T23:59:59-12:00"}, "9999 is too far away. To hide products for good, name no end."),
        ({"until": "2030-01-01T00:00:00"}, "until: Input should have timezone info."),
        ({"until": 1893456000}, "until: is no text, such as 2030-12-24T00:00:00Z."),
        ({"why": "a\x00b"}, "why: has control characters, or spaces around it."),
        ({"stock_codes": []}, "stock_codes: List should have at least 1 item after validation, not 0."),
    ],
)
def test_what_cannot_be_hidden_is_told_why(shop, asks, asked, detail):
    answer = asks(shop, key=WRITER).put("/hidden", json={"stock_codes": ["A"], **asked})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(detail)
    assert hiding.hidden_products(shop) == []


def test_a_dismissal_counts_at_once_and_is_taken_back(shop, asks):
    api = asks(shop, key=WRITER)

    def codes():
        return [each["stock_code"] for each in api.get(LIST).json()["products"]]

    assert codes() == ["A", "B", "C"]
    assert api.post("/dismissals", json={"customer": 14646, "stock_code": "b"}).json() == {"stored": True}
    assert codes() == ["A", "C"]
    api.post("/dismissals", json={"customer": "x/ü", "stock_code": "B", "days": 0.5})
    assert api.get("/dismissals").json() == {"products": 1, "dismissals": [{"stock_code": "B", "customers": 2}]}
    back = {"customer": "14646", "stock_code": "B"}
    assert [api.delete("/dismissals", params=back).json()["stored"] for _ in range(2)] == [True, False]
    assert codes() == ["A", "B", "C"]
    for days in (0, -1, 4000, "90"):
        refused = api.post("/dismissals", json={"customer": "14646", "stock_code": "A", "days": days})
        assert refused.status_code == 422


def test_without_servers_writers_are_told_what_was_stored(shop, asks):
    away = type(shop.redis_url)("redis://127.0.0.1:1/0")
    api = asks(shop.model_copy(update={"redis_url": away}), key=WRITER)
    hidden = api.put("/hidden", json={"stock_codes": ["A"]})
    assert hidden.status_code == 503
    assert hidden.json()["detail"].startswith("It is stored, but Redis does not answer: it is hidden with the next")
    assert [each.stock_code for each in hiding.hidden_products(shop)] == ["A"]
    assert api.post("/dismissals", json={"customer": "1", "stock_code": "A"}).status_code == 503
    assert api.delete("/dismissals?customer=1&stock_code=A").status_code == 503
    assert api.get("/dismissals").status_code == 503

    nowhere = type(shop.database_url)("postgresql://ncf@127.0.0.1:1/none")
    api = asks(shop.model_copy(update={"database_url": nowhere}), key=WRITER)
    answer = api.get("/hidden")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["detail"] == "Postgres does not answer. Nothing changed."
    api = asks(shop.model_copy(update={"database_url": None}), key=WRITER)
    assert api.get("/hidden").json()["detail"].endswith("NCF_DATABASE_URL is not set.")
    assert api.get(LIST).status_code == 200


def test_prometheus_is_told_how_many_and_how_long_and_of_no_customer(shop, asks):
    api = asks(shop, key=READER)
    for path in (LIST, LIST, "/customers/ann@example.com/lists/for_you", "/ann", "/hidden"):
        api.get(path)
    api.request("BREW", "/ann")
    text = api.get("/metrics", headers={"Authorization": ""}).text
    address = "/customers/{customer_id}/lists/{list_name}"
    for line in (
        f'ncf_api_request_seconds_count{{address="{address}",method="GET",status="200"}} 3.0',
        'ncf_api_request_seconds_count{address="(no such address)",method="GET",status="404"} 1.0',
        'ncf_api_request_seconds_count{address="(no such address)",method="other",status="404"} 1.0',
        'ncf_api_request_seconds_count{address="/hidden",method="GET",status="403"} 1.0',
        'ncf_api_lists_total{name="for_you",source="customer"} 2.0',
        'ncf_api_lists_total{name="for_you",source="everywhere"} 1.0',
        'ncf_api_client_total{what="failures"} 0.0',
    ):
        assert line in text.splitlines()
    assert "ann" not in text
    assert "process_resident_memory_bytes" in text


def test_what_visitors_do_is_told_and_stored(shop, asks):
    api = asks(shop, key=WRITER)
    told = ({"kind": "view", "session": "s"}, {"kind": "cart", "customer": 14646}, {"kind": "wish", "customer": "ä/x"})
    for event in told:
        assert api.post("/events", json={"stock_code": "a", **event}).json() == {"stored": True}
    for wrong in ({}, {"kind": "click", "session": "s"}, {"kind": "view"}, {"kind": "view", "session": "s\n"}):
        assert api.post("/events", json={"stock_code": "a", **wrong}).status_code == 422
    assert events.take(shop).added == 3
