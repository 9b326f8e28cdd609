"""Statistical power: how many weeks, and what share of the customers, it takes to find an effect. Pure.

The shop's own past says how much customers differ. An experiment that changes nothing is placed over its last weeks,
for several lengths, and its standard error is computed. Over w weeks the squared error is about a + b / w. Here b is
the randomness of single orders, which averages out over time; a is how much customers differ permanently, which does
not. So some effects cannot be found in a shop in any number of weeks, only with more customers.

In small groups, estimates and their standard errors do not follow the textbook (see `inference`). So the power is
counted: the customers of the longest window are assigned to two groups again and again, the effect is added to each
estimate, and the share of assignments in which a look would have found it is the power.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq, nnls
from scipy.stats import binom, norm
from statsmodels.stats.power import NormalIndPower

from ncf_pipeline.experiments.inference import LARGE, NO_ERROR, REDRAWS, margin_of
from ncf_pipeline.experiments.measures import FloatArray, Measure, Observations, observe
from ncf_pipeline.experiments.purchases import Orders
from ncf_pipeline.experiments.redraws import Variances, estimates, redrawn, variances
from ncf_pipeline.experiments.sequential import ALPHA, best_ratio, margin, smallest_margin

MOST_WEEKS = 104
"""The longest experiment considered: after two years a shop has changed."""

FEWEST_WEEKS = 2
"""Nothing is decided earlier, so that each day of the week counts twice."""

FEWEST_BUYERS = 30
"""Nothing is decided before so many customers of each group have bought: means of fewer say little."""

SHORTEST, LONGEST = 3, 26  # weeks of the windows in the past
_LARGEST_EFFECT = 3.0
_OWN_WEEKS = 6  # with fewer, a curve through an experiment's own errors is mostly chance
_PATHS = 4000
_REDRAWS = 4 * REDRAWS + 3  # more than a look has: weeks follow from the power, and a small error moves them a lot


@dataclass(frozen=True)
class Draws:
    """What experiments that change nothing would estimate in the past, by (draws,) assignments to groups of some share.

    Attributes:
        value: estimates of the log ratio, in standard errors that the curve expects.
        error: their own standard errors, in the same unit.
    """

    value: FloatArray
    error: FloatArray

    @cached_property
    def redrawn(self) -> FloatArray:
        """How far estimates are from 0, in their own standard errors, ascending."""
        return np.sort(np.abs(self.value / self.error))

    def margin(self, alpha: float) -> float:
        """The margin of one look in standard errors, as `inference` computes it."""
        return margin_of(self.redrawn, alpha)

    def chance(self, size: float, alpha: float) -> float:
        """The power of one look.

        Args:
            size: of the effect, in standard errors that the curve expects.
            alpha: the chance that the look finds an effect that is not there.
        """
        return float((np.abs(self.value + size) > self.margin(alpha) * self.error).mean())


@dataclass(frozen=True)
class Curve:
    """The squared standard error of a log ratio after some weeks: `always + each_week / weeks`.

    For a share of the customers in one group, multiply it by `1 / share + 1 / (1 - share)`.

    Attributes:
        always: the part that does not shrink over time.
        each_week: the part that does.
        customers: who would have taken part by the end of the longest past window.
        seen_weeks: length of that window; beyond it, the curve is an extrapolation.
        lengths: weeks of the past windows, ascending.
        buyers: customers who bought, by window; empty if unknown.
    """

    always: float
    each_week: float
    customers: int
    seen_weeks: float
    lengths: tuple[float, ...] = ()
    buyers: tuple[int, ...] = ()

    def chance_of_enough(self, weeks: float, share: float) -> float:
        """The chance that so many customers of the smaller group have bought by then that a look may decide."""
        if not self.buyers:
            return 1.0
        buyers = np.interp(weeks, (0.0, *self.lengths), (0, *self.buyers))
        return float(binom.sf(FEWEST_BUYERS - 1, round(buyers), min(share, 1 - share)))

    def squared_error(self, weeks: float, share: float) -> float:
        """The squared standard error of the log ratio.

        >>> Curve(always=0.1, each_week=1.0, customers=100, seen_weeks=8).squared_error(weeks=4, share=0.5)
        1.4
        """
        return (self.always + self.each_week / weeks) * (1 / share + 1 / (1 - share))


def curve_through(
    weeks: Sequence[float], squared_errors: Sequence[float], customers: int, buyers: Sequence[int] = ()
) -> Curve:
    """Fits a curve by non-negative least squares.

    Args:
        weeks: (points,) at least one.
        squared_errors: (points,) of a log ratio, divided by `1 / share + 1 / (1 - share)`.
        customers: by the end of the longest window.
        buyers: (points,) customers who had bought.
    """
    w = np.asarray(weeks, np.float64)
    weight = 1 / np.asarray(squared_errors)  # residuals in percent
    (always, each_week), _ = nnls(np.column_stack([weight, weight / w]), np.ones(len(w)))
    lengths = tuple(float(week) for week in weeks)
    return Curve(float(always), float(each_week), customers, float(w.max()), lengths, tuple(buyers))


@dataclass(frozen=True)
class Curves:
    """The curve with CUPED, the one without it, and what customers did in the longest window, and how they differed."""

    with_cuped: Curve
    without_cuped: Curve
    measure: Measure
    longest: Observations
    spread: Variances
    _drawn: dict[float, "HowDrawn"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def draws(self, share: float) -> "HowDrawn":
        """What experiments that change nothing would have estimated in the longest window. Each is computed once.

        Args:
            share: of the customers in the smaller group, which is the control group, as in a holdout.
        """
        if share not in self._drawn:
            self._drawn[share] = self._draw(share)
        return self._drawn[share]

    def _draw(self, share: float) -> "HowDrawn":
        n, sample = len(self.longest.customers), self.longest.samples[self.measure.name]
        smaller = max(2, min(round(share * n), n - 2))
        if smaller >= LARGE or n < 4:
            return HowDrawn(None, None)
        treated = np.arange(n) >= smaller
        drawn = [
            estimates(sample, self.longest.past, self.measure.quantile, masks) for masks in redrawn(treated, _REDRAWS)
        ]
        kinds = []
        for name, variance in (("log_ratio", self.spread.with_cuped), ("plain_log_ratio", self.spread.without_cuped)):
            value, error = (np.concatenate([getattr(part, name + each) for part in drawn]) for each in ("", "_error"))
            known = error > NO_ERROR
            # What the window itself expects: the draws add how groups of this size differ from that, and no more.
            expected = (variance / n * (1 / share + 1 / (1 - share))) ** 0.5
            kinds.append(Draws(value[known] / expected, error[known] / expected) if known.sum() > 1 else None)
        return HowDrawn(*kinds)


@dataclass(frozen=True)
class HowDrawn:
    """Draws with CUPED, and without it; None for groups so large that they follow the textbook."""

    with_cuped: Draws | None
    without_cuped: Draws | None


def past_curves(orders: pd.DataFrame, until: datetime, measure: Measure) -> Curves | None:
    """What the squared error would have been over the last weeks.

    Args:
        orders: columns of `purchases.Orders`.
        until: first instant excluded: where the experiment would start.
        measure: the deciding one.

    Returns:
        None if the past is too short, or if nobody bought twice.
    """
    if orders.empty:
        return None
    first = orders.groupby(Orders.CUSTOMER_ID)[Orders.PURCHASED_AT].min()
    weeks = (until - first.min()) / timedelta(weeks=1)
    lengths, with_cuped, without_cuped, buyers, longest = [], [], [], [], None
    for length in range(SHORTEST, min(LONGEST, int(weeks / 2)) + 1):
        observed = observe(orders, entered_at(first, until - timedelta(weeks=length)), until)
        variance = variances(observed.samples[measure.name], observed.past, measure.quantile)
        if variance is not None and variance.with_cuped > 0:
            longest, customers, spread = observed, len(observed.customers), variance
            sample = observed.samples[measure.name]
            lengths.append(length)
            with_cuped.append(variance.with_cuped / customers)
            without_cuped.append(variance.without_cuped / customers)
            buyers.append(len(np.unique(sample.customer[sample.value > 0])))
    if longest is None:
        return None
    return Curves(
        with_cuped=curve_through(lengths, with_cuped, customers, buyers),
        without_cuped=curve_through(lengths, without_cuped, customers, buyers),
        measure=measure,
        longest=longest,
        spread=spread,
    )


def entered_at(first_purchases: pd.Series, start: datetime) -> pd.Series:
    """When customers would enter if lists were made daily: at the start, or a day after their first purchase.

    Args:
        first_purchases: when each customer first bought, by customer id.
        start: of the experiment.

    Returns:
        By customer id.
    """
    later = first_purchases + timedelta(days=1)
    return later.where(later > start, start)


def chance_to_find(effect: float, squared_error: float, *, alpha: float = ALPHA, draws: Draws | None = None) -> float:
    """The power of one look: the chance that its interval excludes 0.

    Args:
        effect: 0.05 for five percent more.
        squared_error: of the log ratio.
        alpha: the chance that the interval misses the truth.
        draws: of such groups; None for large ones.
    """
    size = float(np.log1p(effect)) / squared_error**0.5
    if draws is not None:
        return draws.chance(size, alpha)
    # In units of the standard error: one customer in each of two groups, each with half of the variance.
    return float(NormalIndPower().power(abs(size), nobs1=2, alpha=alpha, ratio=1))


def chances_by_week(
    effect: float, squared_errors: Sequence[float], tau: float, *, alpha: float = ALPHA, widened: float = 1.0
) -> npt.NDArray[np.float64]:
    """The power of weekly looks: the chance that an always-valid interval has excluded 0 by each week.

    It is simulated with 4,000 paths from a fixed seed: the estimate times its information is a Brownian motion.

    Args:
        effect: 0.05 for five percent more.
        squared_errors: (weeks,) of the log ratio at each look, the first after one week.
        tau: of the always-valid interval.
        alpha: the chance that the interval ever misses the truth.
        widened: by how much the interval of groups of this size is wider than that of large ones.

    Returns:
        (weeks,) ascending.
    """
    information = 1 / np.asarray(squared_errors, np.float64)
    steps = np.maximum(np.diff(information, prepend=0), 0)
    noise = np.random.default_rng(0).standard_normal((_PATHS, len(steps))) * np.sqrt(steps)
    walked = np.cumsum(np.log1p(effect) * steps + noise, axis=1)
    margins = widened * np.array([margin(squared**0.5, tau, alpha=alpha) for squared in squared_errors])
    excludes_zero = np.abs(walked) > margins * np.sqrt(information)
    excludes_zero[:, : FEWEST_WEEKS - 1] = False
    chances: npt.NDArray[np.float64] = np.logical_or.accumulate(excludes_zero, axis=1).mean(axis=0)
    return chances


def tau_for(effect: float, power: float, *, alpha: float = ALPHA) -> float:
    """The tau whose always-valid interval is tightest when the least effect worth finding is found.

    Args:
        effect: the least worth finding: 0.05 for five percent.
        power: the chance of finding it.
        alpha: the chance that the interval ever misses the truth.
    """
    return float(best_ratio(alpha) ** 0.5 * np.log1p(effect) / (smallest_margin(alpha) + norm.ppf(power)))


@dataclass(frozen=True)
class Looking:
    """How an experiment is looked at.

    Attributes:
        share: of the customers in the smaller group, 0 to 0.5.
        power: the chance of finding the effect; the always-valid interval is tuned for it.
        every_week: whether any weekly look may decide; otherwise one look at the end does.
        alpha: the chance that a measure's interval misses the truth: less if several measures are asked.
        draws: of groups of this share; None for large ones.
    """

    share: float
    power: float
    every_week: bool
    alpha: float = ALPHA
    draws: Draws | None = None


def weeks_needed(curve: Curve, effect: float, looking: Looking) -> int | None:
    """How many weeks it takes to find an effect.

    Args:
        curve: of the shop's past.
        effect: 0.05 for five percent.
        looking: how often, and at which share.

    Returns:
        Weeks; None if `MOST_WEEKS` are too few.
    """
    enough = np.flatnonzero(_chances(curve, effect, range(1, MOST_WEEKS + 1), looking) >= looking.power)
    return int(enough[0]) + 1 if len(enough) else None


def chance_within(curve: Curve, effect: float, weeks: int, looking: Looking) -> float:
    """The chance of finding an effect.

    Args:
        curve: of the shop's past.
        effect: 0.05 for five percent.
        weeks: length of the experiment.
        looking: how often, and at which share.
    """
    looks = range(1, weeks + 1) if looking.every_week else range(weeks, weeks + 1)
    return float(_chances(curve, effect, looks, looking)[-1])


def smallest_effect(curve: Curve, weeks: int, looking: Looking) -> float:
    """The smallest increase that an experiment finds.

    Args:
        curve: of the shop's past.
        weeks: length of the experiment.
        looking: how often, and at which share.

    Returns:
        0.05 for five percent; infinite if not even +300% is found.
    """

    def lacking(effect: float) -> float:
        return chance_within(curve, effect, weeks, looking) - looking.power

    return float(brentq(lacking, 1e-4, _LARGEST_EFFECT, xtol=1e-4)) if lacking(_LARGEST_EFFECT) > 0 else float("inf")


def more_weeks(
    squared_errors: Mapping[float, float],
    effect: float,
    *,
    power: float,
    past: Curve | None = None,
    alpha: float = ALPHA,
    widened: float = 1.0,
) -> int | None:
    """How many more weeks a running experiment needs.

    A curve through the experiment's own errors says how they will fall. While these are fewer than six, the curve of
    the shop's past does, scaled to the newest error.

    Args:
        squared_errors: of the log ratio, by weeks since the start; at least one.
        effect: the least worth finding: 0.05 for five percent.
        power: the chance that a look then finds it.
        past: the curve of the shop's past, if that is long enough.
        alpha: the chance that the interval ever misses the truth.
        widened: by how much the interval of groups of this size is wider than that of large ones.

    Returns:
        Weeks; None if `MOST_WEEKS` more are not enough.
    """
    now, tau = max(squared_errors), tau_for(effect, power, alpha=alpha)
    curve, level = curve_through(list(squared_errors), list(squared_errors.values()), 0), 1.0
    if past is not None and len(squared_errors) < _OWN_WEEKS:
        curve, level = past, squared_errors[now] / (past.always + past.each_week / now)
    for more in range(1, MOST_WEEKS + 1):
        error = (level * (curve.always + curve.each_week / (now + more))) ** 0.5
        if np.log1p(effect) >= (widened * margin(error, tau, alpha=alpha) + norm.ppf(power)) * error:
            return more
    return None


def _chances(curve: Curve, effect: float, weeks: range, looking: Looking) -> npt.NDArray[np.float64]:
    """The chance of having found an effect by each week; of weekly looks, the first week must be 1."""
    squared = [curve.squared_error(week, looking.share) for week in weeks]
    enough = np.array([curve.chance_of_enough(week, looking.share) for week in weeks])
    if looking.every_week:
        tau = tau_for(effect, looking.power, alpha=looking.alpha)
        large = margin_of(np.empty(0), looking.alpha)
        widened = 1.0 if looking.draws is None else max(1.0, looking.draws.margin(looking.alpha) / large)
        return enough * chances_by_week(effect, squared, tau, alpha=looking.alpha, widened=widened)
    return np.array(
        [
            chance_to_find(effect, each, alpha=looking.alpha, draws=looking.draws) * sure if week >= FEWEST_WEEKS else 0
            for week, each, sure in zip(weeks, squared, enough, strict=True)
        ]
    )
