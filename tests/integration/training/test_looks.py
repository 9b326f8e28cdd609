"""A whole retrain of a shop that tells what its customers look at."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from lookers import look

from ncf_pipeline import synthetic
from ncf_pipeline.evaluation.gate import GateDecision
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import read_snapshot
from ncf_pipeline.training import retrain
from ncf_pipeline.training.decision import thresholds

pytestmark = pytest.mark.trains


@pytest.mark.timeout(600)
def test_a_retrain_trains_and_serves_a_model_that_reads_looks(settings, small_recipe, tmp_path):
    settings = settings.model_copy(update={"device": "cpu"})
    synthetic.write_workbook(tmp_path / "shop.xlsx", customers=100, products=80, days=180, seed=1)
    ingest(settings, [str(tmp_path / "shop.xlsx")])
    bought = read_snapshot(settings, retrain.snapshot(settings)).interactions
    events = synthetic.plant_events(bought["customer_id"], bought["stock_code"], bought["purchased_at"])
    look(settings, *events[["customer", "product", "kind", "at"]].drop_duplicates().itertuples(index=False, name=None))
    version = retrain.backtest(settings, retrain.snapshot(settings), run_key="looks", requested_by="test")
    registry.record_decision(settings, version, GateDecision(True, ("because",), thresholds(settings), ()), details={})
    retrain.refit(settings, version)
    model = artifacts.load_model(artifacts.version_url(settings.artifacts, version))
    assert model.recipe.reads_looks
    assert registry.model_version(settings, version).config["recipe"]["look_candidates"] > 0
    registry.promote(settings, version, actor="test", reason="test")
    parts = retrain.prepare(settings, version)
    retrain.score_shards(settings, parts)
    retrain.publish(settings, version, parts)
    (stored,) = Path(settings.artifacts.removeprefix("file://"), "publications").glob("*.parquet")

    reasons = [json.loads(text) for text in pq.read_table(stored)["reasons"].to_pylist() if text]
    assert {"viewed", "carted", "bought"} <= {reason[0] for of_list in reasons for reason in of_list}
