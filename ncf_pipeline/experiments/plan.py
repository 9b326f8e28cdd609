"""The plan of an experiment: how many weeks, and what share of the customers, it takes to find an effect. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from math import inf, isfinite
from typing import Any

from ncf_pipeline.experiments.power import (
    MOST_WEEKS,
    Curve,
    Curves,
    Draws,
    Looking,
    chance_within,
    smallest_effect,
    weeks_needed,
)
from ncf_pipeline.experiments.sequential import ALPHA

HALF_A_YEAR = 26  # weeks


@dataclass(frozen=True)
class Needed:
    """What it takes for one share and one way of deciding.

    Attributes:
        weeks: until the effect is found with the power asked for; None if `MOST_WEEKS` are too few.
        weeks_without_cuped: the same without CUPED.
        chance_in_half_a_year: of finding the effect within 26 weeks.
        smallest_effect_in_half_a_year: that is found within 26 weeks with that power; None if no effect is.
        chance: of finding the effect within the plan's weeks; None if it has none.
        smallest_effect: that is found within the plan's weeks with that power; None if no effect is, or without weeks.
    """

    weeks: int | None
    weeks_without_cuped: int | None
    chance_in_half_a_year: float
    smallest_effect_in_half_a_year: float | None
    chance: float | None = None
    smallest_effect: float | None = None


@dataclass(frozen=True)
class PlannedShare:
    """What it takes for one share of the customers: with a decision at any weekly look, and with one look."""

    share: float
    weekly: Needed
    once: Needed


@dataclass(frozen=True)
class PlannedMeasure:
    """What it takes to find the effect on another measure that is asked, by share of the customers."""

    metric: str
    shares: tuple[PlannedShare, ...]


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
        alpha: the chance that a measure's interval misses the truth: 0.05 over the number of asked measures.
        also: the other measures that are asked.
        weeks: of the experiment, if that is decided.
    """

    effect: float
    power: float
    metric: str
    until: datetime
    customers: int
    seen_weeks: float
    most_weeks: int
    shares: tuple[PlannedShare, ...]
    alpha: float = ALPHA
    also: tuple[PlannedMeasure, ...] = ()
    weeks: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **asdict(self),
            "until": self.until.isoformat(),
            "shares": [asdict(each) for each in self.shares],
            "also": [{"metric": each.metric, "shares": [asdict(of) for of in each.shares]} for each in self.also],
        }


def plan(
    curves: Curves,
    *,
    effect: float,
    power: float,
    metric: str,
    until: datetime,
    shares: Sequence[float],
    also: Mapping[str, Curves] | None = None,
    weeks: int | None = None,
) -> Plan:
    """Plans an experiment.

    Args:
        curves: of the shop's past, by the deciding measure.
        effect: to be found: 0.05 for five percent.
        power: the chance of finding it, 0 to 1.
        metric: the deciding measure.
        until: first instant of the past excluded.
        shares: of the customers in the smaller group, 0 to 0.5.
        also: of the shop's past, by the name of each other measure that is asked.
        weeks: of the experiment, if that is decided: the plan then says what so many weeks find.
    """
    past, others = curves.with_cuped, also or {}
    alpha = ALPHA / (1 + len(others))
    return Plan(
        effect=effect,
        power=power,
        metric=metric,
        until=until,
        customers=past.customers,
        seen_weeks=past.seen_weeks,
        most_weeks=MOST_WEEKS,
        shares=_planned(curves, effect, shares, power=power, alpha=alpha, weeks=weeks),
        alpha=alpha,
        also=tuple(
            PlannedMeasure(name, _planned(of_name, effect, shares, power=power, alpha=alpha, weeks=weeks))
            for name, of_name in others.items()
        ),
        weeks=weeks,
    )


def _planned(
    curves: Curves, effect: float, shares: Sequence[float], *, power: float, alpha: float, weeks: int | None
) -> tuple[PlannedShare, ...]:
    planned = []
    for share in shares:
        drawn = curves.draws(share)

        def looking(draws: Draws | None, *, every_week: bool, share: float = share) -> Looking:
            return Looking(share=share, power=power, every_week=every_week, alpha=alpha, draws=draws)

        weekly, once = (
            _needed(
                (curves.with_cuped, looking(drawn.with_cuped, every_week=every_week)),
                (curves.without_cuped, looking(drawn.without_cuped, every_week=every_week)),
                effect,
                weeks,
            )
            for every_week in (True, False)
        )
        planned.append(PlannedShare(share=share, weekly=weekly, once=once))
    return tuple(planned)


def _needed(
    with_cuped: tuple[Curve, Looking], without_cuped: tuple[Curve, Looking], effect: float, weeks: int | None
) -> Needed:
    curve, looking = with_cuped
    least = smallest_effect(curve, HALF_A_YEAR, looking)
    least_of_weeks = inf if weeks is None else smallest_effect(curve, weeks, looking)
    return Needed(
        weeks=weeks_needed(curve, effect, looking),
        weeks_without_cuped=weeks_needed(without_cuped[0], effect, without_cuped[1]),
        chance_in_half_a_year=chance_within(curve, effect, HALF_A_YEAR, looking),
        smallest_effect_in_half_a_year=least if isfinite(least) else None,
        chance=None if weeks is None else chance_within(curve, effect, weeks, looking),
        smallest_effect=least_of_weeks if isfinite(least_of_weeks) else None,
    )
