"""`hide` and `unhide`: Postgres keeps who and when, Redis has a copy, and the next publication leaves products out."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
import redis

from ncf_pipeline.errors import DatabaseError, InputError, ListStoreError
from ncf_pipeline.serving import hiding
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.watch import watch
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront
from ncf_pipeline.training import retrain

TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


@pytest.fixture
def copied(settings, store):
    """What readers are told, by key without the prefix."""

    def read():
        found = {}
        for key in store.scan_iter(f"{settings.key_prefix}:hidden*"):
            found[key.removeprefix(f"{settings.key_prefix}:")] = dict(store.zrange(key, 0, -1, withscores=True))
        return found

    return read


def history(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select stock_code, country, hidden_by, shown_by from retail.hidden_product order by hidden_id")
        return cursor.fetchall()


def shown(settings, **asked):
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        return shop.for_visitor(**asked).stock_codes


def test_what_is_hidden_is_gone_at_once_and_a_place_is_refilled(settings, version, copied):
    retrain.publish(settings, version)
    before = shown(settings)
    assert len(before) == settings.top_n
    assert hiding.hide(settings, [before[0].lower(), " typo1 "], actor="ann", why="recalled") == ["TYPO1"]
    hiding.hide(settings, [before[1]], actor="ann", country="france", until=TOMORROW)
    assert shown(settings)[:2] == before[1:3]
    assert len(shown(settings)) == settings.top_n
    assert shown(settings, country="France")[0] == before[2]
    assert copied() == {
        "hidden": {before[0]: float("inf"), "TYPO1": float("inf")},
        "hidden:France": {before[1]: pytest.approx(TOMORROW.timestamp())},
    }
    first, second, third = hiding.hidden_products(settings)
    assert {first.hidden_by, second.hidden_by, third.hidden_by} == {"ann"}
    assert hiding.unhide(settings, [before[0], "22423"], actor="bob") == ["22423"]
    assert shown(settings)[0] == before[0]
    assert (before[0], None, "ann", "bob") in history(settings)


def test_the_next_publication_leaves_it_out(settings, version, store):
    retrain.publish(settings, version)
    everywhere, in_france = shown(settings)[:2]
    sold_out = shown(settings)[2]
    hiding.hide(settings, [everywhere], actor="ann")
    hiding.hide(settings, [in_france], actor="ann", country="France")
    store.sadd(f"{settings.key_prefix}:sold_out", sold_out)
    number = refresh(settings)
    of = {}
    for key in store.scan_iter(f"{settings.key_prefix}:p{number:06d}:[cpf][ura][sol]*", count=1000):
        if not key.endswith(":index"):
            lists = {name: text for name, text in store.hgetall(key).items() if not name.endswith("_reasons")}
            of[key.split(":", 2)[2]] = {code for text in lists.values() for code in json.loads(text)}
    assert of
    assert not any({everywhere, sold_out} & codes for codes in of.values())
    assert in_france in of["fallback:*"]
    assert not any(in_france in codes for key, codes in of.items() if key.startswith("customer") or "France" in key)
    lengths = {len(json.loads(text)) for text in store.hvals(f"{settings.key_prefix}:p{number:06d}:fallback:*")}
    assert lengths <= {settings.top_n + settings.spare, 0}


def test_hiding_again_replaces_the_end_and_a_time_that_is_over_hides_no_more(settings, version, copied):
    hiding.hide(settings, ["22001"], actor="ann", until=TOMORROW)
    hiding.hide(settings, ["22001"], actor="bob")
    assert copied() == {"hidden": {"22001": float("inf")}}
    assert history(settings) == [("22001", None, "ann", "bob"), ("22001", None, "bob", None)]
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.hidden_product set hidden_at = '2020-01-01', until = '2020-01-02'")
    hiding.copy_to_readers(settings)
    assert (copied(), hiding.hidden_products(settings)) == ({}, [])
    assert hiding.unhide(settings, ["22001"], actor="ann") == ["22001"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"country": "Frence"}, "Nobody orders from 'Frence', so nothing changed. Did you mean France?"),
        ({"country": "Atlantis"}, "Nobody orders from 'Atlantis', so nothing changed."),
        ({"until": datetime(2020, 1, 1, tzinfo=UTC)}, "is not later than now. Nothing was hidden."),
    ],
)
def test_what_cannot_be_meant_changes_nothing(settings, version, copied, asked, said):
    with pytest.raises(InputError, match=said):
        hiding.hide(settings, ["22001"], actor="ann", **asked)
    with pytest.raises(InputError, match="A stock code is empty"):
        hiding.hide(settings, ["22001", " "], actor="ann")
    assert (copied(), history(settings)) == ({}, [])


def test_two_at_once_are_both_hidden(settings, version, copied):
    codes = [f"{22000 + number}" for number in range(8)]
    threads = [threading.Thread(target=hiding.hide, args=(settings, [code]), kwargs={"actor": code}) for code in codes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(copied()["hidden"]) == set(codes)


def test_if_redis_is_away_it_is_stored_and_the_watch_hides_it(settings, version, store, copied):
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})
    with pytest.raises(ListStoreError, match="It is stored, and hidden with the next watch"):
        hiding.hide(away, ["22001"], actor="ann")
    assert copied() == {}
    retrain.publish(settings, version)
    assert set(copied()["hidden"]) == {"22001"}
    store.delete(f"{settings.key_prefix}:hidden")  # Redis lost its memory
    store.set(f"{settings.key_prefix}:hidden", "text")
    watch(settings)
    assert set(copied()["hidden"]) == {"22001"}


def test_publishing_may_hide_and_reading_may_not(member):
    owner = member("publishing")
    hiding.hide(owner, ["22001"], actor="ann")
    assert [product.stock_code for product in hiding.hidden_products(owner)] == ["22001"]
    reader = member("reading")
    assert hiding.hidden_products(reader)
    with pytest.raises(DatabaseError, match="denied"):
        hiding.hide(reader, ["22002"], actor="ann")


def test_the_next_publication_leaves_out_what_a_customer_dismissed(settings, version, store):
    retrain.publish(settings, version)
    with Storefront(settings.list_store(), prefix=settings.key_prefix, raise_errors=True) as shop:
        first, second = shop.for_customer("14600").stock_codes[:2]
        assert shop.dismiss("14600", first)
    number = refresh(settings)
    lists = store.hgetall(f"{settings.key_prefix}:p{number:06d}:customer:14600")
    assert json.loads(lists["for_you"])[0] == second
    assert first not in json.loads(lists["for_you"]) + json.loads(lists["discover"]) + json.loads(lists["buy_again"])
    assert len(json.loads(lists["for_you_reasons"])) == len(json.loads(lists["for_you"])) == 19
    others = store.hget(f"{settings.key_prefix}:p{number:06d}:fallback:*", "for_you")
    assert len(json.loads(others)) == 20
