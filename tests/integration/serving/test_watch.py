"""Alerts about the lists: once when shoppers miss something, and once when it is over."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from buyers import DESIGN
from published import META, make_lists
from pydantic import SecretStr

from ncf_pipeline.errors import ListStoreUnavailableError
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.records import running
from ncf_pipeline.serving import health, publication
from ncf_pipeline.serving.watch import watch


@pytest.fixture
def watched(shop, webhook):
    """Checks the shop some days from now; returns the result and the titles of the alerts."""
    on_call = shop.model_copy(update={"alerts": SecretStr(webhook.url)})

    def look(days=0, **settings):
        webhook.got.clear()
        result = watch(on_call.model_copy(update=settings), now=datetime.now(UTC) + timedelta(days=days))
        return result, [message["title"] for message in webhook.got]

    return look


def test_before_the_first_publication_nothing_is_missing(watched):
    result, titles = watched()
    assert (result.publication, result.age, result.broken, titles) == (None, None, (), [])


def test_new_lists_alert_nobody_and_old_lists_alert_once_until_they_are_new_again(candidate, serve, watched, webhook):
    serve(candidate("one"))
    result, titles = watched()
    assert (result.publication, result.broken, titles) == ("p000001", (), [])
    assert result.age < timedelta(minutes=5)
    assert (result.customers, result.products) == (40, 150)
    result, titles = watched(days=9)
    assert result.broken == ("lists_old", "retrain_missing")
    assert titles[0] == "[warn] The lists of p000001 are 9 d old, and may be 8 d old."
    assert re.match(r"\[warn\] The last retrain that got as far as a model, v\d, began on 20", titles[1])
    assert "a little affected" in webhook.got[0]["message"]
    assert watched(days=10)[1] == []
    _, titles = watched()
    assert [each.split()[0] for each in titles] == ["[over]", "[over]"]


def test_missing_lists_page_on_call(candidate, serve, watched, store, webhook, shop):
    serve(candidate("one"))
    for key in store.scan_iter(f"{shop.key_prefix}:p000001:fallback:*"):
        store.delete(key)
    result, titles = watched()
    assert (result.broken, titles) == (("lists_missing",), ["[page] p000001 is live and has no lists."])
    assert "Shoppers: affected" in webhook.got[0]["message"]
    store.flushall()
    assert watched()[1] == []
    serve(candidate("two"))
    assert watched()[1] == ["[over] p000001 is live and has no lists."]


def test_a_redis_that_does_not_answer_pages_on_call_and_shows_no_password(candidate, serve, watched, webhook):
    serve(candidate("one"))
    down = SecretStr("redis://:the-redis-password@127.0.0.1:9/0")
    result, (title,) = watched(redis_url=down)
    assert result.broken == ("list_store_down",)
    assert title.startswith("[page] Redis does not answer: ")
    assert "the-redis-password" not in str(webhook.got)
    assert watched()[1] == [title.replace("[page]", "[over]")]


@pytest.fixture
def publish_many(shop):
    """Publishes lists of so many customers."""

    def make(customers):
        counts = {"customers": customers, "products": 1, "published_at": datetime.now(UTC).isoformat()}
        return publication.publish(shop, [make_lists(customers=customers)], meta={**META, **counts})

    return make


@pytest.fixture
def memory(store):
    """Sets `maxmemory`, in bytes above what Redis uses now, and a policy; both are taken back."""

    def limit(above=None, policy="noeviction"):
        store.config_set("maxmemory", 0 if above is None else store.info("memory")["used_memory"] + above)
        store.config_set("maxmemory-policy", policy)

    yield limit
    limit()


def test_a_redis_that_removes_lists_is_told_before_and_after_it_does(publish_many, watched, store, memory, shop):
    publish_many(4000)
    for key in ("current", "p000001:meta", "p000001:index", "p000001:fallback:*"):
        store.persist(f"{shop.key_prefix}:{key}")  # so that only lists are removed, each time the test runs
    memory(100_000, "volatile-lru")
    result, titles = watched()
    assert result.broken == ("redis_evicts", "redis_full")
    assert titles[0].startswith("[warn] Redis has maxmemory-policy volatile-lru, so it removes lists")
    assert re.search(r"0\.\d MB left of [\d.]+ MB \(maxmemory\), and the next publication takes about", titles[1])
    for number in range(400):  # somebody else fills the memory
        store.set(f"{shop.key_prefix}-else:{number}", "x" * 1000)
    result, titles = watched()
    (title,) = titles
    customers = re.match(
        r"\[page\] Lists of p000001 are gone: .*customer: ([\d,]+) of 1,000 keys looked for, of 4,000", title
    )
    share = 1 - sum(1 for _ in store.scan_iter(f"{shop.key_prefix}:p000001:customer:*", count=10_000)) / 4000
    assert share > 0.05
    assert int(customers[1].replace(",", "")) / 1000 == pytest.approx(share, abs=0.08)
    assert (result.broken[0], result.gone > 0) == ("lists_gone", True)
    assert watched()[1] == []  # told once, although other keys are sampled
    for key in store.scan_iter(f"{shop.key_prefix}-else:*", count=10_000):
        store.delete(key)
    memory()
    publish_many(4000)
    assert sorted(each.split()[0] for each in watched()[1]) == ["[over]"] * 3


def test_lost_lists_are_counted_by_group_of_the_running_experiment(candidate, serve, watched, store, shop):
    serve(candidate("one"))
    experiments.start(shop, DESIGN, by="test")
    (name,) = {key.split(":")[1] for key in store.scan_iter(f"{shop.key_prefix}:*:meta")}
    customers = [key.rpartition(":")[2] for key in store.scan_iter(f"{shop.key_prefix}:{name}:customer:*")]
    design = running(shop).design
    inside = [who for who, is_in in zip(customers, chosen(design.salt, design.share, customers), strict=True) if is_in]
    store.delete(*(f"{shop.key_prefix}:{name}:customer:{who}" for who in inside[:3]))
    result, titles = watched()
    assert f"customer in spring's share: 3 of {len(inside)} keys looked for" in titles[0]
    assert "customer outside" not in titles[0]
    assert result.gone == 3


def test_keys_that_were_never_listed_show_in_the_publications_own_counts(publish_many, watched, store, shop):
    publish_many(30)
    store.hset(f"{shop.key_prefix}:p000001:meta", "customers", 45)
    assert watched()[1] == ["[page] Lists of p000001 are gone: customers: 30 are in its index, and 45 were published."]
    store.hset(f"{shop.key_prefix}:p000001:index", "0", "no index")
    assert "the index of its keys is gone" in health.check_lists(shop).what_is_gone
    store.delete(f"{shop.key_prefix}:p000001:index")
    store.set(f"{shop.key_prefix}:p000001:index", "no hash")
    assert health.check_lists(shop).what_is_gone == "Lists of p000001 are gone: the index of its keys is gone."


def test_broken_values_are_told(publish_many, watched, store, shop):
    publish_many(30)
    store.hset(f"{shop.key_prefix}:p000001:customer:14650", mapping={"for_you": "null", "discover": "7"})
    store.set(f"{shop.key_prefix}:p000001:meta", "no hash")
    result, titles = watched()
    assert "[warn] 2 values of p000001 are broken, in 36 keys that were read." in titles
    assert (result.broken_values, result.age, result.customers) == (2, None, 0)
    publish_many(30)  # heals all of it
    assert watched()[0].broken == ()


@pytest.mark.parametrize("value", ["yesterday", "2026-01-01", "", b"\xff"])
def test_a_meta_that_says_no_time_is_told_and_stops_nothing(publish_many, watched, store, shop, value):
    publish_many(30)
    store.hset(f"{shop.key_prefix}:p000001:meta", mapping={"published_at": value, "customers": "many"})
    result, _ = watched()
    assert result.broken == (("lists_old",) if value == "2026-01-01" else ("lists_broken",))
    assert result.customers == 0


def test_an_erased_customer_is_not_missed(publish_many, watched, shop):
    publish_many(30)
    from ncf_pipeline.serving.publication.erasing import erase_customer

    assert erase_customer(shop, "14650") == 1
    assert watched()[1] == []


@pytest.mark.parametrize(
    ("rights", "unseen"),
    [("-info -config", ["INFO", "CONFIG"]), ("-memory -config", ["MEMORY USAGE"]), ("-info -config -memory", None)],
)
def test_what_the_user_of_redis_may_not_ask_is_said_and_stops_nothing(
    publish_many, watched, store, shop, rights, unseen, caplog
):
    publish_many(30)
    store.execute_command("ACL", "SETUSER", "few", "on", ">secret", f"~{shop.key_prefix}:*", "+@all", *rights.split())
    try:
        few = SecretStr(shop.list_store().replace("default:test@", "few:secret@"))
        with caplog.at_level("INFO"):
            result, titles = watched(redis_url=few)
        assert (result.broken, titles) == ((), [])
        for command in unseen or ("INFO", "CONFIG", "MEMORY USAGE"):
            assert f"({command})" in caplog.text or f"{command} GET)" in caplog.text
        assert publication.publish(shop.model_copy(update={"redis_url": few}), [make_lists()], meta=META).number == 2
    finally:
        store.execute_command("ACL", "DELUSER", "few")


def test_a_publication_that_would_not_fit_is_not_begun(publish_many, memory, store, shop):
    publish_many(4000)
    memory(300_000, "volatile-lru")
    before = set(store.scan_iter(f"{shop.key_prefix}:p000001:*", count=10_000))
    with pytest.raises(ListStoreUnavailableError) as raised:
        publish_many(4000)
    assert re.fullmatch(
        r"The publication was not begun: Redis has 0\.\d MB left of [\d.]+ MB \(maxmemory\), and the next publication "
        r"takes about 0\.9 MB\. Give Redis more memory, or set NCF_KEEP_PUBLICATIONS=1\. "
        r"The previous lists stay live\.",
        str(raised.value),
    )
    assert set(store.scan_iter(f"{shop.key_prefix}:p000001:*", count=10_000)) == before
    publish_many(100)  # fewer customers need less


def test_the_next_publication_is_estimated_by_what_the_present_one_takes(publish_many, store, shop):
    before = store.info("memory")["used_memory"]
    publish_many(4000)
    grown = store.info("memory")["used_memory"] - before
    assert publication.memory(shop).needed == pytest.approx(grown, rel=0.25)
