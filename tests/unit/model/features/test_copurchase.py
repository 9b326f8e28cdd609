import numpy as np
import pytest
import scipy.sparse as sp

from ncf_pipeline.model.features import copurchase
from ncf_pipeline.model.features.copurchase import (
    copurchase_weights,
    cosine_neighbours,
    ease,
    low_rank,
    scores_from,
    strongest,
)
from ncf_pipeline.model.recipe import Recipe

ONCE = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1]], np.float32)
BOUGHT = sp.csr_array(ONCE)
OFTEN = sp.csr_array(np.tile(ONCE, (3, 1)))  # each product has at least three buyers


def test_ease_is_the_ridge_regression_of_each_product_on_the_others():
    x = OFTEN.toarray().astype(float)
    others = x[:, [1, 2]]
    expected = np.linalg.solve(others.T @ others + 2 * np.eye(2), others.T @ x[:, 0])
    weights = ease(OFTEN, ridge=2.0)
    assert weights[[1, 2], 0] == pytest.approx(expected, rel=1e-4)
    assert np.diag(weights) == pytest.approx([0, 0, 0])


def test_cosine_is_shrunk_and_leaves_out_the_product_itself():
    weights = cosine_neighbours(BOUGHT, 2).toarray()
    # Products 0 and 1 share 2 of 3 and 2 buyers: 2/sqrt(6), times 2/(2+10).
    assert weights[0, 1] == pytest.approx(2 / np.sqrt(6) * 2 / 12)
    assert np.diag(weights) == pytest.approx([0, 0, 0])


def test_cosine_keeps_what_is_shared_often_and_more_than_by_chance():
    bought = sp.csr_array(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1]], np.float32))
    assert cosine_neighbours(bought, 2, min_common=2, min_lift=1.5).nnz == 2
    assert cosine_neighbours(bought, 2, min_common=3).nnz == 0
    assert cosine_neighbours(bought, 2, min_lift=2.5).nnz == 0


@pytest.mark.parametrize("count", [1, 7, 40, 500])
def test_neighbours_are_those_of_a_full_sort_with_ties_by_column(count):
    random = np.random.default_rng(count)
    bought = (random.random((60, 150)) < random.random(150)).astype(np.float32)
    bought *= np.sqrt(random.choice([0.25, 1.0], (60, 1))).astype(np.float32)
    among = random.random(150) < 0.9
    found = cosine_neighbours(sp.csr_array(bought), count, min_common=2.0, min_lift=0.9, among=among).toarray()
    both = bought.T @ bought
    norm, population = np.diag(both).copy(), np.square(bought.max(axis=1)).sum()
    root = 1 / np.sqrt(np.maximum(norm, np.float32(1e-9)))
    likeness = both * both * root[None, :] * root[:, None] / (both + np.float32(10))
    likeness[(both < 2) | (both * population < np.float32(0.9) * norm[:, None] * norm) | ~among] = 0
    np.fill_diagonal(likeness, 0)
    for one, (of_one, kept) in enumerate(zip(likeness, found, strict=True)):
        best = [column for column in np.lexsort((np.arange(150), -of_one))[:count] if of_one[column] > 0]
        assert np.flatnonzero(kept).tolist() == sorted(best), one
        np.testing.assert_array_equal(kept[best], of_one[best])


@pytest.mark.parametrize("at_once", [1, 5, 100])
def test_entries_are_counted_a_part_at_a_time(monkeypatch, at_once):
    random = np.random.default_rng(1)
    bought = sp.csr_array((random.random((60, 40)) < 0.1) * random.random((60, 1)).astype(np.float32))
    whole = cosine_neighbours(bought, 5)
    monkeypatch.setattr(copurchase, "ENTRIES_AT_ONCE", at_once)
    part = cosine_neighbours(bought, 5)
    assert whole.nnz > 50
    for name in ("indptr", "indices", "data"):
        assert np.array_equal(getattr(part, name), getattr(whole, name))


def test_strongest_breaks_ties_by_column():
    table = sp.csr_array(np.array([[1.0, 3.0, 1.0, 0.0], [0.0, -1.0, 0.0, 2.0]]))
    assert strongest(table, 2).toarray().tolist() == [[1, 3, 0, 0], [0, 0, 0, 2]]


def test_strongest_of_long_rows_with_many_ties_equals_a_full_sort():
    random = np.random.default_rng(0)
    values = np.round(random.random((30, 200)), 1) * (random.random((30, 200)) < 0.5)
    kept = strongest(sp.csr_array(values), 7).toarray()
    for row, kept_row in zip(values, kept, strict=True):
        best = [column for column in np.lexsort((np.arange(200), -row))[:7] if row[column] > 0]
        assert sorted(best) == list(np.flatnonzero(kept_row))
        assert (kept_row[best] == row[best]).all()


def test_a_large_catalogue_gets_sparse_weights():
    weights = copurchase_weights(BOUGHT, Recipe(max_dense_products=2, copurchase_neighbours=1))
    assert sp.issparse(weights)
    assert weights.nnz <= 3
    assert scores_from(BOUGHT, weights).shape == (3, 3)


def test_products_with_few_buyers_have_no_dense_weights():
    weights = ease(sp.csr_array(np.vstack([np.tile(ONCE[:2], (2, 1)), ONCE[2:]])), ridge=2.0)
    assert weights[2].tolist() == weights[:, 2].tolist() == [0, 0, 0]
    assert weights[0, 1] > 0


@pytest.mark.parametrize("dense", [True, False])
def test_low_rank_factors_restore_the_weights(dense):
    random = np.random.default_rng(0)
    left, right = random.standard_normal((2, 30, 3)).astype(np.float32)
    weights = left @ right.T
    one, other = low_rank(weights if dense else sp.csr_array(weights), 5, seed=1)
    assert one.shape == other.shape == (30, 5)
    np.testing.assert_allclose(one @ other.T, weights, atol=1e-4)
