"""Batches are the same wherever the queries live: in the host's memory, or in the device's."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from shop_with_tastes import CUTOFF

from ncf_pipeline.model.batches import Batches, Resident
from ncf_pipeline.model.device import Policy, place
from ncf_pipeline.model.features.events import encode, microseconds
from ncf_pipeline.model.fitting import inner_precision
from ncf_pipeline.model.network import Answers, Batch
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import new_network
from ncf_pipeline.model.training import all_queries


@pytest.fixture(scope="module")
def chunks(shop):
    # Small chunks: a batch then has queries of several.
    recipe = Recipe(popular_candidates=15, taste_candidates=5, chunk_mb=1, max_instants=4)
    return all_queries(encode(shop, CUTOFF), microseconds(CUTOFF), recipe)


@pytest.fixture(scope="module")
def rows(shop):
    events = encode(shop, CUTOFF)
    return np.arange(len(events.customers)) + 1, np.arange(len(events.products)) + 1


def tensors_of(part):
    """Every tensor and number of a batch, by name."""
    found = {}
    for name, value in vars(part).items():
        nested = isinstance(value, Batch | Answers)
        found |= {f"{name}.{key}": each for key, each in tensors_of(value).items()} if nested else {name: value}
    return found


def assert_same(one, other):
    for left, right in zip(map(tensors_of, one), map(tensors_of, other), strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            assert torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name], name


def both(chunks, rows, placement=None):
    """The same queries in the host's memory, and as those of a larger resident set."""
    placement = placement or place("cpu")
    resident = Resident(chunks, rows[1], placement)
    part = chunks[1:]
    return Batches(part, *rows, placement), Batches(part, *rows, placement, resident)


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_batches_gathered_on_the_device_are_those_of_the_host(chunks, rows, size, share):
    host, device = both(chunks, rows)
    assert len(host) > 2 * size
    weights = np.random.default_rng(1).random(len(host))
    assert_same(
        host.shuffled(size, weights, share, np.random.default_rng(2)),
        device.shuffled(size, weights, share, np.random.default_rng(2)),
    )
    assert_same(host.in_order(size), device.in_order(size))


def test_each_of_two_processes_gets_its_part_of_the_same_batches(chunks, rows):
    weights = np.ones(len(both(chunks, rows)[0]))
    queries = 0
    for rank in (0, 1):
        host, device = both(chunks, rows, replace(place("cpu"), rank=rank, world=2))
        made = list(host.shuffled(8, weights, 0.3, np.random.default_rng(2)))
        assert_same(made, device.shuffled(8, weights, 0.3, np.random.default_rng(2)))
        queries += sum(len(batch.weight) for batch in made)
        assert sum(batch.queries for batch in made) == pytest.approx(len(weights) / 2, abs=0.5)
    assert queries in (len(weights), len(weights) - 1)


def test_answers_are_the_candidates_that_were_bought(chunks, rows):
    host, _ = both(chunks, rows)
    for batch in host.shuffled(16, np.ones(len(host)), 0.3, np.random.default_rng(0)):
        for answers, hit in ((batch.bought, batch.positive), (batch.bought_new, batch.positive & batch.new)):
            query = batch.inputs.query[hit]
            assert torch.equal(answers.rows, hit.nonzero()[:, 0])
            assert torch.equal(answers.query, query)
            assert torch.equal(answers.count, torch.bincount(query, minlength=len(batch.weight)))
            assert torch.equal(answers.answered, query.unique())
        assert batch.longest == int(batch.place.max()) + 1


def test_moments_and_inner_precision_do_not_depend_on_where_the_queries_live(chunks, rows):
    host, device = both(chunks, rows)
    for left, right in zip(host.moments(), device.moments(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-4)
    network = new_network(len(rows[0]), len(rows[1]), Recipe(embedding_dim=4, hidden=(8, 4))).eval()
    assert inner_precision(network, host) == inner_precision(network, device)


def test_queries_live_on_the_device_only_if_the_policy_says_so(chunks, rows):
    assert Resident.if_it_fits(chunks, rows[1], place("cpu")) is None
    resident = Resident.if_it_fits(chunks, rows[1], place("cpu", Policy(resident=True)))
    assert len(resident.product) == sum(len(chunk.positive) for chunk in chunks)


def test_a_card_holds_queries_that_take_at_most_half_of_its_free_memory(monkeypatch):
    card = replace(place("cpu"), device=torch.device("cuda", 0), policy=Policy(resident=True))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 2**20, 80 * 2**20))
    assert card.holds(4)
    assert not card.holds(5)
