"""The rules of expectations/top_n_lists.json: each can fail, good lists pass all, and what is refused nobody reads."""

import logging
import threading
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
import redis
import torch
from psycopg2.extras import execute_values

from ncf_pipeline import artifacts, quality, registry
from ncf_pipeline.columns import LISTS_OF, Interactions, Lists
from ncf_pipeline.database import transaction
from ncf_pipeline.errors import InputError, QualityError
from ncf_pipeline.gate import GateDecision, Thresholds
from ncf_pipeline.list_quality import SUITE, check_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel, new_network
from ncf_pipeline.snapshot import read_snapshot, take_snapshot
from ncf_pipeline.stages import retrain
from ncf_pipeline.stages.publish import refresh
from ncf_pipeline.stages.rollback import rollback

AS_OF = datetime(2011, 12, 9)
CUSTOMERS = [str(14600 + number) for number in range(30)]
PRODUCTS = [f'{22000 + number}"\\A' for number in range(60)]  # as awkward as a code may be
TOP_N = 5
GONE = 99  # a customer who gave everything back


def purchases():
    """Each customer bought two products, and brought a third back; a product and a country come after `AS_OF`."""
    rows = []
    for place, customer in enumerate(CUSTOMERS):
        for step, back in ((0, None), (1, None), (2, AS_OF - timedelta(days=1))):
            rows.append((int(customer), PRODUCTS[2 * place + step - 60], "France", AS_OF - timedelta(days=9), back))
    rows.append((None, PRODUCTS[0], "EIRE", AS_OF - timedelta(days=9), None))
    rows.append((GONE, PRODUCTS[0], "EIRE", AS_OF - timedelta(days=9), AS_OF - timedelta(days=2)))
    rows.append((GONE, "LATER1", "Iceland", AS_OF, None))
    columns = ["customer_id", "stock_code", "country", "purchased_at", "returned_at"]
    return pd.DataFrame(rows, columns=columns).astype(
        {"customer_id": "Int64", "purchased_at": "datetime64[us]", "returned_at": "datetime64[us]"}
    )


def good_lists():
    rows = []
    for place, customer in enumerate(CUSTOMERS):
        codes = [PRODUCTS[(2 * place + step) % 60] for step in range(20)]
        rows.append(("customer", customer, "for_you", codes[:TOP_N]))
        rows.append(("customer", customer, "discover", codes[3 : 3 + TOP_N]))
        rows.append(("customer", customer, "buy_again", codes[:2]))
    for place, product in enumerate(PRODUCTS):
        rows.append(("product", product, "bought_together", []))
        rows.append(("product", product, "similar", [PRODUCTS[place - 1]]))
    for country in ("*", "France", "EIRE"):
        rows.append(("fallback", country, "for_you", PRODUCTS[:TOP_N]))
        rows.append(("fallback", country, "new_arrivals", []))
    return pd.DataFrame(rows, columns=list(Lists.ALL))


@pytest.fixture
def products(settings):
    """Descriptions of whatever is in a list below, but for one code."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        rows = [(code, "A GOOD THING", AS_OF) for code in [*PRODUCTS, "ELSEWHERE1", "POST", "LATER1"]]
        execute_values(cursor, "insert into retail.product values %s", rows)


def put(codes, *, audience="customer", list_name="for_you", rows=1):
    """Gives the first lists of a name other stock codes."""

    def spoil(lists):
        chosen = lists.index[(lists[Lists.AUDIENCE] == audience) & (lists[Lists.LIST_NAME] == list_name)][:rows]
        lists[Lists.STOCK_CODES] = [
            codes if index in chosen else kept for index, kept in lists[Lists.STOCK_CODES].items()
        ]
        return lists

    return spoil


def without(audience, key, list_name):
    def spoil(lists):
        same = (lists[Lists.AUDIENCE] == audience) & (lists[Lists.KEY] == key) & (lists[Lists.LIST_NAME] == list_name)
        return lists[~same]

    return spoil


def also(audience, key):
    def spoil(lists):
        rows = [(audience, key, name, PRODUCTS[30:33]) for name in LISTS_OF[audience]]
        return pd.concat([lists, pd.DataFrame(rows, columns=list(Lists.ALL))])

    return spoil


SPOILT = {
    "lists_are_there": lambda lists: lists.iloc[:0],
    "customer_has_lists": without("customer", "14603", "buy_again"),
    "product_has_lists": without("product", PRODUCTS[7], "similar"),
    "fallback_is_there": without("fallback", "EIRE", "new_arrivals"),
    "list_is_for_somebody": also("customer", str(GONE)),
    "list_is_not_too_long": put(PRODUCTS[30 : 31 + TOP_N]),
    "for_you_is_not_empty": put([], audience="fallback"),
    "product_is_listed_once": put([PRODUCTS[1], PRODUCTS[2], PRODUCTS[1]]),
    "product_is_sold": put(["ELSEWHERE1"]),
    "product_is_not_excluded": put(["POST"]),
    "discover_is_new": put([PRODUCTS[40], PRODUCTS[2 - 60]], list_name="discover"),
    "lists_differ": put(PRODUCTS[:TOP_N], rows=16),
    "catalogue_is_covered": put([PRODUCTS[0]], rows=30),
    "catalogue_is_well_covered": put(PRODUCTS[:TOP_N], rows=30),
    "no_product_is_everywhere": put(PRODUCTS[:TOP_N], rows=25),
    "list_is_full": put(PRODUCTS[30:32], list_name="discover", rows=10),
    "list_is_not_empty": put([], list_name="buy_again", rows=2),
    "product_is_described": put(["NAMELESS1"]),
}


def checked(settings, lists, interactions):
    return check_lists(settings, [lists.iloc[:7], lists.iloc[7:]], interactions, AS_OF, top_n=TOP_N)


def test_every_rule_has_spoilt_lists():
    assert set(SPOILT) == set(quality.rules_of(SUITE))


def test_good_lists_pass_all_rules_and_nothing_of_them_stays_behind(settings, products):
    verdict = checked(settings, good_lists(), purchases())
    assert (verdict.rules, verdict.worst, verdict.broken) == (len(SPOILT), None, [])
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select (select count(*) from ml.checked_list) + (select count(*) from ml.checked_product)")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("rule_id", list(SPOILT))
def test_spoilt_lists_break_the_rule(settings, products, rule_id):
    verdict = checked(settings, SPOILT[rule_id](good_lists()), purchases())
    failed = {rule.rule_id: rule for rule in verdict.failed}
    assert rule_id in failed
    if failed[rule_id].severity == "critical":
        assert verdict.worst == "critical"
    for rule in verdict.failed:
        assert not any(customer in str(rule.example) for customer in CUSTOMERS)


def test_an_example_names_the_list_and_not_the_customer(settings, products):
    (broken,) = (
        rule
        for rule in checked(settings, put(["POST"])(good_lists()), purchases()).failed
        if rule.rule_id == "product_is_not_excluded"
    )
    assert (broken.rows, broken.example) == (1, "for_you of customer ***00")


def test_one_bought_later_or_by_another_customer_may_be_discovered(settings, products):
    lists = put([PRODUCTS[40], PRODUCTS[41], PRODUCTS[42], PRODUCTS[43], PRODUCTS[44]], list_name="discover")(
        good_lists()
    )
    later = pd.DataFrame(
        {
            "customer_id": pd.array([int(CUSTOMERS[0])], dtype="Int64"),
            "stock_code": [PRODUCTS[40]],
            "country": ["France"],
            "purchased_at": pd.to_datetime([AS_OF]).astype("datetime64[us]"),
            "returned_at": pd.to_datetime([None]).astype("datetime64[us]"),
        }
    )
    assert checked(settings, lists, pd.concat([purchases(), later], ignore_index=True)).worst is None


def test_two_publications_at_once_are_checked_one_after_the_other(settings, products):
    verdicts = {}

    def check(name, lists):
        verdicts[name] = checked(settings, lists, purchases())

    threads = [
        threading.Thread(target=check, args=("good", good_lists())),
        threading.Thread(target=check, args=("spoilt", put(["POST"])(good_lists()))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (verdicts["good"].worst, verdicts["spoilt"].worst) == (None, "critical")


def test_a_row_without_a_list_is_named(settings, products):
    with pytest.raises(InputError, match="no list of stock codes"):
        checked(settings, put(None)(good_lists()), purchases())


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


def dump(store):
    return {key: store.dump(key) for key in store.scan_iter()}


def states(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select number, state, reason, report ->> 'worst' from ml.publication order by number")
        return cursor.fetchall()


@pytest.fixture
def version(settings):
    """A version with a network that has learned nothing, and 40 customers' invoices of two products a week."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(1200):
        customer, at = 14600 + number % 40, AS_OF - timedelta(days=200 - number // 6)
        for line, product in enumerate(random.choice(120, 4, replace=False)):
            code = f"{22000 + (product + 3 * (number % 40)) % 150}"
            rows.append((f"{number:06d}", line, code, "A GOOD THING", 1, at, 1.0, customer, "France", 1))
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
        codes = {(row[2], "A GOOD THING", AS_OF) for row in rows}
        execute_values(cursor, "insert into retail.product values %s", sorted(codes))
    return promoted(settings, take_snapshot(settings, AS_OF), "a")


def promoted(settings, snapshot_id, run_key):
    frozen = read_snapshot(settings, snapshot_id)
    customers = sorted(frozen.interactions[Interactions.CUSTOMER_ID].dropna().unique().tolist())
    products = frozen.products["stock_code"].tolist()
    recipe = Recipe(embedding_dim=4, hidden=(8, 4))
    torch.manual_seed(0)
    network = new_network(len(customers), len(products), recipe).eval()
    number = registry.open_version(
        settings,
        run_key=run_key,
        snapshot_id=snapshot_id,
        cutoff=frozen.cutoff,
        holdout_start=frozen.cutoff - timedelta(days=28),
        config={"top_n": 10},
        requested_by="test",
    )
    url = artifacts.version_url(settings.artifacts, number)
    model = TrainedModel(recipe, frozen.cutoff, customers, products, network, epochs=1)
    artifacts.save_model(model, url, lineage={}, card="# Card")
    registry.record_decision(settings, number, GateDecision(True, (), Thresholds(), ()), details={"incumbent": None})
    registry.record_artifact(settings, number, url)
    registry.promote(settings, number, actor="test", reason="test")
    return number


def test_refused_lists_leave_everything_as_it_is_for_shoppers(settings, store, version, caplog):
    caplog.set_level(logging.INFO)
    assert retrain.publish(settings, version) == 1
    assert any("18 rules asked" in record.getMessage() for record in caplog.records)
    before = dump(store)
    assert f"{settings.key_prefix}:current" in before

    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.excluded_stock_code values ('2205*', 'recalled')")
    with pytest.raises(QualityError, match=r"^p000002 is refused: .*product_is_not_excluded.*still serve\.$") as raised:
        retrain.publish(settings, version)

    assert dump(store) == before
    assert [(number, state, reason) for number, state, reason, _ in states(settings)] == [
        (1, "published", None),
        (2, "refused", str(raised.value)),
    ]
    assert states(settings)[1][-1] == "critical"
    assert [entry.number for entry in registry.publications(settings)] == [1]
    assert "146" not in str(raised.value)
    # The next snapshot knows of it, so the next publication is good.
    assert refresh(settings) == 3
    assert store.get(f"{settings.key_prefix}:current") == "p000003"


def test_a_rollback_is_not_held_up_by_what_was_excluded_since(settings, store, version):
    retrain.publish(settings, version)
    other = promoted(settings, registry.model_version(settings, version).snapshot_id, "b")
    retrain.publish(settings, other)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.excluded_stock_code values ('2205*', 'recalled')")
    store.flushall()
    assert rollback(settings, actor="ops")["version"] == version
    assert store.get(f"{settings.key_prefix}:current") == "p000003"
    assert [state for _, state, _, _ in states(settings)] == ["published"] * 3
