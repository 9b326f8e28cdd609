import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest
import redis
from both_clients import Both
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.serving import publication
from ncf_pipeline.storefront import AsyncStorefront, Reason, Recommendation, Storefront, clients, reading

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


def test_threads_share_a_client_and_each_gets_its_own_answers(settings, publish):
    publish(customers=200)
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True, timeout=30) as shop:
        with ThreadPoolExecutor(2 * clients.LINES) as threads:
            found = list(threads.map(lambda number: shop.for_customer(14646 + number % 200), range(2000)))
        assert [answer.stock_codes[1] for answer in found] == [f"{number % 200}" for number in range(2000)]
        assert len(shop._lines._idle) <= clients.LINES


class TheTimeIsUpError(BaseException):
    """What a server raises in a page that takes too long."""


def test_a_page_that_is_cut_off_leaves_its_answer_to_no_other_page(settings, store, publish):
    publish(customers=2)

    def stop(*_):
        raise TheTimeIsUpError

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with Storefront(settings.list_store(), prefix=settings.key_prefix, timeout=10) as shop:
            assert shop.for_customer(14646).stock_codes[1] == "0"
            store.client_pause(400)  # ms, so that the command is sent, and its answer comes late
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(TheTimeIsUpError):
                shop.for_customer(14646)
            assert [shop.for_customer(14647).stock_codes[1] for _ in range(3)] == ["1"] * 3
    finally:
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_connections_of_its_own(settings, publish):
    publish(customers=2)
    program = """
import os, sys
from ncf_pipeline.storefront import Storefront
shop = Storefront(sys.argv[1], prefix=sys.argv[2], raise_errors=True, timeout=10)
assert shop.for_customer(14646).stock_codes[1] == "0"
child = os.fork()
wanted = "1" if child else "0"
mixed = [found for _ in range(2000) if (found := shop.for_customer(14646 + int(wanted)).stock_codes[1]) != wanted]
if not child:
    os._exit(bool(mixed))
assert not mixed and os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program, settings.list_store(), settings.key_prefix], check=True)


def test_a_limit_of_connections_in_the_address_is_kept(settings, store, publish):
    publish()
    url = f"{settings.list_store()}?max_connections=1&client_name=limited"
    with Storefront(url, prefix=settings.key_prefix, raise_errors=True) as shop:
        assert shop.for_customer(14646).source == shop.lists_of_customer(14646)["for_you"].source == "customer"
        assert sum(client["name"] == "limited" for client in store.client_list()) == 1


def test_the_short_way_to_an_answer_is_the_long_one(settings, store, publish, monkeypatch):
    """A page's usual question is answered in fewer steps: the answers must not differ."""
    dice = random.Random(1)
    codes = [f"{number:05d}" for number in range(40)]
    rows = [
        ("customer", str(number), name, dice.sample(codes, dice.choice([0, 1, 9, 20])))
        for number in range(30)
        for name in ("for_you", "discover", "buy_again")
    ]
    rows += [("fallback", "*", name, codes[:20]) for name in ("for_you", "new_arrivals")]
    publication.publish(settings, [pd.DataFrame(rows, columns=list(Lists.ALL))], meta=META)
    store.zadd(f"{settings.key_prefix}:hidden", dict.fromkeys(codes[:10], float("inf")))
    store.zadd(f"{settings.key_prefix}:hidden:EIRE", dict.fromkeys(codes[10:30], float("inf")))
    store.hset(f"{settings.key_prefix}:p000001:customer:7", "for_you", '["1", 2]')
    asked = [
        {
            "customer_id": dice.randrange(31),
            "list_name": dice.choice(["for_you", "discover", "buy_again"]),
            "country": dice.choice([None, "EIRE", "France"]),
            "count": dice.choice([None, 1, 3, 50]),
            "page": dice.choice([1, 1, 2]),
            "exclude": dice.sample(codes, dice.choice([0, 0, 15, 40])),
        }
        for _ in range(400)
    ]
    with Storefront(settings.list_store(), prefix=settings.key_prefix, reasons=False, raise_errors=True) as shop:
        short = [shop.for_customer(**each) for each in asked]
        counted = shop.statistics.broken_lists
        monkeypatch.setattr(reading, "_usual", lambda *_: None)
        assert [shop.for_customer(**each) for each in asked] == short
        assert shop.statistics.broken_lists == 2 * counted > 0


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
