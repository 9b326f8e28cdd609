"""Confidence intervals over customers, by the percentile bootstrap (Efron & Tibshirani 1993, chapter 13).

With few customers percentiles are too narrow, so they are taken further out: as a t interval is wider than a normal one
with the divisor n (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4),
section 5.2: the expanded percentile interval).
"""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

CONFIDENCE = 0.95
RESAMPLES = 2000
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A mean with the ends of its 95% confidence interval."""

    mean: float
    low: float
    high: float


def mean_intervals(values: npt.ArrayLike, *, seed: int = 0) -> list[Interval]:
    """Computes the mean of each column over customers, with its interval.

    All columns share the same draws of customers. To test whether A is better than B, pass A - B as a column: the
    customers are the same in both, so the paired difference varies far less than A or B.

    Args:
        values: (customers, columns), one row for each customer.
        seed: of the draws.

    Returns:
        One interval for each column; NaN without customers.
    """
    sample = np.asarray(values, dtype=float)
    customers, columns = sample.shape
    if customers == 0:
        return [Interval(float("nan"), float("nan"), float("nan"))] * columns
    generator = np.random.default_rng(seed)
    chances = np.full(customers, 1 / customers)
    step = max(1, _CELLS_AT_ONCE // customers)
    # Counts of draws for each customer, (step, customers) at a time: all at once would need too much memory.
    means = np.concatenate(
        [
            generator.multinomial(customers, chances, size=min(step, RESAMPLES - start)) @ sample / customers
            for start in range(0, RESAMPLES, step)
        ]
    )  # (RESAMPLES, columns)
    tail = expanded_tail(customers)
    low, high = np.quantile(means, [tail, 1 - tail], axis=0)
    mean = sample.mean(axis=0)
    return [Interval(float(mean[column]), float(low[column]), float(high[column])) for column in range(columns)]


def expanded_tail(customers: int) -> float:
    """The share of draws beyond each end of an interval over so many customers: 0.025 for many, less for few.

    >>> round(expanded_tail(20), 4), round(expanded_tail(1000), 4)
    (0.0159, 0.0248)
    """
    tail = (1 - CONFIDENCE) / 2
    if customers < 2:
        return tail
    t = -float(stdtrit(customers - 1, tail))
    return NormalDist().cdf(-t * sqrt(customers / (customers - 1)))
