"""What a retrain trains, by the settings."""

from dataclasses import replace
from datetime import datetime, timedelta

from lookers import looks_frame

from ncf_pipeline.model.boosting import has_trees
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.settings import Settings, load_settings
from ncf_pipeline.training.retrain import MIN_LOOKS, recipe_of

TODAY, NOTHING = datetime(2011, 12, 9), looks_frame([])


def test_by_default_a_retrain_trains_the_default_recipe():
    assert recipe_of(Settings(seed=3), NOTHING, TODAY) == Recipe(seed=3)
    assert has_trees(Recipe())


def test_ncf_trees_off_is_the_network_alone(monkeypatch):
    monkeypatch.setenv("NCF_TREES", "false")
    recipe = recipe_of(load_settings(), NOTHING, TODAY)
    assert not has_trees(recipe)
    assert recipe == replace(Recipe(), trees_weight=0.0, discover_trees_weight=0.0)


def test_a_shop_with_looks_to_learn_from_gets_a_model_that_reads_them():
    def looks(count, at=TODAY - timedelta(seconds=1)):
        return looks_frame([("1", "A", "view", at)] * count)

    assert recipe_of(Settings(), looks(MIN_LOOKS), TODAY) == Recipe().with_looks()
    assert recipe_of(Settings(), looks(MIN_LOOKS - 1), TODAY) == Recipe()
    assert recipe_of(Settings(), looks(MIN_LOOKS, TODAY), TODAY) == Recipe()
    assert recipe_of(Settings(trees=False), looks(MIN_LOOKS), TODAY) == Recipe().with_looks().network_alone()
