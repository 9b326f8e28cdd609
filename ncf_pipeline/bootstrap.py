"""Confidence intervals over customers by the percentile bootstrap (Efron & Tibshirani 1993, chapter 13)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Interval:
    """A mean with the two ends of its confidence interval."""

    mean: float
    low: float
    high: float


def mean_interval(values: npt.ArrayLike, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean over customers and its interval.

    For a paired comparison give each customer's difference: the customers are the same in both arms,
    so the difference varies far less than either.

    Args:
        values: (customers,) one number for each customer.
        confidence: share of resamples between the two ends.
        resamples: how often customers are drawn again with replacement.
        seed: of the draws.

    Returns:
        NaN everywhere where there is no customer.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    generator = np.random.default_rng(seed)
    # How often each customer is drawn, rather than who: (resamples, customers) never lies in memory.
    means = (
        np.array(
            [
                generator.multinomial(sample.size, np.full(sample.size, 1 / sample.size)) @ sample
                for _ in range(resamples)
            ]
        )
        / sample.size
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(sample.mean()), float(low), float(high))
