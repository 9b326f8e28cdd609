"""The pages of products: a search, and one product with its lists, sales, rules and who is shown it."""

import html
import re
from datetime import datetime, timedelta

import pandas as pd
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from psycopg2.extras import execute_values
from pydantic import SecretStr

from ncf_pipeline.columns import Lists
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.serving import appearances, hiding, products, sales
from ncf_pipeline.serving.rules import changes
from ncf_pipeline.serving.rules.changes import Change
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.storage.database import transaction

pytestmark = pytest.mark.xdist_group("recommender page")

PERSON = {"accept": "text/html"}
ODD = {
    "A/B 1": "مصباح ليلي أرنب",
    "12345678901234567890": "TWENTY DIGITS",
    "🐇": "RABBIT EMOJI",
    "85123A": "WHITE HOLDER",
    "85123B": "CREAM HOLDER",
    "LONG": "W" * 300,
    "100%_": "<b>HUNDRED</b> PERCENT",
}
MONDAY = datetime(2011, 12, 5)


def said(page):
    """The words of a page, with punctuation as it is read."""
    words = html.unescape(" ".join(re.sub("<[^>]*>", " ", page.text).split()))
    return re.sub(r"(?<=“) | (?=[”,.:;])", "", words)


def execute(settings, statement, *values):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.fixture(scope="module")
def stocked(history):
    """The shop also sells products with odd codes and names, each with lines in two weeks; a return takes one back."""
    # Week, code, pieces, price: in the last week the holder takes 2 * 10 - 10, and the emoji 5 * 3.
    sold = [
        (MONDAY - timedelta(weeks=1), "85123a", 3, 10),
        (MONDAY + timedelta(days=1), "85123A", 2, 10),
        (MONDAY + timedelta(days=2), "85123A", -1, 10),
        (MONDAY + timedelta(days=1), "🐇", 5, 3),
        (MONDAY + timedelta(days=1), "POST", 1, 1000),
    ]
    lines = [
        (f"{'C' if pieces < 0 else ''}9{number}", 1, code, ODD.get(code, ""), pieces, at, price, None, "EIRE", 1)
        for number, (at, code, pieces, price) in enumerate(sold)
    ]
    with transaction(history) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.product values %s", [(*each, MONDAY) for each in ODD.items()])
        execute_values(cursor, "insert into retail.invoice_line values %s", lines)
    yield
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute("delete from retail.product where stock_code = any(%s)", (list(ODD),))
        cursor.execute("delete from retail.invoice_line where invoice_no ~ '^C?9[0-9]$'")


@pytest.fixture
def lists(shop, tmp_path):
    """The file of the live lists: with ten places, the eleventh is spare."""
    appearances._of.cache_clear()
    long = [f"none {number}" for number in range(10)]
    rows = [
        ("customer", "14646", "for_you", ["85123A", "23000"]),
        ("customer", "14646", "discover", ["85123A"]),
        ("customer", "17850", "for_you", [*long, "85123A"]),
        ("product", "23000", "similar", ["85123A"]),
        ("fallback", "EIRE", "for_you", ["85123A"]),
        ("fallback", "*", "for_you", ["85123A"]),
    ]
    path = tmp_path / "lists.parquet"
    pd.DataFrame(rows, columns=list(Lists.ALL)).to_parquet(path)
    move = "update ml.publication set url = %s where number = 14"
    execute(shop, move, path.as_uri())
    yield
    execute(shop, move, "memory://lists")
    appearances._of.cache_clear()


@pytest.mark.parametrize(
    ("find", "codes"),
    [
        ("85123", {"85123A", "85123B"}),
        ("holder white", {"85123A"}),
        ("123456789012", {"12345678901234567890"}),
        ("a/b", {"A/B 1"}),
        ("ليلي", {"A/B 1"}),
        ("%_", set()),
    ],
)
def test_a_product_is_found_by_its_code_or_by_words_of_its_name(ask, stocked, find, codes):
    page = ask().get("products", params={"find": find})
    assert page.status_code == 200
    assert page.text.count('<li class="card">') == len(codes)
    links = [html.unescape(link) for link in re.findall(r'<li class="card">.*?href="([^"]*)"', page.text)]
    for link in links:
        opened = ask().get(link)
        assert opened.status_code == 200
        assert re.search(r'<p class="lead"><bdi>([^<]*)</bdi>', opened.text)[1] in codes


@pytest.mark.parametrize("code", ["85123a", "🐇", "100%_", "A/B 1"])
def test_a_whole_code_leads_to_its_product(ask, stocked, code):
    page = ask().get("products", params={"find": f" {code} "})
    assert re.search(r'<p class="lead"><bdi>([^<]*)</bdi>', page.text)[1] == code.upper()


@pytest.mark.parametrize(
    ("typed", "meant"), [("holdre", "holder"), ("whit holders", "white holder"), ("85123AA", "85123A")]
)
def test_a_typing_error_is_forgiven_and_said(ask, stocked, typed, meant):
    page = ask().get("products", params={"find": typed})
    assert f"No product has this code or these words in its name. These have “{meant}”." in said(page)
    assert "White holder" in said(page)
    assert "No product has this code" in said(ask().get("products", params={"find": "qqqqqq zzzzz"}))


def test_pages_of_a_search_follow_each_other_and_miss_nothing(shop, stocked):
    seen, after = [], ""
    while True:
        found = products.search(shop, "", after=after, most=3)
        seen += [each.stock_code for each in found.products]
        if found.after is None:
            break
        after = found.after
    assert len(seen) == len(set(seen))
    assert set(ODD) < set(seen)
    assert products.search(shop, "holder", most=1).after is not None


def test_the_page_says_who_is_shown_it_and_what_is_spare_does_not_count(ask, stocked, lists):
    words = said(ask().get("products", params={"product": "85123a"}))
    assert "White holder 85123A · £10.00 when it was last sold, on 6 Dec 2011" in words
    assert "For you 50.0% 1 of 2 customers Discover 50.0% 1 of 2 customers Buy again 0.0% 0 of 2 customers" in words
    assert "Similar 1 product beside which it is shown" in words
    assert "Netherlands 1 of 1 100.0%" in words
    assert "Visitors without a list of their own are shown it in for_you: from everywhere else, EIRE." in words
    assert "Its family Cream holder 85123B" in words.replace("CH ", "")


def test_weeks_add_up_and_have_a_place_by_takings(ask, shop, stocked):
    weeks = {week.begins: week for week in products.product(shop, "85123A").weeks}
    assert len(weeks) == sales.WEEKS
    last, before = weeks[MONDAY.date()], weeks[MONDAY.date() - timedelta(weeks=1)]
    assert (last.pieces, last.takings, last.invoices) == (2, 10, 1)
    assert (before.pieces, before.takings) == (3, 30)  # also in the other spelling
    emoji = {week.begins: week for week in products.product(shop, "🐇").weeks}[MONDAY.date()]
    assert emoji.place < last.place  # 15 against 10; postage takes 1,000, and has no place
    assert emoji.place == 1
    page = ask().get("products", params={"product": "85123A"})
    assert "26 weeks from 2011-06-13 to 2011-12-05, in all £40.00. The most is £30.00" in page.text
    assert page.text.count('role="img" aria-label="Takings by week.') == 1
    assert len(page.content) < 60_000


def test_numbers_money_and_days_are_those_of_the_shops_locale(ask, shop, stocked, lists):
    german = shop.model_copy(update={"locale": "de_DE", "currency": "EUR"})
    words = said(ask(german).get("products", params={"product": "85123A"}))
    assert "10,00 € when it was last sold, on 06.12.2011" in words
    assert "For you 50,0 % 1 of 2 customers" in words
    assert "in all 40,00\xa0€. The most is 30,00\xa0€" in ask(german).get("products?product=85123A").text
    assert "£10.00 when it was last sold, on 6 Dec 2011" in said(ask().get("products?product=85123A"))


def test_rules_that_touch_it_are_named(ask, shop, stocked):
    hiding.hide(shop, ["85123A"], actor="anna", country="EIRE", why="recalled")
    change = Change(
        put=(Rule("pinned", "85123A", (), "for_you", 2, MONDAY.date()), Rule("hidden", "85123A", note="soon again")),
        limits=Limits(1, 20.0),
    )
    made = changes.apply(shop, change, actor="anna", reason=None)
    try:
        words = said(ask().get("products", params={"product": "85123A"}))
        assert "hidden at once from customers of EIRE, by anna: “recalled”" in words
        assert "pinned to place 2 of for_you for everyone from 2011-12-05" in words
        assert "hidden “soon again”" in words
        assert "It costs £10.00, and lists show nothing below £20.00." in words
        assert "A list shows at most 1 variant of its family." in words
    finally:
        changes.undo(shop, made, actor="anna")
        hiding.unhide(shop, ["85123A"], actor="anna", country="EIRE")
    assert "No rule names it, and no limit concerns it." in said(ask().get("products?product=85123A"))


def test_names_and_codes_of_any_kind_are_text(ask, stocked):
    for code in ODD:
        page = ask().get("products", params={"product": code})
        assert page.status_code == 200, code
        assert "<b>hundred" not in page.text.lower()
        assert html.escape(code, quote=False) in page.text


def test_an_unknown_product_is_not_found_and_the_search_is_there(ask):
    page = ask().get("products", params={"product": "nothing\x00"}, headers=PERSON)
    assert page.status_code == 404
    assert "The shop has no product NOTHING." in said(page)
    assert '<form action="products"' in page.text
    assert ask().get("products", params={"find": "x" * 201}, headers=PERSON).status_code == 422


def test_redis_away_leaves_the_rest_and_postgres_away_leaves_the_lists(ask, shop, stocked):
    away = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    page = ask(away).get("products", params={"product": "85123A"})
    assert page.status_code == 200
    assert "Redis does not answer, so its lists are missing here." in said(page)
    assert "White holder" in said(page)
    gone = shop.model_copy(update={"database_url": SecretStr("postgresql://ncf:the-db-password@127.0.0.1:1/none")})
    page = ask(gone).get("products", params={"product": "85123a"})
    assert (page.status_code, page.text.count('<section class="shelf"')) == (200, 2)
    assert "Postgres does not answer, so of 85123A only its lists can be shown, by stock codes." in said(page)
    nothing = gone.model_copy(update={"redis_url": away.redis_url})
    for settings, params in ((gone, {"find": "holder"}), (nothing, {"product": "85123A"})):
        page = ask(settings).get("products", params=params)
        assert page.status_code == 503
        assert "Postgres does not answer, so products cannot be shown." in said(page)
        assert "the-db-password" not in page.text


def test_why_a_customer_is_shown_a_product_or_not_without_their_id_in_an_address(ask, stocked):
    page = ask().post("products-why", data={"number": " 14646 ", "product": "23001"})
    assert page.status_code == 200
    words = said(page)
    assert "For you shown It is shown: number 2." in words
    assert "Discover shown It is shown: number 1." in words
    assert "Buy again not known It is not on their list. From what the live lists were made is not recorded" in words
    assert "customer 14646 in Netherlands · p000014 of v14" in words
    assert "<title>Why · Recommender</title>" in page.text
    assert not any("14646" in address for address in re.findall(r'(?:href|action|src)="([^"]*)"', page.text))
    opened = ask().get("products", params={"product": "23001"})
    assert '<form class="lookup" action="products-why" method="post"' in opened.text


def test_why_refuses_what_it_cannot_answer(ask, shop, stocked):
    sent = {"number": "14646", "product": "23001"}
    assert ask().post("products-why", data=sent, headers={"sec-fetch-site": "cross-site"}).status_code == 403
    nobody = ask().post("products-why", data=sent | {"number": ""}, headers=PERSON)
    assert (nobody.status_code, 'role="alert"' in nobody.text) == (422, True)
    assert ask().post("products-why", data={"number": "14646"}, headers=PERSON).status_code == 422
    unknown = ask().post("products-why", data=sent | {"product": "none"}, headers=PERSON)
    assert (unknown.status_code, "The shop has no product NONE." in said(unknown)) == (404, True)
    gone = shop.model_copy(update={"database_url": SecretStr("postgresql://ncf:the-db-password@127.0.0.1:1/none")})
    away = ask(gone).post("products-why", data=sent)
    assert (away.status_code, "Postgres does not answer" in said(away)) == (503, True)
    assert "the-db-password" not in away.text
    quiet = shop.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    assert "Redis does not answer, so this is from the file" in said(ask(quiet).post("products-why", data=sent))


def test_whoever_may_not_look_customers_up_gets_no_form_and_no_answer(shop, stocked):
    app = FastAPI()
    app.mount("/recommender", create_app(lambda: shop, sees_customers=lambda: False))
    client = TestClient(app, base_url="http://shop.example/recommender/")
    page = client.get("products", params={"product": "23001"})
    assert "products-why" not in page.text
    assert "the permission to read Recommender customers" in said(page)
    assert client.post("products-why", data={"number": "14646", "product": "23001"}).status_code == 403
