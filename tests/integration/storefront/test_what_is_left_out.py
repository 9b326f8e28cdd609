"""What readers leave out of the lists there are: hidden and sold-out products; and what refills their places."""

import time

import pytest
import redis
from both_clients import Both
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.storefront import Reason, Recommendation, Statistics, Storefront

CODES = [f"2200{number}" for number in range(6)]
META_3 = META | {"top_n": 3}


@pytest.fixture
def shop(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=5)
    yield both
    both.end()


@pytest.fixture
def key(settings):
    return lambda suffix: f"{settings.key_prefix}:{suffix}"


@pytest.fixture
def live(settings):
    """Lists of six products, of which three are shown, with reasons."""
    lists = make_lists()
    lists[Lists.STOCK_CODES] = [["eire", *CODES] if key == "EIRE" else CODES for key in lists[Lists.KEY]]
    lists[Lists.REASONS] = str([["bought", n] for n in range(1, 7)]).replace("'", '"').replace(" ", "")
    publication.publish(settings, [lists], meta=META_3)


def test_a_list_shows_as_many_as_the_meta_says_and_the_spare_ones_refill_places(live, shop, store, key):
    assert shop.for_customer("14646").stock_codes == tuple(CODES[:3])
    store.zadd(key("hidden"), {CODES[0]: float("inf")})
    store.sadd(key("sold_out"), CODES[2], "no such product")
    shop.forget()
    found = shop.for_customer("14646")
    assert found.stock_codes == (CODES[1], CODES[3], CODES[4])
    assert found.reasons == (Reason("bought", 2), Reason("bought", 4), Reason("bought", 5))
    assert shop.for_visitor(list_name="new_arrivals").stock_codes == found.stock_codes
    assert shop.for_product("85123A").stock_codes == found.stock_codes
    assert {each.stock_codes for each in shop.lists_of_customer("14646").values()} == {found.stock_codes}


def test_what_is_hidden_in_a_country_is_hidden_from_its_customers_only(live, shop, store, key):
    store.zadd(key("hidden:EIRE"), {CODES[0]: time.time() + 60})
    assert shop.for_customer("14646", country="EIRE").stock_codes == tuple(CODES[1:4])
    assert shop.for_product("85123A", country="EIRE").stock_codes == tuple(CODES[1:4])
    assert shop.for_visitor(country="EIRE").stock_codes == ("eire", *CODES[1:3])
    for elsewhere in (None, "France", ""):
        assert shop.for_customer("14646", country=elsewhere).stock_codes == tuple(CODES[:3])


def test_a_hidden_product_is_back_when_its_time_is_over(live, shop, store, key):
    store.zadd(key("hidden"), {CODES[0]: time.time() - 1, CODES[1]: time.time() + 60})
    assert shop.for_customer("14646").stock_codes == (CODES[0], CODES[2], CODES[3])


def test_a_list_of_which_nothing_is_left_has_a_fallback(live, shop, store, key):
    store.zadd(key("hidden"), dict.fromkeys(CODES, float("inf")))
    assert shop.for_customer("14646", country="EIRE") == Recommendation(("eire",), "country", "p000001")
    assert shop.for_customer("14646") == Recommendation((), "everywhere", "p000001")
    assert shop.for_customer("14646", list_name="buy_again") == Recommendation((), "customer", "p000001")
    assert shop.for_product("85123A") == Recommendation((), "product", "p000001")


def test_it_is_seen_within_the_second_that_the_pointer_is_held(settings, live, store, key, monkeypatch):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, timeout=5) as shop:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)
        shop.for_customer("14646", country="EIRE")
        store.sadd(key("sold_out"), CODES[0])
        store.config_resetstat()
        assert shop.for_customer("14646", country="EIRE").stock_codes == tuple(CODES[:3])
        # A list costs one command: what is hidden, in the country too, is held.
        assert store.info("commandstats")["cmdstat_hmget"]["calls"] == 1
        assert not {"cmdstat_zrangebyscore", "cmdstat_smembers"} & set(store.info("commandstats"))
        later = now + 1
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert shop.for_customer("14646", country="EIRE").stock_codes == tuple(CODES[1:4])


def test_ten_thousand_hidden_products_leave_the_others(live, shop, store, key):
    store.zadd(key("hidden"), {f"X{number}": float("inf") for number in range(10_000)} | {CODES[0]: float("inf")})
    assert shop.for_customer("14646").stock_codes == tuple(CODES[1:4])


def test_keys_of_another_type_hide_nothing_new_and_what_was_seen_hidden_stays(live, shop, store, key):
    store.zadd(key("hidden"), {CODES[0]: float("inf")})
    assert shop.for_customer("14646").stock_codes == tuple(CODES[1:4])
    store.unlink(key("hidden"))
    store.set(key("hidden"), "text")
    store.set(key("sold_out"), "text")
    store.set(key("hidden:EIRE"), "text")
    shop._sync._held.until = shop._async._held.until = 0
    assert shop.for_customer("14646", country="EIRE").stock_codes == tuple(CODES[1:4])
    assert shop.statistics == Statistics(broken_hidden=2)


def test_a_user_who_may_not_read_what_is_hidden_still_reads_lists(settings, live, store, key):
    store.zadd(key("hidden"), {CODES[0]: float("inf")})
    store.execute_command("ACL", "SETUSER", "old", "on", ">secret", f"~{key('*')}", "+get", "+hget", "+hmget")
    try:
        url = settings.list_store().replace("redis://default:test@", "redis://old:secret@")
        shop = Both(url, prefix=settings.key_prefix, raise_errors=True, timeout=5)
        assert shop.for_customer("14646", country="EIRE").stock_codes == tuple(CODES[:3])
        assert shop.statistics.broken_hidden == 2
        assert shop.statistics.failures == 0
        shop.end()
    finally:
        store.execute_command("ACL", "DELUSER", "old")


def test_a_stock_system_may_say_what_is_sold_out_and_nothing_else(settings, live, store, key):
    rights = (f"~{key('sold_out')}", "+sadd", "+srem", "+del", "+multi", "+exec", "+ping")
    store.execute_command("ACL", "SETUSER", "stock", "on", ">secret", *rights)
    try:
        url = settings.list_store().replace("redis://default:test@", "redis://stock:secret@")
        with redis.Redis.from_url(url, decode_responses=True) as stock:
            with stock.pipeline(transaction=True) as pipeline:  # a night's whole stock
                pipeline.delete(key("sold_out"))
                pipeline.sadd(key("sold_out"), CODES[0])
                pipeline.execute()
            for refused in (("ZADD", key("hidden"), 1, "a"), ("SMEMBERS", key("sold_out")), ("GET", key("current"))):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    stock.execute_command(*refused)
        with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
            assert shop.for_customer("14646").stock_codes == tuple(CODES[1:4])
    finally:
        store.execute_command("ACL", "DELUSER", "stock")


def test_a_check_reads_whole_lists_with_what_is_hidden(settings, live, store, key):
    store.zadd(key("hidden"), {CODES[0]: float("inf")})
    whole = Both(settings.list_store(), prefix=settings.key_prefix, whole=True, raise_errors=True, timeout=5)
    assert whole.for_customer("14646").stock_codes == tuple(CODES)
    assert len(whole.lists_of_customer("14646")["discover"].reasons) == 6
    whole.end()


@pytest.mark.parametrize("top_n", ["0", "-1", "many", "", "²"])
def test_a_meta_that_does_not_say_how_many_are_shown_shows_all(settings, live, store, key, shop, top_n):
    store.hset(key("p000001:meta"), "top_n", top_n)
    assert shop.for_customer("14646").stock_codes == tuple(CODES)
