import math

import numpy as np
import pytest

from ncf_pipeline.evaluation.bootstrap import mean_intervals


def test_the_interval_of_equal_values_has_no_width():
    (interval,) = mean_intervals([[0.2]] * 50)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.2, 0.2, 0.2))


def test_the_interval_is_the_normal_one_for_many_customers():
    values = np.random.default_rng(1).binomial(1, 0.3, (2000, 1))
    (interval,) = mean_intervals(values)
    error = 1.96 * math.sqrt(values.mean() * (1 - values.mean()) / 2000)
    assert interval.low == pytest.approx(values.mean() - error, abs=0.003)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.003)


def test_columns_share_their_draws_so_the_interval_of_a_constant_difference_has_no_width():
    a = np.random.default_rng(2).random(300)
    first, second, difference = mean_intervals(np.column_stack([a, a - 0.1, a - (a - 0.1)]))
    assert first.low - second.low == pytest.approx(0.1)
    assert (difference.low, difference.high) == pytest.approx((0.1, 0.1))


def test_many_customers_are_drawn_in_steps():
    values = np.random.default_rng(3).random((5000, 1))  # 2000 x 5000 draws do not fit at once
    (interval,) = mean_intervals(values)
    error = 1.96 * values.std() / math.sqrt(5000)
    assert interval.high - interval.low == pytest.approx(2 * error, rel=0.1)


def test_the_same_seed_gives_the_same_interval():
    values = [[0.0], [0.2], [0.4], [0.2], [1.0]]
    assert mean_intervals(values, seed=3) == mean_intervals(values, seed=3)


def test_without_customers_everything_is_nan():
    for interval in mean_intervals(np.empty((0, 2))):
        assert all(math.isnan(value) for value in vars(interval).values())


def test_over_few_customers_the_interval_is_as_wide_as_that_of_student():
    values = np.random.default_rng(4).normal(0.3, 0.1, (12, 400))
    widths = np.array([interval.high - interval.low for interval in mean_intervals(values)])
    student = 2 * 2.201 * values.std(axis=0, ddof=1) / math.sqrt(12)
    # Percentiles alone would be a sixth narrower.
    assert np.mean(widths / student) == pytest.approx(1, abs=0.05)
    covered = [interval.low <= 0.3 <= interval.high for interval in mean_intervals(values)]
    assert np.mean(covered) >= 0.93
