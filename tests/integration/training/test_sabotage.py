"""Sabotaged candidates that must not serve, from backtest to gate, in a small shop in which a model serves."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from ncf_pipeline.model import training
from ncf_pipeline.model.peers.neural import plain_ncf
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.training import retrain

WORSE = "is worse than the incumbent"

pytestmark = [
    pytest.mark.trains,
    pytest.mark.usefixtures("small_recipe"),
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("gate"),
]


def decided(settings, patch, name, train):
    """The gate's decision on a candidate that another function trained."""
    patch.setattr(retrain, "train", train)
    version = retrain.backtest(settings, retrain.snapshot(settings), run_key=name, requested_by="test")
    decision = retrain.gate(settings, version)
    assert registry.model_version(settings, version).state == ("candidate" if decision.promote else "held")
    return decision


def assert_held_for(decision, *reasons):
    assert not decision.promote
    for reason in reasons:
        assert any(reason in objection for objection in decision.reasons), decision.reasons


def permuted(ids):
    return [ids[index] for index in np.random.default_rng(3).permutation(len(ids))]


@contextmanager
def shuffled_labels():
    """Training in which the bought products of each query are exchanged for others of its candidates."""
    queries_at = training.queries_at

    def shuffled(events, at, *arguments):
        random = np.random.default_rng(at)
        for chunk in queries_at(events, at, *arguments):
            positive, start = chunk.positive.copy(), chunk.contexts.start
            for begin, end in pairwise(start):
                random.shuffle(positive[begin:end])
            yield replace(chunk, positive=positive)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "queries_at", shuffled)
        yield


def test_a_sound_candidate_may_serve(shop, honest):
    version, _ = honest
    decision = retrain.gate(shop, version)
    assert decision.promote, decision.reasons
    details = registry.gate_decision(shop, version).details
    assert details["incumbent"] == registry.champion(shop).version
    assert details["requested_by"] == "test"
    assert details["training"]["lines"] == details["training"]["lines_there"] > 1000
    assert details["thresholds"]["max_overlap"] == 0.5


def test_one_list_for_everyone_trained_on_positives_alone(shop, honest, monkeypatch):
    """The model that this project replaces: it was trained on positives alone, so it learned to say yes."""
    _, model = honest
    recommend = retrain.recommend_holdout

    def plain(which, interactions, truth, depth, style, **options):
        if which is not model:
            return recommend(which, interactions, truth, depth, style, **options)
        return plain_ncf(interactions, truth.start, depth, truth.known_customers)

    monkeypatch.setattr(retrain, "recommend_holdout", plain)
    decision = decided(shop, monkeypatch, "plain", lambda *_, **__: model)
    assert_held_for(
        decision,
        "is worse than best sellers",
        "is worse than personal frequency",
        WORSE,
        "one list for everyone",
    )


def test_weights_that_are_nan(shop, honest, monkeypatch):
    broken = TrainedModel.from_state(honest[1].state())
    with torch.no_grad():
        for weights in broken.network.parameters():
            weights.fill_(float("nan"))
    assert_held_for(decided(shop, monkeypatch, "nan", lambda *_, **__: broken), "weights that are not finite")


@pytest.mark.parametrize("whose", ["customers", "products"])
def test_swapped_vocabularies(shop, honest, monkeypatch, whose):
    swapped = replace(honest[1], **{whose: permuted(getattr(honest[1], whose))})
    decision = decided(shop, monkeypatch, f"swapped {whose}", lambda *_, **__: swapped)
    assert_held_for(decision, f"has its {whose} in another order than it was trained with")
    # Its lists alone would not show it: they are as good as with the ids in place.
    assert not any("Precision@" in reason for reason in decision.reasons)


def test_shuffled_labels(shop, honest, monkeypatch):
    def train(*arguments, **options):
        with shuffled_labels():
            return training.train(*arguments, **options)

    decision = decided(shop, monkeypatch, "shuffled", train)
    assert_held_for(decision, "is worse than personal frequency", WORSE)


def a_tenth(interactions, *arguments, **options):
    return training.train(interactions.sample(frac=0.1, random_state=1), *arguments, **options)


def test_a_tenth_of_the_data(shop, honest, monkeypatch):
    decision = decided(shop, monkeypatch, "a tenth", a_tenth)
    assert_held_for(decision, "lines that the snapshot holds for it", "has the database lost lines?")


def test_a_refit_on_a_tenth_of_the_data(shop, honest, monkeypatch):
    version, _ = honest
    assert retrain.gate(shop, version).promote
    monkeypatch.setattr(retrain, "train", a_tenth)
    assert not retrain.refit(shop, version)
    stored = registry.gate_decision(shop, version)
    assert stored.promote is False
    assert any("the refit learned from" in reason for reason in stored.reasons)
    assert any("with the model that was evaluated" in reason for reason in stored.reasons)
    assert registry.model_version(shop, version).state == "held"
