import numpy as np
import pytest
from shop_with_tastes import CUTOFF

from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.lists.certainty import BINS, Certainty


def counted(scores, top_n):
    certainty = Certainty()
    certainty.add(np.array(scores, np.float32), np.array([0, len(scores)]), top_n)
    return certainty.counts.nonzero()[0].tolist()


@pytest.mark.parametrize(
    ("scores", "top_n", "share"),
    [
        ([0, 0, 0], 1, 1 / 3),
        ([np.log(4), np.log(3)], 1, 4 / 7),
        ([np.log(6), np.log(2), 0, 0, 0], 2, 8 / 11),
        ([5, 1], 2, 1.0),
    ],
)
def test_shares_by_hand(scores, top_n, share):
    assert counted(scores, top_n) == [min(int(share * BINS), BINS - 1)]
    assert counted(np.array(scores) + 100, top_n) == counted(scores, top_n)  # the softmax is the same


def test_scores_that_are_not_finite_and_customers_without_candidates_are_not_counted():
    assert counted([np.nan, 1], 1) == counted([1, np.inf], 1) == counted([-np.inf], 1) == counted([], 1) == []


def test_customers_of_a_chunk_are_counted_as_one_by_one():
    certainty = Certainty()
    certainty.add(np.array([0, 0, 0, np.nan, 5, 1], np.float32), np.array([0, 3, 3, 4, 6]), 1)
    assert certainty.counts.sum() == 2
    assert certainty.counts.nonzero()[0].tolist() == [int(BINS / 3), int(BINS / (1 + np.exp(-4)))]


def test_each_customer_with_lists_is_counted_once(model, shop):
    maker = ListMaker(model, shop, CUTOFF)
    customers = sum(len(lists) // 3 for lists in maker.customers(10, batch_customers=7))
    assert maker.certainty.counts.sum() == customers == maker.known
