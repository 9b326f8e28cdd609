"""The recipe beside baselines and peers on a small shop, with a real Postgres."""

import pytest

from ncf_pipeline import synthetic
from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.model.peers import PEERS
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.training.evaluate import evaluate

pytestmark = pytest.mark.trains


@pytest.mark.timeout(600)
def test_every_recommender_is_compared_with_the_candidate_and_nothing_is_registered(settings, tmp_path):
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=100, products=80, days=180, seed=1)
    ingest(settings, [str(tmp_path / "shop.xlsx")])
    result = evaluate(settings, variety=True)
    everyone = [scores for scores in result.as_dict()["evaluation"] if scores["cohort"] == "everyone"]
    assert [Scores(**scores) for scores in result.as_dict()["evaluation"]] == list(result.scores)
    for question in ("for_you", "discover"):
        of = {score["recommender"]: score for score in everyone if score["question"] == question}
        assert list(of) == ["candidate", "network_alone", *BASELINES, "version_0", *PEERS]
        candidate = of.pop("candidate")
        for name, score in of.items():
            assert score["ahead"] == pytest.approx(candidate["precision_at_k"] - score["precision_at_k"]), name
            assert score["ahead_low"] <= score["ahead"] <= score["ahead_high"]
            assert 0 <= score["map_at_10"] <= 1
            assert 0 <= score["revenue_at_k"] <= 1
    # With newcomers, whom every recommender shows the same, nobody leads: a lead is one with known customers.
    alone = {(score.question, score.recommender): score for score in result.scores if score.cohort == "known customers"}
    assert set(alone) == {(score["question"], score["recommender"]) for score in everyone}
    for score in everyone:
        known = alone[score["question"], score["recommender"]]
        assert known.customers < score["customers"]
        if score["ahead"] is not None:
            assert score["ahead"] * score["customers"] == pytest.approx(known.ahead * known.customers)
    plain = next(score for score in everyone if score["recommender"] == "plain_ncf")
    assert plain["ahead_low"] > 0
    assert registry.model_versions(settings) == []
    assert_prices_add_up(
        result, {score.question: score for score in alone.values() if score.recommender == "candidate"}
    )


def assert_prices_add_up(result, candidate):
    """Of limits on variety and of the order by value, beside the same lists without any."""
    limits = [f"NCF_VARIETY_FAMILY={most}" for most in (1, 2, 3)]
    limits += [f"NCF_VARIETY_REPEAT={most}" for most in (0, 1, 2, 3)]
    for question in ("for_you", "discover"):
        prices = {price["setting"]: price for price in result.as_dict()["variety"] if price["question"] == question}
        by_value = [f"NCF_ORDER=value NCF_VALUE_WEIGHT={weight}" for weight in (0.25, 0.5, 1)]
        assert list(prices) == ["none", *limits, *by_value]
        none = prices.pop("none")
        assert none["difference"] is None
        assert none["precision_at_k"] == pytest.approx(candidate[question].precision_at_k)
        assert none["customers"] == candidate[question].customers
        for price in prices.values():
            assert price["difference"] == pytest.approx(price["precision_at_k"] - none["precision_at_k"])
            assert price["difference_low"] <= price["difference"] <= price["difference_high"]
            assert 1 <= price["families"] <= 5
        kept = [prices[f"NCF_VARIETY_REPEAT={most}"]["kept"] for most in (0, 1, 2, 3)]
        assert kept == sorted(kept)
        assert kept[0] < kept[3] <= none["kept"]
