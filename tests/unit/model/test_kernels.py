"""Compiled searches, against a plain sort."""

from itertools import pairwise

import numpy as np
import pytest

from ncf_pipeline.model import kernels


@pytest.mark.parametrize("most", [1, 3, 10, 50])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_candidates_are_those_of_a_sort(seed, most):
    random = np.random.default_rng(seed)
    start = np.array([0, 0, 7, 40, 41])
    product = np.concatenate([np.sort(random.choice(90, size, replace=False)) for size in np.diff(start)])
    scores = random.integers(6, size=41).astype(float)  # many ties
    scores[[8, 12, 40]] = [np.nan, -np.inf, np.nan]
    among = random.random(41) < 0.8
    best, size = np.empty((4, most), np.int64), np.empty(4, np.int64)
    kernels.best_candidates(start, product, scores, among, best, size)
    for owner, (begin, end) in enumerate(pairwise(start)):
        rows = np.flatnonzero(among[begin:end]) + begin
        value = np.where(np.isnan(scores[rows]), -np.inf, scores[rows])
        expected = product[rows[np.lexsort((product[rows], -value))]][:most]
        assert best[owner, : size[owner]].tolist() == expected.tolist()


@pytest.mark.parametrize("most", [0, 1, 7, 200])
def test_the_nearest_of_rows_are_those_of_a_sort(most):
    random = np.random.default_rng(most)
    table = np.round(random.random((150, 150)), 2).astype(np.float32)  # with ties, and more than two looks at a row
    hidden = random.random(150) < 0.2
    values, best = np.zeros((30, most), np.float32), np.zeros((30, most), np.int64)
    size = np.empty(30, np.int64)
    kernels.nearest_of_rows(table[60:90], 60, hidden, values, best, size)
    for row in range(30):
        others = np.array([other for other in range(150) if other != 60 + row and not hidden[other]])
        expected = others[np.lexsort((others, -table[60 + row, others]))][:most]
        assert best[row, : size[row]].tolist() == expected.tolist()
        assert values[row, : size[row]].tolist() == table[60 + row, expected].tolist()
