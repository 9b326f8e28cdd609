"""Events of the stream are stored once, or set aside with a reason, wherever a run is killed."""

import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from ncf_pipeline.errors import ListStoreError
from ncf_pipeline.events import landing, stages, stream
from ncf_pipeline.events.landing import quarantined
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.storage.database import transaction


class Killed(BaseException):
    pass


def reasons(settings):
    return {row.reason: row.events for row in quarantined(settings)}


def test_events_move_from_the_stream_into_the_database(shop, tell, waiting, rows):
    tell("view", "a", customer="14646.0", session="s")
    tell("cart", "b", session="s")
    tell("wish", "C", customer="ann@example.com")
    counts = stages.take(shop)
    assert sorted(rows()) == [("cart", "B", None), ("view", "A", "14646"), ("wish", "C", "ann@example.com")]
    assert str(counts) == "Read 3 events: 3 new."
    assert waiting() == 0
    sessions = rows("select distinct length(session) from retail.shop_event where session is not null")
    assert sessions == [(16,)]
    assert str(stages.take(shop)) == "Read 0 events: 0 new."


def test_without_a_stream_nothing_happens_and_nothing_is_made(shop, store):
    assert stages.take(shop).read == 0
    assert store.keys("*:events") == []


def test_what_cannot_be_used_waits_with_its_reason_and_the_rest_is_stored(shop, tell, waiting, rows):
    tell("click", session="s")
    tell(product="TYPO", customer="14646")
    tell(session="s", at=(datetime.now(UTC) + timedelta(days=1)).isoformat())
    tell(kind="view", product="A")
    tell("view", "A", session="s")
    counts = stages.take(shop)
    assert len(rows()) == 1
    assert reasons(shop) == dict.fromkeys(
        ("in the future", "no customer and no session", "unknown kind", "unknown product"), 1
    )
    assert counts.read == counts.added + counts.quarantined.total() == 5
    assert str(counts).startswith("Read 5 events: 1 new; in quarantine 4: ")
    assert waiting() == 0
    (unknown,) = [row for row in quarantined(shop) if row.reason == "unknown product"]
    assert unknown.example["stock_code"] == "TYPO"


def test_an_event_of_an_unknown_product_is_stored_when_the_product_is_known(shop, tell, rows):
    tell("cart", "new-1", customer="14646", at="2026-06-01T10:00:00Z")
    now = datetime(2026, 6, 1, 11, tzinfo=UTC)
    stages.take(shop, now=now)
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('NEW-1', 'BAG', now())")
    counts = stages.take(shop, now=now)
    assert str(counts) == "Read 0 events, and 1 whose product is known by now: 1 new."
    assert rows("select stock_code, happened_at from retail.shop_event") == [
        ("NEW-1", datetime(2026, 6, 1, 10, tzinfo=UTC))
    ]
    assert reasons(shop) == {}


def test_the_same_event_twice_is_one(shop, tell, rows):
    for _ in range(3):
        tell(session="s", at="2026-11-01T10:00:00Z")
    tell(session="t", at="2026-11-01T10:00:00Z")
    now = datetime(2026, 11, 2, tzinfo=UTC)
    counts = stages.take(shop, now=now)
    assert (counts.added, counts.known, len(rows())) == (2, 2, 2)


@pytest.mark.parametrize("place", ["before", "within", "after"])
def test_a_run_that_is_killed_loses_and_doubles_nothing(shop, tell, waiting, rows, monkeypatch, place):
    monkeypatch.setattr(stream, "AT_ONCE", 2)
    for number in range(5):
        tell(product="AB"[number % 2], session=f"s{number}")
    tell("click", session="s")
    calls, land = [], landing.land

    def dying(*args, **options):
        calls.append(args)
        if len(calls) == 3 and place == "before":
            raise Killed
        if len(calls) == 3 and place == "within":
            with monkeypatch.context() as patch:
                patch.setattr(landing, "query_rows", lambda *_, **__: (_ for _ in ()).throw(Killed))
                land(*args, **options)
        land(*args, **options)
        if len(calls) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(stages, "land", dying)
        with pytest.raises(Killed):
            stages.take(shop)
    stored = len(rows())
    assert (waiting(), stored) == {"before": (4, 2), "within": (4, 2), "after": (4, 4)}[place]
    counts = stages.take(shop)
    assert (len(rows()), counts.added, counts.known) == (5, 5 - stored, stored - 2)
    assert (reasons(shop), waiting()) == ({"unknown kind": 1}, 0)


def _take_and_die(settings):
    land = landing.land

    def once(*args, **options):
        land(*args, **options)
        if args[2]:
            os.kill(os.getpid(), signal.SIGKILL)

    stages.land = once
    stages.take(settings)


def test_a_process_that_is_killed_leaves_its_page_to_the_next(shop, tell, waiting, rows):
    for number in range(3):
        tell(session=f"s{number}")
    process = multiprocessing.get_context("fork").Process(target=_take_and_die, args=(shop,))
    process.start()
    process.join()
    assert (process.exitcode, waiting(), len(rows())) == (-signal.SIGKILL, 3, 3)
    counts = stages.take(shop)
    assert (counts.added, counts.known, waiting(), len(rows())) == (0, 3, 0, 3)


def test_a_crawler_s_hour_is_set_aside_and_counted(shop, tell, rows, hour, monkeypatch):
    monkeypatch.setattr(landing, "MOST_AN_HOUR", 10)
    monkeypatch.setattr(stream, "AT_ONCE", 8)
    start = hour - timedelta(hours=3)
    for second in range(25):
        tell(session="crawler", at=(start + timedelta(seconds=second)).isoformat())
    for second in range(10):
        tell(session="person", at=(start + timedelta(seconds=second)).isoformat())
        tell(customer="14646", session="crawler", at=(start + timedelta(seconds=second)).isoformat())
    tell(session="crawler", at=(start + timedelta(hours=1)).isoformat())
    counts = stages.take(shop)
    assert len(rows()) == 21
    assert rows("select count(*) from retail.shop_event where customer_id = '14646'") == [(10,)]
    (crowd,) = quarantined(shop)
    assert (crowd.reason, crowd.events) == ("too many in an hour", 25)
    assert counts.read == counts.added + counts.quarantined.total() == 46
    tell(session="crawler", at=(start + timedelta(minutes=30)).isoformat())
    stages.take(shop)
    assert (len(rows()), quarantined(shop)[0].events) == (21, 26)


def test_old_events_are_removed(shop, tell, rows):
    tell(session="s")
    tell("click", session="s")
    stages.take(shop)
    later = shop.model_copy(update={"events_days": 30})
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.shop_event set happened_at = happened_at - interval '29 days'")
        cursor.execute("update raw.quarantined_event set quarantined_at = now() - interval '31 days'")
    stages.take(later)
    assert (len(rows()), reasons(shop)) == (1, {})
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.shop_event set happened_at = happened_at - interval '2 days'")
    stages.take(later)
    assert rows() == []


def test_a_full_stream_is_said(shop, tell, caplog, monkeypatch):
    monkeypatch.setattr(stream, "MOST_EVENTS_WAITING", 3)
    for number in range(2):
        tell(session=f"s{number}")
    stages.take(shop)
    assert "was full" not in caplog.text
    for number in range(3):
        tell(session=f"t{number}")
    stages.take(shop)
    assert "The stream of events was full, so the oldest may be lost." in caplog.text


@pytest.mark.parametrize(
    "fields", [{"kind": "vi\x00ew"}, {"kind": b"\xff\xfe"}, {"product": "\x00"}, {"at": "9" * 400}]
)
def test_any_bytes_are_set_aside_and_keep_nobody_waiting(shop, tell, waiting, rows, fields):
    tell(**{"session": "s", **fields})
    tell(session="s")
    counts = stages.take(shop)
    assert (len(rows()), counts.quarantined.total(), waiting()) == (1, 1, 0)


def test_a_key_of_another_type_is_one_line(shop, store):
    store.set(f"{shop.key_prefix}:events", "text")
    with pytest.raises(ListStoreError, match=r"^Redis: the events were not read: WRONGTYPE"):
        stages.take(shop)


def test_ingest_s_role_takes_events_and_reading_sees_them(member, tell, rows, shop):
    tell(session="s")
    tell("click", session="s")
    assert stages.take(member("ingest")).read == 2
    assert reasons(member("reading")) == {"unknown kind": 1}


def test_a_snapshot_does_not_know_events(shop, tell):
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.invoice_line values ('2', 1, 'A', 'X', 1, '2011-12-02', 1, '1', 'EIRE', 1)")
    before = take_snapshot(shop, datetime(2011, 12, 9))
    tell(customer="1")
    assert stages.take(shop).added == 1
    assert take_snapshot(shop, datetime(2011, 12, 9)) == before
