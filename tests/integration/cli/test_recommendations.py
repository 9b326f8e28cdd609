"""`recommend` and `similar`, for people and programs."""

import json

import pytest
from published import META, make_lists
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.serving import publication
from ncf_pipeline.storage.database import transaction

NAMES = {"A1": "RED MUG", "É:1": "[bold] CANDLE"}


@pytest.fixture
def run(settings, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    monkeypatch.setenv("COLUMNS", "120")
    with transaction(settings) as connection, connection.cursor() as cursor:
        for code, name in NAMES.items():
            cursor.execute("insert into retail.product values (%s, %s, now())", (code, name))

    def invoke(*arguments, fails=False):
        done = CliRunner().invoke(app, arguments)
        if fails:
            assert isinstance(done.exception, ListStoreError)
            return str(done.exception)
        assert done.exit_code == 0, done.output
        return done.stdout

    return invoke


def test_a_customers_list_with_descriptions(run, publish):
    publish("A1")
    shown = run("recommend", "14646")
    assert "for_you of customer 14646 (their own list; p000001)" in shown
    assert "RED MUG" in shown


def test_json_for_programs(run, publish):
    publish("A1")
    assert json.loads(run("recommend", "14646", "--list", "discover", "--json")) == {
        "customer": "14646",
        "list": "discover",
        "publication": "p000001",
        "source": "customer",
        "products": [{"stock_code": "A1", "description": "RED MUG"}, {"stock_code": "0", "description": None}],
    }
    assert json.loads(run("similar", "85123a", "--json"))["products"] == [
        {"stock_code": "A1", "description": "RED MUG"}
    ]


def test_chances_and_due_days_are_shown_if_the_shop_publishes_them(run, settings):
    lists = make_lists("A1")
    lists[Lists.CHANCES] = ["[0.3127,null]" if name == "for_you" else None for name in lists[Lists.LIST_NAME]]
    lists[Lists.DUE] = ['["2011-12-20",null]' if name == "buy_again" else None for name in lists[Lists.LIST_NAME]]
    publication.publish(settings, [lists], meta=META)
    assert "31.3%" in run("recommend", "14646")
    assert "2011-12-20" in run("recommend", "14646", "--list", "buy_again")
    products = json.loads(run("recommend", "14646", "--json"))["products"]
    assert [product["chance"] for product in products] == [0.3127, None]
    products = json.loads(run("recommend", "14646", "--list", "buy_again", "--json"))["products"]
    assert [product["due"] for product in products] == ["2011-12-20", None]
    assert "chance" not in json.loads(run("recommend", "1", "--json"))["products"][0]


def test_reasons_are_shown_in_words_and_by_name(run, settings):
    lists = make_lists("A1")
    reasons = '[["goes_with","É:1"],["of a later version"]]'
    lists[Lists.REASONS] = [reasons if name == "for_you" else None for name in lists[Lists.LIST_NAME]]
    publication.publish(settings, [lists], meta=META)
    shown = run("recommend", "14646")
    assert "reason" in shown
    assert "Goes with [bold] CANDLE" in shown
    products = json.loads(run("recommend", "14646", "--json"))["products"]
    assert [product["reason"] for product in products] == [
        {"code": "goes_with", "evidence": "É:1"},
        {"code": "of a later version", "evidence": None},
    ]
    assert "reason" not in json.loads(run("similar", "85123A", "--json"))["products"][0]


def test_an_unknown_customer_gets_best_sellers_and_the_output_says_so(run, publish):
    publish("A1")
    shown = run("recommend", "1", "--country", "Channel Islands")
    assert "for_you of customer 1 (unknown customer: best sellers of Channel Islands; p000001)" in shown
    assert "[bold] CANDLE" in shown
    assert "unknown customer: best sellers everywhere" in run("recommend", "1", "--list", "buy_again")
    assert json.loads(run("recommend", "1", "--json"))["source"] == "everywhere"


def test_a_products_lists_in_any_case_and_an_unknown_product(run, publish):
    publish("A1")
    assert "similar of product 85123A (the product's own list; p000001)" in run("similar", " 85123a")
    assert "bought_together of product 85123A" in run("similar", "85123A", "--list", "bought_together")
    assert run("similar", "99999").strip() == "similar of product 99999: empty (unknown product; p000001)"


def test_before_the_first_publication_it_says_what_to_do(run):
    assert "ncf-pipeline retrain" in run("recommend", "14646", fails=True)


def test_without_redis_it_says_so(run, monkeypatch):
    monkeypatch.setenv("NCF_REDIS_URL", "redis://127.0.0.1:1/0")
    assert run("recommend", "14646", fails=True).startswith("Redis does not answer")


def test_without_the_database_the_lists_are_still_shown(run, publish, monkeypatch):
    publish("A1")
    monkeypatch.setenv("NCF_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    done = CliRunner().invoke(app, ["recommend", "14646", "--json"])
    assert json.loads(done.stdout)["products"][0] == {"stock_code": "A1", "description": None}
    assert "No descriptions" in done.stderr


@pytest.mark.parametrize("arguments", [["recommend"], ["recommend", "1", "--list", "similar"], ["similar"]])
def test_usage_errors_exit_with_2(run, arguments):
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_the_live_lists_are_checked_for_people_and_programs(run, publish, settings, store):
    assert run("lists").splitlines()[0] == "Nothing is live."
    publish("A1", customers=3)
    shown = run("lists").splitlines()
    assert shown[:2] == ["p000001 is live.", "customer: 3 keys; 3 looked for, 0 gone"]
    assert any(line.startswith("Redis: maxmemory-policy noeviction; ") for line in shown)
    store.delete(f"{settings.key_prefix}:p000001:customer:14647")
    checked = json.loads(run("lists", "--json"))
    assert checked["groups"]["customer"] == {"keys": 3, "looked_for": 3, "gone": 1}
    assert checked["problems"] == ["Lists of p000001 are gone: customer: 1 of 3 keys looked for, of 3."]
    assert "14647" not in json.dumps(checked)
