"""Statistical power: how many weeks, and what share of the customers, it takes to find an effect. Pure.

The shop's own past says how much customers differ. An experiment that changes nothing is placed over its last weeks,
for several lengths, and its standard error is computed. Over w weeks the squared error is about a + b / w. Here b is
the randomness of single orders, which averages out over time; a is how much customers differ permanently, which does
not. So some effects cannot be found in a shop in any number of weeks, only with more customers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq, nnls
from scipy.stats import norm
from statsmodels.stats.power import NormalIndPower

from ncf_pipeline.experiments.inference import ONE_LOOK, variances
from ncf_pipeline.experiments.measures import Measure, observe
from ncf_pipeline.experiments.purchases import Orders
from ncf_pipeline.experiments.sequential import best_ratio, margin, smallest_margin

MOST_WEEKS = 104
"""The longest experiment considered: after two years a shop has changed."""

FEWEST_WEEKS = 2
"""Nothing is decided earlier, so that each day of the week counts twice."""

SHORTEST, LONGEST = 3, 26  # weeks of the windows in the past
_LARGEST_EFFECT = 3.0
_OWN_WEEKS = 6  # with fewer, a curve through an experiment's own errors is mostly chance
_PATHS = 4000


@dataclass(frozen=True)
class Curve:
    """The squared standard error of a log ratio after some weeks: `always + each_week / weeks`.

    For a share of the customers in one group, multiply it by `1 / share + 1 / (1 - share)`.

    Attributes:
        always: the part that does not shrink over time.
        each_week: the part that does.
        customers: who would have taken part by the end of the longest past window.
        seen_weeks: length of that window; beyond it, the curve is an extrapolation.
    """

    always: float
    each_week: float
    customers: int
    seen_weeks: float

    def squared_error(self, weeks: float, share: float) -> float:
        """The squared standard error of the log ratio.

        >>> Curve(always=0.1, each_week=1.0, customers=100, seen_weeks=8).squared_error(weeks=4, share=0.5)
        1.4
        """
        return (self.always + self.each_week / weeks) * (1 / share + 1 / (1 - share))


def curve_through(weeks: Sequence[float], squared_errors: Sequence[float], customers: int) -> Curve:
    """Fits a curve by non-negative least squares.

    Args:
        weeks: (points,) at least one.
        squared_errors: (points,) of a log ratio, divided by `1 / share + 1 / (1 - share)`.
        customers: by the end of the longest window.
    """
    w = np.asarray(weeks, np.float64)
    weight = 1 / np.asarray(squared_errors)  # residuals in percent
    (always, each_week), _ = nnls(np.column_stack([weight, weight / w]), np.ones(len(w)))
    return Curve(float(always), float(each_week), customers, float(w.max()))


@dataclass(frozen=True)
class Curves:
    """The curve with CUPED, and the one without it."""

    with_cuped: Curve
    without_cuped: Curve


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
    lengths, with_cuped, without_cuped, customers = [], [], [], 0
    for length in range(SHORTEST, min(LONGEST, int(weeks / 2)) + 1):
        observed = observe(orders, entered_at(first, until - timedelta(weeks=length)), until)
        variance = variances(observed.samples[measure.name], observed.past, measure.quantile)
        if variance is not None and variance.with_cuped > 0:
            customers = len(observed.customers)
            lengths.append(length)
            with_cuped.append(variance.with_cuped / customers)
            without_cuped.append(variance.without_cuped / customers)
    if not lengths:
        return None
    return Curves(
        with_cuped=curve_through(lengths, with_cuped, customers),
        without_cuped=curve_through(lengths, without_cuped, customers),
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


def chance_to_find(effect: float, squared_error: float) -> float:
    """The power of one look: the chance that its 95% interval excludes 0.

    Args:
        effect: 0.05 for five percent more.
        squared_error: of the log ratio.
    """
    # In units of the standard error: one customer in each of two groups, each with half of the variance.
    size = abs(np.log1p(effect)) / squared_error**0.5
    return float(NormalIndPower().power(size, nobs1=2, alpha=2 * norm.sf(ONE_LOOK), ratio=1))


def chances_by_week(effect: float, squared_errors: Sequence[float], tau: float) -> npt.NDArray[np.float64]:
    """The power of weekly looks: the chance that an always-valid interval has excluded 0 by each week.

    It is simulated with 4,000 paths from a fixed seed: the estimate times its information is a Brownian motion.

    Args:
        effect: 0.05 for five percent more.
        squared_errors: (weeks,) of the log ratio at each look, the first after one week.
        tau: of the always-valid interval.

    Returns:
        (weeks,) ascending.
    """
    information = 1 / np.asarray(squared_errors, np.float64)
    steps = np.maximum(np.diff(information, prepend=0), 0)
    noise = np.random.default_rng(0).standard_normal((_PATHS, len(steps))) * np.sqrt(steps)
    walked = np.cumsum(np.log1p(effect) * steps + noise, axis=1)
    margins = np.array([margin(squared**0.5, tau) for squared in squared_errors])
    excludes_zero = np.abs(walked) > margins * np.sqrt(information)
    excludes_zero[:, : FEWEST_WEEKS - 1] = False
    chances: npt.NDArray[np.float64] = np.logical_or.accumulate(excludes_zero, axis=1).mean(axis=0)
    return chances


def tau_for(effect: float, power: float) -> float:
    """The tau whose always-valid interval is tightest when the least effect worth finding is found.

    Args:
        effect: the least worth finding: 0.05 for five percent.
        power: the chance of finding it.
    """
    return float(best_ratio() ** 0.5 * np.log1p(effect) / (smallest_margin() + norm.ppf(power)))


def weeks_needed(curve: Curve, effect: float, *, share: float, power: float, every_week: bool) -> int | None:
    """How many weeks it takes to find an effect.

    Args:
        curve: of the shop's past.
        effect: 0.05 for five percent.
        share: of the customers in the smaller group, 0 to 0.5.
        power: the chance of finding the effect.
        every_week: whether any weekly look may decide; otherwise one look at the end does.

    Returns:
        Weeks; None if `MOST_WEEKS` are too few.
    """
    enough = np.flatnonzero(
        _chances(curve, effect, MOST_WEEKS, share=share, power=power, every_week=every_week) >= power
    )
    return int(enough[0]) + 1 if len(enough) else None


def chance_within(curve: Curve, effect: float, weeks: int, *, share: float, power: float, every_week: bool) -> float:
    """The chance of finding an effect.

    Args:
        curve: of the shop's past.
        effect: 0.05 for five percent.
        weeks: length of the experiment.
        share: of the customers in the smaller group, 0 to 0.5.
        power: for which the always-valid interval is tuned.
        every_week: whether any weekly look may decide; otherwise one look at the end does.
    """
    return float(_chances(curve, effect, weeks, share=share, power=power, every_week=every_week)[-1])


def smallest_effect(curve: Curve, weeks: int, *, share: float, power: float, every_week: bool) -> float:
    """The smallest increase that an experiment finds.

    Args:
        curve: of the shop's past.
        weeks: length of the experiment.
        share: of the customers in the smaller group, 0 to 0.5.
        power: the chance of finding the effect.
        every_week: whether any weekly look may decide; otherwise one look at the end does.

    Returns:
        0.05 for five percent; infinite if not even +300% is found.
    """

    def lacking(effect: float) -> float:
        return chance_within(curve, effect, weeks, share=share, power=power, every_week=every_week) - power

    return float(brentq(lacking, 1e-4, _LARGEST_EFFECT, xtol=1e-4)) if lacking(_LARGEST_EFFECT) > 0 else float("inf")


def more_weeks(
    squared_errors: Mapping[float, float], effect: float, *, power: float, past: Curve | None = None
) -> int | None:
    """How many more weeks a running experiment needs.

    A curve through the experiment's own errors says how they will fall. While these are fewer than six, the curve of
    the shop's past does, scaled to the newest error.

    Args:
        squared_errors: of the log ratio, by weeks since the start; at least one.
        effect: the least worth finding: 0.05 for five percent.
        power: the chance that a look then finds it.
        past: the curve of the shop's past, if that is long enough.

    Returns:
        Weeks; None if `MOST_WEEKS` more are not enough.
    """
    now, tau = max(squared_errors), tau_for(effect, power)
    curve, level = curve_through(list(squared_errors), list(squared_errors.values()), 0), 1.0
    if past is not None and len(squared_errors) < _OWN_WEEKS:
        curve, level = past, squared_errors[now] / (past.always + past.each_week / now)
    for more in range(1, MOST_WEEKS + 1):
        error = (level * (curve.always + curve.each_week / (now + more))) ** 0.5
        if np.log1p(effect) >= (margin(error, tau) + norm.ppf(power)) * error:
            return more
    return None


def _chances(
    curve: Curve, effect: float, weeks: int, *, share: float, power: float, every_week: bool
) -> npt.NDArray[np.float64]:
    squared = [curve.squared_error(week, share) for week in range(1, weeks + 1)]
    if every_week:
        return chances_by_week(effect, squared, tau_for(effect, power))
    early = [0.0] * min(FEWEST_WEEKS - 1, weeks)
    return np.array(early + [chance_to_find(effect, each) for each in squared[len(early) :]])
