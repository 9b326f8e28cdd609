import math

import numpy as np
import pytest

from ncf_pipeline.bootstrap import mean_interval


def test_equal_values_leave_no_doubt():
    interval = mean_interval([0.2] * 50)
    assert (interval.mean, interval.low, interval.high) == pytest.approx((0.2, 0.2, 0.2))


def test_the_interval_is_the_normal_one_for_many_customers():
    values = np.random.default_rng(1).binomial(1, 0.3, 2000)
    interval = mean_interval(values)
    error = 1.96 * math.sqrt(values.mean() * (1 - values.mean()) / 2000)
    assert interval.low == pytest.approx(values.mean() - error, abs=0.003)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.003)


def test_the_same_seed_gives_the_same_interval():
    values = [0.0, 0.2, 0.4, 0.2, 1.0]
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)


def test_no_customers_give_no_number():
    assert all(math.isnan(value) for value in vars(mean_interval([])).values())
