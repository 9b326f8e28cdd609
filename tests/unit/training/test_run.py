"""The order of a retrain, and where it ends. The stages are stubs."""

from types import SimpleNamespace

import pytest

from ncf_pipeline.errors import InputError, SettingsError
from ncf_pipeline.settings import Settings
from ncf_pipeline.training import retrain
from ncf_pipeline.training.approval import Answer, person

SERVED = ["prepare", "score_shards", "publish"]
ORDER = ["snapshot", "live_performance", "backtest", "gate", "refit", "approve", "register", *SERVED]
YES, NO = Answer(True, person("anna")), Answer(False, person("anna"), "too many umbrellas")


@pytest.fixture
def stages(monkeypatch):
    """Stubs by name, and the names of those that were called, in order; version 7 passes them all."""
    results = {
        "snapshot": "s000001",
        "live_performance": None,
        "backtest": 7,
        "gate": SimpleNamespace(promote=True, reasons=("it beats best sellers",)),
        "refit": True,
        "register": True,
        "prepare": ["part 0", "part 1"],
        "score_shards": None,
        "publish": 3,
        "reject": None,
    }
    called = []

    def stub(name):
        def stage(*arguments, **options):
            called.append((name, arguments[1:]))
            return results[name]

        return stage

    for name in results:
        monkeypatch.setattr(retrain, name, stub(name))
    monkeypatch.setattr(retrain, "log_decision", lambda *arguments: [])
    return SimpleNamespace(results=results, called=called, names=lambda: [name for name, _ in called])


def asked(stages, answer):
    def ask(version, reasons):
        stages.called.append(("approve", (version, reasons)))
        return answer

    return ask


def run(settings=None, **options):
    return retrain.run(settings or Settings(), run_key="test", requested_by="test", **options)


def test_a_version_that_passes_everything_is_published(stages):
    assert run(ask=asked(stages, YES)) == retrain.Outcome(version=7, publication=3)
    assert stages.names() == ORDER
    assert dict(stages.called)["approve"] == (7, ("it beats best sellers",))
    assert dict(stages.called)["register"] == (7, YES)
    assert [dict(stages.called)[name] for name in SERVED] == [
        (7,),
        (["part 0", "part 1"],),
        (7, ["part 0", "part 1"]),
    ]


def test_nobody_is_asked_unless_somebody_must_be(stages):
    assert run() == retrain.Outcome(version=7, publication=3)
    assert stages.names() == [name for name in ORDER if name != "approve"]
    assert dict(stages.called)["register"] == (7, None)


@pytest.mark.parametrize("last", ["gate", "refit", "register"])
def test_a_no_ends_it(stages, last):
    stages.results[last] = SimpleNamespace(promote=False, reasons=()) if last == "gate" else False
    assert run(ask=asked(stages, YES)) == retrain.Outcome(version=7, publication=None)
    assert stages.names() == ORDER[: ORDER.index(last) + 1]


def test_a_persons_no_is_recorded_and_ends_it(stages):
    assert run(ask=asked(stages, NO)) == retrain.Outcome(version=7, publication=None)
    assert stages.names() == [*ORDER[: ORDER.index("approve") + 1], "reject"]
    assert dict(stages.called)["reject"] == (7, NO)


def test_with_approval_on_and_nobody_to_ask_nothing_is_trained(stages):
    with pytest.raises(SettingsError, match=r"NCF_APPROVAL is on, .* Nothing was trained: name who approves"):
        run(Settings(approval=True))
    with pytest.raises(SettingsError, match="NCF_APPROVAL is on"):
        retrain.finish(Settings(approval=True), 7)
    assert stages.called == []


@pytest.mark.parametrize(("state", "url"), [("held", "file:///v7"), ("champion", "file:///v7"), ("candidate", None)])
def test_only_a_refitted_candidate_can_be_resumed(stages, monkeypatch, state, url):
    model = SimpleNamespace(state=state, url=url)
    monkeypatch.setattr(retrain.registry, "model_version", lambda settings, version: model)
    monkeypatch.setattr(retrain.registry, "gate_decision", lambda settings, version: SimpleNamespace(reasons=()))
    with pytest.raises(InputError, match=r"v7 does not wait for approval: .* See `ncf-pipeline models show v7`\."):
        retrain.finish(Settings(), 7)
    assert stages.called == []
