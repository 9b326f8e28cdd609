"""The storefront's client tells events under a user who may do nothing else, and no page waits for it."""

import re
import shlex
import time
from pathlib import Path

import pytest
from both_clients import Both

from ncf_pipeline.events import stages
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Statistics, Storefront


@pytest.fixture
def client(settings):
    both = Both(settings.list_store(), prefix=settings.key_prefix)
    yield both
    both.end()


def test_what_visitors_do_is_told_and_stored(shop, client, rows):
    assert client.viewed("a", session="s1")
    assert client.carted(" b ", customer=14646.0, session="s1")
    assert client.wished("C", customer="ann@example.com")
    counts = stages.take(shop)
    assert counts.added + counts.known == 6  # by both clients, maybe in the same millisecond
    assert sorted(set(rows())) == [("cart", "B", "14646"), ("view", "A", None), ("wish", "C", "ann@example.com")]


def test_what_can_be_no_id_is_counted_and_an_event_of_nobody_is_a_mistake(client, waiting):
    assert client.viewed(None, session="s") is False
    assert client.viewed("A", customer=float("nan")) is False
    assert client.viewed("A", session="s", customer=b"1") is False
    assert client.statistics == Statistics(unusable_ids=3)
    with pytest.raises(ValueError, match="an event has a customer or a session"):
        client.viewed("A")
    assert waiting() == 0


def test_a_teller_may_add_events_and_do_nothing_else(settings, store, waiting):
    store.execute_command("ACL", "SETUSER", "teller", "on", ">secret", f"~{settings.key_prefix}:events", "+xadd")
    try:
        url = settings.list_store().replace("default:test@", "teller:secret@")
        with Storefront(url, prefix=settings.key_prefix) as teller:
            assert teller.viewed("A", session="s")
            assert teller.dismiss("1", "A") is False
            assert teller.for_visitor().source == "unavailable"
        assert waiting() == 1
    finally:
        store.execute_command("ACL", "DELUSER", "teller")


def test_a_redis_that_is_away_delays_one_page_and_raises_nothing():
    with Storefront("redis://127.0.0.1:1/0", timeout=0.2) as shop:
        assert shop.viewed("A", session="s") is False
        begun = time.monotonic()
        assert shop.viewed("A", session="s") is False
        assert time.monotonic() - begun < 0.1
        assert shop.statistics.failures == 1


def test_a_stream_that_nobody_takes_stays_small(settings, client, waiting, monkeypatch):
    from ncf_pipeline.storefront import reading

    monkeypatch.setattr(reading, "MOST_EVENTS_WAITING", 200)
    for number in range(500):
        client.viewed("A", session=f"s{number}")
    assert waiting() < 500


def test_the_examples_of_the_documentation_tell_events(shop, store, settings, rows):
    text = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    url = settings.list_store().replace("redis://default:test@", "")
    named = example.replace("redis://teller:secret@127.0.0.1:6379/0", settings.list_store())
    assert named.count(url) == 1
    exec(named.replace('/0")', f'/0", prefix="{settings.key_prefix}")'), {})
    (command,) = re.findall(r"^XADD .*$", text, flags=re.MULTILINE)
    store.execute_command(*shlex.split(command.replace("ncf:", f"{settings.key_prefix}:")))
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', 'HOLDER', now()), ('22423', 'STAND', now())")
    assert stages.take(shop).read == 4
    assert sorted(set(rows()), key=str) == [
        ("cart", "85123A", "14646"),
        ("view", "85123A", "14646"),
        ("view", "85123A", None),
        ("wish", "22423", "14646"),
    ]
