"""An erased customer's events are gone from the database, from quarantine and from the stream, and do not come back."""

from datetime import UTC, datetime, timedelta

import pytest

from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.events import stages
from ncf_pipeline.events.stream import events_naming


def test_nothing_of_an_erased_customer_is_left(shop, tell, waiting, rows):
    tell(session="s")  # before they logged in
    tell(customer="14646", session="s")
    tell(customer="14646")
    tell(customer="14647", session="s")
    tell(session="t")
    tell("click", customer="14646", session="u")
    tell("click", session="u")
    tell(product="TYPO", customer="14646.0")
    tell("click", session="14646")
    stages.take(shop)
    tell(customer=" 14646.0")
    tell(customer="14647", session="14646")
    tell(customer="14647")
    assert events_naming(shop, "14646") == 2

    done = forget(shop, "14646", requested_by="test")

    assert (done.places["retail.shop_event.customer_id"], done.places["raw.quarantined_event.original"]) == (2, 2)
    assert done.places["Redis: events"] == 2
    assert not any(done.left.values())
    assert sorted(rows("select coalesce(customer_id, 'a guest') from retail.shop_event")) == [("14647",), ("a guest",)]
    assert rows("select count(*) from raw.quarantined_event") == [(1,)]
    assert waiting() == 1


def test_events_from_before_the_erasure_do_not_come_back_and_later_ones_are_a_new_customer_s(
    shop, tell, rows, tmp_path
):
    before = datetime.now(UTC) - timedelta(hours=1)
    forget(shop, "14646", requested_by="test")
    tell(customer="14646", at=before.isoformat())
    tell("click", customer="14646", at=before.isoformat())
    tell("cart", customer="14646")
    (tmp_path / "old.csv").write_text(f"kind,product,customer,at\nview,A,14646,{before.isoformat()}\n")
    taken, loaded = stages.take(shop), stages.load(shop, [str(tmp_path / "old.csv")])
    assert (taken.erased, loaded.erased) == (2, 1)
    assert rows() == [("cart", "A", "14646")]
    assert rows("select count(*) from raw.quarantined_event") == [(0,)]
    assert str(loaded) == "Read 1 events: 0 new; 1 of erased customers, which are not stored."


def test_whoever_visits_the_shop_during_their_erasure_does_not_make_it_fail(shop, tell, monkeypatch):
    from ncf_pipeline.erasure import forget as stage

    vacuum = stage.postgres.vacuum

    def visited(settings):
        tell(customer="14646")
        vacuum(settings)

    monkeypatch.setattr(stage.postgres, "vacuum", visited)
    done = forget(shop, "14646", requested_by="test")
    assert not any(done.left.values())


@pytest.mark.parametrize("number", ["2", "3"])
def test_a_row_s_number_is_no_customer(shop, tmp_path, number, rows):
    (tmp_path / "a.csv").write_text("kind,product,customer,at\nclick,A,1,2026-07-01\nclick,A,1,2026-07-01\n")
    stages.load(shop, [str(tmp_path / "a.csv")])
    tell_rows = rows("select entry from raw.quarantined_event order by entry")
    assert (f"row {number}",) in tell_rows
