"""The registry of a shop with a history of many weeks. Nothing is trained, so that it is fast."""

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from inspect import get_annotations

import buyers
import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from psycopg2.extras import execute_values
from web_server import serving

from ncf_pipeline import alerts
from ncf_pipeline.alerts import Alert
from ncf_pipeline.alerts.kinds import LINES_QUARANTINED
from ncf_pipeline.columns import Lists
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.sentences import sentence
from ncf_pipeline.pages.recommender.app import create_app
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.live_periods import DriftReport
from ncf_pipeline.registry.versions import Publication
from ncf_pipeline.serving import publication
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training.decision import thresholds

WHO = 14646
WEEKS = 14
HELD = (3, 9)
NAMES = [
    "RABBIT NIGHT LIGHT",
    "SPACEBOY LUNCH BOX",
    "RED TOADSTOOL LED NIGHT LIGHT",
    "<script>alert('a name')</script>",
]
CODES = [f"2300{number}" for number in range(len(NAMES))]
SHOP = datetime(2011, 12, 9)
WEEK = timedelta(weeks=1)


def scores_of(week):
    """A plausible evaluation of that week's backtest."""
    scores = []
    for question, level in (("for_you", 0.31), ("discover", 0.11)):
        means = {
            "candidate": level + 0.002 * week - (0.06 if week in HELD else 0),
            "recent_best_sellers": level * 0.4,
            "personal_frequency": level * 0.85 + 0.01 * (week % 3),
        }
        if week > 4:
            means["incumbent"] = level + 0.002 * (week - 4)
        for recommender, mean in means.items():
            ahead = None if recommender == "candidate" else means["candidate"] - mean
            around = (None, None) if ahead is None else (ahead - 0.01, ahead + 0.01)
            scores.append(
                Scores(
                    recommender, question, "everyone", 5, 1500 + week, mean, mean - 0.015, mean + 0.015, ahead, *around,
                    0.12, 0.34, 0.2, 1.0, 0.05,
                )
            )  # fmt: skip
    return scores


def make_versions(settings, weeks=WEEKS):
    """One retrain a week: most candidates are promoted, two are held."""
    for week in range(weeks):
        cutoff = SHOP - WEEK * (weeks - 1 - week)
        version = registry.open_version(
            settings, run_key=f"week {week}", snapshot_id=f"s{week:06d}", cutoff=cutoff,
            holdout_start=cutoff - 4 * WEEK, config={}, requested_by="scheduled",
        )  # fmt: skip
        registry.record_evaluation(settings, version, scores_of(week))
        reasons = (
            ("for_you: Precision@5 0.2700 does not beat personal frequency (0.2735), -0.0035 [-0.0135, +0.0065]",)
            if week in HELD
            else ("for_you: Precision@5 0.3352 beats personal frequency (0.2830), +0.0522 [+0.0427, +0.0619]",)
        )
        decision = GateDecision(week not in HELD, reasons, thresholds(settings), ())
        registry.record_decision(settings, version, decision, details={"incumbent": version - 4 if week > 4 else None})
        if decision.promote:
            registry.record_artifact(settings, version, f"memory://v{version}")
            assert registry.promote(settings, version, actor="scheduled", reason="the gate let it through") == []
    return version


def make_lists(settings, version):
    """The live publication, with the lists of one customer."""
    begin = SHOP - timedelta(days=30)
    lines = [
        (f"{customer}{day:02d}", number, code, NAMES[number], 2, begin + timedelta(days=day), 1.25 + number,
         customer, country, 1)
        for customer, country in ((WHO, "Netherlands"), (17850, "United Kingdom"))
        for day in range(3)
        for number, code in enumerate(CODES)
    ]  # fmt: skip
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", lines)
        products = [(code, name, begin) for code, name in zip(CODES, NAMES, strict=True)]
        execute_values(cursor, "insert into retail.product values %s", products)
    rows = [
        ("customer", str(WHO), "for_you", CODES, '[["bought",3],["goes_with","23000"],["new"],["taste"]]'),
        ("customer", str(WHO), "discover", CODES[1:2], '[["popular_with","23000"]]'),
        ("customer", str(WHO), "buy_again", CODES[:1], '[["bought",3]]'),
        *[("fallback", "*", name, CODES[:2], None) for name in ("for_you", "new_arrivals")],
    ]
    entry = Publication(WEEKS, version, SHOP, "memory://lists", 1, len(CODES), datetime.now(UTC))
    registry.open_publication(settings, entry)
    meta = {"model_version": f"v{version}", "cutoff": SHOP.isoformat(), "top_n": 10}
    lists = pd.DataFrame(rows, columns=[*Lists.ALL, Lists.REASONS])
    publication.publish(settings, [lists], number=WEEKS, meta=meta)
    registry.record_publication(settings, entry)


def make_measurements(settings, weeks=WEEKS):
    """How the lists performed, with one window a week."""
    for week in range(weeks):
        precision = {
            question: {
                "k": 5, "customers": 400 + week, "without_list": 7, "live": level + 0.01 * (week % 4),
                "low": level + 0.01 * (week % 4) - 0.02, "high": level + 0.01 * (week % 4) + 0.02,
                "instead": level - 0.02, "ahead": 0.03, "ahead_low": 0.01, "ahead_high": 0.05,
            }
            for question, level in (("for_you", 0.16), ("discover", 0.06))
        }  # fmt: skip
        until = SHOP - WEEK * (weeks - 1 - week)
        findings = (
            ("12% of what was sold is of products that the champion has not learned.",) if week == weeks - 1 else ()
        )
        report = DriftReport(
            f"s{week:06d}", 1, until - WEEK, until, {"publication": week + 1, "precision": precision}, findings
        )
        live_periods.record_measurement(settings, report, [])


def make_batches(settings):
    """Batches as ingest leaves them: one complete, one with broken lines, one sent twice, one rejected."""
    now = datetime.now(UTC)
    rows = [
        ("Online Retail.xlsx", "merged", 541909, 541907, 0, 2, None, None, now),
        ("2011-12-08.csv", "merged", 2000, 1500, 100, 400, None, None, now),
        ("2011-12-08.csv", "merged", 2000, 0, 1600, 400, 2, "the same bytes as batch 2: nothing to change", now),
        ("<b>notes</b>.txt", "rejected", 0, 0, 0, 0, None, "It has no column InvoiceNo.", None),
    ]
    lines = "lines_read, lines_merged, lines_unchanged, lines_quarantined"
    columns = f"source, status, {lines}, same_as, reason, validated_at"
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            f"insert into raw.batch ({columns}, sha256, finished_at) values %s",
            [(*row, "0", now) for row in rows],
        )
        waiting = [(2, line, 1, 0, line + 1, json.dumps({}), ["quantity"]) for line in range(1, 401)]
        quarantined = "batch_id, line_number, file_number, sheet_number, row_number, original, rule_ids"
        execute_values(cursor, f"insert into raw.quarantined_line ({quarantined}) values %s", waiting)


def make_experiments(settings):
    """One experiment ended without a report. One is running, and its treated group spends half as much again."""
    for name in ("winter", "spring"):
        design = Design(
            name, "Personal <lists> sell more.", "holdout", 0.5, "salt", SHOP - 12 * WEEK, minimum_effect=0.1
        )
        entry = experiment_registry.start(settings, design, by="test")
        if name == "winter":
            experiment_registry.end(settings, entry.number, by="test", why="nobody looked", stopped_at=SHOP)
    shop = buyers.orders(start=pd.Timestamp(SHOP - 24 * WEEK))
    treated = ~chosen(design.salt, design.share, shop["customer_id"]) & (shop["purchased_at"] >= design.starts_at)
    shop["value"] *= np.where(treated, 1.5, 1)
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), design.starts_at)
    for weeks in (1, 0):
        results = measure(design, shop, entered, SHOP - weeks * WEEK)
        text = sentence(design, results)
        experiment_registry.record_report(settings, entry.number, results, text)
    experiment_report.write(settings, entry, results, text)


@pytest.fixture(scope="module")
def retrained():
    """Makes a shop's versions, one a week, of which the newest serves."""
    return make_versions


@pytest.fixture(scope="module")
def history(fresh_settings, tmp_path_factory):
    """The settings of a shop in which everything has happened."""
    with fresh_settings(tmp_path_factory.mktemp("shop")) as settings:
        version = make_versions(settings)
        make_lists(settings, version)
        make_measurements(settings)
        make_batches(settings)
        make_experiments(settings)
        yield settings


@pytest.fixture
def shop(history):
    """The same shop, with nothing broken when the test begins."""
    yield history
    with transaction(history) as connection, connection.cursor() as cursor:
        cursor.execute("delete from ops.incident")


@pytest.fixture
def quarantined(shop):
    """On-call was alerted about lines in quarantine."""
    alerts.tell(shop, Alert(LINES_QUARANTINED, "2", "400 of 2,000 lines of 2011-12-08.csv wait in quarantine."))


@pytest.fixture
def site():
    """Makes the page an application without access control."""

    def of(settings):
        app = FastAPI()
        app.mount("/recommender", create_app(lambda: settings))
        return app

    return of


@pytest.fixture
def ask(site, shop):
    """Sends requests to the page of the shop, or of other settings."""

    def of(settings=shop):  # a shop that has nothing yet has its own module: a new one empties Redis
        return TestClient(site(settings), base_url="http://shop.example/recommender/", follow_redirects=False)

    return of


@pytest.fixture
def pages_of():
    """Makes the routes of an application that answer with a page, by method and path, with what their paths match.

    Their functions say that they return HTML.
    """

    def of(app):
        return {
            (method, route.path): route.path_regex
            for route in app.routes
            if isinstance(route, APIRoute) and get_annotations(route.endpoint).get("return") is HTMLResponse
            for method in route.methods
        }

    return of


@pytest.fixture
def serve(site):
    """Serves the page of an installation, or an application that includes it; returns its address."""
    with ExitStack() as started:

        def start(shown):
            app = shown if isinstance(shown, FastAPI) else site(shown)
            return f"{started.enter_context(serving(app))}/recommender/"

        yield start
