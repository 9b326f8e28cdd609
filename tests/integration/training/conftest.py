"""A small shop in which a model serves, and a sound candidate; made once for all tests here."""

from datetime import timedelta
from functools import partial

import pytest

from ncf_pipeline import synthetic
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.model import training
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.training import retrain

SMALL = partial(Recipe, popular_candidates=60, taste_candidates=20, embedding_dim=16, hidden=(32, 16))
"""Of 300 products, the usual recipe would make nearly all candidates of everyone."""


@pytest.fixture
def small_recipe(monkeypatch):
    """Has `backtest` train the recipe of `shop` and `honest`."""
    monkeypatch.setattr(retrain, "Recipe", SMALL)


@pytest.fixture(scope="session")
def shop(fresh_settings, tmp_path_factory):
    """Settings of a shop whose champion was trained on everything before the holdout."""
    folder = tmp_path_factory.mktemp("sabotage")
    with fresh_settings(folder) as made, pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain, "Recipe", SMALL)
        settings = made
        synthetic.write_workbook(folder / "shop.xlsx", customers=400, products=300, days=210)
        ingest(settings, [str(folder / "shop.xlsx")])
        earlier = retrain.snapshot(settings, newest_cutoff(settings) - timedelta(days=settings.holdout_days))
        serving = retrain.backtest(settings, earlier, run_key="serving", requested_by="test")
        assert retrain.gate(settings, serving).promote, registry.gate_decision(settings, serving).reasons
        assert retrain.refit(settings, serving), registry.gate_decision(settings, serving).reasons
        retrain.register(settings, serving)
        patch.undo()
        yield settings


@pytest.fixture(scope="session")
def honest(shop):
    """The version of a sound candidate, and its model."""
    kept = []

    def train(*arguments, **options):
        kept.append(training.train(*arguments, **options))
        return kept[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain, "train", train)
        patch.setattr(retrain, "Recipe", SMALL)
        version = retrain.backtest(shop, retrain.snapshot(shop), run_key="honest", requested_by="test")
    return version, kept[0]
