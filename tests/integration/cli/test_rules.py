"""`rules` in a terminal: what the page does, in one line each."""

import json
from datetime import date, timedelta

import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError
from ncf_pipeline.serving.rules import changes, previews
from ncf_pipeline.serving.rules.values import Limits, Rule
from ncf_pipeline.storage.database import transaction

SOON = date.today() + timedelta(days=7)


@pytest.fixture
def run(settings, monkeypatch):
    """Runs `rules` in a shop with one product and one country; returns what it printed."""
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("COLUMNS", "140")
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            """
            insert into retail.product values ('85123A', 'HOLDER', now()), ('22423', 'CAKESTAND', now());
            insert into retail.invoice_line values
            ('1', 1, '85123A', 'HOLDER', 1, '2011-12-01', 2.55, '14600', 'EIRE', 1);
            """
        )

    def invoke(*arguments, code=0):
        result = CliRunner().invoke(app, ["rules", *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.output

    return invoke


def test_a_pair_in_one_line(run, settings, today):
    run("pin", "22423", "--beside", "85123a", "--position", "2")
    pair = Rule("pinned beside", "22423", (), "bought_together", 2, today, beside="85123A")
    assert changes.rules(settings) == [pair]
    assert json.loads(run("list", "--product", "85123A", "--json"))["rules"][0]["beside"] == "85123A"
    assert "beside 85123A" in run("list")


def test_each_rule_in_one_line_and_back(run, settings, today):
    assert "Saved as change" in run("hide", "85123a", "--why", "out of stock", "--until", str(SOON), "--reason", "ship")
    run("only-in", "22423", "EIRE")
    run("pin", "22423", "--list", "discover", "--country", "EIRE", "--position", "2")
    made = json.loads(run("limit", "--variants", "2", "--json"))["change"]
    run("limit", "--price", "0.50")
    assert set(changes.rules(settings)) == {
        Rule("out of stock", "85123A", ends_on=SOON),
        Rule("only in", "22423", ("EIRE",)),
        Rule("pinned", "22423", ("EIRE",), "discover", 2, today),
    }
    assert changes.limits(settings) == Limits(2, 0.5)
    shown = run("list")
    assert f"until {SOON}" in shown
    assert "discover, place 2; EIRE" in shown
    assert "Variants of one product in a list: 2. Lowest price: 0.50." in shown
    assert len(json.loads(run("list", "--product", "22423", "--json"))["rules"]) == 2
    with pytest.raises(InputError, match="changed again since"):
        run("undo", str(made))
    run("limit", "--price", "none")
    run("remove", "22423")
    assert "It was so already" in run("limit", "--price", "none")
    for would in (("remove", "85123A"), ("undo", str(changes.newest_change(settings)))):
        with pytest.raises(InputError, match="no lists to compare with"):  # nothing was published here
            run(*would, "--preview")
    assert len(changes.rules(settings)) == 1
    run("undo", str(changes.newest_change(settings)))
    assert len(changes.rules(settings)) == 3
    past = run("history", "--product", "85123A")
    assert "+ 85123A out of stock" in past
    assert "ship" in past


def test_check_names_what_matches_nothing_and_fails(run, settings):
    assert run("check") == "Every rule does what it says.\n"
    with pytest.raises(InputError, match=r"Nobody orders from Eire\. Did you mean EIRE\?.*--anyway"):
        run("only-in", "85123A", "Eire")
    run("only-in", "85123A", "Eire", "--anyway")
    assert "85123A only in Eire: Nobody orders from Eire." in run("check", code=1)
    (finding,) = json.loads(run("check", "--json", code=1))
    assert finding["stock_code"] == "85123A"


def test_a_bad_value_is_one_sentence(run):
    with pytest.raises(InputError, match="until: '24/12/2026' is not a day: write it as 2026-12-24"):
        run("hide", "85123A", "--until", "24/12/2026")
    with pytest.raises(InputError, match="position: 'first' is not a whole number"):
        run("pin", "85123A", "--position", "first")
    with pytest.raises(InputError, match="min_price: 'cheap' is not a price"):
        run("limit", "--price", "cheap")
    with pytest.raises(InputError, match="99999 has no rule"):
        run("remove", "99999")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        run("import", "/nowhere/rules.csv")
    with pytest.raises(InputError, match="cannot be written: No such file"):
        run("export", "/nowhere/rules.csv")


def test_a_preview_saves_nothing_and_says_what_is_missing(run, settings, monkeypatch, today):
    with pytest.raises(InputError, match="There are no lists to compare with"):
        run("hide", "85123A", "--preview")
    result = previews.Result("p000001", "v0", today, 10, 40, 40, 7, 9, 2, 3, 0, None, None, ())
    monkeypatch.setattr(previews, "compute", lambda *_: result)
    said = run("pin", "85123A", "--preview")
    assert said.splitlines()[0] == "7 of 40 customers would have other lists."
    assert said.splitlines()[-1] == "Nothing was saved."
    assert json.loads(run("limit", "--variants", "2", "--preview", "--json"))["customers_changed"] == 7
    assert changes.history(settings) == []


def test_rules_go_to_a_file_and_back(run, settings, tmp_path):
    run("hide", "85123A")
    file = tmp_path / "rules.csv"
    assert "1 rules written" in run("export", str(file))
    file.write_text(file.read_text(encoding="utf-8-sig").replace("85123A", "22423"), encoding="utf-8")
    run("import", str(file), "--replace")
    assert changes.rules(settings) == [Rule("hidden", "22423")]
    file.write_text("rule,stock_code\nhidden,1\n")
    with pytest.raises(InputError, match="Row 2: The shop never sold 1"):
        run("import", str(file))
