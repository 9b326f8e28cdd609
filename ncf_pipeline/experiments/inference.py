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
sections 3.2 and 5.1). It is the share of values above 0, times the mean of these. So a tenth more buyers count as a
tenth more. A cap at a multiple of the mean of all values would rise with the number of buyers, and exaggerate the
effect.

CUPED: what customers did before the experiment predicts what they do in it, and does not depend on their group. The
difference that it predicts between the groups is subtracted, which reduces the variance (Deng, Xu, Kohavi & Walker
2013, "Improving the Sensitivity of Online Controlled Experiments by Utilizing Pre-Experiment Data", section 3, and
appendix B for ratios).

Small groups: with few customers, some of whom spend far more than others, an estimate is more than 1.96 standard errors
from the truth in up to 10 of 100 experiments, and Student's t changes little. So the margin comes from the shop's
own customers: they are assigned to two groups of these sizes anew, 999 times, and the margin is that which 5 of 100
such assignments exceed. If lists change nothing, every assignment is as likely as the one that was drawn, so an effect
is found in at most 5 of 100 experiments, whatever the sizes and however skewed the spending: it is a permutation test
(Phipson & Smyth 2010, "Permutation P-values Should Never Be Zero", section 3, for the count). What is compared is the
estimate over its own standard error, so the interval also holds if the lists change who buys how much, not only the
mean (Chung & Romano 2013, "Exact and asymptotically robust permutation tests", Annals of Statistics 41:2, section 2;
Zhao & Ding 2021, "Covariate-adjusted Fisher randomization tests for the average treatment effect", Journal of
Econometrics 225:2, section 4, with covariates). `make bench-uplift` compares the candidates.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from ncf_pipeline.experiments.measures import FloatArray, Sample
from ncf_pipeline.experiments.redraws import Estimates, Mask, estimates, redrawn
from ncf_pipeline.experiments.sequential import ALPHA

ONE_LOOK = float(stats.norm.ppf(1 - ALPHA / 2))
"""Half the width of a 95% interval for one look at large groups, in standard errors: 1.96."""

REDRAWS = 999
"""Assignments drawn for a margin. One of 20, and one of 100, is then a whole number of them and the real one."""

LARGE = 5000
"""From so many customers in the smaller group on, the margin is that of large groups: the two no longer differ."""

NO_ERROR = 1e-9
"""A standard error of a log ratio below this is only rounding: all customers do the same."""


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
class Redrawn:
    """How far estimates are from 0 by chance, in their own standard errors: (redraws,) ascending, or empty."""

    log_ratio: FloatArray = field(default_factory=lambda: np.empty(0))
    difference: FloatArray = field(default_factory=lambda: np.empty(0))
    plain_log_ratio: FloatArray = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, estimated: Estimates) -> "Redrawn":
        """From estimates of assignments that change nothing."""
        certain = (
            (estimated.log_ratio, estimated.log_ratio_error),
            (estimated.difference, estimated.difference_error),
            (estimated.plain_log_ratio, estimated.plain_log_ratio_error),
        )
        return cls(*(np.sort(in_errors(value, error, estimated.log_ratio_error)) for value, error in certain))

    def widened(self, alpha: float = ALPHA) -> float:
        """By how much the margin of a log ratio is wider than that of large groups; at least 1."""
        return max(1.0, margin_of(self.log_ratio, alpha) / margin_of(np.empty(0), alpha))


def in_errors(value: FloatArray, error: FloatArray, log_ratio_error: FloatArray) -> FloatArray:
    """Estimates in their standard errors, without sign; 0 if there is nothing to compare, or nobody differs."""
    known = log_ratio_error > NO_ERROR
    return np.abs(np.divide(value, error, out=np.zeros(len(value)), where=known))


def margin_of(redrawn: FloatArray, alpha: float = ALPHA) -> float:
    """Half the width of the interval for one look, in standard errors.

    Args:
        redrawn: a field of `Redrawn`; empty for large groups.
        alpha: the chance that the interval misses the truth.

    >>> round(margin_of(np.empty(0)), 2), margin_of(np.arange(1.0, 20.0))
    (1.96, 19.0)
    """
    if len(redrawn) == 0:
        return float(stats.norm.ppf(1 - alpha / 2))
    place = int(np.ceil((len(redrawn) + 1) * (1 - alpha) - 1e-9))
    return float(redrawn[place - 1]) if place <= len(redrawn) else float("inf")


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
        redrawn: what other assignments of the same customers give, for margins.
    """

    treated: float
    control: float
    difference: Estimate
    log_ratio: Estimate
    plain_difference: Estimate
    plain_log_ratio: Estimate
    treated_buyers: int
    control_buyers: int
    redrawn: Redrawn = field(default_factory=Redrawn)


def compare(sample: Sample, past: FloatArray, treated: Mask, quantile: float, *, redraws: int = 0) -> Comparison | None:
    """Compares the treated group with the control group.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        treated: (n,) whether a customer is in the treated group; all others are in the control group.
        quantile: at which values above 0 are Winsorized; 1 for not at all.
        redraws: other assignments to draw for margins; none are drawn for large groups.

    Returns:
        None if one of the groups has no value above 0, or fewer than two customers.
    """
    of_one = estimates(sample, past, quantile, treated[None])
    if np.isnan(of_one.log_ratio[0]):
        return None
    bought = np.zeros(len(treated), np.bool_)
    bought[sample.customer[sample.value > 0]] = True
    return Comparison(
        treated=float(of_one.treated[0]),
        control=float(of_one.control[0]),
        difference=Estimate(float(of_one.difference[0]), float(of_one.difference_error[0])),
        log_ratio=Estimate(float(of_one.log_ratio[0]), float(of_one.log_ratio_error[0])),
        plain_difference=Estimate(float(of_one.plain_difference[0]), float(of_one.plain_difference_error[0])),
        plain_log_ratio=Estimate(float(of_one.plain_log_ratio[0]), float(of_one.plain_log_ratio_error[0])),
        treated_buyers=int((bought & treated).sum()),
        control_buyers=int((bought & ~treated).sum()),
        redrawn=redraw(sample, past, treated, quantile, redraws),
    )


def redraw(sample: Sample, past: FloatArray, treated: Mask, quantile: float, redraws: int) -> Redrawn:
    """Assigns the customers anew, to groups of the same sizes.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        treated: (n,) whether a customer is in the treated group.
        quantile: at which values above 0 are Winsorized; 1 for not at all.
        redraws: how often; 0 for never.

    Returns:
        Empty if the groups are large.
    """
    if redraws == 0 or min(int(treated.sum()), int((~treated).sum())) >= LARGE:
        return Redrawn()
    drawn = [Redrawn.of(estimates(sample, past, quantile, masks)) for masks in redrawn(treated, redraws)]
    return Redrawn(*(np.sort(np.concatenate([getattr(each, name) for each in drawn])) for name in vars(drawn[0])))


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
