"""The plan of an experiment: how many weeks, and what share of the customers, it takes to find an effect. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from ncf_pipeline.experiments.power import MOST_WEEKS, Curves, chance_within, smallest_effect, weeks_needed

HALF_A_YEAR = 26  # weeks


@dataclass(frozen=True)
class Needed:
    """What it takes for one share and one way of deciding.

    Attributes:
        weeks: until the effect is found with the power asked for; None if `MOST_WEEKS` are too few.
        weeks_without_cuped: the same without CUPED.
        chance_in_half_a_year: of finding the effect within 26 weeks.
        smallest_effect_in_half_a_year: that is found within 26 weeks with that power; None if no effect is.
    """

    weeks: int | None
    weeks_without_cuped: int | None
    chance_in_half_a_year: float
    smallest_effect_in_half_a_year: float | None


@dataclass(frozen=True)
class PlannedShare:
    """What it takes for one share of the customers: with a decision at any weekly look, and with one look."""

    share: float
    weekly: Needed
    once: Needed


@dataclass(frozen=True)
class Plan:
    """What a shop's past says of an experiment.

    Attributes:
        effect: to be found: 0.05 for five percent.
        power: the chance of finding it.
        metric: the deciding measure.
        until: first instant of the past excluded.
        customers: who would have taken part by the end of the longest past window.
        seen_weeks: length of that window.
        most_weeks: the longest experiment considered.
        shares: one for each share of the customers.
    """

    effect: float
    power: float
    metric: str
    until: datetime
    customers: int
    seen_weeks: float
    most_weeks: int
    shares: tuple[PlannedShare, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "until": self.until.isoformat(), "shares": [asdict(each) for each in self.shares]}


def plan(curves: Curves, *, effect: float, power: float, metric: str, until: datetime, shares: Sequence[float]) -> Plan:
    """Plans an experiment.

    Args:
        curves: of the shop's past, by the deciding measure.
        effect: to be found: 0.05 for five percent.
        power: the chance of finding it, 0 to 1.
        metric: the deciding measure.
        until: first instant of the past excluded.
        shares: of the customers in the smaller group, 0 to 0.5.
    """
    past = curves.with_cuped
    return Plan(
        effect=effect,
        power=power,
        metric=metric,
        until=until,
        customers=past.customers,
        seen_weeks=past.seen_weeks,
        most_weeks=MOST_WEEKS,
        shares=tuple(
            PlannedShare(
                share=share,
                weekly=_needed(curves, effect, share=share, power=power, every_week=True),
                once=_needed(curves, effect, share=share, power=power, every_week=False),
            )
            for share in shares
        ),
    )


def _needed(curves: Curves, effect: float, *, share: float, power: float, every_week: bool) -> Needed:
    how: dict[str, Any] = {"share": share, "power": power, "every_week": every_week}
    least = smallest_effect(curves.with_cuped, HALF_A_YEAR, **how)
    return Needed(
        weeks=weeks_needed(curves.with_cuped, effect, **how),
        weeks_without_cuped=weeks_needed(curves.without_cuped, effect, **how),
        chance_in_half_a_year=chance_within(curves.with_cuped, effect, HALF_A_YEAR, **how),
        smallest_effect_in_half_a_year=least if isfinite(least) else None,
    )
