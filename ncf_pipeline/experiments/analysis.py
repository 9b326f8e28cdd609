"""From orders to the results of a look: what the groups did, how sure that is, and what it decides. Pure."""

from datetime import datetime, timedelta
from math import exp

import numpy as np
import pandas as pd

from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design, Groups
from ncf_pipeline.experiments.inference import (
    NO_ERROR,
    REDRAWS,
    Comparison,
    Estimate,
    compare,
    margin_of,
    sample_ratio,
)
from ncf_pipeline.experiments.measures import (
    AVERAGE_ORDER_VALUE,
    MEASURES,
    FloatArray,
    Observations,
    observe,
)
from ncf_pipeline.experiments.power import FEWEST_BUYERS, FEWEST_WEEKS, more_weeks, past_curves, tau_for
from ncf_pipeline.experiments.redraws import Mask
from ncf_pipeline.experiments.results import (
    MISMATCH,
    Group,
    Interval,
    MeasureResult,
    OrderValues,
    Results,
    SampleRatio,
    Verdict,
    WeeklyEffect,
)
from ncf_pipeline.experiments.sequential import ALPHA, margin

UNLIKELY = 0.001
"""A sample ratio with a smaller p-value is a mismatch."""

_BINS = 24
_PART_OF_A_WEEK = 0.1  # the newest look is shown apart from the last full week's if it is later than that
_WEEKLY_REDRAWS = 499  # for the margins of earlier looks, which are only drawn


def measure(design: Design, orders: pd.DataFrame, entered_at: pd.Series, until: datetime) -> Results:
    """Measures what the groups did until an instant.

    Args:
        design: with `starts_at` on the shop's clock.
        orders: columns of `purchases.Orders`, from the shop's first day on.
        entered_at: when each customer first got their group's lists, by customer id.
        until: first instant excluded.

    Returns:
        Results without `has_ended`, `other_lists` and `attribution`, which need more than orders.
    """
    weeks = (until - design.starts_at) / timedelta(weeks=1)
    observed = observe(orders, entered_at, until)
    treated = _treated(design, observed)
    compared = {name: _compared(observed, treated, name, redraws=REDRAWS) for name in MEASURES}
    by_week = _by_week(design, orders, entered_at, until, compared[design.metric])
    share = int((treated if design.share_is_treated else ~treated).sum())
    ratio = SampleRatio(design.share, share, len(treated), sample_ratio(share, len(treated), design.share))
    decisions: dict[str, Verdict] = {
        name: MISMATCH if ratio.p < UNLIKELY else _decide(design, compared[name], until, weeks) for name in design.asked
    }
    deciding, more = compared[design.metric], None
    if decisions[design.metric] == "open" and design.decides == "weekly" and deciding is not None:
        curves = past_curves(orders, design.starts_at, MEASURES[design.metric])
        errors = {effect.week: effect.squared_error for effect in by_week if effect.enough}
        more = more_weeks(
            errors or {weeks: deciding.log_ratio.standard_error**2},
            design.minimum_effect,
            power=design.power,
            past=curves.with_cuped if curves is not None else None,
            alpha=design.alpha,
            widened=deciding.redrawn.widened(design.alpha),
        )
    return Results(
        starts_at=design.starts_at,
        until=until,
        weeks=round(weeks, 2),
        groups=Groups(treated=_group(observed, treated), control=_group(observed, ~treated)),
        sample_ratio=ratio,
        measures=tuple(
            _measure_result(design, observed, treated, name, comparison, decisions.get(name))
            for name, comparison in compared.items()
            if comparison is not None
        ),
        by_week=tuple(by_week),
        baskets=_order_values(observed, treated),
        verdict=decisions[design.metric],
        more_weeks=more,
    )


def is_long_enough(weeks: float) -> bool:
    """Whether so many weeks are enough for a decision.

    The shop's clock stands at its newest invoice, a little before a week is full: so weeks are rounded.
    """
    return round(weeks) >= FEWEST_WEEKS


def _treated(design: Design, observed: Observations) -> Mask:
    in_share = chosen(design.salt, design.share, observed.customers.tolist())
    return in_share if design.share_is_treated else ~in_share


def _compared(
    observed: Observations, treated: Mask, name: str, *, redraws: int = 0, uncut: bool = False
) -> Comparison | None:
    quantile = 1.0 if uncut else MEASURES[name].quantile
    return compare(observed.samples[name], observed.past, treated, quantile, redraws=redraws)


def _enough(comparison: Comparison) -> bool:
    return min(comparison.treated_buyers, comparison.control_buyers) >= FEWEST_BUYERS and _differs(comparison.log_ratio)


def _differs(estimate: Estimate) -> bool:
    # If all customers do the same, the standard error is only rounding.
    return estimate.standard_error > NO_ERROR


def _measure_result(
    design: Design,
    observed: Observations,
    treated: Mask,
    name: str,
    comparison: Comparison,
    decision: Verdict | None,
) -> MeasureResult:
    uncut, redrawn = _compared(observed, treated, name, uncut=True), comparison.redrawn
    once = margin_of(redrawn.log_ratio)
    low, high = comparison.difference.interval(margin_of(redrawn.difference))
    several = decision is not None and bool(design.also)
    return MeasureResult(
        measure=name,
        words=MEASURES[name].words,
        quantile=MEASURES[name].quantile,
        treated=comparison.treated,
        control=comparison.control,
        difference=Interval(comparison.difference.value, low, high),
        ratio=_relative(comparison.log_ratio, once),
        always=_relative(comparison.log_ratio, _always(design, comparison, ALPHA)),
        plain=_relative(comparison.plain_log_ratio, margin_of(redrawn.plain_log_ratio)),
        uncut=_relative(uncut.log_ratio, once) if uncut is not None else None,
        enough=_enough(comparison),
        together=_relative(comparison.log_ratio, _deciding(design, comparison)) if several else None,
        decision=decision if several else None,
    )


def _relative(log_ratio: Estimate, margin: float) -> Interval:
    """Treated over control, minus one, with an interval of so many standard errors to each side."""
    low, high = log_ratio.interval(margin)
    return Interval(_less_one(log_ratio.value), _less_one(low), _less_one(high))


def _less_one(log_ratio: float) -> float:
    return exp(min(log_ratio, 50.0)) - 1


def _always(design: Design, comparison: Comparison, alpha: float) -> float:
    """The margin of the always-valid interval, which is made for large groups, widened as that of one look is."""
    if not _differs(comparison.log_ratio):
        return margin_of(comparison.redrawn.log_ratio, alpha)
    tau = tau_for(design.minimum_effect, design.power, alpha=alpha)
    return margin(comparison.log_ratio.standard_error, tau, alpha=alpha) * comparison.redrawn.widened(alpha)


def _deciding(design: Design, comparison: Comparison) -> float:
    """The margin of the interval that decides about an asked measure."""
    if design.decides == "once":
        return margin_of(comparison.redrawn.log_ratio, design.alpha)
    return _always(design, comparison, design.alpha)


def _by_week(
    design: Design, orders: pd.DataFrame, entered_at: pd.Series, until: datetime, newest: Comparison | None
) -> list[WeeklyEffect]:
    """The effect at each weekly look and at this one, with the returns that are known now."""
    effects = []
    weeks = (until - design.starts_at) / timedelta(weeks=1)
    looks = [float(week) for week in range(1, int(weeks) + 1)]
    if weeks - int(weeks) > _PART_OF_A_WEEK:
        looks.append(weeks)
    for week in looks:
        at, comparison = min(design.starts_at + timedelta(weeks=week), until), newest
        if at < until:
            observed = observe(orders, entered_at, at)
            comparison = _compared(observed, _treated(design, observed), design.metric, redraws=_WEEKLY_REDRAWS)
        if comparison is not None and _differs(comparison.log_ratio):
            once = _relative(comparison.log_ratio, margin_of(comparison.redrawn.log_ratio))
            always = _relative(comparison.log_ratio, _always(design, comparison, ALPHA))
            effects.append(
                WeeklyEffect(
                    week=round(week, 2),
                    ratio=once.value,
                    low=once.low,
                    high=once.high,
                    always_low=always.low,
                    always_high=always.high,
                    squared_error=comparison.log_ratio.standard_error**2,
                    enough=_enough(comparison),
                )
            )
    return effects


def _decide(design: Design, comparison: Comparison | None, until: datetime, weeks: float) -> Verdict:
    """What this look decides about one measure."""
    if comparison is None or not _enough(comparison) or not is_long_enough(weeks):
        return "early"
    once = design.decides == "once"
    if once and (design.ends_at is None or until < design.ends_at):
        return "open"
    low, high = comparison.log_ratio.interval(_deciding(design, comparison))
    if low > 0 or high < 0:
        return "more" if low > 0 else "less"
    return "none" if once else "open"


def _group(observed: Observations, member: Mask) -> Group:
    orders = observed.samples[AVERAGE_ORDER_VALUE]
    mine = member[orders.customer]
    return Group(
        customers=int(member.sum()),
        buyers=len(np.unique(orders.customer[mine])),
        orders=int(mine.sum()),
    )


def _order_values(observed: Observations, treated: Mask) -> OrderValues:
    orders = observed.samples[AVERAGE_ORDER_VALUE]
    positive = orders.value[orders.value > 0]
    if len(positive) == 0:
        return OrderValues((), (), ())
    ends = np.quantile(positive, [0.005, 0.995])
    edges = np.geomspace(max(float(ends[0]), 0.01), max(float(ends[1]), float(ends[0]) * 1.1, 0.02), _BINS + 1)

    def shares(member: Mask) -> tuple[float, ...]:
        values: FloatArray = np.clip(orders.value[member[orders.customer]], edges[0], edges[-1])
        counts = np.histogram(values, edges)[0]
        return tuple(float(count) for count in counts / max(int(counts.sum()), 1))

    return OrderValues(tuple(float(edge) for edge in edges), shares(treated), shares(~treated))
