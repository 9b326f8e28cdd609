"""Reading lists over HTTP: the same as the storefront's client returns."""

import json
from urllib.parse import quote

import pandas as pd
import pytest

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import hiding, publication
from ncf_pipeline.storefront import Storefront

REASONS = {"for_you": '[["new"],["bought",3],["popular"],["taste"]]', "discover": '[["goes_with","A"]]'}
CHANCES = {"for_you": "[0.4,0.3,null,0.1]"}
DUE = {"buy_again": '["2011-12-20"]'}
ODD = ["ann@example.com", "a/b", "x/lists/for_you", "a b", "é+ü", "100%", "a?b#c", "a//b/", "../etc", "%2F", "日本"]


@pytest.fixture
def shop(settings):
    rows = [
        ("customer", who, name, codes)
        for who in ("14646", *ODD)
        for name, codes in (("for_you", ["A", "B", "C", "D"]), ("discover", ["E"]), ("buy_again", ["B"]))
    ]
    rows += [("product", "A/1", "similar", ["B", "C"]), ("product", "A/1", "bought_together", ["D"])]
    rows += [("fallback", key, name, ["F", "G"]) for key in ("EIRE", "*") for name in ("for_you", "new_arrivals")]
    lists = pd.DataFrame(rows, columns=list(Lists.ALL))
    for column, texts in ((Lists.REASONS, REASONS), (Lists.CHANCES, CHANCES), (Lists.DUE, DUE)):
        lists[column] = [texts.get(name) if audience == "customer" else None for audience, _, name, _ in rows]
    meta = {"model_version": "v7", "cutoff": "2011-12-09T12:51:00", "top_n": 3}
    publication.publish(settings, [lists], number=42, meta=meta)
    return settings.model_copy(update={"chances": True, "due": True})


def codes(answer):
    return [product["stock_code"] for product in answer.json()["products"]]


def test_a_list_has_its_source_its_publication_and_why_each_product_is_on_it(shop, asks):
    answer = asks(shop).get("/customers/14646/lists/for_you?country=EIRE")
    assert answer.json() == {
        "name": "for_you",
        "source": "customer",
        "publication": "p000042",
        "products": [
            {"stock_code": "A", "reason": {"code": "new", "evidence": None}, "chance": 0.4},
            {"stock_code": "B", "reason": {"code": "bought", "evidence": 3}, "chance": 0.3},
            {"stock_code": "C", "reason": {"code": "popular", "evidence": None}},
        ],
    }
    assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize("who", ODD)
def test_an_id_may_hold_any_character(shop, asks, who):
    answer = asks(shop).get(f"/customers/{quote(who, safe='')}/lists/discover")
    assert (answer.json()["source"], codes(answer)) == ("customer", ["E"])


def test_parts_of_lists_and_who_has_none(shop, asks):
    api = asks(shop)
    mine = "/customers/14646/lists/for_you"
    assert codes(api.get(f"{mine}?count=1&page=2")) == ["B"]
    assert codes(api.get(f"{mine}?exclude=a&exclude=C")) == ["B", "D"]
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as client:
        rotated = client.for_customer("14646", rotate="friday").stock_codes
    assert codes(api.get(f"{mine}?rotate=friday")) == list(rotated)
    assert codes(api.get("/customers/14646.0/lists/buy_again")) == ["B"]
    assert api.get("/customers/1/lists/for_you?country=EIRE").json()["source"] == "country"
    assert api.get("/customers/1/lists/for_you").json()["source"] == "everywhere"
    assert codes(api.get("/visitors/lists/new_arrivals")) == ["F", "G"]
    assert codes(api.get("/products/a%2F1/lists/similar")) == ["B", "C"]
    unknown = api.get("/products/nothing/lists/similar")
    assert (unknown.status_code, unknown.json()["source"], codes(unknown)) == (200, "none", [])


def test_a_basket_and_a_page(shop, asks):
    api = asks(shop)
    basket = api.post("/baskets", json={"stock_codes": ["A/1"], "customer": 14646, "count": 2})
    assert (basket.json()["source"], codes(basket)) == ("basket", ["A", "D"])
    page = api.post("/pages", json={"shelves": ["for_you", "similar"], "customer": "14646", "product": "a/1"})
    lists = page.json()["lists"]
    assert {name: [each["stock_code"] for each in found["products"]] for name, found in lists.items()} == {
        "for_you": ["A", "B", "C"],
        "similar": [],
    }


def test_an_unchanged_list_is_not_sent_again_until_something_changes_it(shop, asks, store):
    api, path = asks(shop), "/customers/14646/lists/for_you"
    etag = api.get(path).headers["ETag"]
    assert etag.startswith('"p000042-')

    def again():
        return api.get(path, headers={"If-None-Match": f'"other", W/{etag}'})

    same = again()
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    assert api.get(f"{path}?count=1", headers={"If-None-Match": etag}).status_code == 200
    hiding.hide(shop, ["A"], actor="test")
    wait_until(lambda: again().status_code == 200)
    hiding.unhide(shop, ["A"], actor="test")
    wait_until(lambda: again().status_code == 304)
    with Storefront(shop.list_store(), prefix=shop.key_prefix) as client:
        client.dismiss("14646", "B")
        wait_until(lambda: again().status_code == 200)
        client.undismiss("14646", "B")
        wait_until(lambda: again().status_code == 304)
    lists = pd.DataFrame(
        [("customer", "14646", "for_you", ["A", "B", "C", "D"]), ("fallback", "*", "for_you", ["F"])],
        columns=list(Lists.ALL),
    )
    publication.publish(shop, [lists], number=43, meta={"model_version": "v7", "top_n": 3})
    wait_until(lambda: again().headers["ETag"].startswith('"p000043-'))


def wait_until(holds):
    import time

    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_before_the_first_lists_there_are_none(settings, asks):
    api = asks(settings)
    answer = api.get("/customers/1/lists/for_you")
    assert answer.json() == {"name": "for_you", "source": "none", "publication": None, "products": []}
    assert api.get("/ready").json() == {"status": "ok", "model_version": None}


def test_what_openapi_says_is_what_is_answered(shop, asks):
    from jsonschema import Draft202012Validator

    api = asks(shop)
    schema = api.get("/openapi.json", headers={"Authorization": ""}).json()
    assert schema["openapi"].startswith("3.1")
    shapes = {"components": schema["components"]}

    def check(path, method, answer):
        told = schema["paths"][path][method]["responses"][str(answer.status_code)]["content"]
        kind = answer.headers["Content-Type"]
        Draft202012Validator(told[kind]["schema"] | shapes).validate(answer.json())

    one = "/customers/{customer_id}/lists/{list_name}"
    check(one, "get", api.get("/customers/14646/lists/for_you"))
    check(one, "get", api.get("/customers/14646/lists/buy_again"))
    check(one, "get", api.get("/customers/14646/lists/none"))
    check(one, "get", api.get("/customers/14646/lists/for_you?count=0"))
    check(one, "get", api.get("/customers/14646/lists/for_you", headers={"Authorization": "Bearer wrong"}))
    for path in ("/baskets", "/pages"):
        (body,) = schema["paths"][path]["post"]["requestBody"]["content"].values()
        shape = schema["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
        for example in shape["examples"]:
            answer = api.post(path, content=json.dumps(example), headers={"Content-Type": "application/json"})
            assert answer.status_code == 200
            check(path, "post", answer)
