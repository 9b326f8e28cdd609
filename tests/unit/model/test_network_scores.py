"""Scores for lists are those of the network, though what candidates share is computed once."""

from datetime import timedelta

import numpy as np
import pytest
import torch
from shop_with_tastes import START

from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.features.state import ShopState, unit_rows
from ncf_pipeline.model.features.tables import FeatureRows
from ncf_pipeline.model.network import Batch
from ncf_pipeline.model.network_scores import NetworkScores
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import new_network

AT = START + timedelta(days=200)


@pytest.fixture(scope="module")
def state(shop):
    return ShopState(encode(shop, AT), microseconds(AT), Recipe())


@pytest.fixture(scope="module")
def network(state):
    torch.manual_seed(0)
    customers, products = state.shape
    network = new_network(customers, products, state.recipe).eval()
    with torch.no_grad():
        for table in network.parameters():
            table.copy_(0.1 * torch.randn(table.shape))
        network.feature_mean.copy_(torch.randn(network.feature_mean.shape))
        network.feature_scale.copy_(torch.rand(network.feature_scale.shape))
    return network


def rows_of(size, unknown):
    rows = np.arange(size) + 1
    rows[::unknown] = 0  # those that the network does not know share a row
    return rows


@pytest.fixture(scope="module")
def scorer(state, network):
    customers, products = state.shape
    return NetworkScores(network, rows_of(customers, 5), rows_of(products, 7))


def history_of(state, contexts):
    return unit_rows(state.decayed(contexts.customer))


@torch.no_grad()
def by_the_network(network, scorer, contexts, history):
    batch = Batch(
        customer=scorer.customer_rows[contexts.customer],
        history=torch.from_numpy(scorer.product_rows[history.indices]),
        history_start=torch.from_numpy(history.indptr[:-1].astype(np.int64)),
        history_weight=torch.from_numpy(history.data),
        product=torch.from_numpy(scorer.product_rows[contexts.product]),
        query=torch.from_numpy(np.repeat(np.arange(len(contexts.customer)), np.diff(contexts.start))),
        features=torch.from_numpy(contexts.features[:]),
    )
    return network(batch).numpy()


def test_scores_are_those_of_the_network(state, network, scorer):
    for contexts in ContextMaker(state).contexts(state.known_customers):
        history = history_of(state, contexts)
        expected = by_the_network(network, scorer, contexts, history)
        assert scorer.of(contexts, history) == pytest.approx(expected, abs=1e-4)


def test_features_in_one_table_are_scored_too(state, network, scorer):
    contexts = next(ContextMaker(state).contexts(state.known_customers))
    history, shared = history_of(state, contexts), contexts.features
    expected = by_the_network(network, scorer, contexts, history)
    object.__setattr__(contexts, "features", FeatureRows.of(shared[:]))
    assert scorer.of(contexts, history) == pytest.approx(expected, abs=1e-4)


def test_a_customers_scores_do_not_depend_on_who_else_is_scored(state, scorer):
    maker = ContextMaker(state)
    together = maker.of(state.known_customers[:40])
    scores = scorer.of(together, history_of(state, together))
    for place in (0, 7, 39):
        alone = maker.of(state.known_customers[place : place + 1])
        part = slice(together.start[place], together.start[place + 1])
        assert scorer.of(alone, history_of(state, alone)).tobytes() == scores[part].tobytes()
