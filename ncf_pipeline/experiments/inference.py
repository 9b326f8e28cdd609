"""Treated against control: difference and ratio, with how sure they are.

A measure is a mean over values of which a customer has several, and those of one customer are alike. So its error is
worked out from one number for each customer, the sum of what their values contribute to the mean: the delta method
with the customer as the unit (Deng, Knoblich & Lu 2018, "Applying the Delta Method in Metric Analytics", section 3).

Winsorised: a value counts as at most so many times the mean of its own group, zeros aside; how many times is the same
for both groups, and such that a stated share of all values above zero lies below. One order, however large, then moves
nothing. An effect in percent is found as large as it is, which one cut in money for both groups would shrink: more of
the better group would be cut.
Such a mean solves an equation in which it stands itself, so it is an M-estimate of scale, with its error (Huber &
Ronchetti 2009, "Robust Statistics", sections 3.2 and 5.1).

CUPED: what customers did before tells much of what they do, and nothing of their group. What the groups differed by
before is taken off (Deng, Xu, Kohavi & Walker 2013, "Improving the Sensitivity of Online Controlled Experiments by
Utilizing Pre-Experiment Data", sections 3 and appendix B for ratios).
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
"""Standard errors to each side of a 95% interval that is looked at once."""

_NEAR, _MOST_THAT_FOLLOWS = 0.8, 0.4
"""Values from so much of the cut on may be as much of the mean as this, each counted as the cut."""

_ROUNDS = 100  # more than a winsorised mean ever takes


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error over customers."""

    value: float
    standard_error: float

    def interval(self, margin: float = ONE_LOOK) -> tuple[float, float]:
        """The two ends, so many standard errors away."""
        return self.value - margin * self.standard_error, self.value + margin * self.standard_error


@dataclass(frozen=True)
class Comparison:
    """Treated against control by one measure.

    Attributes:
        treated: the measure in this group.
        control: in the other one.
        difference: treated minus control, with CUPED.
        log_ratio: logarithm of treated over control, likewise.
        plain_difference: without CUPED.
        plain_log_ratio: without CUPED.
        treated_buyers: customers who have values that are not 0.
        control_buyers: likewise.
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
    """What the treated do otherwise.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        treated: (n,) who is treated; the others are control.
        quantile: so much of all values above 0 lies below the cut; 1 cuts nothing.

    Returns:
        None where a group has nothing to compare: no values, or none but 0.
    """
    times = _times(sample.value, quantile)
    groups = [_group(sample, member, times) for member in (treated, ~treated)]
    if any(group is None or group[0] <= 0 for group in groups):
        return None
    (up, parts_up), (down, parts_down) = (group for group in groups if group is not None)
    parts = (np.column_stack([parts_up, parts_up / up]), np.column_stack([parts_down, parts_down / down]))
    found = np.array([up - down, np.log(up / down)])
    behind = (past[treated], past[~treated])
    slopes = _slopes(parts, behind)
    before = behind[0].mean(axis=0) - behind[1].mean(axis=0)
    left = tuple(part - (group - group.mean(axis=0)) @ slopes for part, group in zip(parts, behind, strict=True))
    plain = [Estimate(*pair) for pair in zip(found.tolist(), _errors(parts), strict=True)]
    adjusted = [Estimate(*pair) for pair in zip((found - before @ slopes).tolist(), _errors(left), strict=True)]
    bought = np.zeros(len(treated), np.bool_)
    bought[sample.customer[sample.value > 0]] = True
    buyers = int((bought & treated).sum()), int((bought & ~treated).sum())
    return Comparison(up, down, adjusted[0], adjusted[1], plain[0], plain[1], *buyers)


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
    group = _group(sample, everybody, _times(sample.value, quantile))
    if group is None or group[0] <= 0 or len(past) < 2:
        return None
    parts = (group[1] / group[0])[:, None]
    left = parts - (past - past.mean(axis=0)) @ _slopes((parts,), (past,))
    return Variances(with_cuped=float(left.var(ddof=1)), without_cuped=float(parts.var(ddof=1)))


def sample_ratio(chosen: int, of_all: int, share: float) -> float:
    """How likely chance gives a group as far from its share, or farther: the exact binomial test.

    Below one in a thousand something else than chance chose (Fabijan et al. 2019, "Diagnosing Sample Ratio Mismatch in
    Online Controlled Experiments").
    """
    return float(stats.binomtest(chosen, of_all, share).pvalue) if of_all else 1.0


def _group(sample: Sample, member: Mask, times: float | None) -> tuple[float, FloatArray] | None:
    """The mean of a group's values, winsorised; and each customer's part in its error, (members,), of mean 0."""
    inside = member[sample.customer]
    value = sample.value[inside]
    if len(value) == 0:
        return None
    mean, part = _mean(value, times)
    parts = np.bincount(sample.customer[inside], part, len(member))[member]
    return mean, np.asarray(parts * (len(parts) / len(value)), np.float64)


def _mean(value: FloatArray, times: float | None) -> tuple[float, FloatArray]:
    """The mean of ascending values, those above 0 winsorised; and what each adds to its error.

    It is the share of values above 0 times the mean of these. So more buyers are found as just so many more: a cut at
    so many means over all would rise with them, and show more than there is.
    """
    nothing = int(np.searchsorted(value, 0, side="right"))
    share = 1 - nothing / len(value)
    if share == 0:
        return 0.0, np.zeros(len(value))
    scale, part = _scale(value[nothing:], times)
    return share * scale, np.concatenate([np.full(nothing, -share * scale), part + (1 - share) * scale])


def _scale(value: FloatArray, times: float | None) -> tuple[float, FloatArray]:
    """The mean of ascending values above 0, none of which counts as more than so many of it; and their parts."""
    mean = float(value.mean())
    if times is None:
        return mean, value - mean
    up_to = np.concatenate([[0.0], np.cumsum(value)])
    for _ in range(_ROUNDS):
        below = int(np.searchsorted(value, times * mean, side="right"))
        before, mean = mean, float(up_to[below] + times * mean * (len(value) - below)) / len(value)
        if abs(mean - before) <= 1e-12 * before:
            break
    cut = np.minimum(value, times * mean)
    # A larger mean lets the cut values count as more: the equation's slope.
    return mean, (cut - mean) / (1 - times * (len(value) - below) / len(value))


def _times(value: FloatArray, quantile: float) -> float | None:
    """How many times the mean a value may count, so that the quantile of ascending values above 0 does; None for any.

    A cut follows the mean of its group, and all values near it follow the cut. Where these are many, such as counts
    that are mostly alike, a small difference would grow by itself: there the cut is made higher, up to none at all.
    """
    positive = value[np.searchsorted(value, 0, side="right") :]
    n = len(positive)
    if quantile >= 1 or n == 0:
        return None
    caps = np.unique(positive[int(np.ceil(quantile * n)) - 1 :])[:-1]  # above the largest value, nothing is cut
    below = np.searchsorted(positive, caps, side="right")
    times = caps * n / (np.concatenate([[0.0], np.cumsum(positive)])[below] + caps * (n - below))
    near = n - np.searchsorted(positive, _NEAR * caps)
    calm = np.flatnonzero(times * near <= _MOST_THAT_FOLLOWS * n)
    return float(times[calm[0]]) if len(calm) else None


def _slopes(parts: Sequence[FloatArray], past: Sequence[FloatArray]) -> FloatArray:
    """(covariates, columns): by how much a customer's parts follow from their past, within groups."""
    centred = np.concatenate([group - group.mean(axis=0) for group in past])
    slopes: FloatArray = np.linalg.lstsq(centred, np.concatenate(parts), rcond=None)[0]
    return slopes


def _errors(parts: Sequence[FloatArray]) -> list[float]:
    """The standard error of each column of a difference of two groups' means."""
    errors: list[float] = np.sqrt(sum(part.var(axis=0, ddof=1) / len(part) for part in parts)).tolist()
    return errors
