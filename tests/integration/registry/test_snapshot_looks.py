"""What customers looked at, as a snapshot holds it; and a snapshot without that is what it was."""

from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from lookers import look
from weekly_versions import TODAY, WEEK, shop  # noqa: F401

from ncf_pipeline.columns import CART, VIEW, WISH, Looks
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.registry import snapshot_files
from ncf_pipeline.registry.snapshots import prune_snapshots, read_snapshot, read_snapshot_by_parts, take_snapshot
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import list_files

WHO, OTHER, CODE = "14601", "14602", "22010"
HOUR = timedelta(hours=1)


def files(settings):
    return dict(list_files(f"{settings.artifacts}/snapshots"))


def content(settings, number):
    return {name: path for name, path in files(settings).items() if name.startswith(number)}


def rows_of(snapshot):
    return snapshot.looks.to_numpy().tolist()


def test_it_holds_what_known_customers_looked_at_before_the_cutoff_on_the_shop_s_clock(shop):  # noqa: F811
    settings = shop.model_copy(update={"shop_timezone": "America/New_York"})  # five hours behind UTC in December
    late = TODAY - WEEK + 5 * HOUR
    look(
        settings,
        (WHO, CODE, VIEW, late - HOUR),
        (WHO, CODE, CART, late - timedelta(microseconds=1)),
        (WHO, CODE, WISH, late),  # at the cutoff
        (WHO, CODE, VIEW, late + HOUR),
        (None, CODE, VIEW, late - HOUR),  # a visitor without a login
        ("stranger", CODE, VIEW, late - HOUR),  # who never bought anything
    )
    snapshot = read_snapshot(settings, take_snapshot(settings, TODAY - WEEK))
    assert list(snapshot.looks) == list(Looks.ALL)
    assert rows_of(snapshot) == [
        [WHO, CODE, CART, TODAY - WEEK - timedelta(microseconds=1)],
        [WHO, CODE, VIEW, TODAY - WEEK - HOUR],
    ]
    assert [str(kind) for kind in snapshot.looks.dtypes] == ["str", "str", "str", "datetime64[us]"]


def test_the_hour_that_the_clock_shows_twice_is_before_a_cutoff_after_it(shop):  # noqa: F811
    settings = shop.model_copy(update={"shop_timezone": "Europe/London"})
    look(settings, (WHO, CODE, VIEW, datetime(2011, 10, 30, 0, 30)), (WHO, CODE, VIEW, datetime(2011, 10, 30, 1, 30)))
    at = datetime(2011, 10, 30, 1, 30)
    assert rows_of(read_snapshot(settings, take_snapshot(settings, at))) == []
    assert rows_of(read_snapshot(settings, take_snapshot(settings, at + HOUR))) == [[WHO, CODE, VIEW, at]] * 2


def test_a_shop_without_events_has_the_snapshot_that_it_had(shop):  # noqa: F811
    without = take_snapshot(shop)
    before = content(shop, without)
    assert set(before) == {f"{without}/interactions.parquet", f"{without}/products.parquet"}
    sha256 = read_snapshot(shop, without).sha256
    snapshot = read_snapshot(shop, without)
    assert snapshot.looks.empty
    frames = (snapshot_files.read_part(f"{shop.artifacts}/snapshots/{without}/interactions.parquet"),
              snapshot_files.read_products(f"{shop.artifacts}/snapshots/{without}"))  # fmt: skip
    assert sha256 == snapshot_files.content_sha256(*frames)
    # Events that no list can be made of change nothing either.
    look(shop, (None, CODE, VIEW, TODAY - WEEK), ("stranger", CODE, VIEW, TODAY - WEEK))
    assert take_snapshot(shop) == without
    assert content(shop, without) == before


def test_other_looks_are_another_snapshot_and_the_same_ones_are_the_same(shop):  # noqa: F811
    without = take_snapshot(shop)
    look(shop, (WHO, CODE, VIEW, TODAY - WEEK), (OTHER, CODE, CART, TODAY - WEEK))
    first = take_snapshot(shop)
    assert first == take_snapshot(shop) != without
    look(shop, (WHO, CODE, CART, TODAY - WEEK))
    assert take_snapshot(shop) not in (without, first)
    assert len(read_snapshot(shop, first).looks) == 2
    one, other = (read_snapshot(shop, number).interactions for number in (without, first))
    pd.testing.assert_frame_equal(one, other)
    # Lost looks are written again, and damaged ones are not read.
    path = shop.artifacts.removeprefix("file://") + f"/snapshots/{first}/looks.parquet"
    looks = pd.read_parquet(path)
    looks.iloc[:1].to_parquet(path)
    with pytest.raises(ArtifactError, match="another SHA-256"):
        read_snapshot(shop, first)
    prune_snapshots(shop, keep=(), unused_since=datetime.now().astimezone() + HOUR)
    assert files(shop) == {}


def test_lost_looks_are_written_again(shop):  # noqa: F811
    look(shop, (WHO, CODE, VIEW, TODAY - WEEK))
    number = take_snapshot(shop)
    Path(shop.artifacts.removeprefix("file://"), "snapshots", number, "looks.parquet").unlink()
    with pytest.raises(ArtifactError, match="another SHA-256"):
        read_snapshot(shop, number)
    assert take_snapshot(shop) == number
    assert len(read_snapshot(shop, number).looks) == 1


@pytest.mark.parametrize("lines_of_a_part", [2_000_000, 100], ids=["in one part", "in parts"])
def test_an_erasure_takes_a_customer_s_looks_out_of_every_snapshot(shop, lines_of_a_part, monkeypatch):  # noqa: F811
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", lines_of_a_part)
    look(shop, (WHO, CODE, VIEW, TODAY - WEEK), (OTHER, CODE, CART, TODAY - WEEK))
    both = take_snapshot(shop)
    forget(shop, WHO, requested_by="test")
    left = read_snapshot(shop, both)
    assert rows_of(left) == [[OTHER, CODE, CART, TODAY - WEEK]]
    assert WHO not in set(left.interactions["customer_id"].dropna())
    assert sum(len(part) for part in read_snapshot_by_parts(shop, both)) == len(left.interactions)
    forget(shop, OTHER, requested_by="test")
    assert rows_of(read_snapshot(shop, both)) == []
    assert not any(name.endswith("looks.parquet") for name in files(shop))


def test_looks_of_a_customer_whose_purchases_are_gone_are_erased_too(shop):  # noqa: F811
    """Such as after a correction of an invoice: the snapshot names the customer by looks alone."""
    look(shop, (WHO, CODE, VIEW, TODAY - WEEK))
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.invoice_line set quantity = -1 where customer_id = %s", (WHO,))
    number = take_snapshot(shop)
    snapshot = read_snapshot(shop, number)
    assert WHO not in set(snapshot.interactions["customer_id"].dropna())
    assert len(snapshot.looks) == 1
    done = forget(shop, WHO, requested_by="test")
    assert any("snapshots" in place for place, count in done.places.items() if count), done.places
    assert read_snapshot(shop, number).looks.empty
