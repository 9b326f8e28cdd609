import numpy as np
import pytest
import scipy.sparse as sp

from ncf_pipeline.model.copurchase import copurchase_weights, cosine_neighbours, ease, scores_from, strongest
from ncf_pipeline.model.recipe import Recipe

BOUGHT = sp.csr_array(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1]], np.float32))


def test_ease_is_the_ridge_regression_of_each_product_on_the_others():
    x = BOUGHT.toarray().astype(float)
    others = x[:, [1, 2]]
    expected = np.linalg.solve(others.T @ others + 2 * np.eye(2), others.T @ x[:, 0])
    weights = ease(BOUGHT, ridge=2.0)
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


def test_strongest_breaks_ties_by_column():
    table = sp.csr_array(np.array([[1.0, 3.0, 1.0, 0.0], [0.0, -1.0, 0.0, 2.0]]))
    assert strongest(table, 2).toarray().tolist() == [[1, 3, 0, 0], [0, 0, 0, 2]]


def test_a_large_catalogue_gets_sparse_weights():
    weights = copurchase_weights(BOUGHT, Recipe(max_dense_products=2, copurchase_neighbours=1))
    assert sp.issparse(weights)
    assert weights.nnz <= 3
    assert scores_from(BOUGHT, weights).shape == (3, 3)
