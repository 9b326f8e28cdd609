"""Snapshots of large shops: in parts by customer, a part in memory at a time. Here, a part is of 100 lines."""

import multiprocessing
import os
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
from weekly_versions import TODAY, WEEK, shop  # noqa: F401

from ncf_pipeline.columns import Interactions
from ncf_pipeline.erasure import forget as erasing
from ncf_pipeline.erasure.forget import forget
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.registry import snapshot_files, snapshots
from ncf_pipeline.registry.snapshot_files import bucket_of, parts_of, read_part
from ncf_pipeline.registry.snapshots import prune_snapshots, read_snapshot, remove_unnamed, take_snapshot
from ncf_pipeline.storage import database
from ncf_pipeline.storage.database import read_rows, transaction
from ncf_pipeline.storage.files import list_files

WHO = "14601"


@pytest.fixture
def in_parts(shop, monkeypatch):  # noqa: F811
    """The shop, some of whose lines are of guests; its snapshots are in parts from now on."""
    with transaction(shop) as connection, connection.cursor() as cursor:
        cursor.execute("update retail.invoice_line set customer_id = null where customer_id = '14605'")
    whole = read_snapshot(shop, take_snapshot(shop, TODAY - 10 * WEEK))
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 100)
    monkeypatch.setattr(database, "_BYTES_AT_ONCE", 10_000)
    return shop, whole


def files(settings):
    return sorted(list_files(f"{settings.artifacts}/snapshots"))


def test_it_holds_what_it_holds_in_one_part(in_parts):
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    snapshot = read_snapshot(settings, number)
    assert number != whole.snapshot_id
    pd.testing.assert_frame_equal(snapshot.interactions, whole.interactions)
    pd.testing.assert_frame_equal(snapshot.products, whole.products)
    assert take_snapshot(settings, whole.cutoff) == number
    pd.testing.assert_frame_equal(read_snapshot(settings, whole.snapshot_id).interactions, whole.interactions)
    count = snapshot_files.parts_for(len(whole.interactions))
    assert count > 2
    assert files(settings)[-count - 1 :] == [
        *(f"{number}/interactions-{part:04d}-of-{count:04d}.parquet" for part in range(1, count + 1)),
        f"{number}/products.parquet",
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select lines, customers, products from ml.snapshot order by snapshot_id")
        first, second = cursor.fetchall()
    assert first == second


def test_a_sample_is_of_customers_with_all_of_their_lines(in_parts):
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    samples = [read_snapshot(settings, number, most_lines=lines) for lines in (1, 300, 600, len(whole.interactions))]
    customers = [set(sample.interactions["customer_id"].dropna()) for sample in samples]
    assert 0 < len(customers[0]) < len(customers[1]) < len(customers[2]) < len(customers[3])
    assert customers[0] <= customers[1] <= customers[2] <= customers[3]  # a larger sample has no others
    for sample, theirs in zip(samples, customers, strict=True):
        assert sample.share == len(sample.interactions) / len(whole.interactions)
        assert sample.whole(len(sample.interactions)) == len(whole.interactions)
        known = sample.interactions["customer_id"].notna()
        lines = whole.interactions[whole.interactions["customer_id"].isin(theirs)].reset_index(drop=True)
        pd.testing.assert_frame_equal(sample.interactions[known].reset_index(drop=True), lines)
        pd.testing.assert_frame_equal(sample.products, whole.products)
        assert sample.sha256 == samples[-1].sha256
    assert samples[-1].share == 1
    assert 300 / 2 < len(samples[1].interactions) < 300 * 2


def test_a_part_that_is_damaged_is_refused_even_if_a_sample_leaves_it_out(in_parts):
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    (url,) = (row.url for row in read_rows(settings, "snapshots") if row.url.endswith(number))
    last = parts_of(url)[-1]
    Path(last.removeprefix("file://")).write_bytes(Path(parts_of(url)[0].removeprefix("file://")).read_bytes())
    with pytest.raises(ArtifactError, match="is damaged: its content has another SHA-256"):
        read_snapshot(settings, number, most_lines=1)


def test_a_part_has_all_lines_of_its_customers_and_no_others(in_parts):
    settings, whole = in_parts
    take_snapshot(settings, whole.cutoff)
    (*_, newest) = read_rows(settings, "snapshots")
    parts = [read_part(part) for part in parts_of(newest.url)]
    for place, part in enumerate(parts):
        keys = part.select(pl.coalesce(Interactions.CUSTOMER_ID, Interactions.INVOICE_NO)).to_series().to_list()
        assert {bucket_of(key) % len(parts) for key in keys} <= {place}
    assert sum(map(len, parts)) == len(whole.interactions)
    assert {None} < {who for part in parts for who in part[Interactions.CUSTOMER_ID]}


def test_nothing_is_left_on_this_machine(in_parts, tmp_path, monkeypatch):
    settings, whole = in_parts
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    take_snapshot(settings, whole.cutoff)
    assert not list(tmp_path.glob("ncf-*"))


def test_a_customer_is_erased_from_every_part_and_the_shop_without_them_is_recognised(in_parts):
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    assert erasing.search(settings, WHO)["artifacts: snapshots"] == 2
    forget(settings, WHO, requested_by="test")
    assert {place: count for place, count in erasing.search(settings, WHO).items() if count} == {}
    left = read_snapshot(settings, number)
    who = left.interactions[Interactions.CUSTOMER_ID]
    assert WHO not in set(who)
    assert len(left.interactions) == len(whole.interactions)
    assert take_snapshot(settings, whole.cutoff) == number
    assert all("-e" in name for name in files(settings))


def test_a_part_that_is_gone_or_damaged_is_one_clear_line_and_is_written_again(in_parts):
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    (*_, newest) = read_rows(settings, "snapshots")
    part = Path(parts_of(newest.url)[1].removeprefix("file://"))
    good = part.read_bytes()
    part.write_bytes(good[:-20])
    with pytest.raises(ArtifactError, match=rf"{number}/interactions-0002-of-.* is damaged"):
        read_snapshot(settings, number)
    pl.read_parquet(good).with_columns(pl.col(Interactions.QUANTITY) + 1).write_parquet(part)
    with pytest.raises(ArtifactError, match="its content has another SHA-256"):
        read_snapshot(settings, number)
    part.unlink()
    with pytest.raises(ArtifactError, match=r"interactions-0002-of-.* is missing"):
        read_snapshot(settings, number)
    assert take_snapshot(settings, whole.cutoff) == number
    pd.testing.assert_frame_equal(read_snapshot(settings, number).interactions, whole.interactions)


def test_prune_removes_all_parts(in_parts):
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    gone = prune_snapshots(settings, keep=[whole.snapshot_id], unused_since=datetime.now(UTC) + timedelta(days=1))
    assert gone == [number]
    assert files(settings) == [f"{whole.snapshot_id}/interactions.parquet", f"{whole.snapshot_id}/products.parquet"]
    assert take_snapshot(settings, whole.cutoff) == number
    assert read_snapshot(settings, number)


def _take_and_die(settings, cutoff, temporary):
    snapshot_files.LINES_OF_A_PART = 100
    tempfile.tempdir = temporary
    write = snapshot_files.new_file

    def killed(url, **more):
        if "-0003-of-" in url:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(url, **more)

    snapshot_files.new_file = killed
    take_snapshot(settings, cutoff)


def test_a_kill_between_two_parts_leaves_no_snapshot_and_the_next_try_takes_it(in_parts, tmp_path):
    settings, whole = in_parts
    process = multiprocessing.get_context("spawn").Process(
        target=_take_and_die, args=(settings, whole.cutoff, str(tmp_path))
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(read_rows(settings, "snapshots")) == 1
    assert len([name for name in files(settings) if name.startswith("s000002/")]) == 3
    assert list(tmp_path.glob("ncf-*/*.parquet"))  # `forget` removes it when it is a day old
    assert remove_unnamed(settings) == ["s000002"]
    number = take_snapshot(settings, whole.cutoff)
    pd.testing.assert_frame_equal(read_snapshot(settings, number).interactions, whole.interactions)


def test_files_of_another_number_of_parts_do_not_stay(in_parts, monkeypatch):
    """Such as those that were written after the backup from which the database was restored."""
    settings, whole = in_parts
    number = take_snapshot(settings, whole.cutoff)
    (*_, newest) = read_rows(settings, "snapshots")
    parts_before = len(parts_of(newest.url))
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 10**6)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("delete from ml.snapshot where snapshot_id = 2")
        cursor.execute("select setval(pg_get_serial_sequence('ml.snapshot', 'snapshot_id'), 1)")
        cursor.execute("delete from ml.snapshot where snapshot_id = 1")
    assert take_snapshot(settings, whole.cutoff) == number
    assert parts_before > 1 == len(parts_of(newest.url))
    pd.testing.assert_frame_equal(read_snapshot(settings, number).interactions, whole.interactions)


def test_two_at_once_take_one_snapshot(in_parts):
    settings, whole = in_parts
    processes = multiprocessing.get_context("spawn")
    taken = processes.Queue()
    both = [processes.Process(target=_take, args=(settings, whole.cutoff, taken)) for _ in range(2)]
    for process in both:
        process.start()
    assert len({taken.get(timeout=120) for _ in both}) == 1
    for process in both:
        process.join()


def _take(settings, cutoff, taken):
    snapshot_files.LINES_OF_A_PART = 100
    taken.put(take_snapshot(settings, cutoff))


def test_a_disk_that_is_full_is_one_clear_line(in_parts, monkeypatch):
    settings, whole = in_parts

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot_files.pa.ipc, "new_stream", full)
    with pytest.raises(ArtifactError, match=r"No space left on device.*TMPDIR"):
        take_snapshot(settings, whole.cutoff)
    assert snapshots.read_snapshot(settings, whole.snapshot_id)
