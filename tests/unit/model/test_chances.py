import json
from datetime import timedelta

import numpy as np
import pytest
from planted import with_replenishment
from scipy.special import expit
from shop_with_tastes import CUTOFF, START, frame, make_shop

from ncf_pipeline.evaluation.reliability import reliability
from ncf_pipeline.evaluation.scores import truth_of
from ncf_pipeline.model.chances import (
    FACTS,
    PIECES,
    SHARE,
    Chances,
    Pairs,
    facts_of_customers,
    fit_chances,
    log_shares,
    out_of_fold,
    sampled,
)
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.holdout_pairs import best_pairs
from ncf_pipeline.model.recipe import Recipe

DAYS = timedelta(days=28)


def drawn(customers, *, weight=1.0, level=-2.0, seed=0):
    """Ten pairs of each customer, whose true chance is known; and that chance."""
    random = np.random.default_rng(seed)
    customer = np.repeat(np.arange(customers), 10)
    facts = random.normal(size=(customers, len(FACTS)))[customer]
    facts[:, SHARE] = random.normal(size=len(customer))
    chance = expit(level + weight * facts[:, SHARE] + 0.8 * facts[:, 1])
    bought = random.random(len(customer)) < chance
    return Pairs(customer, np.zeros_like(customer), np.tile(np.arange(10), customers), facts, bought), chance


def test_the_true_chances_are_found_and_hold_for_unseen_customers():
    fitted = fit_chances(drawn(1500)[0], 28)
    unseen, truth = drawn(1500, seed=1)
    chance = fitted.of(unseen.facts)
    assert np.abs(chance - truth).mean() < 0.01
    found = reliability(chance, unseen.bought, unseen.customer)
    assert sum(each.low < each.predicted < each.high for each in found.bins) >= 9
    assert found.skill > 0.15


@pytest.mark.parametrize("weight", [1.0, 0.0, -2.0])
def test_chances_of_a_customer_have_the_order_of_the_scores_whatever_was_learned(weight):
    fitted = fit_chances(drawn(300, weight=weight)[0], 28)
    facts = np.zeros((50, len(FACTS)))
    facts[:, SHARE] = np.linspace(9, -30, 50)  # beyond what was seen, too
    assert (np.diff(fitted.of(facts)) <= 0).all()
    assert min(fitted.weights[:PIECES]) >= 0


@pytest.mark.parametrize("happened", [False, True])
def test_chances_stay_between_0_and_1_where_nobody_or_everybody_bought(happened):
    pairs, _ = drawn(100)
    fitted = fit_chances(Pairs(pairs.customer, pairs.product, pairs.rank, pairs.facts, pairs.bought | True), 28)
    if not happened:
        fitted = fit_chances(Pairs(pairs.customer, pairs.product, pairs.rank, pairs.facts, pairs.bought & False), 28)
    chance = fitted.of(pairs.facts)
    assert ((chance > 0) & (chance < 1)).all()
    assert np.abs(chance - happened).max() < 0.02


def test_one_pair_is_enough_and_none_is_not():
    pairs, _ = drawn(1)
    fitted = fit_chances(pairs.where(pairs.rank == 0), 28)
    assert 0 < fitted.of(pairs.facts)[0] < 1
    assert fit_chances(pairs.where(pairs.rank < 0), 28) is None
    assert np.isnan(out_of_fold(pairs.where(pairs.rank == 0), 28)).all()


def test_nothing_about_a_customer_is_extrapolated():
    pairs, _ = drawn(300)
    fitted = fit_chances(pairs, 28)
    far = pairs.facts[:1].copy()
    far[0, 1:] = 1000
    highest = pairs.facts[:1].copy()
    highest[0, 1:] = pairs.facts[:, 1:].max(axis=0)
    assert fitted.of(far) == pytest.approx(fitted.of(highest))


def test_they_do_not_depend_on_the_scale_of_scores():
    """Another kind of scores, such as a sum of two models', is fitted anew: only what they tell counts."""
    pairs, _ = drawn(500)
    stretched = pairs.facts.copy()
    stretched[:, SHARE] = 40 * stretched[:, SHARE] - 7
    other = Pairs(pairs.customer, pairs.product, pairs.rank, stretched, pairs.bought)
    np.testing.assert_allclose(fit_chances(pairs, 28).of(pairs.facts), fit_chances(other, 28).of(stretched), atol=2e-3)


def test_the_chances_of_a_customer_come_from_a_map_that_others_made():
    pairs, _ = drawn(200)
    chance = out_of_fold(pairs, 28)
    mine = pairs.customer == 0
    flipped = Pairs(pairs.customer, pairs.product, pairs.rank, pairs.facts, pairs.bought ^ mine)
    np.testing.assert_array_equal(chance[mine], out_of_fold(flipped, 28)[mine])
    assert not np.allclose(chance[~mine], out_of_fold(flipped, 28)[~mine])


def test_they_are_stored_as_json_and_those_of_other_facts_are_not_read():
    fitted = fit_chances(drawn(50)[0], 28)
    stored = json.loads(json.dumps(fitted.as_dict()))
    assert Chances.from_dict(stored) == fitted
    assert Chances.from_dict(stored | {"facts": ["something_else"]}) is None


def test_log_shares_by_hand():
    assert np.exp(log_shares(np.log([6.0, 2.0, 2.0]) + 50)) == pytest.approx([0.6, 0.2, 0.2])
    assert len(log_shares(np.array([]))) == 0


def test_a_sample_is_the_same_each_time_and_ascending():
    everyone = np.arange(0, 9000, 3)
    some = sampled(everyone, 100)
    assert some.tolist() == sampled(everyone, 100).tolist() == sorted(set(some.tolist()))
    assert sampled(everyone, 3000) is everyone


def test_the_facts_of_a_customer_by_hand():
    rows = [(1, "A", "I1", 0), (1, "B", "I1", 0), (1, "A", "I2", 20), (2, "A", "I3", 30), (None, "A", "I4", 30)]
    at = START + timedelta(days=40)
    state = ShopState(encode(frame(rows), at), microseconds(at), Recipe())
    (one, two) = (dict(zip(FACTS, row, strict=True)) for row in facts_of_customers(state))
    assert np.exp(one["log_invoices"]) == pytest.approx(2)
    assert np.expm1(one["log_days_since"]) == pytest.approx(20)
    assert np.expm1(one["log_days_known"]) == pytest.approx(40)
    assert np.exp(one["log_basket"]) == pytest.approx(1.5)
    assert one["gaps_since"] == pytest.approx(1.0)  # 40 days for two invoices
    assert np.expm1(one["log_invoices_30"]) == pytest.approx(2 ** (-40 / 30) + 2 ** (-20 / 30))
    assert (one["is_first"], two["is_first"]) == (0, 1)
    assert np.expm1(two["log_days_since"]) == pytest.approx(10)


def pairs_at(shop, at, model=None):
    maker = ListMaker(model, shop, at)
    bought = truth_of(shop, at, at + DAYS).bought["for_you"]
    return best_pairs(maker.scorer, maker.state, maker.state.known_customers, bought)


def test_customers_who_bought_nothing_count_and_so_do_only_the_best_candidates():
    shop = make_shop()
    gone = shop[(shop["customer_id"] != "100") | (shop["purchased_at"] < CUTOFF)]
    pairs = pairs_at(gone, CUTOFF)
    mine = pairs.where(pairs.customer == 0)
    assert len(mine.bought) == 10
    assert not mine.bought.any()
    assert (np.diff(mine.facts[:, SHARE]) < 0).all()
    assert mine.rank.tolist() == list(range(10))
    maker = ListMaker(None, gone, CUTOFF)
    (listed,) = maker.customers(10, chosen=["100"])
    shown = listed["stock_codes"].iloc[0]
    assert [str(code) for code in maker.state.events.products[mine.product]] == shown


def test_chances_from_one_month_hold_for_the_unseen_customers_of_the_next():
    shop, _ = with_replenishment(make_shop(customers=240, days=280))
    before, after = (pairs_at(shop, START + timedelta(days=days)) for days in (196, 224))
    fitted = fit_chances(before.where(before.customer % 2 == 0), 28)
    unseen = after.where((after.customer % 2 == 1) & (after.rank < 10))
    found = reliability(fitted.of(unseen.facts), unseen.bought, unseen.customer)
    assert found.predicted == pytest.approx(found.observed, abs=0.05)
    assert max(abs(each.predicted - each.observed) for each in found.bins) < 0.12
    assert found.skill > 0.1
    assert 0.2 < found.observed < 0.8


def test_an_empty_shop_has_no_pairs():
    shop = frame([(None, "A", "I1", 0)])
    at = START + timedelta(days=1)
    state = ShopState(encode(shop, at), microseconds(at), Recipe())
    assert facts_of_customers(state).shape == (0, len(FACTS))
    assert fit_chances(pairs_at(shop, at), 28) is None
