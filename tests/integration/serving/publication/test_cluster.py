"""Publishing and reading on a Redis Cluster of three real nodes."""

import asyncio
import subprocess
import time

import pytest
import redis
from list_servers import LIST_SERVERS, list_server
from published import META, make_lists
from pydantic import ValidationError
from redis.exceptions import RedisClusterException

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ListStoreError, SettingsError
from ncf_pipeline.local.ports import LOOPBACK, free_port, is_free
from ncf_pipeline.local.status import status
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.dismissals import dismissed
from ncf_pipeline.serving.publication import contents
from ncf_pipeline.serving.publication.erasing import erase_customer, keys_of_customer
from ncf_pipeline.serving.publication.store import connected
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import AsyncStorefront, Storefront

pytestmark = pytest.mark.xdist_group("cluster")  # one cluster is enough

SLOTS = 16_384  # of every cluster
BUS = 10_000  # nodes talk to each other on a port that is higher by this
CONFIGURATION = """
bind {host}
port {port}
requirepass test
masterauth test
cluster-enabled yes
cluster-node-timeout 2000
save ""
dir {folder}
"""


@pytest.fixture(scope="module", params=LIST_SERVERS)
def nodes(request, tmp_path_factory, stopped_with_us):
    """Three masters of one cluster, by port."""
    program = list_server(request.param)
    started = {}
    guards = []
    try:
        while len(started) < 3:
            port = free_port()
            if not is_free(port + BUS):
                continue
            folder = tmp_path_factory.mktemp(f"node{port}")
            (folder / "redis.conf").write_text(CONFIGURATION.format(host=LOOPBACK, port=port, folder=folder))
            with (folder / "log").open("w") as log:
                command = [program, folder / "redis.conf"]
                started[port] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            guards.append(stopped_with_us(started[port].pid))
        for port in started:
            wait_until(lambda port=port: answers(port))
        first = next(iter(started))
        for place, port in enumerate(started):
            ask(port, "CLUSTER", "ADDSLOTS", *range(place, SLOTS, len(started)))
            ask(port, "CLUSTER", "SET-CONFIG-EPOCH", place + 1)
            if port != first:
                ask(port, "CLUSTER", "MEET", LOOPBACK, first)
        for port in started:
            wait_until(lambda port=port: "cluster_state:ok" in ask(port, "CLUSTER", "INFO"))
        yield started
    finally:
        for process, guard in zip(started.values(), guards, strict=False):
            process.kill()
            process.wait()
            guard.kill()
            guard.wait()


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def ask(port, *command):
    with redis.Redis(LOOPBACK, port, password="test", decode_responses=True, socket_timeout=5) as client:
        return str(client.execute_command(*command))


def answers(port):
    try:
        return bool(ask(port, "PING"))
    except redis.ConnectionError:
        return False


def keys_of(port, pattern):
    with redis.Redis(LOOPBACK, port, password="test", decode_responses=True) as client:
        return sorted(client.scan_iter(pattern, count=10_000))


def url_of(port, user="default:test"):
    return f"redis://{user}@{LOOPBACK}:{port}"


@pytest.fixture(params=LIST_SERVERS)
def only_node(request, tmp_path, stopped_with_us):
    """The port of a cluster's only node. Like the proxy of a hosted cluster, it knows all keys, but divides them."""
    program = list_server(request.param)
    while not is_free((port := free_port()) + BUS):
        continue
    (tmp_path / "redis.conf").write_text(CONFIGURATION.format(host=LOOPBACK, port=port, folder=tmp_path))
    with (tmp_path / "log").open("w") as log:
        node = subprocess.Popen([program, tmp_path / "redis.conf"], stdout=log, stderr=log, start_new_session=True)
    guard = stopped_with_us(node.pid)
    try:
        wait_until(lambda: answers(port))
        ask(port, "CLUSTER", "ADDSLOTS", *range(SLOTS))
        wait_until(lambda: "cluster_state:ok" in ask(port, "CLUSTER", "INFO"))
        yield port
    finally:
        for process in (node, guard):
            process.kill()
            process.wait()


@pytest.fixture
def shop(nodes):
    for port in nodes:
        ask(port, "FLUSHALL")
    return Settings(redis_url=url_of(next(iter(nodes))), redis_cluster=True)


def move_slot(slot, source, target):
    """As `redis-cli --cluster reshard` does it."""
    whose = {port: ask(port, "CLUSTER", "MYID") for port in (source, target)}
    ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", whose[source])
    ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", whose[target])
    with redis.Redis(LOOPBACK, source, password="test", decode_responses=True, socket_timeout=5) as client:
        if keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            client.migrate(LOOPBACK, target, keys, 0, 5000, auth="test")
    for port in (target, source):
        ask(port, "CLUSTER", "SETSLOT", slot, "NODE", whose[target])


def all_keys(nodes, pattern="*"):
    return sorted(key for port in nodes for key in keys_of(port, pattern))


def test_lists_are_spread_over_the_nodes_and_read_from_any_of_them(shop, nodes):
    done = publication.publish(shop, [make_lists("p000001", customers=300)], meta=META)
    assert (done.number, done.keys) == (1, {"customer": 300, "product": 1, "fallback": 5})
    shares = [len(keys_of(port, "ncf:p000001:customer:*")) for port in nodes]
    assert sum(shares) == 300
    assert min(shares) > 50
    for port in nodes:
        with Storefront(url_of(port), cluster=True, raise_errors=True, timeout=5) as reader:
            assert {reader.for_customer(14646 + number).source for number in range(300)} == {"customer"}
            assert reader.for_customer(1, country="EIRE").source == "country"
            assert reader.for_customer(1).source == "everywhere"
            assert reader.for_visitor(list_name="new_arrivals").stock_codes == ("p000001", "É:1")
            assert reader.for_product("85123A").publication == "p000001"
            assert {name: found.source for name, found in reader.lists_of_customer(14646, country="EIRE").items()} == {
                "for_you": "customer",
                "discover": "customer",
                "buy_again": "customer",
            }
            assert reader.meta()["customers"] == "300"


def test_lists_are_published_where_no_script_may_read_two_keys_and_nothing_says_so(only_node, monkeypatch):
    monkeypatch.setattr(contents, "COMPARED_CHUNKS", 0)  # of all other chunks, fields are counted
    shop, lists = Settings(redis_url=url_of(only_node)), [make_lists(customers=20)]
    publication.publish(shop, lists, meta=META)
    assert publication.publish(shop, lists, meta=META, before=(1, lists)).keys["customer"] == 20


def test_the_async_client_reads_the_same(shop, nodes):
    publication.publish(shop, [make_lists("p000001")], meta=META)

    async def ask_all():
        async with AsyncStorefront(url_of(list(nodes)[1]), cluster=True, raise_errors=True, timeout=5) as reader:
            lists = await reader.lists_of_customer(14646, country="EIRE")
            unknown = await reader.for_customer(1, country="EIRE")
            return [found.source for found in lists.values()], unknown.source, await reader.meta()

    sources, unknown, meta = asyncio.run(ask_all())
    assert (sources, unknown, meta["model_version"]) == (["customer"] * 3, "country", "v1")


def test_hidden_sold_out_and_dismissed_products_are_left_out_on_every_node(shop, nodes):
    codes = [f"2200{number}" for number in range(6)]
    lists = make_lists(customers=40)
    lists[Lists.STOCK_CODES] = [codes] * len(lists)
    publication.publish(shop, [lists], meta=META | {"top_n": 3})
    customers = [str(14646 + number) for number in range(40)]
    with connected(shop, "nothing is hidden") as store:
        store.client.zadd("ncf:hidden", {codes[0]: float("inf")})
        store.client.zadd("ncf:hidden:EIRE", {codes[1]: time.time() + 600})
        store.client.sadd("ncf:sold_out", codes[2])
    with Storefront(url_of(next(iter(nodes))), cluster=True, raise_errors=True, timeout=5) as writer:
        assert all(writer.dismiss(customer, codes[3]) for customer in customers[::2])
    assert min(len(keys_of(port, "ncf:dismissed:customer:*")) for port in nodes) > 0
    for port in nodes:
        with Storefront(url_of(port), cluster=True, raise_errors=True, timeout=5) as reader:
            for place, customer in enumerate(customers):
                left = [code for code in codes if code not in (codes[0], codes[2])]
                mine = [code for code in left if place % 2 or code != codes[3]]
                assert reader.for_customer(customer).stock_codes == tuple(mine[:3])
                abroad = reader.lists_of_customer(customer, country="EIRE")["discover"].stock_codes
                assert abroad == tuple([code for code in mine if code != codes[1]][:3])
            assert reader.for_product("85123A").stock_codes == (codes[1], codes[3], codes[4])
    assert dismissed(shop) == {customer: frozenset([codes[3]]) for customer in customers[::2]}

    async def ask():
        async with AsyncStorefront(url_of(list(nodes)[1]), cluster=True, raise_errors=True, timeout=5) as reader:
            assert await reader.undismiss(customers[0], codes[3])
            return (await reader.for_customer(customers[0])).stock_codes

    assert asyncio.run(ask()) == (codes[1], codes[3], codes[4])
    erase_customer(shop, customers[2])
    assert keys_of_customer(shop, customers[2]) == []
    assert customers[2] not in dismissed(shop)


def test_a_flip_a_removal_and_the_list_of_publications(shop, nodes, without_grace):
    for number in (1, 2, 3):
        publication.publish(shop, [make_lists(f"{number}", customers=20)], meta=META)
    assert publication.publications(shop) == [3, 2]
    assert all_keys(nodes, "ncf:p000001:*") == []
    assert publication.newest_number(shop) == 3
    for port in nodes:
        for key in keys_of(port, "ncf:p000002:*"):
            ask(port, "EXPIRE", key, "1000")
    publication.flip(shop, 2)
    assert publication.live_publication(shop)["name"] == "p000002"
    with Storefront(url_of(next(iter(nodes))), cluster=True, raise_errors=True) as reader:
        assert reader.for_customer(14646).stock_codes[0] == "2"
    assert status(shop.model_copy(update={"home": shop.home / "none"})).live_publication == "p000002"
    publication.renew(shop, 2)
    lives = [int(ask(port, "TTL", key)) for port in nodes for key in keys_of(port, "ncf:p000002:*")]
    assert min(lives) > 34 * 86_400


def test_lists_that_differ_when_read_back_are_removed_from_every_node(shop, nodes, monkeypatch):
    publication.publish(shop, [make_lists("before", customers=20)], meta=META)
    held = all_keys(nodes)
    check = contents.check

    def damaged(*arguments):
        (port, key) = next((port, key) for port in nodes for key in keys_of(port, "ncf:p000002:customer:*"))
        ask(port, "DEL", key)
        return check(*arguments)

    monkeypatch.setattr(contents, "check", damaged)
    with pytest.raises(ListStoreError, match="p000002 was not made live"):
        publication.publish(shop, [make_lists("after", customers=20)], meta=META)
    assert all_keys(nodes) == held


def test_a_slot_that_moves_to_another_node_is_followed_by_publisher_and_readers(shop, nodes):
    publication.publish(shop, [make_lists("p000001", customers=300)], meta=META)
    first, second, _ = nodes
    with Storefront(url_of(first), cluster=True, raise_errors=True, timeout=5) as reader:
        before = [reader.for_customer(14646 + number) for number in range(300)]
        held = all_keys([first], "*:customer:*")
        for slot in {ask(first, "CLUSTER", "KEYSLOT", key) for key in held[:20]}:
            move_slot(slot, first, second)
        assert set(all_keys([second])) >= set(held[:20])
        assert [reader.for_customer(14646 + number) for number in range(300)] == before
    publication.publish(shop, [make_lists("p000002", customers=300)], meta=META)
    assert publication.live_publication(shop)["customers"] == "300"


def test_a_reader_needs_permission_only_to_get_and_to_find_keys(shop, nodes):
    publication.publish(shop, [make_lists("p000001", customers=50)], meta=META)
    for port in nodes:
        rights = ["on", ">secret", "~ncf:*", "+get", "+hget", "+hmget", "+hgetall", "+command", "+cluster|slots"]
        ask(port, "ACL", "SETUSER", "reader", *rights)
    try:
        with Storefront(url_of(port, "reader:secret"), cluster=True, raise_errors=True, timeout=5) as reader:
            assert {reader.for_customer(14646 + number).source for number in range(50)} == {"customer"}
            with pytest.raises(redis.exceptions.NoPermissionError):
                reader._redis.set("ncf:current", "p000666")
    finally:
        for port in nodes:
            ask(port, "ACL", "DELUSER", "reader")


AWAY = "redis://127.0.0.1:1"


def test_a_cluster_that_does_not_answer_breaks_neither_shop_nor_page():
    with Storefront(AWAY, cluster=True) as reader:
        assert reader.for_customer(14646).source == "unavailable"
        assert reader.meta() == {}
    with Storefront(AWAY, cluster=True, raise_errors=True) as reader, pytest.raises(RedisClusterException):
        reader.for_customer(14646)

    async def ask_for_one():
        async with AsyncStorefront(AWAY, cluster=True) as reader:
            return await reader.for_customer(14646)

    assert asyncio.run(ask_for_one()).source == "unavailable"
    with pytest.raises(ListStoreError, match="The previous lists stay live"):
        publication.newest_number(Settings(redis_url=AWAY, redis_cluster=True))


def test_a_url_that_is_not_of_a_cluster_fails_at_once():
    for url in ("redis://127.0.0.1/3", "unix:///tmp/redis.sock", "http://127.0.0.1"):
        for client in (Storefront, AsyncStorefront):
            with pytest.raises(ValueError, match=r"Redis URL|only database 0"):
                client(url, cluster=True)
        with pytest.raises((SettingsError, ValidationError), match=r"NCF_REDIS_URL|redis_url"):
            publication.newest_number(Settings(redis_url=url, redis_cluster=True))
