"""Nothing of the holdout reaches a backtest: no product, no customer, no return, no look."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
import torch
from lookers import looks_frame, make_looks
from shop_with_tastes import CUTOFF, START, frame

from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.events import DAY, encode, microseconds
from ncf_pipeline.model.features.queries import instants, queries_at
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.assemble import product_lists
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.registry.snapshots import Snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.retrain import recipe_of, train_and_recommend, truth_for
from ncf_pipeline.training.style_price import recommend_holdout

pytestmark = pytest.mark.trains

END = CUTOFF + timedelta(days=28)
PLANTED, LAUNCHED, LATE = "P0F", "P0E", "999999"


def snapshot_of(interactions, looks=None):
    products = pd.DataFrame({"stock_code": sorted(interactions["stock_code"].unique()), "description": ""})
    of_looks = {"looks": looks} if looks is not None else {}
    return Snapshot("s000001", END, "0" * 64, interactions, products, **of_looks)


@pytest.fixture(scope="module")
def planted(shop):
    """The shop with a holdout in which every customer buys one new product, and earlier purchases are returned."""
    shop = shop[shop["purchased_at"] < END].copy()
    regulars = sorted(shop["customer_id"].dropna().unique())
    rows = [
        (customer, PLANTED, f"X{customer}-{day}", 150 + day) for customer in [*regulars, LATE] for day in (0, 1, 9, 20)
    ]
    # Ten days before the cutoff, one more product of a family is launched.
    rows += [(customer, LAUNCHED, f"L{customer}", 140) for customer in regulars[:5]]
    known = shop["purchased_at"] < CUTOFF
    shop.loc[~known, "description"] = "only in the holdout"
    returned = shop["returned_at"].where(~(known & (shop.index % 5 == 0)), pd.Timestamp(CUTOFF + timedelta(hours=1)))
    shop = with_families(with_numbers(shop.assign(returned_at=returned)))
    return with_moves(pd.concat([shop, frame(rows)], ignore_index=True))


def with_numbers(interactions):
    """Quantities and prices that differ from line to line, so that features of quantities and prices say much."""
    line = np.arange(len(interactions))
    return interactions.assign(quantity=1.0 + line * 7 % 12, unit_price=1.0 + line * 5 % 9 / 4)


def with_families(interactions):
    """Codes in families of four: P0A, P0B, P0C, P0D, P1A, ..."""
    number = interactions["stock_code"].str[1:].astype(int)
    letter = number.mod(4).map(dict(enumerate("ABCD")))
    return interactions.assign(stock_code="P" + number.floordiv(4).astype(str) + letter)


def with_moves(interactions):
    """Two of four customers live abroad, by taste, and others move every 30 days, so that countries say much."""
    customer = interactions["customer_id"].fillna("0").astype(int).to_numpy()
    month = (interactions["purchased_at"] - START).dt.days.to_numpy() // 30
    abroad = np.where(customer % 3 == 0, month % 2 == 1, customer % 4 < 2)
    return interactions.assign(country=np.where(abroad, "France", "United Kingdom"))


@pytest.fixture(scope="module")
def shuffled(planted):
    """The same with the holdout's columns shuffled one by one, and all rows in another order."""
    random = np.random.default_rng(1)
    future = planted["purchased_at"] >= CUTOFF
    mixed = planted.copy()
    for column in ("stock_code", "customer_id", "purchased_at", "unit_price", "quantity", "description", "country"):
        mixed.loc[future, column] = random.permutation(mixed.loc[future, column].to_numpy())
    mixed["returned_at"] = mixed["returned_at"].where(mixed["returned_at"] < CUTOFF)
    return mixed.sample(frac=1, random_state=2)


def backtest(interactions, truth, recipe, looks=None):
    return train_and_recommend(snapshot_of(interactions, looks), recipe, truth, depth=10, device="cpu")


def test_a_product_of_the_holdout_is_in_no_vocabulary_feature_baseline_or_list(planted, recipe):
    truth = truth_for(snapshot_of(planted), CUTOFF)
    # A leak would show: most customers of the holdout bought it.
    assert sum(PLANTED in codes for codes in truth.bought["for_you"].values()) > 50
    assert LATE in truth.bought["for_you"]
    assert PLANTED not in truth.catalogue
    assert LATE not in truth.known_customers

    candidate, lists = backtest(planted, truth, recipe)
    assert PLANTED not in candidate.products
    assert LATE not in candidate.customers
    assert lists.keys() == {"candidate", "network_alone", *BASELINES, "version_0"}
    assert candidate.network.product.num_embeddings == 1 + len(candidate.products)
    lists["products"] = product_lists(candidate, planted, CUTOFF, 40)
    lists["fallbacks"] = fallback_lists(planted, CUTOFF, 40)
    for name, made in lists.items():
        assert len(made) > 0
        assert not any(PLANTED in codes for codes in made["stock_codes"]), name
        assert not made["key"].isin([PLANTED, LATE]).any(), name


def test_a_shuffled_holdout_changes_no_bit_of_model_or_lists(planted, shuffled, recipe):
    truth = truth_for(snapshot_of(planted), CUTOFF)
    (one, lists), (other, others) = backtest(planted, truth, recipe), backtest(shuffled, truth, recipe)
    left, right = one.state(), other.state()
    assert left.vocabularies == right.vocabularies
    assert left.tensors.keys() == right.tensors.keys()
    assert all(torch.equal(left.tensors[name], right.tensors[name]) for name in left.tensors)
    assert [report.loss for report in one.history] == [report.loss for report in other.history]
    for name in lists:
        assert lists[name].equals(others[name]), name
    for made in (product_lists, fallback_lists):
        arguments = ((one,), (other,)) if made is product_lists else ((), ())
        assert made(*arguments[0], planted, CUTOFF, 10).equals(made(*arguments[1], shuffled, CUTOFF, 10))


def test_no_feature_knows_more_than_its_instant_and_no_answer_more_than_the_cutoff(planted, shuffled, recipe):
    until = microseconds(CUTOFF)
    events, others = encode(planted, CUTOFF), encode(shuffled, CUTOFF)
    for at, days in instants(events, until, recipe):
        assert at + days * DAY <= until
        for chunk, other in zip(
            queries_at(events, at, days, recipe), queries_at(others, at, days, recipe), strict=True
        ):
            np.testing.assert_array_equal(chunk.contexts.features, other.contexts.features)
            np.testing.assert_array_equal(chunk.positive, other.positive)
    # Purchases after an instant do not change its features, even if they are before the cutoff.
    at, days = instants(events, until, recipe)[0]
    early = encode(planted, CUTOFF - timedelta(days=days))
    state, later = ShopState(early, at, recipe), ShopState(events, at, recipe)
    for chunk, other in zip(
        ContextMaker(state).contexts(state.known_customers),
        ContextMaker(later).contexts(later.known_customers),
        strict=True,
    ):
        assert (early.customers[chunk.customer] == events.customers[other.customer]).all()
        assert (early.products[chunk.product] == events.products[other.product]).all()
        np.testing.assert_array_equal(chunk.features, other.features)


@pytest.fixture(scope="module")
def looks(planted):
    """Who will buy a product looks at it before; so looks of the holdout say all."""
    return make_looks(planted, seen=0.8, seed=2)


def test_looks_of_the_holdout_change_no_bit_of_model_or_lists(planted, looks, recipe):
    truth = truth_for(snapshot_of(planted), CUTOFF)
    recipe = recipe.with_looks()
    before = looks[looks["looked_at"] < CUTOFF]
    # A leak would show: at the holdout's start, all put what they will buy into their baskets.
    carts = [(who, code, "cart", CUTOFF) for who, codes in truth.bought["for_you"].items() for code in codes]
    more = pd.concat([before, looks_frame(carts)]).sample(frac=1, random_state=3)
    (one, lists), (other, others) = (backtest(planted, truth, recipe, each) for each in (before, more))
    left, right = one.state(), other.state()
    assert left.config == right.config | {"history": left.config["history"]}
    assert [report.loss for report in one.history] == [report.loss for report in other.history]
    assert left.tensors.keys() == right.tensors.keys()
    assert all(torch.equal(left.tensors[name], right.tensors[name]) for name in left.tensors)
    for name in lists:
        assert lists[name].equals(others[name]), name
    # And they are read: if nobody looks at anything, the lists are others.
    nothing = recommend_holdout(one, planted, truth, 10, looks=looks_frame([]))
    assert not nothing.equals(lists["candidate"])


def test_no_feature_of_looks_knows_more_than_its_instant(planted, looks, recipe):
    recipe = recipe.with_looks()
    events = encode(planted, CUTOFF, looks)
    for at, days in instants(events, microseconds(CUTOFF), recipe):
        early = encode(planted, CUTOFF, looks[looks["looked_at"] < pd.Timestamp(at, unit="us")])
        for chunk, other in zip(queries_at(events, at, days, recipe), queries_at(early, at, days, recipe), strict=True):
            np.testing.assert_array_equal(chunk.contexts.product, other.contexts.product)
            np.testing.assert_array_equal(chunk.contexts.features, other.contexts.features)


def test_looks_of_the_holdout_do_not_decide_whether_a_model_reads_looks(looks):
    late = looks[looks["looked_at"] >= CUTOFF]
    assert len(late) > 100
    assert not recipe_of(Settings(), late, CUTOFF).reads_looks
    assert recipe_of(Settings(), looks, CUTOFF).reads_looks


def test_a_model_that_reads_no_looks_is_the_same_with_them_and_without(planted, looks, recipe):
    truth = truth_for(snapshot_of(planted), CUTOFF)
    (one, lists), (other, others) = backtest(planted, truth, recipe), backtest(planted, truth, recipe, looks)
    left, right = one.state(), other.state()
    assert left.config["recipe"] == right.config["recipe"]
    assert left.config["features"] == right.config["features"]
    assert not {name for name in left.config["recipe"] if name.startswith("look_")}
    assert left.tensors.keys() == right.tensors.keys()
    assert all(torch.equal(left.tensors[name], right.tensors[name]) for name in left.tensors)
    for name in lists:
        assert lists[name].equals(others[name]), name
