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
    result = evaluate(settings)
    everyone = [scores for scores in result.as_dict()["evaluation"] if scores["cohort"] == "everyone"]
    assert [Scores(**scores) for scores in result.as_dict()["evaluation"]] == list(result.scores)
    for question in ("for_you", "discover"):
        of = {score["recommender"]: score for score in everyone if score["question"] == question}
        assert list(of) == ["candidate", *BASELINES, "version_0", *PEERS]
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
