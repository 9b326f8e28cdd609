"""The rules of expectations/top_n_lists.json: each can fail, good lists pass all, and no shopper sees refused lists."""

import logging
import threading
import time
from datetime import date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest
import redis
from psycopg2.extras import execute_values

from ncf_pipeline.columns import LISTS_OF, Lists
from ncf_pipeline.errors import DatabaseUnavailableError, InputError, QualityError
from ncf_pipeline.quality import lists as list_quality
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.list_flags import Given
from ncf_pipeline.quality.lists import SUITE, check_lists
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training import retrain

AS_OF = datetime(2011, 12, 9)
CUSTOMERS = [str(14600 + number) for number in range(30)]
PRODUCTS = [f'{22000 + number}"\\A' for number in range(60)]  # awkward codes
TOP_N = 5
TODAY = date(2026, 7, 1)
RULED = ["9A", "9B", "9C", "CHEAP1", "FRENCH1", "HIDDEN1"]  # a merchandising rule applies to each
RULES = """
insert into retail.unlisted_product values ('hidden1 ', 'out of stock', '2026-07-02');
insert into retail.unlisted_product values ('9A', 'out of stock', '2026-07-01');
insert into retail.product_country values ('French1', 'France');
insert into retail.pinned_product (stock_code, list_name, country, starts_on, ends_on) values
('comes1', 'new_arrivals', 'EIRE', '2026-07-01', '2026-07-02'),
('hidden1', 'new_arrivals', null, '2026-07-01', null),
('9a', 'new_arrivals', null, '2026-07-02', null),
('9b', 'new_arrivals', null, '2026-06-01', '2026-07-01');
update retail.list_limit set max_per_family = 2, min_price = 0.5;
"""
GONE = "99"  # a customer who returned everything


def purchases():
    """Each customer keeps two products and has returned a third; a product and a country come after `AS_OF`."""
    rows = []
    for place, customer in enumerate(CUSTOMERS):
        for step, back in ((0, None), (1, None), (2, AS_OF - timedelta(days=1))):
            rows.append((customer, PRODUCTS[2 * place + step - 60], "France", AS_OF - timedelta(days=9), back))
    rows.append((None, PRODUCTS[0], "EIRE", AS_OF - timedelta(days=9), None))
    rows.append((GONE, PRODUCTS[0], "EIRE", AS_OF - timedelta(days=9), AS_OF - timedelta(days=2)))
    rows.append((GONE, "LATER1", "Iceland", AS_OF, None))
    rows.extend((None, code, "EIRE", AS_OF - timedelta(days=9), None) for code in RULED)
    columns = ["customer_id", "stock_code", "country", "purchased_at", "returned_at"]
    sales = pd.DataFrame(rows, columns=columns)
    return sales.assign(unit_price=sales["stock_code"].map({"CHEAP1": 0.49}).fillna(0.5)).astype(
        {"customer_id": "str", "purchased_at": "datetime64[us]", "returned_at": "datetime64[us]"}
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
    for product in RULED:
        rows.append(("product", product, "bought_together", []))
        rows.append(("product", product, "similar", ["9A", "9B"]))
    for country, new in (("*", []), ("France", ["FRENCH1"]), ("EIRE", ["COMES1", "9C"])):
        rows.append(("fallback", country, "for_you", PRODUCTS[:TOP_N]))
        rows.append(("fallback", country, "new_arrivals", new))
    return pd.DataFrame(rows, columns=list(Lists.ALL))


@pytest.fixture
def products(settings):
    """Descriptions of all products in the lists below except one, and a merchandiser's rules."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        rows = [(code, "A GOOD THING", AS_OF) for code in [*PRODUCTS, *RULED, "ELSEWHERE1", "POST", "LATER1", "COMES1"]]
        execute_values(cursor, "insert into retail.product values %s", rows)
        cursor.execute(RULES)


def put(codes, *, audience="customer", list_name="for_you", rows=1):
    """Replaces the stock codes of the first lists of a name."""

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
    "product_is_not_unlisted": put(["HIDDEN1"], audience="product", list_name="similar"),
    "product_is_for_the_country": put(["FRENCH1"], audience="fallback", list_name="new_arrivals"),
    "product_is_dear_enough": put(["CHEAP1"]),
    "family_is_not_too_large": put(["9A", "9B", "9C"], list_name="buy_again"),
    "pin_is_shown": put([], audience="fallback", list_name="new_arrivals", rows=3),
}


def checked(settings, lists, interactions):
    return check_lists(settings, [lists.iloc[:7], lists.iloc[7:]], interactions, AS_OF, top_n=TOP_N, today=TODAY)


def test_every_rule_has_spoilt_lists():
    assert set(SPOILT) == set(quality.rules_of(SUITE))


def test_good_lists_pass_all_rules_and_leave_no_rows_behind(settings, products):
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


def test_a_pinned_pair_has_to_be_on_the_list_of_its_product_alone(settings, products):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "insert into retail.pinned_product (stock_code, list_name, beside, starts_on)"
            " values (%s, 'bought_together', %s, '2026-07-01')",
            (PRODUCTS[1], PRODUCTS[0].lower()),
        )
    lists = good_lists()
    assert [rule.rule_id for rule in checked(settings, lists, purchases()).failed] == ["pin_is_shown"]
    is_its = (lists[Lists.KEY] == PRODUCTS[0]) & (lists[Lists.LIST_NAME] == "bought_together")
    lists.loc[is_its, Lists.STOCK_CODES] = lists.loc[is_its, Lists.STOCK_CODES].map(lambda _: [PRODUCTS[1]])
    assert checked(settings, lists, purchases()).failed == []


def test_an_example_names_the_list_and_not_the_customer(settings, products):
    (broken,) = (
        rule
        for rule in checked(settings, put(["POST"])(good_lists()), purchases()).failed
        if rule.rule_id == "product_is_not_excluded"
    )
    assert (broken.rows, broken.example) == (1, "for_you of customer ***00")


def test_a_product_bought_later_or_by_another_customer_may_be_in_discover(settings, products):
    lists = put([PRODUCTS[40], PRODUCTS[41], PRODUCTS[42], PRODUCTS[43], PRODUCTS[44]], list_name="discover")(
        good_lists()
    )
    later = pd.DataFrame(
        {
            "customer_id": [CUSTOMERS[0]],
            "stock_code": [PRODUCTS[40]],
            "country": ["France"],
            "purchased_at": pd.to_datetime([AS_OF]).astype("datetime64[us]"),
            "returned_at": pd.to_datetime([None]).astype("datetime64[us]"),
        }
    )
    assert checked(settings, lists, pd.concat([purchases(), later], ignore_index=True)).worst is None


@pytest.mark.parametrize(
    ("country", "ends_on", "may"),
    [(None, None, True), ("France", None, True), ("EIRE", None, False), (None, TODAY, False)],
)
def test_a_product_that_is_pinned_for_everyone_may_be_everywhere(settings, products, country, ends_on, may):
    with transaction(settings) as connection, connection.cursor() as cursor:
        for code in PRODUCTS[:TOP_N]:
            pin = (code.lower(), "for_you", country, TODAY - timedelta(days=9), ends_on)
            cursor.execute(
                "insert into retail.pinned_product (stock_code, list_name, country, starts_on, ends_on) "
                "values (%s, %s, %s, %s, %s)",
                pin,
            )
    failed = {
        rule.rule_id for rule in checked(settings, put(PRODUCTS[:TOP_N], rows=25)(good_lists()), purchases()).failed
    }
    assert ("no_product_is_everywhere" not in failed) is may


CONTROL = CUSTOMERS[:20]  # of 30: most have the same list
BEST = PRODUCTS[50 : 50 + TOP_N]


def with_control(spoil=lambda lists: lists):
    """Lists in which a control group has only best sellers."""
    lists = put(BEST, rows=len(CONTROL))(good_lists())
    theirs = (lists[Lists.AUDIENCE] == "customer") & lists[Lists.KEY].isin(CONTROL)
    return spoil(lists[~theirs | (lists[Lists.LIST_NAME] == "for_you")])


@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (lambda lists: lists, []),
        (without("customer", CONTROL[3], "for_you"), ["customer_has_lists"]),
        (without("customer", CUSTOMERS[25], "discover"), ["customer_has_lists"]),
        (also("customer", CONTROL[3]), ["list_is_for_somebody"]),
        (put([PRODUCTS[0], "HIDDEN1"], rows=1), ["product_is_not_unlisted"]),
    ],
)
def test_a_control_group_needs_only_one_list_which_may_be_the_same_for_all(settings, products, spoil, broken):
    verdict = check_lists(
        settings,
        [with_control(spoil)],
        purchases(),
        AS_OF,
        top_n=TOP_N,
        today=TODAY,
        control=CONTROL,
    )
    assert [rule.rule_id for rule in verdict.failed if rule.severity == "critical"] == broken
    assert not {"lists_differ", "no_product_is_everywhere"} & {rule.rule_id for rule in verdict.failed}


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


@pytest.mark.parametrize("spoilt", [pa.array([["A"], ["B", None]]), pa.array([["A"], None]), pa.array(["A", "B"])])
def test_a_row_without_a_list_in_a_file_is_named(spoilt):
    rows = {"audience": ["customer"] * 2, "key": ["1", "2"], "list_name": ["for_you"] * 2, "stock_codes": spoilt}
    with pytest.raises(InputError, match="no list of stock codes"):
        Given([pa.table(rows)], control=())


def test_purchases_may_be_read_for_longer_than_a_transaction_may_be_idle(settings, products):
    impatient = f"{settings.database_url.get_secret_value()}?options=-c%20idle_in_transaction_session_timeout%3D300"

    def slowly():
        time.sleep(0.6)
        yield purchases()

    shop = settings.model_copy(update={"database_url": type(settings.database_url)(impatient)})
    assert checked(shop, good_lists(), slowly()).worst is None


def test_a_rule_that_cannot_be_checked_is_named_with_the_message_of_the_database(settings, products, monkeypatch):
    fill = list_quality._fill

    def fill_and_rename(*arguments):
        products = fill(*arguments)
        execute(settings, "alter table ml.checked_product rename column customers to buyers")
        return products

    monkeypatch.setattr(list_quality, "_fill", fill_and_rename)
    with pytest.raises(QualityError, match=r"^The rule catalogue_is_covered could not be checked: .*does not exist"):
        checked(settings, good_lists(), purchases())


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


def execute(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def dump(store):
    return {key: store.dump(key) for key in store.scan_iter()}


def states(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select number, state, reason, report ->> 'worst' from ml.publication order by number")
        return cursor.fetchall()


def test_refused_lists_change_nothing_for_shoppers(settings, store, version, caplog):
    caplog.set_level(logging.INFO)
    assert retrain.publish(settings, version) == 1
    assert any("checked against 23 rules" in record.getMessage() for record in caplog.records)
    before = dump(store)
    assert f"{settings.key_prefix}:current" in before

    # A typing mistake: no product is dear enough.
    execute(settings, "update retail.list_limit set min_price = 1000000")
    with pytest.raises(QualityError, match=r"^p000002 is refused: .*for_you_is_not_empty.*stay live\.$") as raised:
        retrain.publish(settings, version)

    assert dump(store) == before
    assert [(number, state, reason) for number, state, reason, _ in states(settings)] == [
        (1, "published", None),
        (2, "refused", str(raised.value)),
    ]
    assert states(settings)[1][-1] == "critical"
    assert [entry.number for entry in registry.publications(settings)] == [1]
    assert "146" not in str(raised.value)
    execute(settings, "update retail.list_limit set min_price = 1")
    assert refresh(settings) == 3
    assert store.get(f"{settings.key_prefix}:current") == "p000003"


def test_a_rollback_is_not_refused_because_of_later_exclusions(settings, store, version, promoted):
    retrain.publish(settings, version)
    other = promoted(registry.model_version(settings, version).snapshot_id, "b")
    retrain.publish(settings, other)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.excluded_stock_code values ('2205*', 'recalled')")
    store.flushall()
    assert rollback(settings, actor="ops").version == version
    assert store.get(f"{settings.key_prefix}:current") == "p000003"
    assert [state for _, state, _, _ in states(settings)] == ["published"] * 3


@pytest.mark.parametrize("meanwhile", ["truncate ml.checked_list", "truncate ml.checked_product", "refill"])
def test_lists_that_are_lost_while_they_are_checked_are_not_refused(settings, products, monkeypatch, meanwhile):
    """A server that crashed empties unlogged tables; another check, whose lock was lost, may fill them."""
    honest = list_quality.quality.check_table

    def lose(*arguments, **named):
        with transaction(settings) as connection, connection.cursor() as cursor:
            if meanwhile == "refill":
                cursor.execute(
                    "create temporary table kept as select * from ml.checked_list; truncate ml.checked_list; "
                    "insert into ml.checked_list select * from kept"
                )
            else:
                cursor.execute(meanwhile)
        return honest(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(list_quality.quality, "check_table", lose)
        with pytest.raises(DatabaseUnavailableError, match="lost while they were checked"):
            check_lists(settings, [good_lists()], purchases(), AS_OF, top_n=TOP_N, today=TODAY)
    assert check_lists(settings, [good_lists()], purchases(), AS_OF, top_n=TOP_N, today=TODAY).worst is None
