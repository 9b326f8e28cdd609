from dataclasses import replace

import numpy as np
from shop_with_tastes import CUTOFF, START

from ncf_pipeline.model import ids
from ncf_pipeline.model.features.queries import chunks_at
from ncf_pipeline.model.ids import worth_of_ids
from ncf_pipeline.settings import Settings

MIN_WORTH = Settings().gate_min_ids_worth


def permuted(ids):
    return [ids[index] for index in np.random.default_rng(11).permutation(len(ids))]


def test_a_model_knows_its_ids_and_a_permuted_vocabulary_is_detected(shop, model):
    worth = worth_of_ids(model, shop)
    assert worth.queries > 50
    assert worth.customers_in_place
    assert worth.products_in_place
    assert worth.products > MIN_WORTH
    customers = worth_of_ids(replace(model, customers=permuted(model.customers)), shop)
    assert not customers.customers_in_place
    assert customers.products_in_place
    products = worth_of_ids(replace(model, products=permuted(model.products)), shop)
    assert not products.products_in_place
    assert products.products < MIN_WORTH


def test_purchases_after_the_cutoff_change_nothing(shop, model):
    assert worth_of_ids(model, shop) == worth_of_ids(model, shop[shop["purchased_at"] < CUTOFF])


def test_a_shop_without_a_whole_horizon_has_no_queries(shop, model):
    young = replace(model, cutoff=START)
    assert worth_of_ids(young, shop).queries == 0


def test_queries_beyond_those_that_count_are_not_made(shop, model, monkeypatch):
    made = []

    def counted(*arguments):
        for chunk in chunks_at(*arguments):
            made.append(len(chunk.answered()))
            yield chunk

    monkeypatch.setattr(ids, "MAX_QUERIES", 10)
    every = worth_of_ids(model, shop)
    monkeypatch.setattr(ids, "chunks_at", counted)
    assert worth_of_ids(model, shop) == every
    assert every.queries == 10
    assert sum(made) >= 10 > sum(made[:-1])
