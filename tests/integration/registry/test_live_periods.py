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


def test_a_flip_to_an_unknown_publication_is_refused(settings):
    with pytest.raises(DatabaseError):
        live_periods.record_flip(settings, 7)


def test_a_refused_publication_was_never_live(settings, version):
    entry = Publication(1, version, day(0), "file:///p1", 10, 5, BEGIN)
    registry.open_publication(settings, entry)
    registry.refuse_publication(settings, 1, "broken")
    assert live_periods.live_periods(settings) == []
