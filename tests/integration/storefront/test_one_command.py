"""Lists by a function of Redis: one command, with the answers of the Python client."""

import json
import random
import time
from contextlib import contextmanager

import pandas as pd
import pytest
import redis
from list_servers import LIST_SERVERS, list_server
from redis.exceptions import NoPermissionError, ResponseError

import ncf_pipeline.local.redis
from ncf_pipeline.columns import Lists
from ncf_pipeline.local.ports import free_port
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.watch import watch
from ncf_pipeline.storefront import Reason, Recommendation, Storefront

CODES = ["22423", "85123A", "23084", "É:1", 'A"B', "A/B", "10002", "POST", "𝔘", "21733", "9", "B\\C"]
CUSTOMERS = ["1", "14646", "ann@example.com", "José", "nobody"]
PRODUCTS = ["22423", "85123A", "É:1", "UNKNOWN"]
COUNTRIES = ["EIRE", "Curaçao: 100%", "Atlantis", "*", ""]
SHELVES = ["for_you", "discover", "buy_again", "bought_together", "similar", "new_arrivals"]
NO_LIST = ["null", "{}", '{"a":1}', "[7]", '[["22423"]]', '["x"', '[""]', "", '["\\ud800"]', '["22423"]x', b'["\xff"]']
NO_LIST += [b'["\xc0\x80"]', b'["\xe0\x9f\xbf"]', b'["\xed\xa0\x80"]', b'["\xf4\x90\x80\x80"]', b'["\xf0\x9d\x94"]']
NO_REASONS = ["[]", '[["new"]]', "[7,8]", "{}", '[["new",1.5],["new"],["new"]]', '[["\\ud800"],["new"],["new"]]']
REASONS = [["new"], ["bought", 3], ["goes_with", "É:1"], ["taste", None], ["later", 1, 2]]


@contextmanager
def server(name, folder, monkeypatch):
    """The address of a list server of this machine."""
    program = list_server(name)
    monkeypatch.setattr(ncf_pipeline.local.redis, "server_program", lambda: program)
    port = free_port()
    process = start_redis(folder / "redis", port=port, password="test", log=folder / "redis.log", durable=False)
    try:
        yield redis_url(port, password="test")
    finally:
        stop_redis(process)


@pytest.fixture(params=LIST_SERVERS)
def shop(request, settings, tmp_path, monkeypatch):
    """Settings of a shop whose lists are on one of the servers."""
    with server(request.param, tmp_path, monkeypatch) as address:
        yield settings.model_copy(update={"redis_url": type(settings.redis_url)(address)})


def connect(shop, **options):
    return redis.Redis.from_url(shop.list_store(), decode_responses=True, **options)


def skip_without_functions(client):
    if client.info("server").get("server_name") != "valkey" and client.info("server")["redis_version"] < "7":
        pytest.skip("Redis has functions from 7.0 on")


def random_lists(rng):
    """Some lists of a shop with few products, so that they have much in common."""

    def some():
        return rng.sample(CODES, rng.randint(0, 8))

    rows = [
        (audience, key, name, some())
        for audience, keys, names in (
            ("customer", CUSTOMERS[:-1], SHELVES[:3]),
            ("product", PRODUCTS[:-1], SHELVES[3:5]),
            ("fallback", [*COUNTRIES[:2], "*"], ["for_you", "new_arrivals"]),
        )
        for key in keys
        for name in names
        if rng.random() < 0.9
    ]
    lists = pd.DataFrame(rows, columns=list(Lists.ALL))
    lists[Lists.REASONS] = [
        json.dumps([rng.choice(REASONS) for _ in codes]) if audience == "customer" or name == "similar" else None
        for audience, _, name, codes in rows
    ]
    return lists


def spoil(rng, client, start):
    """Breaks some values, as a stranger with access might."""
    for customer in rng.sample(CUSTOMERS, 2):
        client.hset(f"{start}customer:{customer}", rng.choice(SHELVES[:3]), rng.choice(NO_LIST))
        client.hset(f"{start}customer:{customer}", f"{rng.choice(SHELVES[:3])}_reasons", rng.choice(NO_REASONS))
    if rng.random() < 0.3:
        client.hset(f"{start}meta", "top_n", rng.choice(["0x3", "3.0", " 3", "-1", "0", "9" * 30]))
    if rng.random() < 0.3:
        for key in (f"{start}product:22423", f"{start}fallback:EIRE"):
            client.delete(key)
            client.set(key, "7")


def leave_out(rng, client, prefix):
    """Hides some products, for some customers or for all; some of it is over."""
    client.delete(*(f"{prefix}:{key}" for key in ("hidden", "sold_out", "hidden:EIRE", "dismissed:customer:14646")))
    now = time.time()
    for key in ("hidden", "hidden:EIRE", "dismissed:customer:14646"):
        ends = {code: rng.choice([float("inf"), now + 1000, now - 1000]) for code in rng.sample(CODES, 3)}
        client.zadd(f"{prefix}:{key}", ends)
    client.sadd(f"{prefix}:sold_out", *rng.sample(CODES, 2))
    client.set(f"{prefix}:dismissing", "1")
    if rng.random() < 0.2:
        client.delete(f"{prefix}:sold_out")
        client.set(f"{prefix}:sold_out", "of another type")


def recommendation(answer):
    products = answer["products"]
    reasons = tuple(Reason(**each["reason"]) for each in products if "reason" in each)
    codes = tuple(each["stock_code"] for each in products)
    return Recommendation(codes, answer["source"], answer["publication"], reasons)


def maybe(rng, given):
    return given if rng.random() < 0.6 else None


def words(**options):
    """Options as the functions take them."""
    return [word for name, value in options.items() if value is not None for word in (name, str(value))]


@pytest.mark.parametrize("seed", range(4))
def test_it_answers_as_the_client_does(shop, seed):
    rng = random.Random(seed)
    prefix = shop.key_prefix
    with connect(shop) as client, Storefront(shop.list_store(), prefix=prefix, raise_errors=True, timeout=5) as python:
        skip_without_functions(client)
        for number in range(1, 9):
            top_n = rng.randint(1, 6)
            meta = {"model_version": "v1", "cutoff": "2011-12-09T12:51:00", "top_n": top_n}
            publication.publish(shop, [random_lists(rng)], number=number, meta=meta)
            spoil(rng, client, f"{prefix}:{publication.name_of(number)}:")
            leave_out(rng, client, prefix)
            python._held = None
            for _ in range(40):
                shelves = rng.sample(SHELVES, rng.randint(1, 4))
                asked = {
                    "customer": maybe(rng, rng.choice(CUSTOMERS)),
                    "product": rng.choice(PRODUCTS),
                    "country": maybe(rng, rng.choice(COUNTRIES)),
                    "count": maybe(rng, rng.randint(1, 5)),
                }
                out = rng.sample(CODES, rng.randint(0, 2))
                without = [word for code in out for word in ("exclude", code)]
                named = [word for name in shelves for word in ("list", name)]
                reply = client.fcall_ro("ncf_lists", 1, f"{prefix}:current", *named, *without, *words(**asked))
                found = {name: recommendation(answer) for name, answer in json.loads(reply)["lists"].items()}
                assert found == python.for_page(shelves, **asked, exclude=out), (shelves, asked, out)
                assert list(found) == shelves
                del asked["product"]
                basket = rng.choices([*CODES, "", " 85123a\t", " "], k=rng.randint(0, 6))
                inside, page = [word for code in basket for word in ("product", code)], rng.randint(1, 2)
                reply = client.fcall_ro(
                    "ncf_basket", 1, f"{prefix}:current", *inside, *without, *words(**asked, page=page)
                )
                found = recommendation(json.loads(reply))
                assert found == python.for_basket(basket, **asked, exclude=out, page=page), (basket, asked, out)


def test_one_shelf_is_the_list_of_a_customer_a_visitor_or_a_product(shop):
    rng = random.Random(4)
    with connect(shop) as client, Storefront(shop.list_store(), prefix=shop.key_prefix, raise_errors=True) as python:
        skip_without_functions(client)
        publication.publish(shop, [random_lists(rng)], number=1, meta={"cutoff": "2011-12-09T12:51:00", "top_n": 2})
        leave_out(rng, client, shop.key_prefix)
        for customer in CUSTOMERS:
            for product in PRODUCTS:
                for page in (1, 2, 5):
                    asked = {"country": "EIRE", "page": page}

                    def one(name, page=page, **named):
                        pointer = f"{shop.key_prefix}:current"
                        reply = client.fcall_ro(
                            "ncf_lists", 1, pointer, *words(LIST=name, **named, Country="EIRE", page=page)
                        )
                        return recommendation(json.loads(reply)["lists"][name])

                    for name in SHELVES[:3]:
                        assert one(name, customer=customer) == python.for_customer(customer, list_name=name, **asked)
                    for name in SHELVES[3:5]:
                        expected = python.for_product(product, list_name=name, customer=customer, **asked)
                        assert one(name, product=product, customer=customer) == expected
                    for name in ("for_you", "new_arrivals"):
                        assert one(name) == python.for_visitor(list_name=name, **asked)


def test_a_list_of_any_length_and_a_long_basket(shop):
    many = [f"{number:05}" for number in range(4000)]
    rows = [("customer", "1", "for_you", many), ("fallback", "*", "for_you", ["1"])]
    rows += [("product", code, "bought_together", [f"{code}B", "X"]) for code in many[:100]]
    lists = pd.DataFrame(rows, columns=list(Lists.ALL))
    publication.publish(shop, [lists], number=1, meta={"cutoff": "2011-12-09T12:51:00", "top_n": 4000})
    with connect(shop) as client, Storefront(shop.list_store(), prefix=shop.key_prefix, raise_errors=True) as python:
        skip_without_functions(client)
        client.zadd(f"{shop.key_prefix}:hidden", dict.fromkeys(many[::3], float("inf")))
        pointer = f"{shop.key_prefix}:current"
        reply = client.fcall_ro("ncf_lists", 1, pointer, "list", "for_you", "customer", "1")
        shown = recommendation(json.loads(reply)["lists"]["for_you"])
        assert shown == python.for_customer("1")
        assert len(shown.stock_codes) == 2666
        inside = [word for code in many[:100] for word in ("product", code)]
        reply = client.fcall_ro("ncf_basket", 1, pointer, *words(count=300), *inside)
        assert recommendation(json.loads(reply)) == python.for_basket(many[:100], count=300)


def test_before_the_first_publication_lists_are_empty(shop):
    with connect(shop) as client:
        skip_without_functions(client)
        assert publication.load_functions(shop) is True
        pointer = f"{shop.key_prefix}:current"
        empty = {"source": "none", "publication": None, "products": []}
        reply = client.fcall_ro("ncf_lists", 1, pointer, "list", "for_you", "list", "similar", "product", "1")
        assert json.loads(reply) == {"lists": {name: {"name": name, **empty} for name in ("for_you", "similar")}}
        reply = client.fcall_ro("ncf_basket", 1, pointer, "product", "1")
        assert json.loads(reply) == {"name": "basket", **empty}
        client.set(pointer, "soon")
        assert json.loads(client.fcall_ro("ncf_basket", 1, pointer))["source"] == "none"
        client.delete(pointer)
        client.rpush(pointer, "p000001")  # of another type
        assert json.loads(client.fcall_ro("ncf_basket", 1, pointer)) == {"name": "basket", **empty}


@pytest.mark.parametrize(
    ("function", "arguments", "why"),
    [
        ("ncf_lists", ["customer", "1"], "ncf: name one list or more, such as: list for_you"),
        ("ncf_lists", ["list", "foryou"], "ncf: there is no list foryou; choose from for_you, "),
        ("ncf_lists", ["list", "for_you", "list", "for_you"], "ncf: a page has each list once, and for_you is there"),
        ("ncf_lists", ["list", "similar"], "ncf: similar is the list of a product: name one"),
        ("ncf_lists", ["list", "similar", "product", "1", "product", "2"], "ncf: a page is of one product; "),
        ("ncf_lists", ["list", "for_you", "count", "0"], "ncf: count begins at 1, not at 0"),
        ("ncf_lists", ["list", "for_you", "page", "-1"], "ncf: page begins at 1, not at -1"),
        ("ncf_lists", ["list", "for_you", "count", "ten"], "ncf: count begins at 1, not at ten"),
        ("ncf_lists", ["list", "for_you", "category", "Cups"], "ncf: there is no option category"),
        ("ncf_lists", ["list", "for_you", "customer"], "ncf: each option has one value, and customer has none"),
        ("ncf_lists", ["list", "for_you", "customer", b"\xff"], "ncf: the value of customer is not UTF-8"),
        ("ncf_basket", ["list", "for_you"], "ncf: there is no option list"),
        ("ncf_basket", ["product", "x" * 1025], "ncf: a value has up to 1024 bytes"),
        ("ncf_basket", ["product", "x"] * 1001, "ncf: a call has up to 1000 options"),
    ],
)
def test_a_wrong_question_is_refused_with_one_line(settings, function, arguments, why):
    publication.load_functions(settings)
    with connect(settings) as client, pytest.raises(ResponseError) as refused:
        client.fcall_ro(function, 1, f"{settings.key_prefix}:current", *arguments)
    assert str(refused.value).startswith(why), str(refused.value)


@pytest.mark.parametrize("keys", [[], ["ncf:hidden"], ["ncf:current", "ncf:current"]])
def test_the_key_is_the_pointer(settings, keys):
    publication.load_functions(settings)
    with connect(settings) as client, pytest.raises(ResponseError, match="the one key is the pointer"):
        client.fcall_ro("ncf_lists", len(keys), *keys, "list", "for_you")


def test_a_reader_needs_few_permissions_and_cannot_leave_the_prefix(settings, publish):
    publish()
    rights = "on >secret ~{}:* +fcall_ro +get +hget +hmget +time +zmscore +smismember"
    with connect(settings) as client:
        for user, prefix in (("reads", settings.key_prefix), ("elsewhere", "other")):
            client.execute_command("ACL", "SETUSER", user, *rights.format(prefix).split())
        client.execute_command("ACL", "SETUSER", "blind", *rights.replace("+zmscore +smismember +time", "").format(
            settings.key_prefix).split())  # fmt: skip
    address = settings.list_store()
    arguments = ("ncf_lists", 1, f"{settings.key_prefix}:current", "list", "for_you", "customer", "14646")
    try:
        for user in ("reads", "blind"):  # who may not see what is hidden still gets lists, as with the client
            with redis.Redis.from_url(address.replace("default:test@", f"{user}:secret@")) as client:
                assert recommendation(json.loads(client.fcall_ro(*arguments))["lists"]["for_you"]).stock_codes == (
                    "a",
                    "0",
                )
        with redis.Redis.from_url(address.replace("default:test@", "elsewhere:secret@")) as client:
            with pytest.raises(NoPermissionError):
                client.fcall_ro(*arguments)
            # The pointer of this user's own prefix, and keys of another by what a customer's id says.
            client.fcall_ro("ncf_lists", 1, "other:current", "list", "for_you", "customer", f"x:{settings.key_prefix}")
    finally:
        with connect(settings) as client:
            client.execute_command("ACL", "DELUSER", "reads", "elsewhere", "blind")


def test_who_may_not_read_lists_is_refused_and_not_shown_best_sellers(settings, publish):
    publish()
    with connect(settings) as client:
        rights = f"on >secret ~{settings.key_prefix}:* +fcall_ro +get +hget +time +zmscore +smismember"
        client.execute_command("ACL", "SETUSER", "reads", *rights.split())
        try:
            address = settings.list_store().replace("default:test@", "reads:secret@")
            arguments = ("ncf_lists", 1, f"{settings.key_prefix}:current", "list", "for_you", "customer", "14646")
            with redis.Redis.from_url(address) as reader, pytest.raises(ResponseError, match=r"ACL|can't run this"):
                reader.fcall_ro(*arguments)
        finally:
            client.execute_command("ACL", "DELUSER", "reads")


def test_values_of_the_longest_kind_and_many_options_are_answered(settings, publish):
    publish()
    arguments = ["list", "for_you", "count", "9" * 400, "customer", "é" * 512, *["exclude", "é" * 512] * 997]
    with connect(settings) as client:
        reply = client.fcall_ro("ncf_lists", 1, f"{settings.key_prefix}:current", *arguments)
    assert json.loads(reply)["lists"]["for_you"]["source"] == "everywhere"


def test_they_are_loaded_with_a_publication_and_again_by_the_watch(settings, publish):
    with connect(settings) as client:
        client.function_flush()
        publish()
        assert client.fcall_ro("ncf_basket", 1, f"{settings.key_prefix}:current")
        client.function_flush()
        watch(settings)
        assert client.fcall_ro("ncf_basket", 1, f"{settings.key_prefix}:current")


def test_an_older_or_a_changed_library_is_replaced(settings):
    with connect(settings) as client:
        client.function_flush()
        client.function_load("#!lua name=ncf\nredis.register_function('ncf_lists', function() return 'old' end)")
        assert publication.load_functions(settings) is True
        assert client.fcall_ro("ncf_basket", 1, f"{settings.key_prefix}:current").startswith('{"name":"basket"')
        before = client.info("replication")["master_repl_offset"]
        assert publication.load_functions(settings) is True  # what is there is not written again
        assert client.info("replication")["master_repl_offset"] == before


def test_whoever_may_not_load_them_publishes_all_the_same(settings):
    user = ["on", ">secret", f"~{settings.key_prefix}:*", "+@all", "-function"]
    with connect(settings) as client:
        client.function_flush()
        client.execute_command("ACL", "SETUSER", "publisher", *user)
        address = settings.list_store().replace("default:test@", "publisher:secret@")
        try:
            shop = settings.model_copy(update={"redis_url": type(settings.redis_url)(address)})
            assert publication.load_functions(shop) is False
            lists = pd.DataFrame([("fallback", "*", "for_you", ["1"])], columns=list(Lists.ALL))
            publication.publish(shop, [lists], meta={"cutoff": "2011-12-09T12:51:00", "top_n": 2})
            assert client.get(f"{settings.key_prefix}:current") == "p000001"
            assert client.function_list("ncf") == []
        finally:
            client.execute_command("ACL", "DELUSER", "publisher")


def test_whoever_may_load_them_and_not_list_them_loads_them(settings):
    user = ["on", ">secret", f"~{settings.key_prefix}:*", "+@all", "-function", "+function|load"]
    with connect(settings) as client:
        client.function_flush()
        client.execute_command("ACL", "SETUSER", "loader", *user)
        try:
            address = settings.list_store().replace("default:test@", "loader:secret@")
            shop = settings.model_copy(update={"redis_url": type(settings.redis_url)(address)})
            assert publication.load_functions(shop) is True
            assert client.fcall_ro("ncf_basket", 1, f"{settings.key_prefix}:current")
        finally:
            client.execute_command("ACL", "DELUSER", "loader")


def test_functions_of_the_same_name_that_somebody_else_loaded_are_left_alone(settings, publish, caplog):
    with connect(settings) as client:
        client.function_flush()
        client.function_load("#!lua name=theirs\nredis.register_function('ncf_lists', function() return 'theirs' end)")
        try:
            publish()
            assert client.get(f"{settings.key_prefix}:current") == "p000001"
            assert client.fcall("ncf_lists", 0) == "theirs"
        finally:
            client.function_flush()
    (line,) = [each.message for each in caplog.records if "Functions were not loaded" in each.message]
    assert "ncf_lists already exists. Storefronts read" in line


def test_a_server_without_functions_publishes_all_the_same(settings, tmp_path, monkeypatch, caplog):
    with server("redis-6.2", tmp_path, monkeypatch) as address:
        shop = settings.model_copy(update={"redis_url": type(settings.redis_url)(address)})
        lists = random_lists(random.Random(0))
        publication.publish(shop, [lists], number=1, meta={"cutoff": "2011-12-09T12:51:00", "top_n": 2})
        assert publication.load_functions(shop) is False
        with connect(shop) as client:
            assert client.get(f"{shop.key_prefix}:current") == "p000001"
    assert not [each for each in caplog.records if each.levelname == "WARNING"]
