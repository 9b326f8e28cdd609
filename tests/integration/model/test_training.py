import sys
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from shop_with_tastes import CUTOFF, START, frame

from ncf_pipeline.errors import SettingsError, TrainingError
from ncf_pipeline.model.boosting import has_trees
from ncf_pipeline.model.features.events import DAY, encode, microseconds
from ncf_pipeline.model.features.queries import customers_to_learn_from, instants, queries_at
from ncf_pipeline.model.ids import worth_of_ids
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.model.training import all_queries, train
from ncf_pipeline.registry import artifacts

pytestmark = pytest.mark.trains


def same_weights(one, other):
    left, right = one.state().tensors, other.state().tensors
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_the_same_seed_trains_the_same_weights_and_another_seed_others(shop, recipe, model):
    assert same_weights(model, train(shop, CUTOFF, recipe, device="cpu"))
    assert not same_weights(model, train(shop, CUTOFF, replace(recipe, seed=1), device="cpu"))


def test_nothing_after_the_cutoff_reaches_model_or_lists(shop, recipe, model):
    random = np.random.default_rng(0)
    future = shop["purchased_at"] >= CUTOFF
    changed = shop.copy()
    changed.loc[future, "stock_code"] = random.permutation(changed.loc[future, "stock_code"].to_numpy())
    changed.loc[future, "customer_id"] = "999999"
    planted = frame([(100, "PLANTED", "X1", 151), (100, "PLANTED", "X2", 160)])
    # Also a return after the cutoff, of a purchase before it.
    changed.loc[changed.index[0], "returned_at"] = CUTOFF
    changed = pd.concat([changed, planted], ignore_index=True).sample(frac=1, random_state=3)
    other = train(changed, CUTOFF, recipe, device="cpu")
    assert same_weights(model, other)
    assert "PLANTED" not in other.products
    assert "999999" not in other.customers
    lists = customer_lists(other, changed, CUTOFF, 10)
    assert lists.equals(customer_lists(model, shop, CUTOFF, 10))
    assert not any("PLANTED" in codes for codes in lists["stock_codes"])


def test_a_query_is_answered_within_its_horizon_and_before_the_cutoff(shop):
    events, until = encode(shop, CUTOFF), microseconds(CUTOFF)

    def days_before(recipe):
        return [((until - at) / DAY, days) for at, days in instants(events, until, recipe)]

    assert days_before(Recipe(max_instants=3)) == [(14, 14), (28, 28), (42, 28), (56, 28)]
    assert days_before(Recipe(max_instants=2, short_horizon_days=0)) == [(28, 28), (42, 28)]
    earliest, _ = instants(events, until, Recipe())[-1]
    assert microseconds(shop["purchased_at"].min() + timedelta(days=42)) <= earliest


def test_answers_are_purchases_in_the_horizon_that_were_not_returned():
    rows = [
        (7, "A", "1", 0),
        (7, "B", "1", 0),
        (8, "A", "2", 0),
        (7, "A", "3", 60),
        (7, "B", "4", 61, 65),
        (9, "A", "5", 61),
    ]
    events = encode(frame(rows), START + timedelta(days=100))
    chunks = queries_at(events, microseconds(START + timedelta(days=50)), 28, Recipe())
    assert len(chunks) == 1
    # Customer 8 bought nothing in the horizon, and 9 was not known at the instant.
    assert events.customers[chunks[0].contexts.customer].tolist() == ["7"]
    assert events.products[chunks[0].contexts.product].tolist() == ["A", "B"]
    assert chunks[0].positive.tolist() == [True, False]
    assert chunks[0].answered().tolist() == [0]


def test_the_number_of_epochs_is_chosen_on_the_inner_holdout_or_given(shop, recipe, model):
    stages = [report.stage for report in model.history]
    assert stages.count("fit") == model.epochs
    assert stages.count("select") >= 1
    chosen = max(
        (report for report in model.history if report.stage == "select"),
        key=lambda report: (report.for_you + report.discover, -report.epoch),
    )
    assert chosen.epoch == model.epochs
    seen = []
    again = train(shop, CUTOFF, recipe, device="cpu", epochs=1, on_epoch=seen.append)
    assert [report.stage for report in again.history] == ["fit"]
    assert seen == again.history
    # An epoch does not depend on how many follow.
    assert again.history[0].loss == next(report.loss for report in model.history if report.stage == "fit")


def test_a_state_restores_the_same_model(shop, model):
    state = model.state()
    again = TrainedModel.from_state(state)
    assert again.recipe == model.recipe
    assert again.cutoff == model.cutoff
    assert again.history == model.history
    assert (again.customers, again.products) == (model.customers, model.products)
    assert same_weights(model, again)
    assert customer_lists(again, shop, CUTOFF, 5).equals(customer_lists(model, shop, CUTOFF, 5))


def test_a_model_has_trees_and_its_network_is_that_of_a_model_without_them(shop, recipe, model):
    """With NCF_TREES=false, weights and lists are those of the network alone, bit by bit."""
    alone = train(shop, CUTOFF, replace(recipe, trees_weight=0.0, discover_trees_weight=0.0), device="cpu")
    assert sorted(model.trees.texts) == ["discover", "for_you"]
    assert alone.trees is None
    assert same_weights(alone, model.network_alone())
    lists = customer_lists(alone, shop, CUTOFF, 5)
    assert lists.equals(customer_lists(model.network_alone(), shop, CUTOFF, 5))
    assert not lists.equals(customer_lists(model, shop, CUTOFF, 5))


def test_a_stored_model_recommends_as_before_and_an_older_one_has_no_trees(shop, model, tmp_path):
    lists = customer_lists(model, shop, CUTOFF, 5)
    artifacts.save_model(model, tmp_path.as_uri(), lineage={}, card="")
    back = artifacts.load_model(tmp_path.as_uri())
    assert back.trees.texts == model.trees.texts
    assert customer_lists(back, shop, CUTOFF, 5).equals(lists)
    without = back.without_customers([model.customers[0]])
    assert without.trees.texts == model.trees.texts

    older = model.network_alone().state()
    older.config["recipe"] = {name: each for name, each in older.config["recipe"].items() if "trees" not in name}
    read = TrainedModel.from_state(older)
    assert read.trees is None
    assert not has_trees(read.recipe)  # nor has its refit
    assert customer_lists(read, shop, CUTOFF, 5).equals(customer_lists(model.network_alone(), shop, CUTOFF, 5))


def test_without_lightgbm_nothing_is_trained_and_one_line_says_what_to_do(shop, recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    seen = []
    with pytest.raises(SettingsError, match=r"lightgbm is not installed.* NCF_TREES=false"):
        train(shop, CUTOFF, recipe, device="cpu", on_epoch=seen.append)
    assert seen == []


def test_a_state_of_other_shapes_is_refused(model):
    state = model.state()
    state.vocabularies["products"].append("EXTRA")
    with pytest.raises(ValueError, match=r"[Ee]rror|size mismatch"):
        TrainedModel.from_state(state)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(7, "A", "1", 0)],
        [(None, "A", str(day), day) for day in range(140)],
        [(7, "A", str(day), day) for day in range(3)],
    ],
    ids=["empty", "one line", "guests only", "three days"],
)
def test_too_little_to_learn_from_is_an_error_of_one_line(rows, recipe):
    with pytest.raises(TrainingError, match="Too little to learn from") as error:
        train(frame(rows), CUTOFF, recipe, device="cpu")
    assert "\n" not in str(error.value)


def test_a_shop_with_one_product_still_trains(recipe):
    rows = [
        (customer, "ONLY", f"{customer}-{day}", day) for customer in range(30) for day in range(customer % 7, 150, 10)
    ]
    model = train(frame(rows), CUTOFF, recipe, device="cpu")
    lists = customer_lists(model, frame(rows), CUTOFF, 5)
    assert lists[lists["list_name"] == "for_you"]["stock_codes"].tolist() == [["ONLY"]] * 30
    assert lists[lists["list_name"] == "discover"]["stock_codes"].tolist() == [[]] * 30


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_trains_a_model_with_mostly_the_same_lists(shop, recipe, model):
    other = train(shop, CUTOFF, recipe, device="cuda", epochs=model.epochs)
    one, two = (customer_lists(each, shop, CUTOFF, 5)["stock_codes"] for each in (model, other))
    shared = np.mean([len({*a} & {*b}) / max(len(a), 1) for a, b in zip(one, two, strict=True)])
    assert shared > 0.6


def test_training_ends_when_its_time_is_spent_and_says_so(shop, recipe, model):
    hurried = train(shop, CUTOFF, recipe, device="cpu", budget_seconds=1e-9)
    # One epoch to choose the number of epochs, and one to train the model.
    assert [(report.stage, report.out_of_time) for report in hurried.history] == [("select", True), ("fit", False)]
    assert hurried.epochs == 1
    cut_short = train(shop, CUTOFF, recipe, device="cpu", epochs=2, budget_seconds=1e-9)
    assert [(report.epoch, report.of, report.out_of_time) for report in cut_short.history] == [(1, 2, True)]
    assert TrainedModel.from_state(cut_short.state()).history[-1].out_of_time
    in_time = train(shop, CUTOFF, recipe, device="cpu", budget_seconds=3600)
    assert not any(report.out_of_time for report in in_time.history)
    assert same_weights(model, in_time)


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_network_without_an_epoch_is_no_model(shop, recipe, epochs):
    with pytest.raises(ValueError, match="train for at least 1"):
        train(shop, CUTOFF, recipe, device="cpu", epochs=epochs)


def test_a_model_knows_on_how_many_lines_it_was_trained(shop, model):
    assert model.lines == (shop["purchased_at"] < CUTOFF).sum() < len(shop)
    assert TrainedModel.from_state(model.state()).lines == model.lines


def test_of_a_large_shop_a_sample_of_the_customers_is_learned_from(shop, recipe, model):
    events, until = encode(shop, CUTOFF), microseconds(CUTOFF)
    every = all_queries(events, until, recipe)
    queries = sum(len(chunk.contexts.customer) for chunk in every)
    assert customers_to_learn_from(events, until, replace(recipe, max_queries=queries)).all()
    small = replace(recipe, max_queries=queries // 3)
    learned = customers_to_learn_from(events, until, small)
    assert 0.15 < learned.mean() < 0.55
    assert (learned == customers_to_learn_from(events, until, small)).all()
    sampled = all_queries(events, until, small, learned)
    for chunk, whole in zip(sampled, every, strict=True):
        theirs = learned[whole.contexts.customer]
        assert (chunk.contexts.customer == whole.contexts.customer[theirs]).all()
        # Features are made of everybody's purchases, whoever is learned from.
        assert (
            chunk.contexts.features[:] == whole.contexts.features[:][np.repeat(theirs, np.diff(whole.contexts.start))]
        ).all()
    trained = train(shop, CUTOFF, small, device="cpu")
    assert trained.customers == events.customers[learned].tolist()
    assert trained.products == model.products
    lists = customer_lists(trained, shop, CUTOFF, 10)
    # The others get lists too, as customers who came after the training do.
    assert set(lists["key"]) == set(customer_lists(model, shop, CUTOFF, 10)["key"])
    worth = worth_of_ids(trained, shop)
    assert worth.customers_in_place
    assert not worth_of_ids(replace(trained, customers=trained.customers[1:]), shop).customers_in_place
