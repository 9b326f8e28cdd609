"""The rules of expectations/interactions.json: each can fail, and a good snapshot passes all."""

import dataclasses
import errno
import logging
from datetime import datetime, timedelta

import pandas as pd
import pytest
from great_expectations.execution_engine import PandasExecutionEngine
from psycopg2.extras import execute_values

from ncf_pipeline.columns import Interactions
from ncf_pipeline.errors import ArtifactError, QualityError, UncheckedError
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.quality.snapshots import SUITE, check_snapshot
from ncf_pipeline.registry import snapshot_files
from ncf_pipeline.registry.snapshot_files import parts_of, read_part
from ncf_pipeline.registry.snapshots import open_snapshot, read_snapshot, take_snapshot
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.files import new_file
from ncf_pipeline.training import retrain

START = datetime(2011, 1, 1)
BEFORE, CUTOFF = START + timedelta(days=80), START + timedelta(days=87)
CUSTOMERS = PRODUCTS = 25


def sold(settings, customers=CUSTOMERS, days=87):
    """Each customer and a guest buy once a day; every hundredth purchase is returned an hour later."""
    rows = []
    for day in range(days):
        for customer in [*range(customers), None]:
            number = len(rows)
            product = f"{22000 + (number * 7) % PRODUCTS}"
            at, who = START + timedelta(days=day, hours=9), None if customer is None else 14600 + customer
            rows.append((f"{number:06d}", 1, product, "A GOOD THING", 2, at, 1.5, who, "France", 1))
            if number % 100 == 0 and who:
                back = at + timedelta(hours=1)
                rows.append((f"C{number:06d}", 1, product, "A GOOD THING", -2, back, 1.5, who, "France", 1))
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)


def report_of(settings, snapshot_id):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select report from ml.snapshot where snapshot_id = %s", (int(snapshot_id[1:]),))
        return cursor.fetchone()[0]


@pytest.fixture
def snapshot(settings):
    """A good snapshot; an earlier one, by a week, was checked."""
    sold(settings)
    check_snapshot(settings, read_snapshot(settings, take_snapshot(settings, BEFORE)))
    return read_snapshot(settings, take_snapshot(settings, CUTOFF))


def put(column, value, *, rows=3):
    """Writes a value into a column of the first rows."""

    def spoil(frame):
        frame = frame.copy()
        frame.loc[frame.index[:rows], column] = value
        return frame

    return spoil


def on_one_day(frame):
    at = frame[Interactions.PURCHASED_AT]
    return frame.assign(purchased_at=at.where(at < CUTOFF - timedelta(days=28), CUTOFF - timedelta(days=28)))


def half_of(frame):
    return frame.sample(frac=0.5, random_state=0).sort_index()


SPOILT = {
    "columns_are_there": lambda frame: frame.drop(columns=Interactions.QUANTITY),
    "snapshot_has_lines": lambda frame: frame.iloc[:0],
    "invoice_no_is_given": put(Interactions.INVOICE_NO, None),
    "stock_code_is_given": put(Interactions.STOCK_CODE, None),
    "purchased_at_is_given": put(Interactions.PURCHASED_AT, pd.NaT),
    "quantity_is_given": put(Interactions.QUANTITY, None),
    "quantity_is_positive": put(Interactions.QUANTITY, 0),
    "unit_price_is_positive": put(Interactions.UNIT_PRICE, 0.0),
    "purchase_is_before_the_cutoff": put(Interactions.PURCHASED_AT, CUTOFF),
    "return_is_before_the_cutoff": put(Interactions.RETURNED_AT, CUTOFF),
    "return_is_after_the_purchase": put(Interactions.RETURNED_AT, START),
    "stock_code_is_not_excluded": put(Interactions.STOCK_CODE, "POST"),
    "stock_code_is_a_product": put(Interactions.STOCK_CODE, "99999"),
    "line_is_there_once": lambda frame: pd.concat([frame, frame], ignore_index=True),
    "customers_are_enough": lambda frame: frame[frame[Interactions.CUSTOMER_ID] < "14619"],
    "products_are_enough": lambda frame: frame[frame[Interactions.STOCK_CODE] < "22019"],
    "customer_id_is_mostly_given": put(Interactions.CUSTOMER_ID, pd.NA, rows=1500),
    "stock_code_has_a_digit": put(Interactions.STOCK_CODE, "CARRIAGE", rows=30),
    "lines_are_as_before": half_of,
    "days_are_as_before": on_one_day,
    "newest_purchase_is_recent": lambda frame: frame[frame[Interactions.PURCHASED_AT] < CUTOFF - timedelta(days=8)],
}


def test_every_rule_has_a_spoilt_snapshot():
    assert set(SPOILT) == set(quality.rules_of(SUITE))


def test_a_good_snapshot_passes_all_rules_and_its_record_says_so(settings, snapshot):
    report = check_snapshot(settings, snapshot)
    assert report.as_dict() == report_of(settings, snapshot.snapshot_id)
    assert (report.rules, report.worst) == (len(SPOILT), None)
    assert (report.lines, report.active_days) == (87 * 26, 28)
    assert not [rule for rule in report.broken if rule.failed]


@pytest.mark.parametrize("rule_id", list(SPOILT))
def test_a_spoilt_snapshot_breaks_the_rule(settings, snapshot, caplog, rule_id):
    rule = quality.rules_of(SUITE)[rule_id]
    spoilt = dataclasses.replace(snapshot, interactions=SPOILT[rule_id](snapshot.interactions))
    if rule_id == "stock_code_has_a_digit":  # it is not excluded yet
        spoilt.products.loc[len(spoilt.products)] = ("CARRIAGE", "CARRIAGE")
    if rule.severity == "critical":
        with pytest.raises(QualityError, match="s000002 is refused") as raised:
            check_snapshot(settings, spoilt)
        assert rule_id in str(raised.value)
        assert "\n" not in str(raised.value)
    else:
        check_snapshot(settings, spoilt)
    report = report_of(settings, snapshot.snapshot_id)
    assert report["worst"] == rule.severity
    assert rule_id in {broken["rule_id"] for broken in report["broken"] if broken["failed"]}
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any(rule_id in line and rule.sentence.rstrip(".") in line for line in said)


def test_a_snapshot_is_compared_with_the_newest_earlier_one_that_was_good(settings, snapshot):
    half = dataclasses.replace(snapshot, interactions=half_of(snapshot.interactions))
    assert check_snapshot(settings, half).worst == "warning"
    # Now half is usual for later snapshots, but not for this one.
    assert check_snapshot(settings, half).worst == "warning"
    later = dataclasses.replace(half, snapshot_id="s000009", cutoff=CUTOFF + timedelta(days=1))
    assert check_snapshot(settings, later).worst is None


def test_the_snapshot_of_a_retrain_is_checked_before_anything_is_trained_on_it(settings):
    sold(settings, customers=12)
    with pytest.raises(
        QualityError, match=r"at least 20 customers to learn from \(customers_are_enough\)\. Nothing was"
    ):
        retrain.snapshot(settings)
    assert report_of(settings, "s000001")["worst"] == "critical"


@pytest.mark.parametrize("no_room", [MemoryError(), OSError(errno.ENOSPC, "No space left on device")])
def test_a_machine_without_room_is_told_from_broken_data(snapshot, settings, monkeypatch, no_room):
    def fails(*arguments, **named):
        raise no_room

    monkeypatch.setattr(PandasExecutionEngine, "get_compute_domain", fails)
    with pytest.raises(UncheckedError, match="could not be checked"):
        check_snapshot(settings, snapshot)


@pytest.fixture
def number_in_parts(settings, snapshot, monkeypatch):
    """The id of a snapshot of the same purchases as `snapshot`, in several parts."""
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 600)
    number = take_snapshot(settings, CUTOFF)
    assert number != snapshot.snapshot_id
    return number


def test_a_snapshot_in_parts_has_the_report_that_it_has_in_one(settings, snapshot, number_in_parts):
    whole, in_parts = check_snapshot(settings, snapshot), open_snapshot(settings, number_in_parts)
    assert [len(part) for part in in_parts.parts()] != [whole.lines]
    assert retrain.snapshot(settings, CUTOFF) == number_in_parts
    assert report_of(settings, number_in_parts) == whole.as_dict()


def test_a_snapshot_with_a_damaged_part_has_no_report(settings, number_in_parts):
    in_parts = open_snapshot(settings, number_in_parts)
    last = parts_of(in_parts.url)[-1]
    with new_file(last) as file:
        read_part(parts_of(in_parts.url)[0]).write_parquet(file)
    with pytest.raises(ArtifactError, match="another SHA-256"):
        check_snapshot(settings, in_parts)
    assert report_of(settings, number_in_parts) is None
