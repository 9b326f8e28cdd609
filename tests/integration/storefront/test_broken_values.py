"""A broken value in Redis costs one customer one list: it is counted, raises nothing, and touches nobody else."""

import json
from decimal import Decimal

import numpy as np
import pytest
import redis
from both_clients import Both
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ncf_pipeline.columns import LISTS_OF
from ncf_pipeline.storefront import Recommendation, Statistics

OWN = Recommendation(("a", "0"), "customer", "p000001")
OF_FRIEND = Recommendation(("a", "1"), "customer", "p000001")
OF_COUNTRY = Recommendation(("a", "É:1"), "country", "p000001")
OF_EVERYWHERE = Recommendation(("a", "É:1"), "everywhere", "p000001")
NO_LIST = ["null", "7", "true", '"abc"', '["x"', "[7]", '["a", null]', '{"a":1}', "", "[[]]", "NaN", "[" * 100_000]
NO_LIST += ['["a"]x', '[""]', '["\\ud800"]', b'["\xff"]', b"\xff\xfe"]


@pytest.fixture
def shop(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5)
    yield both
    both.end()


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store()) as client:
        yield client


@pytest.fixture
def spoil(settings, store, publish):
    """Puts a value in place of a key, or of a field of it."""
    publish(customers=2)

    def put(suffix, value, field=None):
        key = f"{settings.key_prefix}:{suffix}"
        if field is None:
            store.delete(key)
            store.set(key, value) if isinstance(value, str | bytes) else store.sadd(key, *value)
        else:
            store.hset(key, field, value)

    return put


@pytest.mark.parametrize("value", NO_LIST, ids=lambda value: repr(value)[:20])
def test_a_value_that_is_no_list_costs_one_customer_one_list(spoil, shop, value):
    spoil("p000001:customer:14646", value, "for_you")
    assert shop.for_customer(14646, country="EIRE") == OF_COUNTRY
    assert shop.statistics == Statistics(broken_lists=1)
    assert shop.for_customer(14647, country="EIRE") == OF_FRIEND
    lists = shop.lists_of_customer(14646, country="EIRE")
    assert (lists["for_you"], lists["discover"]) == (OF_COUNTRY, OWN)
    assert shop.statistics == Statistics(broken_lists=2)


def test_a_key_of_another_type_costs_its_own_lists(spoil, shop):
    spoil("p000001:customer:14646", "text")
    spoil("p000001:product:85123A", ["a set"])
    spoil("p000001:fallback:EIRE", ["a set"])
    spoil("p000001:meta", "text")
    assert shop.for_customer(14646, country="Channel Islands") == OF_COUNTRY
    assert set(shop.lists_of_customer(14646, country="EIRE").values()) == {OF_EVERYWHERE}
    assert shop.for_visitor(country="EIRE") == OF_EVERYWHERE
    assert shop.for_product("85123A") == Recommendation((), "none", "p000001")
    assert shop.for_customer(14647, country="EIRE") == OF_FRIEND
    assert shop.meta() == {}
    assert shop.statistics.broken_meta == 1
    assert shop.statistics.failures == 0


def test_a_broken_fallback_is_replaced_by_that_of_everywhere(spoil, shop):
    spoil("p000001:fallback:EIRE", "null", "for_you")
    assert shop.for_customer(1, country="EIRE") == OF_EVERYWHERE
    assert shop.for_visitor(list_name="new_arrivals", country="EIRE") == OF_COUNTRY
    spoil("p000001:fallback:*", "7", "for_you")
    shop.forget()
    assert shop.for_customer(1, country="EIRE") == Recommendation((), "none", "p000001")


@pytest.mark.parametrize("value", ["", "garbage", "p1:customer", "p", b"\xff", ["a set"]])
def test_a_pointer_to_nothing_leaves_live_what_a_client_has_seen(spoil, shop, value):
    assert shop.for_customer(14646) == OWN
    spoil("current", value)
    shop._sync._held.until = shop._async._held.until = 0
    assert shop.for_customer(14646) == OWN
    assert shop.meta()["model_version"] == "v1"
    assert shop.statistics == Statistics(broken_pointers=2)
    shop.forget()
    assert shop.for_customer(14646) == Recommendation((), "none", None)
    assert shop.meta() == {}


def test_fields_of_the_meta_that_are_no_text_are_left_out(spoil, shop):
    spoil("p000001:meta", b"\xff", "top_n")
    assert (shop.meta()["model_version"], "top_n" in shop.meta()) == ("v1", False)
    assert shop.statistics.broken_meta == 2


NO_ID = [None, float("nan"), float("inf"), 14646.5, True, b"14646", [14646], Decimal("NaN"), "\ud800"]


def test_a_number_is_an_id_whatever_a_table_has_made_of_it(spoil, shop):
    for customer in (14646.0, np.float64(14646), np.float32(14646), np.int64(14646), Decimal("14646.0")):
        assert shop.for_customer(customer) == OWN
    assert shop.statistics == Statistics()


@pytest.mark.parametrize("named", NO_ID, ids=repr)
def test_what_is_no_id_gets_the_fallback_and_is_counted(spoil, shop, named):
    assert shop.for_customer(named, country="EIRE") == OF_COUNTRY
    assert set(shop.lists_of_customer(named, country=named).values()) == {OF_EVERYWHERE}
    assert shop.for_product(named) == Recommendation((), "none", "p000001")
    assert shop.for_visitor(country=named) == OF_EVERYWHERE
    assert shop.statistics == Statistics(unusable_ids=3)
    assert shop.for_customer(14646) == OWN


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
GARBAGE = st.one_of(
    JSON.map(json.dumps).map(str.encode),
    st.lists(st.sampled_from([b"a", b"\xff", b'"', b"[", b"]", b",", b"\\ud800", b"7", b"null"])).map(b"".join),
    st.binary(max_size=12),
)
REASONS = [f"{name}_reasons" for name in LISTS_OF["customer"]]
KEYS = {  # with the fields that the client reads
    "current": (),
    "p000001:meta": ("model_version", "cutoff", "published_at", "customers"),
    "p000001:customer:14646": (*LISTS_OF["customer"], *REASONS),
    "p000001:product:85123A": LISTS_OF["product"],
    "p000001:fallback:EIRE": LISTS_OF["fallback"],
    "p000001:fallback:*": LISTS_OF["fallback"],
}


def everything(shop):
    """The answers to each call of the client."""
    for country in (None, "EIRE"):
        for name in LISTS_OF["customer"]:
            yield shop.for_customer(14646, list_name=name, country=country)
        yield from shop.lists_of_customer(14646, country=country).values()
        for name in LISTS_OF["fallback"]:
            yield shop.for_visitor(list_name=name, country=country)
    for name in LISTS_OF["product"]:
        yield shop.for_product("85123A", list_name=name)


def write(client, key, kind, content):
    """Replaces a key by one of another type."""
    client.delete(key)
    values = [content, b"more"]
    match kind:
        case "string":
            client.set(key, content)
        case "list":
            client.rpush(key, *values)
        case "set":
            client.sadd(key, *values)
        case "sorted set":
            client.zadd(key, dict.fromkeys(values, 1.0))
        case "stream":
            client.xadd(key, {content: content})
        case "hash":
            client.hset(key, content, content)


@given(
    key=st.sampled_from(list(KEYS)),
    kind=st.sampled_from(["fields", "fields", "string", "list", "set", "sorted set", "stream", "hash"]),
    contents=st.lists(GARBAGE, min_size=6, max_size=6),
)
@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_in_any_key_raises_or_touches_another_key(settings, store, spoil, shop, key, kind, contents):
    spoiled = f"{settings.key_prefix}:{key}"
    before = store.dump(spoiled)
    if kind == "fields" and KEYS[key]:
        store.hset(spoiled, mapping=dict(zip(KEYS[key], contents, strict=False)))
    else:
        write(store, spoiled, "string" if kind == "fields" else kind, contents[0])
    shop.forget()
    try:
        for found in everything(shop):
            assert found.source != "unavailable"
            assert all(isinstance(code, str) and code.encode() for code in found.stock_codes)
            for reason in found.reasons:
                assert json.dumps([reason.code, reason.evidence], ensure_ascii=False).encode()
        assert all(text.encode() is not None for pair in shop.meta().items() for text in pair)
        if key != "current":
            assert shop.for_customer(14647, country="Channel Islands") == OF_FRIEND
            assert shop.for_visitor(country="Channel Islands") == OF_COUNTRY
            assert key.endswith("meta") or shop.meta()["model_version"] == "v1"
        assert shop.statistics.failures == 0
    finally:
        store.restore(spoiled, 0, before, replace=True)
