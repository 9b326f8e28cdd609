"""What an event says, and why it cannot be used."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from ncf_pipeline.events.checking import LONGEST, Checker, session_hash

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GOOD = {"kind": "view", "product": "85123a", "customer": "14646", "session": "s1", "at": "2026-07-01T11:00:00Z"}
CHECKER = Checker(NOW, 180, ZoneInfo("Europe/London"))


def event(**given):
    return CHECKER.event("1-0", GOOD | given)


def test_an_event_is_read_in_the_spelling_of_lists_and_of_invoices():
    read = event(kind=" Cart ", product=" 85123a ", customer=" 14646.0 ")
    assert (read.kind, read.stock_code, read.customer_id, read.reason) == ("cart", "85123A", "14646", None)
    assert read.session == session_hash("s1") != session_hash("s2")
    assert read.happened_at == datetime(2026, 7, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "instant"),
    [
        ("2026-07-01T13:00:00+02:00", datetime(2026, 7, 1, 11, tzinfo=UTC)),
        ("2026-07-01 11:59", datetime(2026, 7, 1, 10, 59, tzinfo=UTC)),  # London's summer
        ("2026-02-01", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-07-01 11:00:00.123456789Z", datetime(2026, 7, 1, 11, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_a_time_without_a_zone_is_the_shop_s(at, instant):
    assert event(at=at).happened_at == instant


def test_an_event_that_does_not_say_when_is_of_when_it_came():
    at = NOW - timedelta(seconds=3)
    assert CHECKER.event("1-0", GOOD | {"at": ""}, at=at).happened_at == at
    assert CHECKER.event("1-0", GOOD, at=at).happened_at == datetime(2026, 7, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"kind": "click"}, "unknown kind"),
        ({"kind": ""}, "unknown kind"),
        ({"product": " "}, "no product"),
        ({"product": "X" * 101}, "no product"),
        ({"customer": "x" * 255}, "no possible customer"),
        ({"customer": "a\x01b"}, "no possible customer"),
        ({"customer": "", "session": ""}, "no customer and no session"),
        ({"customer": "0", "session": None}, "no customer and no session"),
        ({"at": ""}, "no readable time"),
        ({"at": "yesterday"}, "no readable time"),
        ({"at": "0001-01-01T00:00:00+14:00"}, "no readable time"),
        ({"at": "2026-07-01T12:06:00Z"}, "in the future"),
        ({"at": "2026-01-01T00:00:00Z"}, "too old"),
    ],
)
def test_what_cannot_be_used_has_a_reason(given, reason):
    assert event(**given).reason == reason


def test_clocks_may_differ_a_little():
    assert event(at="2026-07-01T12:04:00Z").reason is None


def test_what_is_kept_of_a_refused_event_can_be_stored_and_names_no_session():
    kept = event(kind="a\x00\udcff" + "b" * 1000, session="my-secret").original
    assert len(kept["kind"]) == LONGEST
    assert "\x00" not in kept["kind"]
    assert kept["kind"].encode()
    assert kept["session"] == session_hash("my-secret").hex()
