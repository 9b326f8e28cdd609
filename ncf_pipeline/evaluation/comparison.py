"""Whether a candidate is worse than another recommender, in shops of any size and precision. It is pure.

Limits are relative to the other's Precision@K, `P`. They follow from the standard error `se` of the candidate's mean
lead:

- The candidate is **worse** if its mean lead is below `-max(z * se, floor * P)`. An equal candidate's lead is below
  `-z * se` by chance, with a stated probability. A loss of `floor * P` is too small to matter.
- A loss of `max_loss * P` is **excluded** if the mean lead is at least `z' * se - max_loss * P`. A candidate that is so
  much worse has such a lead by chance only, with the probability `MISSED`.
- Between these limits the data **cannot tell** an equal candidate from one that is so much worse. With enough customers
  nothing is between them.

This is a test of non-inferiority with a relative margin, beside a test of the opposite (Wellek 2010, "Testing
Statistical Hypotheses of Equivalence and Noninferiority", 2nd edition, chapter 2). One alone would hold every candidate
of a small shop, or none.
"""

from dataclasses import dataclass
from functools import cache
from math import isfinite
from statistics import NormalDist

from ncf_pipeline.evaluation.bootstrap import CONFIDENCE
from ncf_pipeline.evaluation.scores import Scores

MISSED = 0.10
"""Probability that a candidate that is worse by the largest loss has a lead that excludes that loss."""

FALSE_ALARM = 0.025
"""Probability that an equal candidate counts as worse, in one comparison: the 95% interval is then below zero."""


@dataclass(frozen=True)
class Comparison:
    """The candidate's lead over another recommender, with its limits.

    Attributes:
        other: the scores of the other recommender, which hold the candidate's lead.
        worse_below: Precision@K; the candidate is worse if its mean lead is below it.
        excluded_from: Precision@K; the largest loss is excluded if the mean lead is at least this.
    """

    other: Scores
    worse_below: float
    excluded_from: float

    @property
    def is_worse(self) -> bool:
        """Whether the candidate is worse. It is if its lead or the interval is missing or not a finite number."""
        lead = _finite_lead(self.other)
        return lead is None or not lead >= self.worse_below

    @property
    def cannot_tell(self) -> bool:
        """Whether both an equal candidate and one that is worse by the largest loss explain this lead."""
        lead = _finite_lead(self.other)
        return lead is not None and self.worse_below <= lead < self.excluded_from

    def clearly_ahead(self, margin: float) -> bool:
        """Whether the lower end of the lead's 95% interval is above the margin, in Precision@K."""
        low = self.other.ahead_low
        return _finite_lead(self.other) is not None and low is not None and low > margin


def compare(other: Scores, *, floor: float, max_loss: float, false_alarm: float = FALSE_ALARM) -> Comparison:
    """Compares the candidate with another recommender.

    Args:
        other: the scores of the other recommender, which hold the candidate's lead.
        floor: share of the other's precision; a loss up to it never counts, however many customers there are.
        max_loss: share of the other's precision: the largest loss.
        false_alarm: probability that an equal candidate counts as worse.
    """
    error, precision = standard_error(other), other.precision_at_k
    return Comparison(
        other,
        worse_below=-max(_quantile(false_alarm) * error, floor * precision),
        # If the other never hits, there is nothing to lose.
        excluded_from=_quantile(MISSED) * error - max_loss * precision if precision > 0 else -error,
    )


def smallest_held_loss(comparison: Comparison) -> float | None:
    """The smallest share of the other's precision such that a candidate that is so much worse is held 9 times in 10.

    Returns:
        In (0, 1]; None if not even a candidate that never hits is held so often.
    """
    error, precision = standard_error(comparison.other), comparison.other.precision_at_k
    loss = _quantile(MISSED) * error - comparison.worse_below
    return loss / precision if loss <= precision and precision > 0 else None


def standard_error(other: Scores) -> float:
    """Standard error of the candidate's mean lead, from its interval; NaN without one.

    At least one hit of one customer: that a few customers show no difference proves little.
    """
    if other.ahead_low is None or other.ahead_high is None or other.customers == 0:
        return float("nan")
    half_width = (other.ahead_high - other.ahead_low) / 2
    return max(half_width / _quantile((1 - CONFIDENCE) / 2), 1 / (other.k * other.customers))


@cache
def _quantile(tail: float) -> float:
    """The standard normal distribution is above it with this probability."""
    return -NormalDist().inv_cdf(tail)


def _finite_lead(other: Scores) -> float | None:
    interval = (other.ahead, other.ahead_low, other.ahead_high)
    return other.ahead if all(value is not None and isfinite(value) for value in interval) else None
