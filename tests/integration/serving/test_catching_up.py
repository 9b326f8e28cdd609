"""A publisher that dies between Redis and the registry: whoever comes next records what shoppers see."""

from datetime import timedelta

import pytest
from weekly_versions import TODAY

from ncf_pipeline.errors import DatabaseError
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.catching_up import record_what_serves
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback

WEEK = timedelta(days=7)


@pytest.fixture
def unrecorded(shop, serve, monkeypatch):
    """The number of a publication that is live, and that the registry calls open."""
    serve("a", TODAY - WEEK)

    def dies(*_):
        raise DatabaseError("Postgres cannot be reached: the database system is in recovery mode.")

    with monkeypatch.context() as patched:
        patched.setattr(registry, "record_publication", dies)
        with pytest.raises(DatabaseError):
            refresh(shop)
    number = publication.number_of(publication.live_publication(shop)["name"])
    assert number not in {entry.number for entry in registry.publications(shop)}
    return number


def test_the_next_publication_records_the_one_before_first(shop, unrecorded):
    newer = refresh(shop)
    served = {entry.number: entry for entry in registry.publications(shop)}
    assert {newer, unrecorded} <= set(served)
    periods = {period.number: period for period in live_periods.live_periods(shop)}
    assert periods[unrecorded].ended_at == periods[newer].began_at
    assert served[unrecorded].published_at <= periods[newer].began_at


def test_a_rollback_records_it_and_may_come_back_to_it(shop, unrecorded, serve, live):
    second = serve("b")
    rollback(shop, actor="ops")
    assert live() == (publication.name_of(unrecorded), "v1")
    rollback(shop, second, actor="ops")
    assert live()[1] == f"v{second}"


def test_what_is_recorded_stays_as_it_is(shop, serve):
    serve("a", TODAY - WEEK)
    before = registry.publications(shop)
    record_what_serves(shop)
    assert registry.publications(shop) == before


def test_before_the_first_publication_there_is_nothing_to_record(shop):
    record_what_serves(shop)
    assert registry.publications(shop) == []


def test_a_damaged_meta_costs_the_time_alone(shop, unrecorded, store):
    store.hset(f"{shop.key_prefix}:{publication.name_of(unrecorded)}:meta", "published_at", "yesterday")
    record_what_serves(shop)
    assert unrecorded in {entry.number for entry in registry.publications(shop)}
