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


@pytest.mark.parametrize("seed", range(3))
def test_the_last_place_in_a_group_is_that_of_a_search(seed):
    random = np.random.default_rng(seed)
    start = np.array([0, 0, 5, 6, 40])
    values = np.concatenate([np.sort(random.integers(20, size=size)) for size in np.diff(start)]).astype(np.int32)
    group, value = random.integers(4, size=200), random.integers(-2, 22, size=200)
    places = np.empty(200, np.int64)
    kernels.last_places(group, value, start, values, places)
    for of_group, asked, place in zip(group, value, places, strict=True):
        begin, end = start[of_group], start[of_group + 1]
        up_to = int(np.searchsorted(values[begin:end], asked, side="right"))
        assert place == (begin + up_to - 1 if up_to else -1)


@pytest.mark.parametrize("seed", range(3))
def test_the_highest_and_the_sum_of_a_group_are_those_of_numpy(seed):
    random = np.random.default_rng(seed)
    start = np.array([0, 3, 3, 30, 60, 61, 80])
    values, among = random.normal(size=80), random.random(80) < 0.7
    values[[35, 60]], among[[35, 60]], among[:3] = np.nan, True, False
    owner = np.repeat(np.arange(6), np.diff(start))
    highest = np.full(6, -np.inf)
    np.maximum.at(highest, owner[among], values[among])
    out = np.empty(6)
    kernels.highest_of_groups(values, start, among, out)
    assert np.array_equal(out, highest, equal_nan=True)
    kernels.sums_of_groups(values, start, among, out)
    assert np.array_equal(out, np.bincount(owner[among], values[among], minlength=6), equal_nan=True)
    less = np.empty(80)
    kernels.less_of_groups(values, start, np.arange(6.0), less)
    assert np.array_equal(less, values - owner, equal_nan=True)
