import json
import multiprocessing
import threading
from datetime import UTC, datetime

import pandas as pd
import pytest
import redis

from ncf_pipeline import publication
from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.storefront import Storefront

META = {
    "model_version": "v1",
    "cutoff": "2011-12-09T12:51:00",
    "published_at": datetime(2026, 1, 1, tzinfo=UTC).isoformat(),
    "top_n": 2,
    "customers": 1,
    "products": 1,
}


def lists(mark="a", customers=1):
    rows = [
        ("customer", str(14646 + number), name, [mark, f"{number}"])
        for number in range(customers)
        for name in ("for_you", "discover", "buy_again")
    ]
    rows += [("product", "85123A", name, [mark]) for name in ("bought_together", "similar")]
    rows += [
        ("fallback", key, name, [mark, "É:1"])
        for key in ("United Kingdom", "Channel Islands", "*")
        for name in ("for_you", "new_arrivals")
    ]
    return pd.DataFrame(rows, columns=list(Lists.ALL))


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


def test_the_contract_key_by_key(settings, store):
    done = publication.publish(settings, [lists()], number=42, meta=META)
    assert done.keys == {"customer": 1, "product": 1, "fallback": 3}
    prefix = settings.key_prefix
    assert store.get(f"{prefix}:current") == "p000042"
    assert store.hgetall(f"{prefix}:p000042:meta") == {name: str(value) for name, value in META.items()}
    assert {name: json.loads(codes) for name, codes in store.hgetall(f"{prefix}:p000042:customer:14646").items()} == {
        "for_you": ["a", "0"],
        "discover": ["a", "0"],
        "buy_again": ["a", "0"],
    }
    assert set(store.hkeys(f"{prefix}:p000042:product:85123A")) == {"bought_together", "similar"}
    assert json.loads(store.hget(f"{prefix}:p000042:fallback:Channel Islands", "for_you")) == ["a", "É:1"]
    assert store.exists(f"{prefix}:p000042:fallback:*")


def test_every_key_of_a_publication_has_a_time_to_live_and_so_has_the_pointer(settings, store):
    publication.publish(settings, [lists()], number=1, meta=META)
    limit = settings.list_ttl_days * 86_400
    for key in store.scan_iter(f"{settings.key_prefix}:p000001:*"):
        assert limit - 60 < store.ttl(key) <= limit
    assert limit - 60 < store.ttl(f"{settings.key_prefix}:current") <= limit


def test_the_rows_of_a_key_may_be_spread_over_two_frames(settings, store):
    whole = lists()
    publication.publish(settings, [whole.iloc[:2], whole.iloc[2:]], number=1, meta=META)
    assert len(store.hkeys(f"{settings.key_prefix}:p000001:customer:14646")) == 3


def test_the_last_two_publications_stay_and_older_ones_go(settings, store):
    for number in (1, 2, 3):
        publication.publish(settings, [lists()], number=number, meta=META)
    assert publication.publications(settings) == [3, 2]
    assert not list(store.scan_iter(f"{settings.key_prefix}:p000001:*"))
    assert store.exists(f"{settings.key_prefix}:p000002:customer:14646")


def test_a_kill_in_the_middle_leaves_the_lists_before_and_the_next_run_cleans_up(settings, store):
    publication.publish(settings, [lists("old")], number=1, meta=META)

    def dies():
        yield lists("new", customers=1500)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publication.publish(settings, dies(), number=2, meta=META)
    assert store.get(f"{settings.key_prefix}:current") == "p000001"
    assert publication.publications(settings) == [1]
    assert publication.newest_number(settings) == 2
    with pytest.raises(ListStoreError, match="p000002 is not in Redis"):
        publication.flip(settings, 2)
    publication.publish(settings, [lists("newer")], number=3, meta=META)
    assert not list(store.scan_iter(f"{settings.key_prefix}:p000002:*"))
    assert publication.publications(settings) == [3, 1]


def test_a_flip_goes_back_and_forth(settings):
    for number in (1, 2):
        publication.publish(settings, [lists(str(number))], number=number, meta={**META, "model_version": f"v{number}"})
    publication.flip(settings, 1)
    assert publication.live_publication(settings)["model_version"] == "v1"
    publication.flip(settings, 2)
    assert publication.live_publication(settings)["name"] == "p000002"


def test_a_reader_never_sees_an_empty_mixed_or_missing_list(settings):
    publication.publish(settings, [lists("0", customers=50)], number=1, meta=META)
    stop, queue = multiprocessing.Event(), multiprocessing.Queue()
    reader = multiprocessing.get_context("fork").Process(target=_read_all_the_time, args=(settings, stop, queue))
    reader.start()
    for number in range(2, 22):
        publication.publish(settings, [lists(str(number), customers=50)], number=number, meta=META)
    stop.set()
    reads, faults = queue.get(timeout=30)
    reader.join()
    assert reads > 50
    assert faults == []


def _read_all_the_time(settings, stop, queue):
    reads, faults = 0, []
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        while not stop.is_set():
            live = client.get(f"{settings.key_prefix}:current")
            pipeline = client.pipeline(transaction=False)
            for customer in range(14646, 14696):
                pipeline.hget(f"{settings.key_prefix}:{live}:customer:{customer}", "for_you")
            marks = {json.loads(codes)[0] if codes else None for codes in pipeline.execute()}
            reads += 1
            if len(marks) != 1 or None in marks:
                faults.append((live, sorted(map(str, marks))))
    queue.put((reads, faults))


def test_two_publishers_at_once_do_not_mix(settings, store):
    numbers = (1, 2, 3)
    threads = [
        threading.Thread(
            target=publication.publish,
            args=(settings, [lists(str(number), customers=500)]),
            kwargs={"number": number, "meta": META},
        )
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in publication.publications(settings):
        keys = list(store.scan_iter(f"{settings.key_prefix}:p{number:06d}:customer:*"))
        assert len(keys) == 500
        assert {json.loads(store.hget(key, "for_you"))[0] for key in keys} == {str(number)}


def test_without_redis_one_line_says_so_and_the_lists_before_serve(settings):
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})
    with pytest.raises(ListStoreError, match="The lists before still serve") as raised:
        publication.publish(away, [lists()], number=1, meta=META)
    assert "\n" not in str(raised.value)


def test_the_storefront_falls_back_from_customer_to_country_to_everywhere_to_nothing(settings):
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as shop:
        assert shop.for_customer(14646).source == "none"
        publication.publish(settings, [lists()], number=1, meta=META)
        shop._held.until = 0
        assert (shop.for_customer(14646).source, shop.for_customer(14646).stock_codes) == ("customer", ("a", "0"))
        assert shop.for_customer(1, country="United Kingdom").source == "country"
        assert shop.for_customer(1, country="Atlantis").source == "everywhere"
        assert shop.for_customer(1, list_name="buy_again").stock_codes == ("a", "É:1")
        assert shop.for_visitor(list_name="new_arrivals").source == "everywhere"
        assert shop.for_product("85123A", list_name="similar").stock_codes == ("a",)
        assert shop.for_product("unknown").source == "none"


def test_the_storefront_never_raises_unless_asked_to():
    with Storefront("redis://127.0.0.1:1/0") as shop:
        assert shop.for_customer(14646) == (shop.for_customer(14646))
        assert shop.for_customer(14646).source == "unavailable"
    with Storefront("redis://127.0.0.1:1/0", raise_errors=True) as shop, pytest.raises(redis.RedisError):
        shop.for_customer(14646)
