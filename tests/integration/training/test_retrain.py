"""Stages of a retrain on a small shop, with a real Postgres."""

import json
import logging
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ncf_pipeline import synthetic
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.registry import artifacts, snapshot_files
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff, read_snapshot
from ncf_pipeline.training import retrain
from ncf_pipeline.training.decision import thresholds

pytestmark = pytest.mark.trains


@pytest.fixture
def champion(settings, tmp_path):
    """A champion whose cutoff is five weeks before the newest purchase; its worker was promised a GPU."""
    settings = settings.model_copy(update={"gpu_promised": True, "device": "cpu"})
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=100, products=80, days=180, seed=1)
    ingest(settings, [str(tmp_path / "shop.xlsx")])
    earlier = retrain.snapshot(settings, newest_cutoff(settings) - timedelta(days=35))
    version = retrain.backtest(settings, earlier, run_key="champion", requested_by="test")
    decision = GateDecision(True, ("because",), thresholds(settings), ())
    registry.record_decision(settings, version, decision, details={})
    retrain.refit(settings, version)
    registry.promote(settings, version, actor="test", reason="test")
    return version


@pytest.mark.timeout(600)
def test_a_champion_that_an_upgrade_can_no_longer_score_does_not_stop_the_next_retrain(settings, champion, caplog):
    snapshot = retrain.snapshot(settings)
    compared = retrain.backtest(settings, snapshot, run_key="before the upgrade", requested_by="test")
    recommenders = {entry.recommender for entry in registry.evaluation(settings, compared)}
    assert {"incumbent", "version_0"} <= recommenders
    assert "best_recent" not in recommenders  # the incumbent is the only one
    # The incumbent has not seen the holdout. Its artifact says how many lines it was trained on: all before its cutoff.
    holdout_start = registry.model_version(settings, compared).holdout_start
    manifest = artifacts.read_manifest(artifacts.version_url(settings.artifacts, champion))
    bought = read_snapshot(settings, snapshot).interactions["purchased_at"]
    given = read_snapshot(settings, manifest["snapshot_id"]).interactions["purchased_at"]
    assert given.max() < datetime.fromisoformat(manifest["cutoff"]) <= holdout_start
    assert manifest["training"]["lines"] == len(given) < (bought < holdout_start).sum()

    folder = Path(artifacts.version_url(settings.artifacts, champion).removeprefix("file://"))
    assert "**NO GPU: NCF_GPU_PROMISED is set" in (folder / "model_card.md").read_text()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["trained_on"] == "cpu"
    manifest["config"]["features"].append("a feature of another version")
    (folder / "manifest.json").write_bytes(artifacts.sealed(manifest))
    caplog.set_level(logging.WARNING)
    alone = retrain.backtest(settings, snapshot, run_key="after the upgrade", requested_by="test")
    assert "incumbent" not in {entry.recommender for entry in registry.evaluation(settings, alone)}
    reason = f"NO COMPARISON with the incumbent, v{champion}, only with the baselines: "
    assert reason in caplog.text
    decision = retrain.gate(settings, alone)
    assert decision.reasons[-1].startswith(reason)
    assert registry.gate_decision(settings, alone).details["not_compared"] == decision.reasons[-1]
    assert retrain.not_compared(settings, alone) == decision.reasons[-1]
    retrain.gate(settings, compared)
    assert retrain.not_compared(settings, compared) is None


@pytest.mark.timeout(600)
def test_a_candidate_is_scored_beside_the_best_recent_version_if_the_incumbent_is_worse(settings, champion, promoted):
    slid = promoted(retrain.snapshot(settings, newest_cutoff(settings) - timedelta(days=30)), "slid")  # learned nothing
    version = retrain.backtest(settings, retrain.snapshot(settings), run_key="candidate", requested_by="test")
    of = {
        (score.question, score.recommender): score
        for score in registry.evaluation(settings, version)
        if score.cohort == "known customers"
    }
    best = of["for_you", "best_recent"]
    assert best.precision_at_k > of["for_you", "incumbent"].precision_at_k
    assert best.ahead == pytest.approx(of["for_you", "candidate"].precision_at_k - best.precision_at_k)
    decision = retrain.gate(settings, version)
    details = registry.gate_decision(settings, version).details
    assert details["incumbent"] == slid
    assert details["best_recent"]["best"]["for_you"] == champion
    assert details["best_recent"]["scored"] == [champion]
    assert any("the best recent version" in reason for reason in decision.reasons)
    card = artifacts.read_file(
        artifacts.version_url(settings.artifacts, version, backtest=True), "model_card.md"
    ).decode()
    assert f"v{slid}, the incumbent, and v{champion}, the best recent version (for_you)" in card
    retrains = registry.recent_retrains(settings, version)
    assert "best_recent" not in {entry.baseline for entry in retrains}


@pytest.mark.parametrize(("promised", "device", "warned"), [(True, "cpu", True), (False, "cpu", False)])
def test_a_missing_gpu_that_was_promised_is_a_loud_warning(settings, caplog, promised, device, warned):
    missing = retrain.missing_gpu(settings.model_copy(update={"gpu_promised": promised, "device": device}))
    assert (missing is not None) == warned
    assert ("NO GPU" in caplog.text) == warned


@pytest.mark.timeout(600)
def test_a_large_shop_is_trained_and_evaluated_on_a_sample_of_its_customers(settings, champion, monkeypatch):
    monkeypatch.setattr(snapshot_files, "LINES_OF_A_PART", 500)
    snapshot = retrain.snapshot(settings)
    whole = read_snapshot(settings, snapshot).interactions
    settings = settings.model_copy(update={"train_lines": int(0.6 * len(whole))})
    sample = retrain.read_sample(settings, snapshot)
    assert 0.3 < sample.share < 0.9
    version = retrain.backtest(settings, snapshot, run_key="sample", requested_by="test")
    url = artifacts.version_url(settings.artifacts, version, backtest=True)
    before = sample.interactions["purchased_at"] < registry.model_version(settings, version).holdout_start
    assert set(artifacts.load_model(url).customers) == set(sample.interactions["customer_id"][before].dropna())
    assert (
        f"{sample.share:.1%} of all {len(whole):,}" in Path(f"{url}/model_card.md".removeprefix("file://")).read_text()
    )
    # The champion learned from all lines. Fewer of a sample do not look like a loss, as they stand for all.
    training = artifacts.read_manifest(url)["training"]
    assert training["lines"] == training["lines_there"] == sample.whole(int(before.sum()))
    assert "has the database lost lines?" not in str(retrain.gate(settings, version).reasons)
