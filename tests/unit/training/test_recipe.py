"""What a retrain trains, by the settings."""

from dataclasses import replace

from ncf_pipeline.model.boosting import has_trees
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.settings import Settings, load_settings
from ncf_pipeline.training.retrain import recipe_of


def test_by_default_a_retrain_trains_the_default_recipe():
    assert recipe_of(Settings(seed=3)) == Recipe(seed=3)
    assert has_trees(Recipe())


def test_ncf_trees_off_is_the_network_alone(monkeypatch):
    monkeypatch.setenv("NCF_TREES", "false")
    recipe = recipe_of(load_settings())
    assert not has_trees(recipe)
    assert recipe == replace(Recipe(), trees_weight=0.0, discover_trees_weight=0.0)
