"""`product`, for people and programs."""

import json
from datetime import datetime, timedelta

import pytest
from psycopg2.extras import execute_values
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError
from ncf_pipeline.serving import hiding
from ncf_pipeline.storage.database import transaction

MONDAY = datetime(2011, 12, 5)


@pytest.fixture
def run(settings, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    monkeypatch.setenv("COLUMNS", "120")
    lines = [
        (f"{week}", 1, "85123a", "[RED] MUG", 2, MONDAY - timedelta(weeks=week), 1.5, None, "EIRE", 1)
        for week in range(3)
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('85123A', '[RED] MUG', now())")
        execute_values(cursor, "insert into retail.invoice_line values %s", lines)
    return lambda *arguments: CliRunner().invoke(app, arguments)


def test_a_product_in_words(run, settings):
    hiding.hide(settings, ["85123A"], actor="anna", country="EIRE")
    said = run("product", "85123a", "--weeks", "2").stdout
    assert "85123A  [RED] MUG: 1.50 when it was last sold, on 2011-12-05" in said
    assert "Hidden at once from EIRE, by anna" in said
    assert "No lists are live." in said
    assert [line.split() for line in said.splitlines() if "2011-1" in line][1:] == [
        ["│", "2011-12-05", "│", "2", "│", "3.00", "│", "1", "│", "1", "│"],
        ["│", "2011-11-28", "│", "2", "│", "3.00", "│", "1", "│", "1", "│"],
    ]


def test_a_product_for_programs(run):
    found = json.loads(run("product", "85123A", "--json").stdout)
    assert (found["stock_code"], found["price"], found["shown"]) == ("85123A", 1.5, None)
    assert sum(week["takings"] for week in found["weeks"]) == 9
    assert found["limits"] == {"max_per_family": None, "min_price": None}


def test_an_unknown_product_is_one_sentence(run):
    failed = run("product", "none")
    assert isinstance(failed.exception, InputError)
    assert str(failed.exception) == "The shop has no product NONE."


def test_why_before_the_first_lists(run):
    said = run("why", "14646", "85123a").stdout
    assert said.splitlines()[0] == "85123A  [RED] MUG"
    assert "for_you: No lists are live." in said
    found = json.loads(run("why", "14646", "85123A", "--json").stdout)
    assert (found["publication"], [each["cause"] for each in found["answers"]]) == (None, ["not known"] * 3)
    assert str(run("why", "14646", "none").exception) == "The shop has no product NONE."
