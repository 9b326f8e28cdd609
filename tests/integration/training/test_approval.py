"""`ncf-pipeline retrain` with NCF_APPROVAL on: who is asked, and what the registry keeps. Nothing is trained."""

import json
import os
import re
import subprocess
import sys

import pytest
from terminal import Terminal
from typer.testing import CliRunner

from ncf_pipeline.cli import app
from ncf_pipeline.errors import InputError, SettingsError
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.serving.publication import live_publication
from ncf_pipeline.training import retrain
from ncf_pipeline.training.approval import Answer

REASON = "for_you: Precision@5 0.3338 beats best sellers"

# Replaces backtest, gate and refit by a version that exists already.
STUBS = f"""
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.training import retrain
from ncf_pipeline.training.decision import thresholds
version = int(sys.argv.pop(1))
retrain.backtest = lambda *_, **__: version
retrain.gate = lambda settings, _: GateDecision(True, ({REASON!r},), thresholds(settings), ())
retrain.refit = lambda *_: True
"""


@pytest.fixture
def environment(settings):
    """Variables under which a command finds the shop, and must ask."""
    return {
        "NCF_HOME": str(settings.home),
        "NCF_DATABASE_URL": settings.database(),
        "NCF_REDIS_URL": settings.list_store(),
        "NCF_ARTIFACTS_URL": settings.artifacts,
        "NCF_KEY_PREFIX": settings.key_prefix,
        "NCF_APPROVAL": "true",
        "COLUMNS": "120",
    }


@pytest.fixture
def candidate(settings, version, admitted, untrained):
    """A version that passed the gate and was refitted, in a shop in which `version` serves."""
    snapshot_id = registry.model_version(settings, version).snapshot_id
    return admitted(snapshot_id, "b", lambda snapshot, _: untrained(snapshot, 1), reasons=(REASON,))


@pytest.fixture
def command(environment, candidate, monkeypatch):
    """Runs `retrain` in this process, where it has no terminal; training is replaced by the candidate."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    trained = []
    passed = GateDecision(promote=True, reasons=(REASON,), thresholds=None, scores=())
    monkeypatch.setattr(retrain, "backtest", lambda *_, **__: trained.append(candidate) or candidate)
    monkeypatch.setattr(retrain, "gate", lambda settings, _: passed)
    monkeypatch.setattr(retrain, "refit", lambda *_: True)

    def run(*arguments):
        return CliRunner().invoke(app, ["retrain", *arguments])

    run.trained = trained
    return run


def last_event(settings, version):
    event = registry.model_events(settings, version)[-1]
    return event.to_state, event.actor, event.reason


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--resume", "v2"]])
def test_without_a_terminal_it_refuses_before_it_trains(settings, command, candidate, arguments):
    done = command(*arguments)
    assert isinstance(done.exception, SettingsError)
    assert "NCF_APPROVAL is on" in str(done.exception)
    assert "run it at a terminal, or add --approved-by NAME" in str(done.exception)
    assert "\n" not in str(done.exception)
    assert command.trained == []
    assert registry.model_version(settings, candidate).state == "candidate"


def test_the_refusal_is_one_line_and_exit_code_1(environment):
    command = [sys.executable, "-m", "ncf_pipeline", "retrain"]
    done = subprocess.run(
        command, env=os.environ | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: NCF_APPROVAL is on")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("approval", ["true", "false"])
def test_a_name_that_is_given_is_kept_with_the_approval(settings, command, candidate, monkeypatch, approval):
    monkeypatch.setenv("NCF_APPROVAL", approval)
    done = command("--json", "--approved-by", "Anna\n Berg")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["publication"] == 1
    assert last_event(settings, candidate) == (
        "champion",
        "test",
        "the gate let it through; approved by Anna Berg (approval)",
    )
    assert live_publication(settings)["model_version"] == f"v{candidate}"


def test_a_name_of_spaces_is_a_usage_error(command):
    assert command("--approved-by", " ").exit_code == 2
    assert command.trained == []


def test_resuming_takes_no_options_of_a_training(command):
    assert command("--resume", "v2", "--seed", "3", "--approved-by", "Anna").exit_code == 2


def test_at_a_terminal_it_shows_the_reasons_and_a_no_holds_the_version(settings, environment, version, candidate):
    terminal = Terminal([str(candidate), "retrain"], environment, stubs=STUBS)
    terminal.see(f"May v{candidate} serve? [y/n]:")
    assert f"  - {REASON}" in terminal.shown
    terminal.type("\n")  # Enter alone is no answer
    terminal.see("Error: invalid input")
    terminal.type("n\n")
    terminal.see("Why not?")
    terminal.type("too many umbrellas\n")
    assert terminal.end() == 0
    assert f"v{candidate} is held; " in terminal.shown
    state, actor, reason = last_event(settings, candidate)
    assert state == "held"
    assert actor.endswith(" (approval)")
    assert reason == f"rejected by {actor}: too many umbrellas"
    assert registry.gate_decision(settings, candidate).reasons[-1] == reason
    assert registry.champion(settings).version == version


def test_after_ctrl_c_nothing_is_lost_and_a_yes_publishes(settings, environment, version, candidate):
    terminal = Terminal([str(candidate), "retrain"], environment, stubs=STUBS)
    terminal.see(f"May v{candidate} serve? [y/n]:")
    terminal.type("\x03")
    assert terminal.end() == 1, terminal.shown
    assert f"v{candidate} was neither approved nor rejected." in terminal.shown
    assert registry.model_version(settings, candidate).state == "candidate"
    assert registry.champion(settings).version == version

    terminal = Terminal(["retrain", "--resume", f"v{candidate}"], environment)
    terminal.see(f"May v{candidate} serve? [y/n]:")
    assert f"  - {REASON}" in terminal.shown
    terminal.type("y\n")
    assert terminal.end() == 0
    assert "Publication p000001 is live." in terminal.shown
    state, _, reason = last_event(settings, candidate)
    assert state == "champion"
    assert re.fullmatch(r"the gate let it through; approved by .+ \(approval\)", reason)
    assert live_publication(settings)["model_version"] == f"v{candidate}"


def test_a_version_that_was_rejected_cannot_be_resumed(settings, command, candidate):
    retrain.reject(settings, candidate, Answer(False, "anna (approval)"))
    done = command("--resume", str(candidate), "--approved-by", "Anna")
    assert isinstance(done.exception, InputError)
    assert "does not wait for approval" in str(done.exception)
