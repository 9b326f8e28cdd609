"""Alerts about the lists: once when shoppers miss something, and once when it is over."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr

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
