"""Which customers are in an experiment's share."""

import numpy as np
import pytest
from scipy import stats

from ncf_pipeline.experiments.assignment import chosen, fraction

IDS = [str(number) for number in range(10_000, 60_000)]


def test_assignment_is_the_same_in_every_process_and_release():
    """If this number ever changes, customers of a running experiment change groups."""
    assert fraction("spring", "14646") == pytest.approx(0.9334350429817493)
    assert fraction("spring", "anna@example.com") == pytest.approx(0.4138532030693356)


def test_the_share_is_drawn_uniformly_over_ids():
    drawn = np.array([fraction("spring", customer) for customer in IDS])
    assert stats.kstest(drawn, "uniform").pvalue > 0.001
    # Neighbours are drawn independently of each other.
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_another_salt_draws_other_customers(share):
    spring, autumn = chosen("spring", share, IDS), chosen("autumn", share, IDS)
    assert spring.mean() == pytest.approx(share, abs=0.01)
    assert (spring & autumn).mean() == pytest.approx(share**2, abs=0.01)


def test_a_larger_share_contains_the_smaller_one():
    assert not (chosen("spring", 0.05, IDS) & ~chosen("spring", 0.2, IDS)).any()
