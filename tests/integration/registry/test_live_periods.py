"""Which lists were live when, in wall-clock time and on the shop's clock."""

from datetime import UTC, datetime, timedelta

import pytest

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.storage.database import transaction

BEGIN = datetime(2026, 1, 5, 4, tzinfo=UTC)


def day(number, hour=0):
    return datetime(2011, 11, 1, hour) + timedelta(days=number)


@pytest.fixture
def version(settings):
    return registry.open_version(
        settings,
        run_key="run",
        snapshot_id="s000001",
        cutoff=day(0),
        holdout_start=day(-28),
        config={},
        requested_by="test",
    )


@pytest.fixture
def publish(settings, version):
    """Makes publication `number` live; its lists know the purchases before day `known`."""

    def make_live(number, known):
        at = BEGIN + timedelta(weeks=number)
        entry = Publication(number, version, day(known), f"file:///p{number}", 10, 5, at)
        registry.open_publication(settings, entry)
        registry.record_publication(settings, entry)

    return make_live


@pytest.fixture
def sell(settings):
    """Adds an invoice at noon of a day."""

    def load(number):
        with transaction(settings) as connection, connection.cursor() as cursor:
            line = (f"i{number}", 1, "A", "A", 1, day(number, 12), 1.5, 1, "France", 1)
            cursor.execute("insert into retail.invoice_line values %s", (line,))

    return load


def shops_clock(settings):
    return [(entry.number, entry.answers_from, entry.answers_until) for entry in live_periods.live_periods(settings)]


def test_lists_answer_purchases_from_their_own_as_of_until_the_next_lists_begin(settings, publish):
    for number, known in ((1, 0), (2, 7), (3, 14)):
        publish(number, known)
    assert shops_clock(settings) == [(1, day(0), day(7)), (2, day(7), day(14)), (3, day(14), None)]
    periods = live_periods.live_periods(settings)
    assert [entry.began_at for entry in periods] == [BEGIN + timedelta(weeks=number) for number in (1, 2, 3)]
    assert [entry.ended_at for entry in periods] == [periods[1].began_at, periods[2].began_at, None]


def test_lists_that_a_flip_brings_back_answer_only_later_purchases(settings, publish, sell):
    publish(1, 0)
    publish(2, 7)
    sell(10)
    live_periods.record_flip(settings, 1)
    live_periods.record_flip(settings, 1)  # a second try
    sell(12)
    live_periods.record_flip(settings, 2)  # and forward
    publish(3, 14)
    noon = timedelta(hours=12, seconds=1)
    assert shops_clock(settings) == [
        (1, day(0), day(7)),
        (2, day(7), day(10) + noon),
        (1, day(10) + noon, day(12) + noon),
        (2, day(12) + noon, day(14)),
        (3, day(14), None),
    ]
    assert [entry.began_by for entry in live_periods.live_periods(settings)] == [
        "publication",
        "publication",
        "flip",
        "flip",
        "publication",
    ]


def test_lists_that_know_less_than_the_previous_ones_answer_from_the_newest_invoice_on(settings, publish, sell):
    """After a retrain with an old cutoff, or one that a refresh overtook: nobody saw its lists earlier."""
    publish(1, 7)
    sell(9)
    publish(2, 3)
    assert shops_clock(settings) == [
        (1, day(7), day(9, 12) + timedelta(seconds=1)),
        (2, day(9, 12) + timedelta(seconds=1), None),
    ]


def test_a_period_never_begins_before_the_previous_one_even_if_invoices_are_gone(settings, publish):
    publish(1, 7)
    publish(2, 3)
    assert shops_clock(settings) == [(1, day(7), day(7)), (2, day(7), None)]


# In real time: lists of the day before are published at night, and the day's invoices are loaded the night after.
WEDNESDAY = datetime(2026, 11, 25)


def at(hours, minutes=0, seconds=0.0):
    """On the wall clock, hours after the beginning of Wednesday in UTC."""
    return WEDNESDAY.replace(tzinfo=UTC) + timedelta(hours=hours, minutes=minutes, seconds=seconds)


def shop(hours, minutes=0, seconds=0.0):
    """The same on the shop's clock."""
    return at(hours, minutes, seconds).replace(tzinfo=None)


@pytest.fixture
def load(settings):
    """Adds an invoice of an instant on the shop's clock."""

    def add(instant):
        with transaction(settings) as connection, connection.cursor() as cursor:
            line = (f"{instant:%m%d%H%M%S}", 1, "A", "A", 1, instant, 1.5, 1, "France", 1)
            cursor.execute("insert into retail.invoice_line values %s", (line,))

    return add


@pytest.fixture
def go_live(settings, version):
    """Makes publication `number` live at an instant; its lists know the purchases before `known`."""

    def publish(number, known, instant, **changed):
        entry = Publication(number, version, known, f"file:///p{number}", 10, 5, instant)
        registry.open_publication(settings, entry)
        registry.record_publication(settings.model_copy(update=changed), entry)

    return publish


@pytest.fixture
def flip(settings):
    """A flip as `record_flip` records it, at an instant."""

    def back_to(number, instant):
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("select ml.begin_live_period(%s, 'flip', %s)", (number, instant))

    return back_to


@pytest.fixture
def trading(load, go_live):
    """A shop in real time: Tuesday is loaded, and p1, which knows it, went live on Wednesday at 02:40."""
    load(shop(0, seconds=-1))
    go_live(1, shop(0), at(2, 40))


def test_bad_lists_answer_for_the_hours_in_which_they_were_live_although_these_are_loaded_later(
    settings, trading, load, go_live, flip
):
    go_live(2, shop(0), at(8))
    flip(1, at(18))
    expected = [(1, shop(2, 40), shop(8)), (2, shop(8), shop(18)), (1, shop(18), None)]
    assert shops_clock(settings) == expected
    load(shop(23))
    go_live(3, shop(24), at(26, 40))
    assert shops_clock(settings) == [*expected[:2], (1, shop(18), shop(26, 40)), (3, shop(26, 40), None)]
    assert {period.clock for period in live_periods.live_periods(settings)} == {"wall"}


@pytest.mark.parametrize("loaded_at_noon", [False, True])
def test_what_was_loaded_in_between_does_not_matter(settings, trading, load, go_live, flip, loaded_at_noon):
    go_live(2, shop(0), at(8))
    if loaded_at_noon:
        load(shop(11, 59))
    flip(1, at(18))
    assert shops_clock(settings) == [(1, shop(2, 40), shop(8)), (2, shop(8), shop(18)), (1, shop(18), None)]


def test_a_retrain_that_a_refresh_overtook_answers_only_what_is_bought_after_it(settings, trading, load, go_live):
    load(shop(23, 59))
    go_live(2, shop(24), at(26, 40))
    go_live(3, shop(0), at(30))
    assert shops_clock(settings)[1:] == [(2, shop(26, 40), shop(30)), (3, shop(30), None)]


def test_a_republication_of_old_lists_answers_only_what_is_bought_after_it(settings, trading, go_live):
    go_live(2, shop(0), at(8))
    go_live(3, shop(-24 * 30), at(18))
    assert shops_clock(settings)[1:] == [(2, shop(8), shop(18)), (3, shop(18), None)]


def test_purchases_that_lists_know_are_never_theirs_even_if_the_shops_clock_is_ahead(settings, trading, load, go_live):
    """The dates on invoices are in another time zone than was set: nobody is credited with the hours in between."""
    load(shop(12))
    go_live(2, shop(12, seconds=1), at(8))
    assert shops_clock(settings) == [(1, shop(2, 40), shop(8)), (2, shop(12, seconds=1), None)]


def test_the_shops_time_zone_says_when_lists_went_live_on_its_clock(settings, load, go_live):
    load(datetime(2026, 7, 1))
    go_live(1, datetime(2026, 7, 1), datetime(2026, 7, 1, 2, tzinfo=UTC), shop_timezone="Europe/London")
    go_live(2, datetime(2026, 7, 1), datetime(2026, 7, 1, 6, tzinfo=UTC), shop_timezone="Europe/London")
    assert shops_clock(settings) == [
        (1, datetime(2026, 7, 1, 3), datetime(2026, 7, 1, 7)),
        (2, datetime(2026, 7, 1, 7), None),
    ]


def test_a_flip_uses_the_shops_time_zone(settings, load, go_live):
    now = datetime.now(UTC).replace(tzinfo=None)
    load(now)
    go_live(1, now - timedelta(days=2), datetime.now(UTC) - timedelta(days=2))
    go_live(2, now - timedelta(days=2), datetime.now(UTC) - timedelta(days=1))
    live_periods.record_flip(settings.model_copy(update={"shop_timezone": "Asia/Tokyo"}), 1)
    ahead = live_periods.live_periods(settings)[-1].answers_from - now
    assert timedelta(hours=9) <= ahead < timedelta(hours=9, minutes=30)


def test_a_name_that_postgres_does_not_know_stops_no_publication(settings, load, go_live):
    load(shop(0))
    go_live(1, shop(0), at(8), shop_timezone="Moon/Tranquility")
    assert shops_clock(settings) == [(1, shop(8), None)]


LONDON = {"shop_timezone": "Europe/London"}


def test_the_hour_that_comes_twice_in_autumn_belongs_to_the_lists_that_were_live_when_it_began(settings, load, go_live):
    """On 25 October 2026 at 01:00 UTC, London's clocks go back from 02:00 to 01:00."""
    sunday = datetime(2026, 10, 25)
    load(sunday)
    for number, (hour, minute) in enumerate(((0, 30), (1, 10), (1, 50), (2, 10)), start=1):
        go_live(number, sunday, datetime(2026, 10, 25, hour, minute, tzinfo=UTC), **LONDON)
    assert shops_clock(settings) == [
        (1, sunday.replace(hour=1, minute=30), sunday.replace(hour=2)),
        (2, sunday.replace(hour=2), sunday.replace(hour=2)),
        (3, sunday.replace(hour=2), sunday.replace(hour=2, minute=10)),
        (4, sunday.replace(hour=2, minute=10), None),
    ]


def test_the_hour_that_is_missing_in_spring_belongs_to_nobody(settings, load, go_live):
    """On 29 March 2026 at 01:00 UTC, London's clocks go from 01:00 to 02:00."""
    sunday = datetime(2026, 3, 29)
    load(sunday)
    go_live(1, sunday, datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC), **LONDON)
    go_live(2, sunday, datetime(2026, 3, 29, 1, 0, 1, tzinfo=UTC), **LONDON)
    assert shops_clock(settings) == [
        (1, datetime(2026, 3, 29, 0, 59, 59), datetime(2026, 3, 29, 2, 0, 1)),
        (2, datetime(2026, 3, 29, 2, 0, 1), None),
    ]


def test_two_flips_within_a_second_each_answer_their_part_of_it(settings, trading, go_live, flip):
    go_live(2, shop(0), at(8))
    flip(1, at(18, seconds=0.2))
    flip(2, at(18, seconds=0.7))
    flip(1, at(18, seconds=0.7))
    assert shops_clock(settings)[1:] == [
        (2, shop(8), shop(18, seconds=0.2)),
        (1, shop(18, seconds=0.2), shop(18, seconds=0.7)),
        (2, shop(18, seconds=0.7), shop(18, seconds=0.7)),
        (1, shop(18, seconds=0.7), None),
    ]


def test_if_the_wall_clock_is_set_back_no_purchase_has_two_answers_and_the_newest_record_counts(
    settings, trading, go_live
):
    go_live(2, shop(0), at(24 * 365))  # the clock was a year ahead
    go_live(3, shop(0), at(8))
    go_live(4, shop(0), at(7, 59, 59))  # and a second back
    go_live(5, shop(0), at(9))
    assert shops_clock(settings) == [
        (1, shop(2, 40), shop(7, 59, 59)),
        (2, shop(24 * 365), shop(24 * 365)),
        (3, shop(8), shop(8)),
        (4, shop(7, 59, 59), shop(9)),
        (5, shop(9), None),
    ]


def test_a_feed_that_is_stuck_for_weeks_does_not_change_whose_the_purchases_are(settings, trading, load, go_live):
    go_live(2, shop(0), at(24 * 30))
    load(shop(24 * 29))
    assert shops_clock(settings) == [(1, shop(2, 40), shop(24 * 30)), (2, shop(24 * 30), None)]


def test_a_backfill_that_reaches_the_present_goes_over_to_the_wall_clock(settings, load, go_live, flip):
    """Lists that were replayed end where the next ones know more; what was bought until these are live is nobody's."""
    for number, days in enumerate((-60, -30), start=1):
        load(shop(24 * days))
        go_live(number, shop(24 * days), at(10, number))
    load(shop(0, seconds=-1))
    go_live(3, shop(0), at(10, 3))
    flip(2, at(10, 4))
    assert shops_clock(settings) == [
        (1, shop(-24 * 60), shop(-24 * 30)),
        (2, shop(-24 * 30), shop(0)),
        (3, shop(10, 3), shop(10, 4)),
        (2, shop(10, 4), None),
    ]
    assert [period.clock for period in live_periods.live_periods(settings)] == ["invoices", "invoices", "wall", "wall"]


def test_what_is_not_loaded_yet_is_unknown(settings, trading, load, go_live, flip):
    go_live(2, shop(0), at(8))
    flip(1, at(18))
    none = [(entry.measured_until, entry.not_loaded_from) for entry in live_periods.known_periods(settings)]
    assert none == [(None, shop(2, 40)), (None, shop(8)), (None, shop(18))]
    load(shop(11, 59, 59))
    assert [entry.not_loaded_from for entry in live_periods.known_periods(settings)] == [None, shop(12), shop(18)]
    report = live_periods.DriftReport("s1", 2, shop(0), shop(12), {}, ())
    live_periods.record_measurement(settings, report, [])
    entries = live_periods.known_periods(settings)
    assert [entry.measured_until for entry in entries] == [shop(8), shop(12), None]
    load(shop(30))
    assert [entry.not_loaded_from for entry in live_periods.known_periods(settings)] == [
        None,
        None,
        shop(30, seconds=1),
    ]
    assert entries[1].as_dict() == {
        "number": 2,
        "version": entries[1].version,
        "began_by": "publication",
        "began_at": "2026-11-25T08:00:00+00:00",
        "ended_at": "2026-11-25T18:00:00+00:00",
        "clock": "wall",
        "answers_from": "2026-11-25T08:00:00",
        "answers_until": "2026-11-25T18:00:00",
        "measured_until": "2026-11-25T12:00:00",
        "not_loaded_from": "2026-11-25T12:00:00",
    }


def test_a_flip_to_an_unknown_publication_is_refused(settings):
    with pytest.raises(DatabaseError):
        live_periods.record_flip(settings, 7)


def test_a_refused_publication_was_never_live(settings, version):
    entry = Publication(1, version, day(0), "file:///p1", 10, 5, BEGIN)
    registry.open_publication(settings, entry)
    registry.refuse_publication(settings, 1, "broken")
    assert live_periods.live_periods(settings) == []
