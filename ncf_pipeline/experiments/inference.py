"""Treated against control by one measure: the difference and the ratio, with standard errors.

A measure is a mean over values. The values of one customer are alike, so they are not independent. The standard error
is therefore computed from one number per customer, the sum of what their values contribute to the mean: the delta
method with the customer as the unit (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric Analytics",
section 3).

Winsorized: a value counts as at most a multiple of the mean of its own group's values above 0. The multiple is the same
for both groups, and such that a stated share of all values above 0 lies below the cap. One order, however large, then
changes nothing. An effect in percent is estimated without bias; one cap in money for both groups would shrink it,
because it would cap more of the better group. A mean Winsorized in this way solves an equation that contains the mean
itself, so it is an M-estimate of scale, with the standard error of one (Huber & Ronchetti 2009, "Robust Statistics",
sections 3.2 and 5.1).

CUPED: what customers did before the experiment predicts what they do in it, and does not depend on their group. The
difference that it predicts between the groups is subtracted, which reduces the variance (Deng, Xu, Kohavi & Walker
2013, "Improving the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment Data", section 3, and
appendix B for ratios).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from ncf_pipeline.experiments.measures import FloatArray, Sample
from ncf_pipeline.experiments.sequential import ALPHA

Mask = npt.NDArray[np.bool_]

ONE_LOOK = float(stats.norm.ppf(1 - ALPHA / 2))
"""Half the width of a 95% interval for one look, in standard errors: 1.96."""

_NEAR, _MOST_NEAR = 0.8, 0.4
"""A cap is too low if the values above 0.8 of it, each counted as the cap, are more than 0.4 of the sum of all."""

_ROUNDS = 100  # more than a Winsorized mean ever takes to converge


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error over customers."""

    value: float
    standard_error: float

    def interval(self, margin: float = ONE_LOOK) -> tuple[float, float]:
        """The lower and the upper end of an interval of so many standard errors to each side.

        >>> Estimate(5.0, 0.5).interval(2.0)
        (4.0, 6.0)
        """
        return self.value - margin * self.standard_error, self.value + margin * self.standard_error


@dataclass(frozen=True)
class Comparison:
    """Treated against control by one measure.

    Attributes:
        treated: the measure in the treated group, Winsorized.
        control: the measure in the control group, Winsorized.
        difference: treated minus control, with CUPED.
        log_ratio: logarithm of treated over control, with CUPED.
        plain_difference: treated minus control, without CUPED.
        plain_log_ratio: logarithm of treated over control, without CUPED.
        treated_buyers: treated customers with a value above 0.
        control_buyers: control customers with a value above 0.
    """

    treated: float
    control: float
    difference: Estimate
    log_ratio: Estimate
    plain_difference: Estimate
    plain_log_ratio: Estimate
    treated_buyers: int
    control_buyers: int


def compare(sample: Sample, past: FloatArray, treated: Mask, quantile: float) -> Comparison | None:
    """Compares the treated group with the control group.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        treated: (n,) whether a customer is in the treated group; all others are in the control group.
        quantile: at which values above 0 are Winsorized; 1 for not at all.

    Returns:
        None if one of the groups has no value above 0.
    """
    multiple = _multiple(sample.value, quantile)
    up, down = (_group_mean(sample, member, multiple) for member in (treated, ~treated))
    if up is None or down is None or up.mean <= 0 or down.mean <= 0:
        return None
    # Columns: the difference, and the log ratio, whose derivative by a mean is one over that mean.
    contributions = tuple(np.column_stack([each.contributions, each.contributions / each.mean]) for each in (up, down))
    plain = np.array([up.mean - down.mean, np.log(up.mean / down.mean)])
    pasts = (past[treated], past[~treated])
    slopes = _slopes(contributions, pasts)
    adjusted = plain - (pasts[0].mean(axis=0) - pasts[1].mean(axis=0)) @ slopes
    residuals = tuple(
        part - (before - before.mean(axis=0)) @ slopes for part, before in zip(contributions, pasts, strict=True)
    )
    difference, log_ratio = _estimates(adjusted, residuals)
    plain_difference, plain_log_ratio = _estimates(plain, contributions)
    bought = np.zeros(len(treated), np.bool_)
    bought[sample.customer[sample.value > 0]] = True
    return Comparison(
        treated=up.mean,
        control=down.mean,
        difference=difference,
        log_ratio=log_ratio,
        plain_difference=plain_difference,
        plain_log_ratio=plain_log_ratio,
        treated_buyers=int((bought & treated).sum()),
        control_buyers=int((bought & ~treated).sum()),
    )


@dataclass(frozen=True)
class Variances:
    """The variance over customers of their contribution to the logarithm of a measure.

    For n customers, the squared standard error of a log ratio is `variance / n * (1 / share + 1 / (1 - share))`.
    """

    with_cuped: float
    without_cuped: float


def variances(sample: Sample, past: FloatArray, quantile: float) -> Variances | None:
    """How much customers differ, as one group.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        quantile: at which values above 0 are Winsorized; 1 for not at all.

    Returns:
        None if no value is above 0, or if there are fewer than two customers.
    """
    everybody = np.ones(len(past), np.bool_)
    group = _group_mean(sample, everybody, _multiple(sample.value, quantile))
    if group is None or group.mean <= 0 or len(past) < 2:
        return None
    contributions = (group.contributions / group.mean)[:, None]
    residuals = contributions - (past - past.mean(axis=0)) @ _slopes((contributions,), (past,))
    return Variances(with_cuped=float(residuals.var(ddof=1)), without_cuped=float(contributions.var(ddof=1)))


def sample_ratio(chosen: int, of_all: int, share: float) -> float:
    """The p-value of the test for a sample ratio mismatch: the exact binomial test.

    Below 0.001, something other than chance decided who is in the group (Fabijan et al. 2019, "Diagnosing Sample Ratio
    Mismatch in Online Controlled Experiments").

    Args:
        chosen: customers in the group.
        of_all: customers in the experiment.
        share: of the customers that the group should have, 0 to 1.

    >>> round(sample_ratio(5, 10, 0.5), 3), round(sample_ratio(0, 10, 0.5), 3)
    (1.0, 0.002)
    """
    return float(stats.binomtest(chosen, of_all, share).pvalue) if of_all else 1.0


@dataclass(frozen=True)
class _GroupMean:
    """A group's Winsorized mean, and each customer's contribution to its error: (members,), with mean 0."""

    mean: float
    contributions: FloatArray


def _group_mean(sample: Sample, member: Mask, multiple: float | None) -> _GroupMean | None:
    inside = member[sample.customer]
    value = sample.value[inside]
    if len(value) == 0:
        return None
    mean, of_values = _mean(value, multiple)
    of_customers = np.bincount(sample.customer[inside], of_values, len(member))[member]
    return _GroupMean(mean, np.asarray(of_customers * (len(of_customers) / len(value)), np.float64))


def _mean(value: FloatArray, multiple: float | None) -> tuple[float, FloatArray]:
    """The mean of ascending values, those above 0 Winsorized; and what each value contributes to its error.

    It is the share of values above 0, times the mean of these. So a tenth more buyers count as a tenth more. A cap at a
    multiple of the mean of all values would rise with the number of buyers, and exaggerate the effect.
    """
    zeros = int(np.searchsorted(value, 0, side="right"))
    share = 1 - zeros / len(value)
    if share == 0:
        return 0.0, np.zeros(len(value))
    mean, part = _mean_above_zero(value[zeros:], multiple)
    return share * mean, np.concatenate([np.full(zeros, -share * mean), part + (1 - share) * mean])


def _mean_above_zero(value: FloatArray, multiple: float | None) -> tuple[float, FloatArray]:
    """The mean of ascending values above 0, each capped at a multiple of that mean; and their contributions."""
    mean = float(value.mean())
    if multiple is None:
        return mean, value - mean
    sums = np.concatenate([[0.0], np.cumsum(value)])
    for _ in range(_ROUNDS):
        below = int(np.searchsorted(value, multiple * mean, side="right"))
        before, mean = mean, float(sums[below] + multiple * mean * (len(value) - below)) / len(value)
        if abs(mean - before) <= 1e-12 * before:
            break
    capped = np.minimum(value, multiple * mean)
    # The cap rises with the mean: divide by the slope of the equation that the mean solves.
    return mean, (capped - mean) / (1 - multiple * (len(value) - below) / len(value))


def _multiple(value: FloatArray, quantile: float) -> float | None:
    """The multiple of the mean at which ascending values are capped; None for no cap.

    It puts the cap at the quantile of the values above 0, or higher. A group's cap follows the group's mean, and the
    values near the cap follow the cap. If many values are near it, such as counts that are mostly alike, a small
    difference between groups would amplify itself. So the cap is raised until few values are near it, or removed.
    """
    positive = value[np.searchsorted(value, 0, side="right") :]
    n = len(positive)
    if quantile >= 1 or n == 0:
        return None
    caps = np.unique(positive[int(np.ceil(quantile * n)) - 1 :])[:-1]  # the largest value as a cap would cap nothing
    below = np.searchsorted(positive, caps, side="right")
    multiples = caps * n / (np.concatenate([[0.0], np.cumsum(positive)])[below] + caps * (n - below))
    near = n - np.searchsorted(positive, _NEAR * caps)
    stable = np.flatnonzero(multiples * near <= _MOST_NEAR * n)
    return float(multiples[stable[0]]) if len(stable) else None


def _slopes(contributions: Sequence[FloatArray], pasts: Sequence[FloatArray]) -> FloatArray:
    """(covariates, columns) of the regression, within groups, of customers' contributions on their past."""
    centred = np.concatenate([past - past.mean(axis=0) for past in pasts])
    slopes: FloatArray = np.linalg.lstsq(centred, np.concatenate(contributions), rcond=None)[0]
    return slopes


def _estimates(values: FloatArray, contributions: Sequence[FloatArray]) -> list[Estimate]:
    """One estimate for each column; its squared standard error is the sum of both groups'."""
    errors: list[float] = np.sqrt(sum(part.var(axis=0, ddof=1) / len(part) for part in contributions)).tolist()
    return [Estimate(value, error) for value, error in zip(values.tolist(), errors, strict=True)]
