import json

import pandas as pd
import pyarrow as pa
import pytest
import redis
from published import META, make_lists

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import InputError, ListStoreError, SettingsError
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.publication import contents, publishing
from ncf_pipeline.serving.publication.store import change_state, connected, now, states, whole
from ncf_pipeline.storefront import Storefront


def test_the_contract_key_by_key(settings, store, keys, publish):
    done = publish(number=42)
    prefix = settings.key_prefix
    assert (done.number, done.keys) == (42, {"customer": 1, "product": 1, "fallback": 5})
    assert store.get(f"{prefix}:current") == "p000042"
    assert store.hgetall(f"{prefix}:p000042:meta") == {
        "model_version": "v1",
        "cutoff": "2011-12-09T12:51:00",
        "published_at": "2026-01-01T00:00:00+00:00",
        "top_n": "2",
        "customers": "1",
        "products": "1",
    }
    assert store.hgetall(f"{prefix}:p000042:customer:14646") == {
        "for_you": '["a","0"]',
        "discover": '["a","0"]',
        "buy_again": '["a","0"]',
    }
    assert store.hgetall(f"{prefix}:p000042:product:85123A") == {"bought_together": '["a"]', "similar": '["a"]'}
    for country in ("United Kingdom", "Channel Islands", "EIRE", "Curaçao: 100%", "*"):
        found = store.hgetall(f"{prefix}:p000042:fallback:{country}")
        assert found == {"for_you": '["a","É:1"]', "new_arrivals": '["a","É:1"]'}
    assert keys("p000042:*") == [
        "p000042:customer:14646",
        *sorted(
            f"p000042:fallback:{key}" for key in ("United Kingdom", "Channel Islands", "EIRE", "Curaçao: 100%", "*")
        ),
        "p000042:index",
        "p000042:meta",
        "p000042:product:85123A",
    ]


def test_every_list_expires_and_nothing_that_points_to_it_expires_first(settings, store, keys, publish):
    publish()
    limit = settings.list_ttl_days * 86_400
    index = store.ttl(f"{settings.key_prefix}:p000001:index")
    for key in ["current", *keys("p000001:*")]:
        left = store.ttl(f"{settings.key_prefix}:{key}")
        assert limit - 60 < left <= (index if key == "p000001:index" else limit), key


def test_keys_need_no_end_of_their_own_and_are_removed_all_the_same(settings, store, keys, publish, without_grace):
    publish()
    endless = settings.model_copy(update={"keys_expire": False, "keep_publications": 1})
    lists = [make_lists("b")]
    publication.publish(endless, lists, number=2, meta=META)
    ends = {key: store.ttl(f"{settings.key_prefix}:{key}") for key in ["current", *keys("p000002:*")]}
    assert {key for key, left in ends.items() if left > 0} == {"current", "p000002:meta"}  # without which none is found
    assert keys("p000001:*") == []
    publication.publish(endless, lists, number=3, meta=META)
    assert keys("p000002:*") == []


def test_a_change_of_mind_about_ends_reaches_the_live_publication(settings, store, keys, publish):
    publish()
    of_lists = [key for key in keys("p000001:*") if key != "p000001:meta"]
    for keys_expire in (False, True):
        publication.renew(settings.model_copy(update={"keys_expire": keys_expire}), 1)
        assert {store.ttl(f"{settings.key_prefix}:{key}") > 0 for key in of_lists} == {keys_expire}
        assert store.ttl(f"{settings.key_prefix}:p000001:meta") > 0


def test_only_the_lists_that_a_shop_shows_are_published(settings, store):
    few = settings.model_copy(update={"customer_lists": "for_you buy_again"})
    publication.publish(few, [make_lists()], number=1, meta=META)
    assert set(store.hkeys(f"{settings.key_prefix}:p000001:customer:14646")) == {"for_you", "buy_again"}
    assert set(store.hkeys(f"{settings.key_prefix}:p000001:product:85123A")) == {"bought_together", "similar"}
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as shop:
        assert shop.for_customer(14646, list_name="discover").source == "everywhere"
        assert shop.for_customer(14646, list_name="buy_again").source == "customer"


def test_the_list_store_assigns_a_number_if_the_caller_names_none(settings, store, publish):
    assert [publish().number, publish(number=7).number, publish().number] == [1, 7, 8]
    assert publication.newest_number(settings) == 8
    store.delete(f"{settings.key_prefix}:number", f"{settings.key_prefix}:publications")
    assert publish().number == 9  # the pointer is still known


def test_the_rows_of_a_key_may_be_spread_over_frames(settings, store):
    whole = make_lists()
    parts = [whole.iloc[:1], whole.iloc[1:2], whole.iloc[2:]]
    publication.publish(settings, parts, number=1, meta=META)
    assert len(store.hkeys(f"{settings.key_prefix}:p000001:customer:14646")) == 3


def test_lists_that_were_kept_as_parquet_are_published_as_they_were(settings, store, tmp_path):
    make_lists().to_parquet(tmp_path / "lists.parquet")
    publication.publish(settings, [pd.read_parquet(tmp_path / "lists.parquet")], meta=META)
    assert json.loads(store.hget(f"{settings.key_prefix}:p000001:customer:14646", "for_you")) == ["a", "0"]


def test_batches_of_arrow_and_frames_are_published_alike(settings, store):
    lists = make_lists(customers=3)
    lists[Lists.REASONS] = [None, *(f'[["bought",{row}],["new"]]' for row in range(1, len(lists)))]
    (batch,) = pa.Table.from_pandas(lists, preserve_index=False).to_batches()
    cut_within_a_key = [batch[:4], batch[4:5], batch[5:5], batch[5:]]
    publication.publish(settings, [lists], number=1, meta=META)
    publication.publish(settings, cut_within_a_key, number=2, meta=META)
    keys = [key.partition(":p000001:")[2] for key in store.keys(f"{settings.key_prefix}:p000001:[cpf]*")]
    assert len(keys) == 9
    for key in keys:
        one, two = (store.hgetall(f"{settings.key_prefix}:p00000{number}:{key}") for number in (1, 2))
        assert list(one.items()) == list(two.items()), key


def test_a_list_is_the_json_that_python_writes_whatever_is_in_a_stock_code(settings, store):
    """An array of all lists at once writes it: no release of the library may write another."""
    basic = [chr(number) for number in range(0x3000)]
    codes = [*basic, "\u2028", "\ufeff", "\uffff", "\U0001f600", "", '\\"', "a,b", "]}"]
    lists = make_lists()
    lists.at[0, Lists.STOCK_CODES] = codes
    publication.publish(settings, [lists], meta=META)
    published = store.hget(f"{settings.key_prefix}:p000001:customer:14646", "for_you")
    assert published == json.dumps(codes, separators=(",", ":"), ensure_ascii=False)


def test_reasons_are_beside_their_list_and_nowhere_else(settings, store):
    lists = make_lists()
    lists[Lists.REASONS] = [
        '[["new"],["new"]]' if name in ("for_you", "similar", "bought_together") else None
        for name in lists["list_name"]
    ]
    publication.publish(settings, [lists], meta=META)
    prefix = f"{settings.key_prefix}:p000001"
    assert store.hgetall(f"{prefix}:customer:14646") == {
        "for_you": '["a","0"]',
        "for_you_reasons": '[["new"],["new"]]',
        "discover": '["a","0"]',
        "buy_again": '["a","0"]',
    }
    assert set(store.hkeys(f"{prefix}:product:85123A")) == {"bought_together", "similar", "similar_reasons"}


def test_an_empty_list_is_a_list(settings, store):
    lists = make_lists()
    lists[Lists.STOCK_CODES] = [[] if name == "buy_again" else codes for _, _, name, codes in lists.to_numpy()]
    publication.publish(settings, [lists], meta=META)
    assert store.hget(f"{settings.key_prefix}:p000001:customer:14646", "buy_again") == "[]"


def altered(**columns):
    lists = make_lists()
    for name, value in columns.items():
        lists.at[0, name] = value
    return lists


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (make_lists().iloc[:0], r"no fallback:\*"),
        (make_lists().iloc[:5], r"no fallback:\*"),
        (pd.concat([make_lists(), make_lists()]), "one key in two places"),
        (altered(list_name="discover"), "customer 14646 has a list discover, which it must not have, or has it twice"),
        (altered(list_name="similar"), "customer 14646 has a list similar"),
        (altered(audience="visitor"), "visitor 14646 has a list"),
        (altered(stock_codes=None), "customer 14646: for_you is not a list of stock codes"),
        (altered(stock_codes=7), "no list of stock codes"),
        (make_lists().assign(stock_codes="a"), "no list of stock codes"),
    ],
)
def test_lists_that_cannot_be_a_publication_are_refused_and_leave_nothing(settings, keys, publish, lists, said):
    publish("before")
    held = keys()
    with pytest.raises(InputError, match=said):
        publication.publish(settings, [lists], meta=META)
    assert keys() == held


def test_the_last_two_publications_stay_and_older_ones_go(settings, keys, publish, without_grace):
    for _ in range(4):
        publish()
    assert publication.publications(settings) == [4, 3]
    assert keys("p*:customer:*") == ["p000003:customer:14646", "p000004:customer:14646"]
    assert keys("p000001:*") == keys("p000002:*") == []


def test_a_clock_that_was_ahead_keeps_no_publication_for_longer(settings, publish, monkeypatch):
    for _ in range(2):
        publish()
    with connected(settings, "a test") as store:
        assert change_state(store, "p000001", states(store)["p000001"], whole(now(store) + 10**9))
    publish()
    assert publication.publications(settings) == [3, 2, 1], "nobody knows when it was live, so it counts from now"
    monkeypatch.setattr(publishing, "GRACE_SECONDS", 0)
    publish()
    assert publication.publications(settings) == [4, 3]


def test_a_publication_that_was_live_a_moment_ago_stays_beyond_the_number_kept(settings, publish):
    one = settings.model_copy(update={"keep_publications": 1})
    for number in (1, 2, 3):
        publication.publish(one, [make_lists()], number=number, meta=META)
    assert publication.publications(settings) == [3, 2, 1]


def test_a_flip_goes_back_and_forth_and_the_next_publication_keeps_what_was_live(settings, publish, without_grace):
    for number in (1, 2, 3):
        publish(str(number), meta={**META, "model_version": f"v{number}"})
    publication.flip(settings, 2)
    assert publication.live_publication(settings)["model_version"] == "v2"
    publication.flip(settings, 3)
    assert publication.live_publication(settings)["name"] == "p000003"
    publication.flip(settings, 2)
    publish("4")
    assert publication.publications(settings) == [4, 2]


def test_a_flip_to_what_is_live_changes_nothing(settings, publish):
    publish()
    publication.flip(settings, 1)
    assert publication.live_publication(settings)["name"] == "p000001"


def test_lists_that_are_live_again_get_the_full_time_to_live(settings, store, keys, publish):
    publish()
    publish()
    for key in keys("p000001:*"):
        store.expire(f"{settings.key_prefix}:{key}", 1000)
    publication.flip(settings, 1)
    publication.renew(settings, 1)
    for key in ["current", *keys("p000001:*")]:
        assert store.ttl(f"{settings.key_prefix}:{key}") > settings.list_ttl_days * 86_400 - 60


@pytest.mark.parametrize("lost", ["customer:14646", "fallback:*", "meta", "index"])
def test_a_flip_to_an_incomplete_publication_is_refused(settings, store, publish, lost):
    publish()
    publish()
    store.delete(f"{settings.key_prefix}:p000001:{lost}")
    with pytest.raises(ListStoreError, match="p000001 is not in Redis any more"):
        publication.flip(settings, 1)
    with pytest.raises(ListStoreError, match="p000009 is not in Redis any more"):
        publication.flip(settings, 9)
    assert publication.live_publication(settings)["name"] == "p000002"


def test_an_old_live_publication_is_renewed_even_if_the_next_one_fails(settings, store, keys, publish):
    publish()
    for key in keys("p000001:*"):
        store.expire(f"{settings.key_prefix}:{key}", 86_400)
    with pytest.raises(InputError):
        publication.publish(settings, [make_lists().iloc[:1]], meta=META)
    for key in ["current", *keys("p000001:*")]:
        assert store.ttl(f"{settings.key_prefix}:{key}") > settings.list_ttl_days * 86_400 - 60


def test_a_number_that_is_live_or_older_is_never_written_again(settings, publish):
    publish(number=5)
    for number in (5, 4):
        with pytest.raises(ListStoreError, match=f"p00000{number} was not made live: p000005 is"):
            publish(number=number)


@pytest.mark.parametrize("damage", ["lost", "changed", "index"])
def test_lists_that_differ_when_read_back_are_not_made_live(settings, store, keys, publish, monkeypatch, damage):
    publish("before")
    key = f"{settings.key_prefix}:p000002:customer:14646"

    def damaged(*arguments):
        if damage == "lost":
            store.delete(key)
        elif damage == "changed":
            store.hset(key, "discover", '["other"]')
        else:
            store.delete(f"{settings.key_prefix}:p000002:index")
        return check(*arguments)

    check = contents.check
    monkeypatch.setattr(contents, "check", damaged)
    with pytest.raises(ListStoreError, match=r"p000002 was not made live.*The previous lists stay live"):
        publish("after")
    assert publication.live_publication(settings)["name"] == "p000001"
    left = [] if damage != "index" else ["p000002:customer:14646"]
    assert keys("p000002:customer:*") == left  # without its index, only time removes it


def test_a_large_publication_is_compared_in_part_and_counted_whole(settings, store, publish, monkeypatch):
    monkeypatch.setattr(contents, "KEYS_AT_ONCE", 10)
    monkeypatch.setattr(contents, "COMPARED_CHUNKS", 2)
    publish(customers=200)
    key = f"{settings.key_prefix}:p000002:customer:14700"
    check = contents.check

    def one_list_less(*arguments):
        store.hdel(key, "discover")
        return check(*arguments)

    monkeypatch.setattr(contents, "check", one_list_less)
    with pytest.raises(ListStoreError, match="not read back as they were"):
        publish(customers=200)


def test_without_redis_one_line_says_so(settings):
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://:secret@127.0.0.1:1/0")})
    for call in (
        lambda: publication.publish(away, [make_lists()], number=1, meta=META),
        lambda: publication.flip(away, 1),
        lambda: publication.live_publication(away),
        lambda: publication.publications(away),
        lambda: publication.newest_number(away),
    ):
        with pytest.raises(ListStoreError, match="The previous lists stay live") as raised:
            call()
        assert "\n" not in str(raised.value)
        assert "secret" not in str(raised.value)


def test_a_url_that_is_not_of_redis_is_a_settings_error(settings):
    wrong = settings.model_copy(update={"redis_url": type(settings.redis_url)("http://127.0.0.1")})
    with pytest.raises(SettingsError, match="NCF_REDIS_URL"):
        publication.publications(wrong)


def test_a_full_redis_is_an_error_and_what_was_written_is_removed_at_once(settings, store, keys, publish):
    publish("before")
    store.config_set("maxmemory", store.info("memory")["used_memory"] + 3_000_000)
    try:
        with pytest.raises(ListStoreError, match=r"OOM|maxmemory") as raised:
            publish("after", customers=20_000)
        assert len(str(raised.value)) < 300
        assert keys("p000002:*") == []
        assert publication.live_publication(settings)["name"] == "p000001"
    finally:
        store.config_set("maxmemory", 0)
    publish("after", customers=200)


def test_before_the_first_publication_there_is_none(settings):
    assert publication.live_publication(settings) is None
    assert publication.publications(settings) == []
    assert publication.newest_number(settings) == 0


def test_a_writer_needs_no_permission_beyond_its_own_keys(settings, store, keys):
    commands = "+@read +@write +@connection +@scripting +time"
    store.execute_command("ACL", "SETUSER", "writer", "on", ">secret", f"~{settings.key_prefix}:*", *commands.split())
    try:
        url = settings.list_store().replace("redis://default:test@", "redis://writer:secret@")
        writer = settings.model_copy(update={"redis_url": type(settings.redis_url)(url)})
        publication.publish(writer, [make_lists()], meta=META)
        publication.publish(writer, [make_lists()], meta=META)
        publication.flip(writer, 1)
        assert publication.live_publication(writer)["name"] == "p000001"
        with redis.Redis.from_url(url) as client, pytest.raises(redis.ResponseError):
            client.get("other:key")
    finally:
        store.execute_command("ACL", "DELUSER", "writer")
