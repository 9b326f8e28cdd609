"""What watches the lists tells what shoppers would miss, once, and when it is over."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

from ncf_pipeline.serving.watch import watch


@pytest.fixture
def watched(shop, webhook):
    """Looks at the shop, some days from now; gives what was found and the titles of what was told."""
    on_call = shop.model_copy(update={"alerts": SecretStr(webhook.url)})

    def look(days=0, **settings):
        webhook.got.clear()
        found = watch(on_call.model_copy(update=settings), now=datetime.now(UTC) + timedelta(days=days))
        return found, [message["title"] for message in webhook.got]

    return look


def test_before_the_first_publication_nothing_is_missing(watched):
    found, told = watched()
    assert (found.publication, found.age, found.broken, told) == (None, None, (), [])


def test_young_lists_wake_nobody_and_old_ones_are_told_once_until_they_are_young_again(
    candidate, serve, watched, webhook
):
    serve(candidate("one"))
    found, told = watched()
    assert (found.publication, found.broken, told) == ("p000001", (), [])
    assert found.age < timedelta(minutes=5)
    assert (found.customers, found.products) == (40, 150)
    found, told = watched(days=9)
    assert found.broken == ("lists_old", "retrain_missing")
    assert told[0] == "[warn] The lists of p000001 are 9 d old, and may be 8 d old."
    assert re.match(r"\[warn\] The last retrain that got as far as a model, v\d, began on 20", told[1])
    assert "a little affected" in webhook.got[0]["message"]
    assert watched(days=10)[1] == []
    _, told = watched()
    assert [title.split()[0] for title in told] == ["[over]", "[over]"]


def test_lists_that_are_gone_page_somebody(candidate, serve, watched, store, webhook, shop):
    serve(candidate("one"))
    for key in store.scan_iter(f"{shop.key_prefix}:p000001:fallback:*"):
        store.delete(key)
    found, told = watched()
    assert (found.broken, told) == (("lists_missing",), ["[page] p000001 is live and has no lists."])
    assert "Shoppers: affected" in webhook.got[0]["message"]
    store.flushall()
    assert watched()[1] == []
    serve(candidate("two"))
    assert watched()[1] == ["[over] p000001 is live and has no lists."]


def test_a_redis_that_does_not_answer_pages_somebody_and_shows_no_password(candidate, serve, watched, webhook):
    serve(candidate("one"))
    gone = SecretStr("redis://:the-redis-password@127.0.0.1:9/0")
    found, (told,) = watched(redis_url=gone)
    assert found.broken == ("list_store_down",)
    assert told.startswith("[page] Redis does not answer: ")
    assert "the-redis-password" not in str(webhook.got)
    assert watched()[1] == [told.replace("[page]", "[over]")]
