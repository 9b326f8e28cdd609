"""The always-valid interval."""

import numpy as np
import pytest

from ncf_pipeline.experiments.sequential import best_ratio, margin, smallest_margin


def test_the_interval_is_tightest_at_the_best_ratio():
    ratios = best_ratio() * np.array([0.5, 0.9, 1, 1.1, 2])
    margins = [margin(1.0, tau) for tau in np.sqrt(ratios)]
    assert min(margins) == margins[2] == smallest_margin()


def test_margin_by_hand():
    # ratio 1: sqrt(2 * (log 2 + 2 log 20))
    assert margin(0.1, 0.1) == pytest.approx(np.sqrt(2 * (np.log(2) + 2 * np.log(20))))


@pytest.mark.parametrize("drift", [0.0, 1.5])
def test_at_most_5_of_100_walks_ever_leave_it_but_a_third_leave_an_interval_for_one_look(drift):
    random = np.random.default_rng(0)
    looks = np.arange(1, 101)
    walks = np.cumsum(random.standard_normal((2000, 100)) + drift, axis=1) / looks
    errors = 1 / np.sqrt(looks)
    off = np.abs(walks - drift)
    always = (off > np.array([margin(error, np.sqrt(best_ratio() / 50)) for error in errors]) * errors).any(axis=1)
    assert always.mean() <= 0.05
    assert (off > 1.96 * errors).any(axis=1).mean() > 0.3
