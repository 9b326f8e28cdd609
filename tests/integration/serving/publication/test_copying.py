"""Keys that are the same as in the publication before are copied inside Redis."""

import logging
from urllib.parse import urlsplit

import pandas as pd
import pytest
import redis
from published import META, make_lists
from pydantic import SecretStr

from ncf_pipeline.columns import Lists
from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.publication import contents

CUSTOMERS = 40
KEYS = CUSTOMERS + 6  # and a product, four countries and everybody


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(contents, "KEYS_AT_ONCE", 10)


@pytest.fixture
def written(settings, caplog):
    """Publishes lists with the live ones before them; returns everything in Redis, and how many keys were copied."""

    def publish(lists, before, *, number=1, with_settings=settings):
        caplog.clear()
        done = publication.publish(with_settings, lists, meta=META, before=(number, before))
        (copied,) = [each.args[1] for each in caplog.records if "copied, as before" in each.msg] or [0]
        with redis.Redis.from_url(settings.list_store()) as client:
            start = f"{settings.key_prefix}:{publication.name_of(done.number)}:"
            keys = [key.decode() for key in client.scan_iter(f"{start}*", count=10_000)]
            hashes = {key.removeprefix(start): client.hgetall(key) for key in keys}
            lives = {key.removeprefix(start): client.ttl(key) for key in keys}
        assert len(hashes) == KEYS + 2
        return hashes, lives, copied

    return publish


def changed(lists, key, name, codes):
    """The same lists, in another order of customers, and one of them changed."""
    now = lists.copy()
    now.loc[(now[Lists.KEY] == key) & (now[Lists.LIST_NAME] == name), Lists.STOCK_CODES] = pd.Series([codes] * len(now))
    mine = now[Lists.KEY] == key
    return pd.concat([now[mine], now[~mine]], ignore_index=True)


def test_what_changed_is_written_and_all_else_is_copied(settings, store, written):
    before = make_lists(customers=CUSTOMERS)
    now = changed(before, "14650", "discover", ["other"])
    publication.publish(settings, [before], meta=META)
    for key in store.keys(f"{settings.key_prefix}:p000001:*"):
        store.expire(key, 1000)
    hashes, lives, copied = written([now[:50], now[50:]], [before])
    assert copied == KEYS - 1
    assert min(lives.values()) > settings.list_ttl_days * 86_400 - 60
    publication.publish(settings, [now], number=9, meta=META)
    for key in store.scan_iter(f"{settings.key_prefix}:p000009:*er:*"):  # of customers and of countries
        copy = {part.decode(): text.decode() for part, text in hashes[key.rpartition("p000009:")[2]].items()}
        assert copy == store.hgetall(key)
    assert hashes["customer:14650"][b"discover"] == b'["other"]'


def test_keys_without_an_end_are_copied_without_one(settings, store, written):
    before = make_lists(customers=CUSTOMERS)
    publication.publish(settings, [before], meta=META)
    endless = settings.model_copy(update={"keys_expire": False})
    _, lives, copied = written([before], [before], with_settings=endless)
    assert copied == KEYS
    assert {key for key, left in lives.items() if left > 0} == {"meta"}


@pytest.mark.parametrize("damage", ["gone", "a field less", "a field more", "another type"])
def test_a_key_that_was_damaged_is_written_again(settings, store, written, damage):
    before = make_lists(customers=CUSTOMERS)
    publication.publish(settings, [before], meta=META)
    key = f"{settings.key_prefix}:p000001:customer:{14646 + CUSTOMERS - 1}"
    if damage == "gone":
        store.delete(key)
    elif damage == "a field less":
        store.hdel(key, "discover")
    elif damage == "a field more":
        store.hset(key, "strange", "[]")
    else:
        store.set(key, "text")
    hashes, lives, copied = written([before], [before])
    assert copied == KEYS - 1
    assert set(hashes[f"customer:{14646 + CUSTOMERS - 1}"]) == {b"for_you", b"discover", b"buy_again"}
    assert min(lives.values()) > 60


def test_a_text_that_somebody_changed_is_found_before_anything_is_copied(settings, store, written, caplog):
    before = make_lists(customers=CUSTOMERS)
    publication.publish(settings, [before], meta=META)
    store.hset(f"{settings.key_prefix}:p000001:customer:14646", "discover", '["other"]')
    hashes, _, copied = written([before], [before])
    assert copied == 0
    assert "All keys are written: p000001 does not hold what it was made from" in caplog.text
    assert hashes["customer:14646"][b"discover"] == b'["a","0"]'


def test_after_a_change_of_the_lists_that_are_published_all_are_written(settings, written):
    before = make_lists(customers=CUSTOMERS)
    few = settings.model_copy(update={"customer_lists": "for_you buy_again"})
    publication.publish(few, [before], meta=META)
    hashes, _, copied = written([before], [before])
    assert copied == 0
    assert set(hashes["customer:14646"]) == {b"for_you", b"discover", b"buy_again"}


def test_a_publication_that_is_not_held_is_not_copied_from(settings, store, written):
    before = make_lists(customers=CUSTOMERS)
    publication.publish(settings, [before], meta=META)
    assert written([before], [before], number=7)[2] == 0
    store.delete(f"{settings.key_prefix}:current", f"{settings.key_prefix}:publications")
    assert written([before], [before], number=1)[2] == 0


@pytest.mark.parametrize("error", [ArtifactError("It was pruned."), InputError("It has another list.")])
def test_if_the_earlier_lists_cannot_be_read_all_keys_are_written(settings, written, caplog, error):
    """`prune` may remove their file when the new lists have been joined."""
    lists = make_lists(customers=CUSTOMERS)
    publication.publish(settings, [lists], meta=META)

    def breaks():
        yield lists[:50]
        raise error

    _, _, copied = written([lists], breaks())
    assert copied == 0
    assert f"All keys are written, as what p000001 was made from cannot be read: {error}" in caplog.text


@pytest.mark.parametrize(("command", "keys_expire"), [("copy", True), ("persist", False)])
def test_who_may_not_copy_writes_all_keys(settings, store, written, caplog, command, keys_expire):
    before = make_lists(customers=CUSTOMERS)
    publication.publish(settings, [before], meta=META)
    store.execute_command("acl", "setuser", "writer", "on", ">secret", "~*", "+@all", f"-{command}")
    try:
        url = urlsplit(settings.list_store())
        theirs = SecretStr(url._replace(netloc=f"writer:secret@{url.hostname}:{url.port}").geturl())
        of_writer = settings.model_copy(update={"redis_url": theirs, "keys_expire": keys_expire})
        _, _, copied = written([before], [before], with_settings=of_writer)
    finally:
        store.execute_command("acl", "deluser", "writer")
    assert copied == 0
    assert "All keys are written, as Redis does not copy them" in caplog.text
