import asyncio
import socket
import subprocess
import sys
import time

import pytest
import redis
from both_clients import Both
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.storefront import AsyncStorefront, Reason, Recommendation, Storefront, reading

HEAVY = ("pandas", "numpy", "torch", "psycopg2", "airflow", "great_expectations", "sqlalchemy", "pydantic", "rich")


@pytest.fixture
def shop(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix, timeout=5)
    yield both
    both.end()


def test_the_fallback_goes_from_customer_to_country_to_everywhere_to_nothing(shop, publish):
    assert shop.for_customer(14646) == Recommendation((), "none", None)
    publish("p000001")
    assert shop.for_customer(14646) == Recommendation(("p000001", "0"), "customer", "p000001")
    assert shop.for_customer("14646", list_name="buy_again").source == "customer"
    assert shop.for_customer(1, country="Channel Islands") == Recommendation(("p000001", "É:1"), "country", "p000001")
    assert shop.for_customer(1, country="Curaçao: 100%").source == "country"
    assert shop.for_customer(1, country="Atlantis").source == "everywhere"
    assert shop.for_customer(1, country="").source == "everywhere"
    assert shop.for_customer(1, list_name="buy_again") == Recommendation(("p000001", "É:1"), "everywhere", "p000001")
    assert shop.for_visitor(country="EIRE").source == "country"
    assert shop.for_visitor(list_name="new_arrivals").source == "everywhere"
    assert shop.for_product("85123A", list_name="similar") == Recommendation(("p000001",), "product", "p000001")
    assert shop.for_product("unknown") == Recommendation((), "none", "p000001")


def test_all_lists_of_a_customer_in_one_answer(shop, publish):
    publish()
    assert {name: found.source for name, found in shop.lists_of_customer(14646).items()} == {
        "for_you": "customer",
        "discover": "customer",
        "buy_again": "customer",
    }
    assert {found.source for found in shop.lists_of_customer(1, country="EIRE").values()} == {"country"}


def test_an_empty_buy_again_is_an_answer_and_an_empty_discover_has_a_fallback(settings, shop):
    lists = make_lists()
    lists[Lists.STOCK_CODES] = [[] if audience == "customer" else codes for audience, _, _, codes in lists.to_numpy()]
    publication.publish(settings, [lists], meta=META)
    assert shop.for_customer(14646, list_name="buy_again") == Recommendation((), "customer", "p000001")
    assert shop.for_customer(14646, list_name="discover").source == "everywhere"
    assert shop.for_customer(14646).stock_codes == ("a", "É:1")


def test_the_meta_of_the_live_publication(shop, publish):
    assert shop.meta() == {}
    publish()
    assert shop.meta()["model_version"] == "v1"


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda shop: shop.for_customer(1, list_name="similar"), "for_you, discover, buy_again"),
        (lambda shop: shop.for_visitor(list_name="discover"), "for_you, new_arrivals"),
        (lambda shop: shop.for_product("1", list_name="for_you"), "bought_together, similar"),
    ],
)
def test_a_list_that_does_not_exist_is_a_mistake_of_the_caller(shop, ask, said):
    with pytest.raises(ValueError, match=said):
        ask(shop)


def test_a_page_costs_one_round_trip_and_a_new_publication_shows_within_a_second(settings, store, publish, monkeypatch):
    publish("old")
    with Storefront(settings.list_store(), prefix=settings.key_prefix, timeout=5) as shop:
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now)
        shop.for_customer(14646, country="EIRE")
        # The fallbacks of the country were read too: from now on, each read is one command, or none.
        for ask, expected in [
            (lambda: shop.for_customer(14646, country="EIRE"), {"cmdstat_hmget": 10}),
            (lambda: shop.lists_of_customer(14646, country="EIRE"), {"cmdstat_hmget": 10}),
            (lambda: shop.for_customer(1, country="EIRE"), {"cmdstat_hmget": 10}),
            (lambda: shop.for_product("85123A"), {"cmdstat_hget": 10}),
            (lambda: shop.for_visitor(list_name="new_arrivals", country="EIRE"), {}),
        ]:
            store.config_resetstat()
            for _ in range(10):
                ask()
            calls = {name: stat["calls"] for name, stat in store.info("commandstats").items()}
            assert {name: count for name, count in calls.items() if "get" in name} == expected
        publish("new")
        assert shop.for_customer(14646).stock_codes[0] == "old"
        later = now + reading.HOLD_SECONDS
        monkeypatch.setattr(time, "monotonic", lambda: later)
        assert shop.for_customer(14646).stock_codes[0] == "new"


def test_without_reasons_they_are_not_read(settings, store):
    lists = make_lists()
    lists[Lists.REASONS] = '[["bought",3],["new"]]'
    publication.publish(settings, [lists], meta=META)
    shop = Both(settings.list_store(), prefix=settings.key_prefix, reasons=False, timeout=5)
    assert shop.for_customer(14646) == Recommendation(("a", "0"), "customer", "p000001")
    assert shop.lists_of_customer(14646)["buy_again"].reasons == ()
    shop.end()


@pytest.mark.parametrize("client", [Storefront, AsyncStorefront])
@pytest.mark.parametrize("again", [True, False])
def test_a_process_that_was_stopped_until_its_lists_were_gone_reads_the_pointer_again(
    settings, store, keys, publish, monkeypatch, client, again
):
    publish("old")
    asked = {"url": settings.list_store(), "prefix": settings.key_prefix, "timeout": 5}

    async def answer(shop, ask):
        found = ask(shop)
        return await found if client is AsyncStorefront else found

    async def stand_still():
        shop, passed, clock = client(**asked), 0, time.monotonic
        await answer(shop, lambda shop: shop.for_customer(14646))
        if again:
            publish("new")
        else:
            store.delete(f"{settings.key_prefix}:current")
        for key in keys("p000001:*"):
            store.delete(f"{settings.key_prefix}:{key}")
        commands = shop._commands

        def stops_here(*arguments):
            nonlocal passed
            passed = 10
            return commands(*arguments)

        monkeypatch.setattr(shop, "_commands", stops_here)
        monkeypatch.setattr(time, "monotonic", lambda: clock() + passed)
        found = await answer(shop, lambda shop: shop.for_customer(14646))
        await answer(shop, lambda shop: shop.close())
        return found

    found = asyncio.run(stand_still())
    assert (found.stock_codes[:1], found.source) == ((("new",), "customer") if again else ((), "none"))


def test_reasons_come_with_the_list_one_for_each_product(settings, shop):
    lists = make_lists()
    lists[Lists.REASONS] = [
        '[["bought",3],["goes_with","É:1"]]' if (audience, name) == ("customer", "for_you") else None
        for audience, _, name, _ in lists.to_numpy()
    ]
    publication.publish(settings, [lists], meta=META)
    assert shop.for_customer(14646).reasons == (Reason("bought", 3), Reason("goes_with", "É:1"))
    assert shop.lists_of_customer(14646)["for_you"].reasons[0].evidence == 3
    assert shop.for_customer(14646, list_name="discover").reasons == ()
    assert shop.for_customer(1).reasons == shop.for_product("85123A").reasons == ()


@pytest.mark.parametrize("damaged", ["[", "7", '[["new"]]', '["new",3]', "[[],[]]", "{}", '["ne","po"]', "[[7],[7]]"])
def test_a_list_whose_reasons_are_damaged_is_still_a_list(settings, store, shop, publish, damaged):
    publish()
    store.hset(f"{settings.key_prefix}:p000001:customer:14646", "for_you_reasons", damaged)
    assert shop.for_customer(14646) == Recommendation(("a", "0"), "customer", "p000001")


AWAY = "redis://reader:secret@127.0.0.1:1/0"


def test_it_never_raises_if_redis_does_not_answer_unless_asked_to():
    shop = Both(AWAY)
    assert shop.for_customer(14646, country="EIRE") == Recommendation((), "unavailable", None)
    assert shop.for_product("85123A").source == "unavailable"
    assert shop.meta() == {}
    shop.end()
    with Storefront(AWAY, raise_errors=True) as shop, pytest.raises(redis.ConnectionError):
        shop.for_customer(14646)


def test_a_redis_that_does_not_answer_delays_one_page_a_second_and_not_each():
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        Storefront(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", timeout=0.3) as shop,
    ):
        started = time.monotonic()
        assert {shop.for_customer(number).source for number in range(100)} == {"unavailable"}
        assert time.monotonic() - started < 1.5


def test_no_page_notices_that_redis_closed_its_connection(settings, store, publish, monkeypatch):
    publish()
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as shop:
        assert shop.for_customer(14646).source == "customer"
        # A server that restarts closes all connections: no page notices.
        store.client_kill_filter(_type="normal", skipme=True)
        assert shop.for_customer(14646).source == "customer"


def test_importing_it_imports_nothing_heavy():
    program = (
        "import sys, ncf_pipeline.storefront; "
        f"print([name for name in {HEAVY!r} if name in sys.modules], "
        "sorted(name for name in sys.modules if name.startswith('ncf_pipeline.')))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    ours = ["columns", "storefront", *(f"storefront.{name}" for name in ("answers", "asking", "clients", "reading"))]
    assert out.strip() == f"[] {[f'ncf_pipeline.{name}' for name in ours]}"


def test_it_runs_where_nothing_but_redis_is_installed():
    program = """
import importlib.abc, sys

class OnlyRedis(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {"ncf_pipeline", "redis", *sys.stdlib_module_names}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, OnlyRedis())
from ncf_pipeline.storefront import AsyncStorefront, Storefront
print(Storefront("redis://127.0.0.1:1").for_customer(1).source)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("unavailable", "")


def test_a_reader_needs_only_permission_to_get(settings, store, publish):
    publish()
    rights = (
        f"%R~{settings.key_prefix}:*" if store.info("server")["redis_version"] >= "7" else f"~{settings.key_prefix}:*"
    )
    store.execute_command("ACL", "SETUSER", "reader", "on", ">secret", rights, "+get", "+hget", "+hmget", "+hgetall")
    url = settings.list_store().replace("redis://default:test@", "redis://reader:secret@")
    try:
        shop = Both(url, prefix=settings.key_prefix, raise_errors=True)
        assert shop.for_customer(14646, country="EIRE").source == "customer"
        assert shop.meta()["model_version"] == "v1"
        shop.end()
        with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.set(f"{settings.key_prefix}:current", "p000666")
    finally:
        store.execute_command("ACL", "DELUSER", "reader")
