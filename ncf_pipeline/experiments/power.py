"""Before the start: how many weeks, and what share of the customers, an effect needs to be found.

The shop's own past says how much customers differ: an experiment that does nothing is laid over its last weeks, for
several lengths, and what its error would have been is read off. Over w weeks the squared error is about a + b / w: b is
what chance does with each order and goes with time; a is what customers differ by for good, and stays. So there are
effects that no number of weeks would show in a shop; more customers would.
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
"""For longer nobody waits, and a shop is another one by then."""

FEWEST_WEEKS = 2
"""For as long nothing is decided: every day of the week counts, and twice."""

SHORTEST, LONGEST = 3, 26  # weeks of the past that are laid over
_LARGEST_EFFECT = 3.0
_ITS_OWN_WEEKS = 6  # of fewer, a curve through an experiment's errors is mostly chance
_PATHS = 4000


@dataclass(frozen=True)
class Curve:
    """The squared error of a log ratio by weeks, for groups of equal weight: `always + each_week / weeks`.

    What it is for a share of the customers: times `1 / share + 1 / (1 - share)`.

    Attributes:
        always: what no number of weeks takes away.
        each_week: what is spread over the weeks.
        customers: who would have taken part at the end of the longest past window.
        seen_weeks: how long that was; beyond it, the curve is drawn on.
    """

    always: float
    each_week: float
    customers: int
    seen_weeks: float

    def squared_error(self, weeks: float, share: float) -> float:
        """Of the log ratio after so many weeks."""
        return (self.always + self.each_week / weeks) * (1 / share + 1 / (1 - share))


def curve_through(weeks: Sequence[float], squared_errors: Sequence[float], customers: int) -> Curve:
    """The curve through points, none of its parts below zero.

    Args:
        weeks: at least one.
        squared_errors: of a log ratio, over `1 / share + 1 / (1 - share)`.
        customers: at the end.
    """
    w = np.asarray(weeks, np.float64)
    weight = 1 / np.asarray(squared_errors)  # so that each point counts by how far off it is in percent
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
    """When customers would enter with lists that are made every day: at the start, or a day after their first purchase.

    Args:
        first_purchases: by customer id.
        start: of the experiment.
    """
    later = first_purchases + timedelta(days=1)
    return later.where(later > start, start)


def chance_to_find(effect: float, squared_error: float) -> float:
    """With what chance one look finds an effect: its 95% interval leaves no effect out.

    Args:
        effect: as a share: 0.05 for five percent more.
        squared_error: of the log ratio.
    """
    # In units of the error itself: one customer in each of two groups of which each has half of the variance.
    size = abs(np.log1p(effect)) / squared_error**0.5
    return float(NormalIndPower().power(size, nobs1=2, alpha=2 * norm.sf(ONE_LOOK), ratio=1))


def chances_by_week(effect: float, squared_errors: Sequence[float], tau: float) -> npt.NDArray[np.float64]:
    """With what chance an effect has been found by each week, by somebody who looks every week.

    Played through `_PATHS` times, the same each time: the estimate times its information is a Brownian motion.

    Args:
        effect: as a share.
        squared_errors: of the log ratio at each look, the first after a week.
        tau: of the sequential interval.
    """
    information = 1 / np.asarray(squared_errors, np.float64)
    steps = np.maximum(np.diff(information, prepend=0), 0)
    noise = np.random.default_rng(0).standard_normal((_PATHS, len(steps))) * np.sqrt(steps)
    walked = np.cumsum(np.log1p(effect) * steps + noise, axis=1)
    margins = np.array([margin(squared**0.5, tau) for squared in squared_errors])
    found = np.abs(walked) > margins * np.sqrt(information)
    found[:, : FEWEST_WEEKS - 1] = False
    chances: npt.NDArray[np.float64] = np.logical_or.accumulate(found, axis=1).mean(axis=0)
    return chances


def tau_for(effect: float, power: float) -> float:
    """The mixture of a sequential interval that is tightest where the least effect worth finding is found."""
    return float(best_ratio() ** 0.5 * np.log1p(effect) / (smallest_margin() + norm.ppf(power)))


def weeks_needed(curve: Curve, effect: float, *, share: float, power: float, every_week: bool) -> int | None:
    """After how many weeks an effect is found with that power; None where `MOST_WEEKS` are too few.

    Args:
        curve: of the shop.
        effect: as a share.
        share: of the customers in the smaller group.
        power: the chance with which it is to be found.
        every_week: somebody looks every week; otherwise once, at the end.
    """
    enough = np.flatnonzero(
        _chances(curve, effect, MOST_WEEKS, share=share, power=power, every_week=every_week) >= power
    )
    return int(enough[0]) + 1 if len(enough) else None


def chance_within(curve: Curve, effect: float, weeks: int, *, share: float, power: float, every_week: bool) -> float:
    """With what chance an effect is found within so many weeks; see `weeks_needed`."""
    return float(_chances(curve, effect, weeks, share=share, power=power, every_week=every_week)[-1])


def smallest_effect(curve: Curve, weeks: int, *, share: float, power: float, every_week: bool) -> float:
    """The smallest effect, upwards, that is found within so many weeks; infinite where none would be."""

    def lacking(effect: float) -> float:
        return chance_within(curve, effect, weeks, share=share, power=power, every_week=every_week) - power

    return float(brentq(lacking, 1e-4, _LARGEST_EFFECT, xtol=1e-4)) if lacking(_LARGEST_EFFECT) > 0 else float("inf")


def more_weeks(
    squared_errors: Mapping[float, float], effect: float, *, power: float, past: Curve | None = None
) -> int | None:
    """How many more weeks an experiment needs; None where `MOST_WEEKS` more are not enough.

    Its own error says so by how it fell so far; while that is only a few weeks, from where it is now on as it fell in
    the shop's past.

    Args:
        squared_errors: of the log ratio, by weeks since the start; at least one.
        effect: the least that is worth finding.
        power: the chance with which a look then finds it.
        past: of the shop, if it is long enough.
    """
    now, tau = max(squared_errors), tau_for(effect, power)
    curve, level = curve_through(list(squared_errors), list(squared_errors.values()), 0), 1.0
    if past is not None and len(squared_errors) < _ITS_OWN_WEEKS:
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
