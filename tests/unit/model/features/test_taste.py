"""Candidates and their scores, against the definitions written out as dense tables."""

from dataclasses import fields, replace
from datetime import timedelta

import numpy as np
import pytest
from ledgers import interactions_of
from shop_with_tastes import START

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features import state as state_module
from ncf_pipeline.model.features import taste as taste_module
from ncf_pipeline.model.features.copurchase import cosine_neighbours
from ncf_pipeline.model.features.events import DAY, encode, microseconds
from ncf_pipeline.model.features.state import Pairs, ShopState, unit_rows
from ncf_pipeline.model.features.taste import Taste
from ncf_pipeline.model.recipe import Recipe

FEW = {"popular_candidates": 3, "taste_candidates": 4, "max_history_candidates": 3, "similar_customers": 5}
DENSE, SPARSE = Recipe(**FEW), Recipe(**FEW, max_dense_products=0, copurchase_neighbours=6)
SEEDS = range(6)


def a_state(seed, recipe):
    """A shop of 25 customers and a guest, with returns, at its day 200 of 300."""
    random = np.random.default_rng(seed)
    lines = []
    for invoice in range(220):
        customer, day = int(random.integers(26)), int(random.integers(300))
        for code in random.choice(30, int(random.integers(1, 6)), replace=False, p=np.arange(1, 31) / 465):
            returned = day + int(random.integers(40)) if random.random() < 0.1 else None
            lines.append((customer or None, f"{10 + code}", f"{invoice:04d}", day, 1.0, 2.0, returned))
    events = encode(interactions_of(lines), START + timedelta(days=300))
    return ShopState(events, microseconds(START + timedelta(days=200)), recipe)


def dense(weights):
    return weights if isinstance(weights, np.ndarray) else weights.toarray()


def scores_of(taste):
    """By definition: (SOURCES, C, P)."""
    state, recipe = taste.state, taste.recipe
    bought, decayed, last = (table().toarray() for table in (state.bought, state.decayed, state.last_basket))
    unit = unit_rows(state.decayed()).toarray()
    by_customers, by_baskets, words = dense(taste.by_customers), dense(taste.by_baskets), taste.by_words.toarray()
    scores = np.zeros((kernels.SOURCES, *state.shape))
    scores[kernels.COPURCHASE], scores[kernels.COPURCHASE_DECAYED] = bought @ by_customers, decayed @ by_customers
    scores[kernels.COPURCHASE_LAST], scores[kernels.BASKET_LAST] = last @ by_customers, last @ by_baskets
    scores[kernels.BASKET_DECAYED], scores[kernels.WORDS] = decayed @ by_baskets, unit @ words
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, 0)
    recent = state.recent.toarray()
    for customer in range(state.shape[0]):
        near = np.argsort(-likeness[customer], kind="stable")[: recipe.similar_customers]
        weight = likeness[customer, near] ** 2
        weight /= max(weight.sum(), 1e-9)
        scores[kernels.NEIGHBOURS, customer] = weight @ decayed[near]
        scores[kernels.NEIGHBOURS_RECENT, customer] = weight @ recent[near]
    before, after = histories_and_purchases(state)
    if len(before):
        weights = np.linalg.solve(before @ before.T + recipe.follower_ridge * np.eye(len(before)), before @ unit.T).T
        for source, bought_after in zip((kernels.FOLLOWED_NEW, kernels.FOLLOWED_ALL), after, strict=True):
            scores[source] = weights @ bought_after - weights.sum(axis=1, keepdims=True) * bought_after.mean(axis=0)
    return scores


def histories_and_purchases(state):
    """What customers had at the beginning of past horizons, and what they bought in them: new to them, and all."""
    horizon, before, after = state.recipe.horizon_days * DAY, [], ([], [])
    for window in range(1, state.recipe.follower_windows + 1):
        begin = state.at - window * horizon
        earlier = ShopState(state.events, begin, state.recipe)
        unit, events = unit_rows(earlier.decayed()).toarray(), state.events
        inside = state.alive & (events.customer >= 0) & (events.time >= begin) & (events.time < begin + horizon)
        for customer in np.intersect1d(events.customer[inside], earlier.known_customers):
            products = np.unique(events.product[inside & (events.customer == customer)])
            new = products[~np.isin(products, earlier.products_seen_by(customer))]
            before.append(unit[customer])
            for rows, some in zip(after, (new, products), strict=True):
                row = np.zeros(state.shape[1])
                row[some] = 1 / np.sqrt(max(len(some), 1))
                rows.append(row)
    return np.array(before), [np.array(rows) for rows in after]


def chosen_for(customer, state, scores):
    """By definition: best sellers, the best of four scores one after the other, and the customer's own."""
    recipe = state.recipe
    chosen = set(state.ranking[: recipe.popular_candidates].tolist())
    for source in (kernels.COPURCHASE, kernels.COPURCHASE_DECAYED, kernels.NEIGHBOURS_RECENT, kernels.FOLLOWED_NEW):
        row = scores[source, customer]
        rest = [product for product in range(state.shape[1]) if row[product] > 1e-7 and product not in chosen]
        chosen |= set(sorted(rest, key=lambda product: (-round(row[product], 5), product))[: recipe.taste_candidates])
    pairs = range(state.pairs.start[customer], state.pairs.start[customer + 1])
    own = sorted((pair for pair in pairs if state.pairs.times[pair] > 0), key=lambda pair: -state.pairs.last[pair])
    chosen |= {int(state.pairs.product[pair]) for pair in own[: recipe.max_history_candidates]}
    return sorted(product for product in chosen if state.known_products[product])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("recipe", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_candidates_and_scores_are_those_of_the_definition(seed, recipe):
    state = a_state(seed, recipe)
    taste, customers = Taste(state), state.known_customers
    made, scores = taste.candidates(customers), scores_of(Taste(state))
    assert made.start[-1] == len(made.product) == len(made.owner) > 0
    for place, customer in enumerate(customers):
        part = slice(made.start[place], made.start[place + 1])
        product = made.product[part]
        expected = scores[:, customer, product].T
        # Float32 sums differ in the last place, and customers who are equally similar may be taken one for the other.
        assert made.scores[part] == pytest.approx(expected, abs=2e-4)
        assert product.tolist() == chosen_for(customer, state, scores)
        assert made.highest[place] == pytest.approx(max(scores[kernels.COPURCHASE, customer].max(), 0), abs=1e-5)
        pairs = made.pair[part]
        assert (state.pairs.product[pairs[pairs >= 0]] == product[pairs >= 0]).all()
        assert (pairs >= 0).tolist() == np.isin(product, state.products_seen_by(customer)).tolist()


@pytest.mark.parametrize("recipe", [DENSE, SPARSE], ids=["dense", "sparse"])
def test_a_customers_candidates_do_not_depend_on_who_else_is_asked_for(recipe):
    state = a_state(1, recipe)
    taste, customers = Taste(state), state.known_customers
    together = taste.candidates(customers)
    for place, customer in enumerate(customers):
        alone = taste.candidates(np.array([customer]))
        part = slice(together.start[place], together.start[place + 1])
        assert alone.product.tolist() == together.product[part].tolist()
        assert alone.scores.tobytes() == together.scores[part].tobytes()


@pytest.mark.parametrize("ready_mb", [0, taste_module.READY_MB])
@pytest.mark.parametrize("short_below", [0, 10**9], ids=["all are short", "all are long"])
def test_short_and_long_histories_have_the_same_weights_of_followers(monkeypatch, short_below, ready_mb):
    monkeypatch.setattr(taste_module, "SHORT_BELOW", short_below)
    monkeypatch.setattr(taste_module, "READY_MB", ready_mb)
    state = a_state(2, DENSE)
    taste, customers = Taste(state), state.known_customers
    made, scores = taste.candidates(customers), scores_of(Taste(state))
    for place, customer in enumerate(customers):
        part = slice(made.start[place], made.start[place + 1])
        for source in (kernels.FOLLOWED_NEW, kernels.FOLLOWED_ALL):
            assert made.scores[part, source] == pytest.approx(scores[source, customer, made.product[part]], abs=2e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_nearest_products_are_those_of_the_whole_table(seed):
    bought = a_state(seed, DENSE).bought()
    table = bought.toarray()
    common, buyers = table.T @ table, table.sum(axis=0)
    lift = common * len(table) / np.maximum(np.outer(buyers, buyers), 1e-9)
    cosine = common**2 / (common + 10) / np.sqrt(np.maximum(np.outer(buyers, buyers), 1e-9))
    cosine[(common < 2) | (lift < 1.01)] = 0
    np.fill_diagonal(cosine, 0)
    nearest = cosine_neighbours(bought, 5, min_common=2, min_lift=1.01)
    assert nearest.has_sorted_indices
    for product, row in enumerate(cosine):
        best = sorted(np.flatnonzero(row), key=lambda other: (-round(row[other], 5), other))[:5]
        assert nearest[[product]].indices.tolist() == sorted(best)
        assert nearest[[product]].data == pytest.approx(row[sorted(best)])


@pytest.mark.parametrize("pool", [4, 1000])
def test_followers_are_those_of_whole_states_of_the_shop(pool):
    """Though histories are made of those customers alone who are among them."""
    state = a_state(1, replace(DENSE, follower_pool=pool))
    before, _ = histories_and_purchases(state)
    kept = np.linspace(0, len(before) - 1, pool).astype(int) if len(before) > pool else slice(None)
    np.testing.assert_array_equal(Taste(state)._followers.before.toarray().T, before[kept])


def test_histories_that_are_counted_some_customers_at_a_time_are_the_same(monkeypatch):
    whole = a_state(2, DENSE)
    for most in (1, 40, 300):
        monkeypatch.setattr(state_module, "EVENTS_AT_ONCE", most)
        parts = ShopState(whole.events, whole.at, DENSE)
        for field in fields(Pairs):
            one, other = getattr(whole.pairs, field.name), getattr(parts.pairs, field.name)
            np.testing.assert_array_equal(one, other, err_msg=field.name)
            assert one.dtype == other.dtype
