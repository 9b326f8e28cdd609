"""What a refit's agreement is compared with: the measure of two seeds, made only if needed, and used again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from weekly_versions import TODAY, WEEK, shop  # noqa: F401 (a fixture)

from ncf_pipeline.evaluation.gate import TrainingFacts
from ncf_pipeline.model.fitting import Progress
from ncf_pipeline.model.trained import EpochReport
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.training import refit_check, retrain
from ncf_pipeline.training.refit_check import REFIT, TwoSeeds, stored_measure

FACTS = TrainingFacts(
    losses=(1.0,), out_of_time=False, finite_weights=True, lines=9, lines_there=9, incumbent_lines=None,
    customers_in_place=True, products_in_place=True, queries=99, customers_worth=9.0, products_worth=9.0,
)  # fmt: skip
REPORT = EpochReport(stage="fit", epoch=1, of=1, loss=1.0, for_you=None, discover=None, seconds=1.0)


@pytest.fixture
def evaluated(shop, admitted, untrained):  # noqa: F811
    """Makes a version that the gate let through, whose backtest saw so many lines; it was not refitted yet."""

    def make(run_key, *, lines=1000, cutoff=TODAY, k=5):
        return admitted(
            take_snapshot(shop, cutoff),
            run_key,
            lambda frozen, seed: replace(untrained(frozen, seed), lines=lines, history=[REPORT]),
            k=k,
        )

    return make


@pytest.fixture
def shares(monkeypatch, evaluated):
    """Sets how much the refit and the second seed share with the evaluated model; lists the seeds that are trained."""
    trained, share = [], {}

    def train(interactions, cutoff, recipe, *, epochs, checkpoints, **_):
        trained.append((recipe.seed, cutoff, epochs))
        checkpoints.save(Progress({"weights": torch.zeros(1)}, {"history": []}))
        if share.get("kill") == recipe.seed:
            raise KeyboardInterrupt
        return replace(share["model"], recipe=recipe, cutoff=cutoff)

    def shared_by(one, other, interactions, as_of, *, k, **_):
        assert as_of == TODAY  # both measures are of the instant at which the refit recommends
        return share["second" if 1 in (one.recipe.seed, other.recipe.seed) else "refit"]

    monkeypatch.setattr(retrain, "train", train)
    monkeypatch.setattr(retrain, "training_facts", lambda *_, **__: share.get("facts", FACTS))
    for module in (retrain, refit_check):
        monkeypatch.setattr(module, "shared_by", shared_by)

    def refit(settings, version, **values):
        trained.clear()
        share.clear()
        url = artifacts.version_url(settings.artifacts, version, backtest=True)
        share.update(values, model=artifacts.load_model(url))
        served = retrain.refit(settings, version)
        manifest = artifacts.read_manifest(artifacts.version_url(settings.artifacts, version))
        assert list(settings.checkpoints_path.glob("*.safetensors")) == []
        return served, [seed for seed, _, _ in trained], manifest[REFIT]

    refit.trained = trained
    return refit


def card(settings, version):
    return artifacts.read_file(artifacts.version_url(settings.artifacts, version), "model_card.md").decode()


def test_a_second_seed_is_trained_only_if_the_decision_needs_it_and_then_used_again(settings, evaluated, shares):
    assert settings.gate_min_refit_ratio == 0.7
    # Two seeds share at most everything, and .71 would be enough even then.
    assert shares(settings, evaluated("a"), refit=0.71) == (True, [0], {"shared": 0.71, "k": 5, "two_seeds": None})

    second = evaluated("b")
    served, seeds, stored = shares(settings, second, refit=0.45, second=0.6)
    assert (served, seeds) == (True, [0, 1])
    assert stored["two_seeds"] == {"shared": 0.6, "k": 5, "measured_with": second, "lines": 1000, "epochs": 1}
    backtest = registry.model_version(settings, second)
    assert [cutoff for _, cutoff, _ in shares.trained] == [TODAY, TODAY]  # of these untrained backtests
    assert "The refit shares 45.0% of its first 5 recommendations" in card(settings, second)
    assert f"two seeds share 60.0%, as measured with v{second}." in card(settings, second)
    assert backtest.state == "candidate"

    third = evaluated("c", lines=1190)
    served, seeds, stored = shares(settings, third, refit=0.41)
    assert (served, seeds) == (False, [0])
    assert stored["two_seeds"]["measured_with"] == second
    reason = registry.gate_decision(settings, third).reasons[-1]
    assert "the refit shares only 41.0%" in reason
    assert "two seeds share (60.0%)" in reason


def test_a_refit_that_was_trained_badly_needs_no_second_seed_to_be_held(settings, evaluated, shares):
    served, seeds, stored = shares(settings, evaluated("a"), refit=0.1, facts=replace(FACTS, lines=1))
    assert (served, seeds, stored["two_seeds"]) == (False, [0], None)


def test_a_refit_that_was_killed_while_a_second_seed_was_trained_runs_again(settings, evaluated, shares):
    version = evaluated("a")
    with pytest.raises(KeyboardInterrupt):
        shares(settings, version, refit=0.5, second=0.6, kill=1)
    assert len(list(settings.checkpoints_path.glob("*.safetensors"))) == 2  # of the refit, and of the second seed
    assert registry.gate_decision(settings, version).promote
    assert shares(settings, version, refit=0.5, second=0.6)[:2] == (True, [0, 1])


@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"lines": 1200}, True),
        ({"lines": 1201}, False),
        ({"lines": 799}, False),
        ({"k": 1}, False),
        ({"epochs": 2}, False),
        ({"seed": 7}, True),
        ({"dropout": 0.1}, False),
    ],
)
def test_a_measure_fits_models_that_were_trained_alike(settings, evaluated, change, fits):
    version, later = evaluated("earlier"), evaluated("later")
    store_measure(settings, version, TwoSeeds(0.6, 5, version, 1000, 1))
    model = artifacts.load_model(artifacts.version_url(settings.artifacts, later, backtest=True))
    recipe = replace(model.recipe, **{name: value for name, value in change.items() if name in ("seed", "dropout")})
    model = replace(model, recipe=recipe, lines=change.get("lines", 1000), epochs=change.get("epochs", 1))
    found = stored_measure(settings, later, model, change.get("k", 5))
    assert found == (TwoSeeds(0.6, 5, version, 1000, 1) if fits else None)


def test_the_newest_measure_of_an_earlier_version_counts_and_damaged_manifests_are_passed_over(settings, evaluated):
    first, second, third, last = (evaluated(name) for name in "abcd")
    for version, shared in ((first, 0.5), (second, 0.6), (third, 0.7), (last, 0.8)):
        store_measure(settings, version, TwoSeeds(shared, 5, version, 1000, 1))
    (Path(folder(settings, third)) / "manifest.json").write_text("{}")
    model = artifacts.load_model(artifacts.version_url(settings.artifacts, last, backtest=True))
    assert stored_measure(settings, last, model, 5).shared == 0.6
    assert stored_measure(settings, first, model, 5) is None


def store_measure(settings, version, measure):
    model = artifacts.load_model(artifacts.version_url(settings.artifacts, version))
    agreement = refit_check.RefitAgreement(0.5, measure.k, measure)
    url = artifacts.version_url(settings.artifacts, version)
    known = KnownManifests(settings, version)
    artifacts.save_model(model, url, lineage={REFIT: agreement.as_dict()}, card="# Card", known=known)


def folder(settings, version):
    return artifacts.version_url(settings.artifacts, version).removeprefix("file://")
