"""Weeks of a small shop: live precision, recomputed from the lists in Redis and the invoices."""

import json
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from typer.testing import CliRunner

from ncf_pipeline import synthetic
from ncf_pipeline.cli import app
from ncf_pipeline.columns import Lists
from ncf_pipeline.experiments import records as experiments
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.live.performance import live_performance, message
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train
from ncf_pipeline.registry import live_periods, snapshot_files
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff, open_snapshot, read_snapshot, take_snapshot
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.serving.rollback import rollback
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

K = 5
RECIPE = Recipe(embedding_dim=8, hidden=(16, 8), popular_candidates=15, taste_candidates=5)


def one_epoch(snapshot, _):
    return train(snapshot.interactions, snapshot.cutoff, RECIPE, device="cpu", epochs=1)


@pytest.fixture
def shop(settings, tmp_path, promoted):
    """A shop of 17 weeks, of which 13 are loaded; `shop.week()` loads another. v1 and its lists serve."""
    weeks = {}
    for file in synthetic.write_day_files(tmp_path / "days", customers=120, products=80, days=120, seed=4):
        day = (date.fromisoformat(file.name[:10]) - synthetic.START.date()).days
        if 0 <= day < 120:  # not the lines whose date is broken
            weeks.setdefault(max(day // 7, 12), []).append(str(file))
    waiting = [weeks[number] for number in sorted(weeks)]

    def week():
        ingest(settings, waiting.pop(0))
        return newest_cutoff(settings)

    week()
    snapshot_id = take_snapshot(settings)
    assert live_performance(settings, snapshot_id) is None  # nothing has served yet
    version = promoted(snapshot_id, "first", one_epoch, recipe=asdict(RECIPE))
    refresh(settings)
    return SimpleNamespace(week=week, version=version)


def in_redis(settings, customers):
    """The first K of each customer's for_you, as a storefront reads them; customers without a list are left out."""
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as storefront:
        answers = {str(customer): storefront.for_customer(customer) for customer in customers}
    return {customer: entry.stock_codes[:K] for customer, entry in answers.items() if entry.source == "customer"}


def bought(settings, snapshot_id, start, end):
    """From the snapshot: what each customer bought and kept in `[start, end)`, and who had bought before `start`."""
    lines = read_snapshot(settings, snapshot_id).interactions.dropna(subset=["customer_id"])
    known = set(lines.loc[lines["purchased_at"] < start, "customer_id"])
    inside = lines[(lines["purchased_at"] >= start) & (lines["purchased_at"] < end) & ~(lines["returned_at"] < end)]
    products = {customer: set(codes) for customer, codes in inside.groupby("customer_id")["stock_code"]}
    return products, known


def precision(lists, products, known):
    asked = sorted(products.keys() & known)
    hits = [len(set(lists.get(customer, ())) & products[customer]) / K for customer in asked]
    return sum(hits) / len(hits), len(asked)


def live_rows(settings, question="for_you"):
    rows = live_periods.performance(settings)
    return [row for row in rows if row.question == question and row.recommender == "live"]


def is_shown(settings, version, row, monkeypatch):
    """Asserts that `models show V` has the row, in its table and in its JSON."""
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["models", "show", str(version)])
    assert shown.exit_code == 0, shown.output
    assert "for_you: while its lists were live" in shown.stdout
    assert f"{row.precision_at_k:.4f}" in shown.stdout
    found = json.loads(CliRunner().invoke(app, ["models", "show", str(version), "--json"]).stdout)["live"]
    assert [entry["recommender"] for entry in found][:3] == ["live", "personal_frequency", "recent_best_sellers"]
    assert found[0]["precision_at_k"] == row.precision_at_k


def test_each_week_the_lists_that_were_live_are_scored_on_what_was_bought_since(settings, shop, monkeypatch):
    start = newest_cutoff(settings)
    expected = []
    for _ in range(2):
        end = shop.week()
        snapshot_id = take_snapshot(settings)
        products, known = bought(settings, snapshot_id, start, end)
        shown = in_redis(settings, products)
        report = live_performance(settings, snapshot_id)
        assert (report.bought_from, report.bought_until) == (start, end)
        mean, customers = precision(shown, products, known)
        expected.append((start, end, customers, len(products.keys() - known), pytest.approx(mean)))
        assert report.figures["precision"]["for_you"]["live"] == pytest.approx(mean)
        # A second measurement of the same snapshot changes nothing.
        assert live_performance(settings, snapshot_id).figures == report.figures
        refresh(settings)
        start = end
    rows = live_rows(settings)
    assert [
        (row.bought_from, row.bought_until, row.customers, row.newcomers, row.precision_at_k) for row in rows
    ] == expected
    assert all(customers > 5 for _, _, customers, _, _ in expected)
    assert {row.version for row in rows} == {shop.version}
    # A window of less than a day is left to the next measurement.
    assert live_performance(settings, take_snapshot(settings, start + timedelta(hours=23))) is None
    # The second week is compared with the first, and certainty with that of the previous lists.
    last = live_periods.drift_reports(settings)[-1].figures
    assert last["expected"]["for_you"] == pytest.approx(rows[0].precision_at_k)
    assert last["certainty"]["psi"] is not None
    is_shown(settings, shop.version, rows[0], monkeypatch)


def test_a_snapshot_in_parts_measures_what_one_part_measures(settings, shop, monkeypatch):
    design = Design("spring", "Lists sell more.", "holdout", 0.3, "salt", starts_at=newest_cutoff(settings))
    shop.week()
    refresh(settings)
    experiments.start(settings, design, by="test")
    refresh(settings)
    shop.week()
    measured = []
    for lines_of_a_part in (10**6, 200):
        monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", lines_of_a_part)
        snapshot = open_snapshot(settings, take_snapshot(settings))
        report = live_performance(settings, snapshot.snapshot_id)
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("select * from ml.live_performance order by period, bought_from, question, place")
            rows = [row[:-1] for row in cursor.fetchall()]  # without when it was measured
            measured.append((len(list(snapshot.parts())), report.figures, report.findings, rows))
            cursor.execute("delete from ml.live_performance; delete from ml.drift_report")
    (of_one, *whole), (of_several, *parts) = measured
    assert of_one == 1 < of_several
    assert parts == whole
    assert whole[0]["slices"] > 1


def test_after_a_rollback_the_restored_lists_are_scored_on_later_purchases(settings, shop, promoted):
    old = shop.version
    monday = shop.week()
    new = promoted(take_snapshot(settings), "second", one_epoch, recipe=asdict(RECIPE))
    refresh(settings)
    friday = shop.week()
    rollback(settings, actor="ops")
    products_of_v1 = in_redis(settings, range(12_000, 13_000))
    end = shop.week()
    snapshot_id = take_snapshot(settings)
    report = live_performance(settings, snapshot_id)
    assert [(row.version, row.bought_from, row.bought_until) for row in live_rows(settings)] == [
        (old, report.bought_from, monday),
        (new, monday, friday),
        (old, friday, end),
    ]
    assert report.figures["slices"] == 3
    products, _ = bought(settings, snapshot_id, friday, end)
    _, known = bought(settings, snapshot_id, live_periods.live_periods(settings)[0].as_of, end)
    mean, customers = precision(products_of_v1, products, known)
    last = live_rows(settings)[-1]
    assert (last.precision_at_k, last.customers) == (pytest.approx(mean), customers)
    # Customers who came while the other lists were live have none in these.
    assert last.newcomers == len(products.keys() - known) > 0


def test_drift_is_reported_in_words_a_calm_week_is_not_and_missing_lists_stop_nothing(settings, shop):
    shop.week()
    calm = live_performance(settings, take_snapshot(settings))
    assert message(calm) is None
    refresh(settings)
    shop.week()
    # Products are renumbered: everything that is sold now has another code.
    with transaction(settings) as connection, connection.cursor() as cursor:
        renamed = "update retail.invoice_line set stock_code = '9' || stock_code where invoice_date >= %s"
        cursor.execute(renamed, (calm.bought_until,))
    report = live_performance(settings.model_copy(update={"drift_min_customers": 5}), take_snapshot(settings))
    text = message(report)
    assert "live Precision@5 was 0.0000" in text
    assert "100% of" in text
    assert "of products that the champion has not learned" in text
    assert "ncf-pipeline rollback" in text

    refresh(settings)
    Path(live_periods.live_periods(settings)[-1].url.removeprefix("file://")).unlink()
    measured = len(live_rows(settings))
    shop.week()
    report = live_performance(settings, take_snapshot(settings))
    assert report.figures["precision"] == {}
    assert len(live_rows(settings)) == measured


def publish_at(settings, version, number, lists, as_of, instant):
    """Makes publication `number` live at an instant; `lists` are for_you by customer."""
    rows = [("customer", str(customer), "for_you", codes) for customer, codes in lists.items()]
    file = settings.home / f"p{number}.parquet"
    pd.DataFrame(rows, columns=[*Lists.ALL]).to_parquet(file)
    entry = Publication(number, version, as_of, file.as_uri(), len(rows), 0, instant)
    registry.open_publication(settings, entry)
    registry.record_publication(settings, entry)


def test_a_day_loaded_after_the_rollback_is_credited_to_the_lists_that_were_live(settings, promoted, monkeypatch):
    """In real time: bad lists were live on Wednesday from 08:00 to 18:00, and Wednesday is loaded on Thursday."""
    wednesday = datetime(2026, 11, 25)

    def hour(number):
        return wednesday.replace(tzinfo=UTC) + timedelta(hours=number)

    def load(customer, code, instant):
        line = (f"{instant:%m%d%H%M}{customer}", 1, code, "A", 1, instant, 1.5, customer, "France", 1)
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute("insert into retail.invoice_line values %s", (line,))

    customers, good = range(1, 7), [f"G{number}" for number in range(K)]
    for day in range(40):
        for customer in customers:
            load(customer, good[(day + customer) % K], wednesday - timedelta(days=day, hours=2))
    version = promoted(take_snapshot(settings), "first")
    as_of = newest_cutoff(settings)
    lists = dict.fromkeys(customers, good)
    publish_at(settings, version, 1, lists, as_of, hour(2))
    publish_at(settings, version, 2, dict.fromkeys(customers, ["BAD"] * K), as_of, hour(8))
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("select ml.begin_live_period(1, 'flip', %s)", (hour(18),))
    # Nothing of Wednesday is loaded, so there is nothing to measure, and that is shown.
    assert live_performance(settings, take_snapshot(settings)) is None
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    shown = CliRunner().invoke(app, ["models", "show", str(version), "--json"])
    missing = [entry["not_loaded_from"] for entry in json.loads(shown.stdout)["live_periods"]]
    assert missing == ["2026-11-25T02:00:00", "2026-11-25T08:00:00", "2026-11-25T18:00:00"]

    for customer in customers:
        for at in (1, 5, 9, 17, 20):  # of the hour before p1, nothing counts
            load(customer, good[0], wednesday + timedelta(hours=at, minutes=customer))
    publish_at(settings, version, 3, lists, newest_cutoff(settings), hour(26))
    load(1, good[0], wednesday + timedelta(hours=28))
    report = live_performance(settings, take_snapshot(settings))
    found = [(row.number, row.bought_from, row.bought_until, row.precision_at_k) for row in live_rows(settings)]
    at = [wednesday + timedelta(hours=number) for number in (2, 8, 18, 26, 28)]
    assert found == [
        (1, at[0], at[1], pytest.approx(1 / K)),
        (2, at[1], at[2], 0.0),
        (1, at[2], at[3], pytest.approx(1 / K)),
        (3, at[3], at[4] + timedelta(seconds=1), pytest.approx(1 / K)),
    ]
    assert report.bought_until == newest_cutoff(settings)
    known = live_periods.known_periods(settings)
    assert [entry.not_loaded_from for entry in known] == [None, None, None, newest_cutoff(settings)]


def test_a_window_ends_where_the_loaded_invoices_end(settings, shop):
    end = shop.week()
    report = live_performance(settings, take_snapshot(settings, end + timedelta(days=30)))
    assert report.bought_until == end
    assert report.figures["days_of_a_slice"] == pytest.approx((end - report.bought_from) / timedelta(days=1))
