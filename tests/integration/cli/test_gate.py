"""`gate power`: what the gate can tell in this shop."""

import json
from datetime import datetime

import pytest
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError
from ncf_pipeline.evaluation.simulation import LOW, REAL, evaluations
from ncf_pipeline.registry import versions as registry


@pytest.fixture
def invoke(settings, monkeypatch):
    monkeypatch.setenv("NCF_DATABASE_URL", settings.database())
    monkeypatch.setenv("COLUMNS", "140")
    return lambda *arguments: CliRunner().invoke(app, ["gate", "power", *arguments])


def record(settings, scores, run_key="run"):
    version = registry.open_version(
        settings,
        run_key=run_key,
        snapshot_id="s000001",
        cutoff=datetime.fromisoformat("2011-12-09"),
        holdout_start=datetime.fromisoformat("2011-11-11"),
        config={"k": 5},
        requested_by="test",
    )
    registry.record_evaluation(settings, version, scores)
    return version


def evaluation(customers, precision):
    (scores,) = evaluations(customers, precision, worse={}, agreement=0.6, repeats=1)
    return scores


def test_without_an_evaluation_it_says_what_to_do(invoke):
    done = invoke()
    assert isinstance(done.exception, InputError)
    assert "run `ncf-pipeline retrain`" in str(done.exception)


def test_it_shows_how_often_candidates_pass_in_this_shop(invoke, settings):
    version = record(settings, evaluation(400, REAL))
    record(settings, [score for score in evaluation(400, REAL) if score.recommender == "candidate"], "not compared yet")
    shown = invoke()
    assert shown.exit_code == 0, shown.output
    for word in (
        f"v{version}, against the incumbent",
        "both lists",
        "discover alone",
        "equal",
        "20% worse",
        "5% better",
    ):
        assert word in shown.stdout
    found = json.loads(invoke("--json").stdout)
    assert found["version"] == version
    assert [row["change"] for row in found["passing"]] == [0.05, 0.0, -0.05, -0.1, -0.2]
    assert found["passing"][1]["both"] > 0.8
    assert found["passing"][4]["both"] < 0.1
    assert found["questions"][0]["customers"] == 400


def test_it_says_what_the_data_of_a_small_shop_cannot_tell(invoke, settings):
    record(settings, [score for score in evaluation(60, LOW) if score.recommender != "incumbent"])
    shown = invoke().stdout
    assert "discover: with 60 customers, a list that is 20% worse cannot be told from an equal one" in shown
    assert "No two versions have been compared yet" in shown
