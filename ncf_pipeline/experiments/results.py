"""All numbers of a report, from orders: plain dictionaries, so that they are kept and printed as JSON."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import exp, isfinite
from typing import Any

import numpy as np
import pandas as pd

from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.inference import Comparison, Estimate, Mask, compare, sample_ratio
from ncf_pipeline.experiments.measures import (
    AVERAGE_ORDER_VALUE,
    MEASURES,
    REVENUE_PER_CUSTOMER,
    FloatArray,
    Look,
    look_at,
)
from ncf_pipeline.experiments.power import FEWEST_WEEKS, more_weeks, past_curves, tau_for
from ncf_pipeline.experiments.sequential import margin

FEWEST_BUYERS = 30
"""So many customers of each group must have bought before anything is decided: means of fewer are not yet normal."""

UNLIKELY = 0.001
"""Groups that chance makes so rarely were not made by chance."""

MISMATCH = "mismatch"
"""The verdict on such groups: nothing of what is measured can be believed, nor who is harmed."""

_BINS = 24
_PART_OF_A_WEEK = 0.1  # since the last full one: less is no look of its own
_NO_ERROR = 1e-9  # of a log ratio: what rounding leaves


def measure(design: Design, orders: pd.DataFrame, entered_at: pd.Series, until: datetime) -> dict[str, Any]:
    """What the groups did until an instant.

    Args:
        design: of the experiment.
        orders: columns of `purchases.Orders`, from the shop's first day on.
        entered_at: since when each customer sees what their group sees, by customer id.
        until: first instant excluded.

    Returns:
        `starts_at`, `until`, `weeks`, `groups`, `sample_ratio`, `measures`, `by_week`, `baskets`, and `verdict` with
        `more_weeks`.
    """
    weeks = (until - design.starts_at) / timedelta(weeks=1)
    look = look_at(orders, entered_at, until)
    treated = _treated(design, look)
    tau = tau_for(design.minimum_effect, design.power)
    of_each = {name: _compared(look, treated, name) for name in MEASURES}
    path = _by_week(design, orders, entered_at, until, tau)
    share = int((treated if design.share_is_treated else ~treated).sum())
    chance = sample_ratio(share, len(treated), design.share)
    decided, errors = _decided(design, of_each[design.metric], path, until, weeks, tau)
    if chance < UNLIKELY:
        decided, errors = MISMATCH, {}
    more = None
    if errors:
        curves = past_curves(orders, design.starts_at, MEASURES[design.metric])
        past = curves[0] if curves is not None else None
        more = more_weeks(errors, design.minimum_effect, power=design.power, past=past)
    return {
        "starts_at": design.starts_at.isoformat(),
        "until": until.isoformat(),
        "weeks": round(weeks, 2),
        "groups": {name: _group(look, member) for name, member in (("treated", treated), ("control", ~treated))},
        "sample_ratio": {
            "share": design.share,
            "in_share": share,
            "of_all": len(treated),
            "p": chance,
        },
        "measures": [_row(look, treated, name, found, tau) for name, found in of_each.items() if found is not None],
        "by_week": path,
        "baskets": _baskets(look, treated),
        "verdict": decided,
        "more_weeks": more,
    }


def harm_to_share(design: Design, figures: dict[str, Any]) -> tuple[str, float] | None:
    """By which measure, and by how much, the share is surely worse off; None while that is not more than the bound.

    Sure by the interval that holds at all looks, at its nearer end. Asked of the measure that decides, and of revenue
    per customer: whoever orders less often is harmed, however large the orders are. By each of the two, chance alone
    says so in at most 2.5 of 100 experiments without any harm, on one side of a 95% interval: in 5 together.
    """
    found = []
    for row in _harm_rows(design, figures):
        low, high = row["always"]["low"], row["always"]["high"]
        found.append((row["measure"], -high if design.share_is_treated else 1 - 1 / (1 + low)))
    measure, worse = max(found, key=lambda each: each[1], default=("", 0.0))
    return (measure, worse) if worse > design.harm_bound else None


def lists_lose(design: Design, figures: dict[str, Any]) -> tuple[str, float] | None:
    """By which measure, and by how much, personal lists surely sell less than best sellers would; None if they do not.

    As with `harm_to_share`, by the measure that decides or by revenue per customer.
    """
    if design.kind != "holdout":
        return None
    found = [(row["measure"], -row["always"]["high"]) for row in _harm_rows(design, figures)]
    measure, less = max(found, key=lambda each: each[1], default=("", 0.0))
    return (measure, less) if less > 0 else None


def _harm_rows(design: Design, figures: dict[str, Any]) -> list[dict[str, Any]]:
    if not _long_enough(figures["weeks"]) or figures["verdict"] == MISMATCH:
        return []
    asked = {design.metric, REVENUE_PER_CUSTOMER}
    return [row for row in figures["measures"] if row["measure"] in asked and row["enough"]]


def _treated(design: Design, look: Look) -> Mask:
    in_share = chosen(design.salt, design.share, look.customers.tolist())
    return in_share if design.share_is_treated else ~in_share


def _compared(look: Look, treated: Mask, name: str, *, uncut: bool = False) -> Comparison | None:
    if treated.sum() < 2 or (~treated).sum() < 2:
        return None
    return compare(look.samples[name], look.past, treated, 1.0 if uncut else MEASURES[name].quantile)


def _long_enough(weeks: float) -> bool:
    # The shop's clock stands at its newest invoice, a little before a week is full.
    return round(weeks) >= FEWEST_WEEKS


def _enough(found: Comparison) -> bool:
    return min(found.treated_buyers, found.control_buyers) >= FEWEST_BUYERS and _differs(found.log_ratio)


def _differs(estimate: Estimate) -> bool:
    # Where all customers do the same, there is no error to go by.
    return estimate.standard_error > _NO_ERROR


def _row(look: Look, treated: Mask, name: str, found: Comparison, tau: float) -> dict[str, Any]:
    uncut = _compared(look, treated, name, uncut=True)
    low, high = found.difference.interval()
    return {
        "measure": name,
        "words": MEASURES[name].words,
        "quantile": MEASURES[name].quantile,
        "treated": found.treated,
        "control": found.control,
        "difference": {"value": found.difference.value, "low": low, "high": high},
        "ratio": _percent(found, None),
        "always": _percent(found, tau),
        "plain": _percent(found, None, plain=True),
        "uncut": _percent(uncut, None) if uncut is not None else None,
        "enough": _enough(found),
    }


def _percent(found: Comparison, tau: float | None, *, plain: bool = False) -> dict[str, float]:
    """Treated over control, less one, with an interval: for one look, or for all of them where there is a tau."""
    estimate = found.plain_log_ratio if plain else found.log_ratio
    margins = (margin(estimate.standard_error, tau),) if tau is not None and _differs(estimate) else ()
    low, high = estimate.interval(*margins)
    return {"value": _less_one(estimate.value), "low": _less_one(low), "high": _less_one(high)}


def _less_one(log_ratio: float) -> float:
    return exp(min(log_ratio, 50.0)) - 1


def _by_week(
    design: Design, orders: pd.DataFrame, entered_at: pd.Series, until: datetime, tau: float
) -> list[dict[str, Any]]:
    """The effect as each weekly look would have found it, and this one, by what is known of returns now."""
    rows = []
    weeks = (until - design.starts_at) / timedelta(weeks=1)
    looks = [float(week) for week in range(1, int(weeks) + 1)]
    if weeks - int(weeks) > _PART_OF_A_WEEK:
        looks.append(weeks)
    for week in looks:
        at = min(design.starts_at + timedelta(weeks=week), until)
        look = look_at(orders, entered_at, at)
        found = _compared(look, _treated(design, look), design.metric)
        if found is not None and _differs(found.log_ratio):
            once, always = _percent(found, None), _percent(found, tau)
            rows.append(
                {
                    "week": round(week, 2),
                    "ratio": once["value"],
                    "low": once["low"],
                    "high": once["high"],
                    "always_low": always["low"],
                    "always_high": always["high"],
                    "squared_error": found.log_ratio.standard_error**2,
                    "enough": _enough(found),
                }
            )
    return rows


def _decided(
    design: Design,
    found: Comparison | None,
    path: Sequence[dict[str, Any]],
    until: datetime,
    weeks: float,
    tau: float,
) -> tuple[str, dict[float, float]]:
    """`more`, `less`, `none` (of a look that was the only one), `open` or `early`; errors by week if it goes on."""
    if found is None or not _enough(found) or not _long_enough(weeks):
        return "early", {}
    once = design.decides == "once"
    if once and (design.ends_at is None or until < design.ends_at):
        return "open", {}
    low, high = (
        found.log_ratio.interval() if once else found.log_ratio.interval(margin(found.log_ratio.standard_error, tau))
    )
    if low > 0 or high < 0:
        return "more" if low > 0 else "less", {}
    if once:
        return "none", {}
    errors = {row["week"]: row["squared_error"] for row in path if row["enough"]} or {
        weeks: found.log_ratio.standard_error**2
    }
    return "open", errors


def _group(look: Look, member: Mask) -> dict[str, int]:
    orders = look.samples[AVERAGE_ORDER_VALUE]
    mine = member[orders.customer]
    return {
        "customers": int(member.sum()),
        "buyers": len(np.unique(orders.customer[mine])),
        "orders": int(mine.sum()),
    }


def _baskets(look: Look, treated: Mask) -> dict[str, list[float]]:
    """How orders spread over values: edges, each a constant factor above the one before, and each group's shares."""
    orders = look.samples[AVERAGE_ORDER_VALUE]
    positive = orders.value[orders.value > 0]
    if len(positive) == 0:
        return {"edges": [], "treated": [], "control": []}
    ends = np.quantile(positive, [0.005, 0.995])
    edges = np.geomspace(max(float(ends[0]), 0.01), max(float(ends[1]), float(ends[0]) * 1.1, 0.02), _BINS + 1)

    def shares(member: Mask) -> list[float]:
        values: FloatArray = np.clip(orders.value[member[orders.customer]], edges[0], edges[-1])
        counts = np.histogram(values, edges)[0]
        return [float(count) for count in counts / max(int(counts.sum()), 1)]

    return {"edges": [float(edge) for edge in edges], "treated": shares(treated), "control": shares(~treated)}


def is_finite(row: dict[str, Any]) -> bool:
    """Whether a row's effect can be drawn."""
    return all(isfinite(row[name]) for name in ("ratio", "low", "high", "always_low", "always_high"))
