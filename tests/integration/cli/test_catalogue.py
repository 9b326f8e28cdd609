"""`catalogue` in a terminal."""

import json

import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app

TEXT = """Article;Sparte;Price;Stock
85123a;Cups;2,55;4
22423;Lights;10,00;0
22424;Lights;-1,00;0
"""


@pytest.fixture
def run(settings, monkeypatch):
    """Runs `catalogue`; returns what it printed."""
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("NCF_REDIS_URL", settings.list_store())
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    monkeypatch.setenv("COLUMNS", "160")

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, ["catalogue", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return invoke


def test_a_load_says_where_each_row_went_and_what_to_do(run, tmp_path):
    assert "No catalogue was ever loaded" in run("show")
    (tmp_path / "shop.csv").write_text(TEXT)
    said = run("load", str(tmp_path / "shop.csv"), "--whole", "--column", "category=Sparte", code=1)
    assert "shop.csv: 3 rows; 2 new, 0 changed, 0 as before, 0 repeated, 1 refused." in said
    assert "Sold out since: 1. In stock again: 0." in said
    assert "Refused: row 4, Price: '-1,00' is no price." in said
    assert run("refused").startswith("row 4, Price: '-1,00' is no price.")
    assert json.loads(run("refused", "--json"))[0]["stock_code"] == "22424"
    assert "2 products in 2 categories" in run("show")
    assert json.loads(run("show", "--json"))["loads"][0]["rows_refused"] == 1
    (cup,) = json.loads(run("show", "85123a", "--json"))
    assert (cup["category"], cup["price"], cup["launched_on"]) == ("Cups", 2.55, None)
    assert "The catalogue does not have 1 of these" in run("show", "85123A", "nothing", code=1)
    assert run("remove", "85123A") == "Removed: 85123A.\n"
    assert run("remove", "85123A", code=1) == "The catalogue has none of them.\n"
    (tmp_path / "shop.csv").write_text("Article;Stock\n22423;1\n")
    done = json.loads(run("load", str(tmp_path / "shop.csv"), "--json"))
    assert (done["changed"], done["back"], done["missing"]) == (1, 1, [])


def test_a_column_that_is_named_wrongly_is_wrong_usage(run, tmp_path):
    (tmp_path / "shop.csv").write_text(TEXT)
    assert "Write it as in category=Warengruppe" in run(
        "load", str(tmp_path / "shop.csv"), "--column", "Sparte", code=2
    )
