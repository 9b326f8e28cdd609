"""The interval that holds at all looks."""

import numpy as np
import pytest

from ncf_pipeline.experiments.sequential import best_ratio, margin, smallest_margin


def test_it_is_tightest_where_it_was_told_to_be():
    ratios = best_ratio() * np.array([0.5, 0.9, 1, 1.1, 2])
    margins = [margin(1.0, tau) for tau in np.sqrt(ratios)]
    assert min(margins) == margins[2] == smallest_margin()


def test_margin_by_hand():
    # ratio 1: sqrt(2 * (log 2 + 2 log 20))
    assert margin(0.1, 0.1) == pytest.approx(np.sqrt(2 * (np.log(2) + 2 * np.log(20))))


@pytest.mark.parametrize("drift", [0.0, 1.5])
def test_a_walk_leaves_it_in_at_most_5_of_100_cases_where_a_plain_interval_is_left_in_a_third(drift):
    random = np.random.default_rng(0)
    looks = np.arange(1, 101)
    walks = np.cumsum(random.standard_normal((2000, 100)) + drift, axis=1) / looks
    errors = 1 / np.sqrt(looks)
    off = np.abs(walks - drift)
    always = (off > np.array([margin(error, np.sqrt(best_ratio() / 50)) for error in errors]) * errors).any(axis=1)
    assert always.mean() <= 0.05
    assert (off > 1.96 * errors).any(axis=1).mean() > 0.3
