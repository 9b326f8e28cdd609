""" "Not for me": readers heed it at once, it ends by itself, and the next publication leaves it out."""

import time

import pyarrow as pa
import pytest
import redis
from both_clients import Both
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.dismissals import customers_by_product, dismissed, without_dismissed
from ncf_pipeline.serving.publication.erasing import erase_customer, keys_of_customer
from ncf_pipeline.storefront import Statistics, Storefront

ABC = list("ABCDEF")


@pytest.fixture
def live(settings):
    lists = make_lists(customers=2)
    lists[Lists.STOCK_CODES] = [ABC] * len(lists)
    publication.publish(settings, [lists], meta=META | {"top_n": 3})


@pytest.fixture
def shop(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5)
    yield both
    both.end()


@pytest.fixture
def one(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5) as shop:
        yield shop


def codes(answer):
    return "".join(answer.stock_codes)


def test_it_is_heeded_at_once_everywhere_and_for_this_customer_only(live, shop, settings):
    assert shop.dismiss("14646", " a ") is True
    assert codes(shop.for_customer("14646")) == "BCD"
    assert {codes(found) for found in shop.lists_of_customer(14646.0).values()} == {"BCD"}
    assert codes(shop.for_page(["for_you"], customer="14646")["for_you"]) == "BCD"
    assert codes(shop.for_basket(["85123A"], customer="14646")) == "BCD"
    assert codes(shop.for_product("85123A", customer="14646")) == "BCD"
    assert codes(shop.for_product("85123A")) == "ABC"
    assert codes(shop.for_customer("14647")) == "ABC"
    shop.dismiss("stranger", "B")
    assert codes(shop.for_customer("stranger")) == "ACD"
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as another:
        assert codes(another.for_customer("14646")) == "BCD"


def test_it_can_be_taken_back(live, one):
    assert one.dismiss("14646", "A")
    assert (one.undismiss("14646", "a"), one.undismiss("14646", "A")) == (True, False)
    assert codes(one.for_customer("14646")) == "ABC"


def test_it_ends_and_no_key_outlives_it(live, one, store, settings):
    key = f"{settings.key_prefix}:dismissed:customer:14646"
    one.dismiss("14646", "A", days=2)
    one.dismiss("14646", "B", days=90)
    one.dismiss("14646", "C", days=1)
    assert store.ttl(key) == pytest.approx(90 * 86_400, abs=5)
    store.zadd(key, {"A": time.time() - 1})
    assert codes(one.for_customer("14646")) == "ADE"
    one.dismiss("14646", "D")
    assert set(store.zrange(key, 0, -1)) == {"B", "C", "D"}


def test_a_list_costs_one_command_until_somebody_dismisses_and_one_round_trip_after(live, one, store, settings):
    one.for_customer("14646")
    store.config_resetstat()
    one.for_customer("14646")
    assert "cmdstat_zrangebyscore" not in store.info("commandstats")
    one.dismiss("14647", "A")
    store.config_resetstat()
    one.for_customer("14646")
    stats = store.info("commandstats")
    assert {stats["cmdstat_hmget"]["calls"], stats["cmdstat_zrangebyscore"]["calls"]} == {1}


def test_one_customer_fills_no_memory(one, store, settings):
    for number in range(510):
        assert one.dismiss("14646", f"X{number}", days=1 + number / 1000)
    assert store.zcard(f"{settings.key_prefix}:dismissed:customer:14646") == 500
    assert store.zscore(f"{settings.key_prefix}:dismissed:customer:14646", "X0") is None


@pytest.mark.parametrize("customer", ["ann@example.com", "C:1: *", "Zoë 🦊", "a" * 254])
def test_ids_may_have_any_characters(live, shop, customer):
    assert shop.dismiss(customer, "Ä:*")
    assert shop.dismiss(customer, "B")
    assert codes(shop.for_customer(customer)) == "ACD"


def test_what_is_no_id_is_counted_and_days_that_cannot_be_meant_are_a_mistake(shop):
    for customer, code in ((None, "A"), (float("nan"), "A"), ("14646", ""), ("14646", "x" * 101), ("14646", None)):
        assert shop.dismiss(customer, code) is False
    assert shop.undismiss(None, "A") is False
    assert shop.statistics == Statistics(unusable_ids=6)
    for days in (0, -1, 4000, float("nan")):
        with pytest.raises(ValueError, match="up to 3650 days"):
            shop.dismiss("14646", "A", days=days)


def test_a_key_of_another_type_is_counted_and_its_customer_sees_lists(live, shop, store, settings):
    shop.dismiss("14647", "A")
    store.set(f"{settings.key_prefix}:dismissed:customer:14646", "text")
    assert codes(shop.for_customer("14646")) == "ABC"
    assert shop.statistics == Statistics(broken_dismissals=1)
    assert dismissed(settings) == {"14647": {"A"}}


def test_a_reader_may_not_dismiss_and_reads_on(live, store, settings):
    store.execute_command(
        "ACL", "SETUSER", "reader", "on", ">secret", f"~{settings.key_prefix}:*", "+get", "+hget", "+hmget"
    )
    try:
        url = settings.list_store().replace("redis://default:test@", "redis://reader:secret@")
        with Storefront(url, prefix=settings.key_prefix) as shop:
            assert shop.dismiss("14646", "A") is False
            assert codes(shop.for_customer("14646")) == "ABC"
            assert shop.statistics.failures == 1
        with (
            Storefront(url, prefix=settings.key_prefix, raise_errors=True) as shop,
            pytest.raises(redis.exceptions.NoPermissionError),
        ):
            shop.dismiss("14646", "A")
    finally:
        store.execute_command("ACL", "DELUSER", "reader")


def test_without_redis_nothing_is_stored_and_nothing_raises():
    with Storefront("redis://127.0.0.1:1/0") as shop:
        assert (shop.dismiss("14646", "A"), shop.undismiss("14646", "A")) == (False, False)


def test_they_are_counted_by_product_and_an_erasure_removes_those_of_its_customer(live, one, settings):
    one.dismiss("14646", "A")
    one.dismiss("14647", "A")
    one.dismiss("14647", "B")
    assert customers_by_product(settings) == {"A": 2, "B": 1}
    assert f"{settings.key_prefix}:dismissed:customer:14647" in keys_of_customer(settings, "14647")
    erase_customer(settings, "14647")
    assert keys_of_customer(settings, "14647") == []
    assert customers_by_product(settings) == {"A": 1}


def test_new_lists_lack_it_with_its_reason_and_a_list_never_becomes_empty():
    rows = [
        ("customer", "1", "for_you", ["A", "B", "C"], '[["bought",3],["new"],["taste"]]', "[0.3,null,0.1]", None),
        ("customer", "1", "buy_again", ["A"], '[["bought",3]]', None, '["2011-12-20"]'),
        ("customer", "2", "for_you", ["A", "B"], None, None, None),
        ("product", "1", "similar", ["A", "B"], None, None, None),
    ]
    names = (*Lists.ALL, Lists.REASONS, Lists.CHANCES, Lists.DUE)
    types = [pa.string()] * 3 + [pa.list_(pa.string())] + [pa.string()] * 3
    schema = pa.schema(list(zip(names, types, strict=True)))
    table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
    (made,) = without_dismissed([table], {"1": frozenset("AC"), "3": frozenset("B")})
    assert made.schema == table.schema
    assert [tuple(row.values()) for row in made.to_pylist()] == [
        ("customer", "1", "for_you", ["B"], '[["new"]]', "[null]", None),
        *rows[1:],
    ]
    (same,) = without_dismissed([table], {})
    assert same is table
