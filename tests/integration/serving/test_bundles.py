"""Bundles in Postgres, and the command for people and programs."""

import json
import threading
from datetime import datetime

import psycopg2
import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import DatabaseError, InputError
from ncf_pipeline.serving.bundles import bundles
from ncf_pipeline.storage.database import transaction

# Nine invoices. A and B on three; C and D on two; S once.
INVOICES = {1: "AB", 2: "AB", 3: "AB", 4: "CD", 5: "CD", 6: "S", 7: "X", 8: "Y", 9: "Z"}
PRICES = {"A": 2.0, "B": 3.0, "C": 10.0, "D": 1.0}


@pytest.fixture
def shop(settings, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_ARTIFACTS_URL", settings.artifacts)
    monkeypatch.setenv("NCF_BUNDLE_MIN_SUPPORT", "0.2")
    monkeypatch.setenv("COLUMNS", "80")
    lines = [
        (f"{number}", line, f"{ord(name)}", name, 1, datetime(2011, 1, number), PRICES.get(name, 1.0), None, "EIRE", 1)
        for number, names in INVOICES.items()
        for line, name in enumerate(names)
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        for row in lines:
            cursor.execute("insert into retail.invoice_line values %s", (row,))
        cursor.execute("insert into retail.product values ('65', 'RED MUG', now()), ('66', '[bold] CANDLE', now())")
    return settings.model_copy(update={"bundle_min_support": 0.2})


def kept(settings):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select place, stock_codes, invoices, support, confidence, lift, revenue, as_of from retail.bundle"
        )
        return cursor.fetchall()


def execute(settings, statement):
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def test_bundles_are_stored_in_postgres_in_place_of_the_previous_ones(shop):
    bundles(shop)
    first, second = kept(shop)
    # C and D: twice 11.00; A and B: three times 5.00.
    assert first[:2] == (1, ["67", "68"])
    assert first[2:7] == pytest.approx((2, 2 / 9, 1.0, 9 / 2, 22.0))
    assert second[:2] == (2, ["65", "66"])
    assert second[2:7] == pytest.approx((3, 3 / 9, 1.0, 9 / 3, 15.0))
    assert first[7] == datetime(2011, 1, 9, 0, 0, 1)
    execute(shop, "insert into retail.unlisted_product values ('67', 'out of stock')")
    bundles(shop)
    assert [row[:2] for row in kept(shop)] == [(1, ["65", "66"])]
    execute(shop, "insert into retail.product_country values ('66', 'EIRE')")
    bundles(shop)
    assert kept(shop) == []


def test_if_it_fails_the_previous_bundles_stay(shop):
    bundles(shop)
    execute(shop, "alter table retail.bundle add constraint never check (revenue < 16) not valid")
    with pytest.raises(DatabaseError, match="never"):
        bundles(shop)
    assert len(kept(shop)) == 2


def test_if_two_run_at_once_the_second_waits(shop):
    outcomes = []
    with psycopg2.connect(shop.database()) as connection, connection.cursor() as cursor:
        cursor.execute("lock table retail.bundle in exclusive mode")
        threads = [threading.Thread(target=lambda: outcomes.append(bundles(shop))) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert kept(shop) == []  # readers do not wait
        connection.commit()
        for thread in threads:
            thread.join()
    connection.close()
    assert [len(found) for found in outcomes] == [len(kept(shop))] * 2 == [2, 2]


def test_without_invoices_it_says_what_to_do(settings):
    with pytest.raises(InputError, match="ncf-pipeline ingest"):
        bundles(settings)


def run(*arguments):
    done = CliRunner().invoke(app, ["bundles", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_shows_them_with_their_descriptions(shop):
    shown = run()
    assert "2 of 2" in shown
    assert "65 RED MUG" in shown
    assert "66 [bold] CANDLE" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "1 of 2" in run("--limit", "1")
    execute(shop, "delete from retail.invoice_line where invoice_no < '6'")
    assert "Lower NCF_BUNDLE_MIN_SUPPORT" in run()


def test_json_for_programs(shop):
    printed = json.loads(run("--json", "--limit", "1"))
    assert printed["found"] == 2
    (bundle,) = printed["bundles"]
    assert bundle == {
        "stock_codes": ["67", "68"],
        "descriptions": [None, None],
        "invoices": 2,
        "support": pytest.approx(2 / 9),
        "confidence": 1.0,
        "lift": pytest.approx(4.5),
        "revenue": 22.0,
    }
    assert len(kept(shop)) == 2
