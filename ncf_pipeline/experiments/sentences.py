"""An experiment's outcome in one plain sentence, and a plan's in a few."""

from collections.abc import Mapping
from typing import Any

from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.power import FEWEST_WEEKS, MOST_WEEKS
from ncf_pipeline.experiments.results import FEWEST_BUYERS, UNLIKELY

FOLDER = "experiments"
"""Of the reports, in the artifact store."""

PEOPLE_WROTE = ("Hypothesis: ", "Ended by ")
"""How the facts of a report begin in which people wrote as they like: all others are of groups."""

_SPENT = {
    "average_order_value": ("spent {percent} {more} per order than", "more", "less"),
    "items_per_basket": ("had {percent} {more} different products in a basket than", "more", "fewer"),
    "orders_per_customer": ("ordered {percent} {more} than", "more often", "less often"),
    "revenue_per_customer": ("spent {percent} {more} than", "more", "less"),
    "repeat_rate": ("ordered again within 28 days {percent} {more} than", "more often", "less often"),
}


def sentence(design: Design, figures: Mapping[str, Any]) -> str:
    """What may be said of an experiment.

    Args:
        design: of the experiment.
        figures: from `results.measure`; `has_ended`, where nobody takes part any more.
    """
    ended = figures.get("has_ended", False)
    customers = sum(group["customers"] for group in figures["groups"].values())
    over = f"over {customers:,} customers and {_weeks(figures['weeks'])}"
    if figures["sample_ratio"]["p"] < UNLIKELY:
        ratio = figures["sample_ratio"]
        return (
            f"Nothing can be said: {ratio['in_share']:,} of {ratio['of_all']:,} customers are in a group that should "
            f"have {ratio['share']:.1%} of them, which chance does not do. Find out why first."
        )
    verdict = figures["verdict"]
    if verdict == "early":
        return (
            f"It is too early to say anything: {over}. At least {FEWEST_WEEKS} weeks, and {FEWEST_BUYERS} customers in "
            "each group who bought, are needed."
        )
    if verdict in ("more", "less"):
        row = next(row for row in figures["measures"] if row["measure"] == design.metric)
        interval = row["ratio" if design.decides == "once" else "always"]
        words, more, less = _SPENT[design.metric]
        value = row["ratio"]["value"]
        said = words.format(percent=f"{abs(value):.1%}", more=more if value > 0 else less)
        return (
            f"Customers with {design.groups['treated']} {said} those with {design.groups['control']} "
            f"(95% interval {interval['low']:+.1%} to {interval['high']:+.1%}), {over}."
        )
    if verdict == "none":
        least = percent(design.minimum_effect)
        return f"No difference can be told apart from chance, {over}: {least} would probably have shown."
    if design.decides == "once":
        end = f"{design.ends_at:%Y-%m-%d}" if design.ends_at is not None else "its end"
        if ended:
            return f"Nothing was decided: this experiment ended before its one look, on {end} ({over})."
        return f"Nothing is decided before {end}: this experiment is looked at once, then. So far {over}."
    return f"No difference {'could' if ended else 'can'} be told apart from chance{'' if ended else ' yet'}; " + (
        f"{_rest(design, figures['more_weeks'], ended=ended)} ({over})."
    )


def _rest(design: Design, more_weeks: int | None, *, ended: bool) -> str:
    if more_weeks is None:
        too = f"the groups {'were' if ended else 'are'} too small for {percent(design.minimum_effect)}"
        return f"{too}, even in {MOST_WEEKS} more weeks"
    weeks = f"about {more_weeks} more {'week' if more_weeks == 1 else 'weeks'}"
    return f"{weeks} {'would have been ' if ended else ''}needed"


def percent(share: float) -> str:
    """A share with three digits at most: 12%, 0.5%."""
    return f"{100 * share:.3g}%"


def _weeks(weeks: float) -> str:
    whole = round(weeks)
    return f"{whole} {'week' if whole == 1 else 'weeks'}" if whole >= 1 else "less than a week"


def plan_in_words(found: Mapping[str, Any]) -> list[str]:
    """What a plan means, plainly.

    Args:
        found: from `stages.experiments.plan`.
    """
    effect, power = f"{found['effect']:+.1%}", f"{found['power']:.0%}"
    largest = max(found["shares"], key=lambda row: row["share"])
    lines = []
    for name, words in (("weekly", "looked at every week"), ("once", "looked at once, at the end")):
        possible = [row for row in found["shares"] if row[name]["weeks"] is not None]
        if possible:
            row = min(possible, key=lambda row: row["share"])
            drawn_on = ", longer than the past that tells it" if row[name]["weeks"] > found["seen_weeks"] else ""
            lines.append(f"A share of {row['share']:.1%}, {words}: {_weeks(row[name]['weeks'])}{drawn_on}.")
            continue
        least = largest[name]["smallest_effect_in_half_a_year"]
        would = f"half a year would find {least:+.1%} or more" if least is not None else "nothing would be found"
        lines.append(
            f"The shop is too small to find {effect} with a chance of {power}, {words}: not within "
            f"{found['most_weeks']} weeks, even with {largest['share']:.1%} of the customers in the smaller group; "
            f"{would}."
        )
    lines.append(
        f"From {found['customers']:,} customers and {found['seen_weeks']:.0f} weeks of the past; customers' own past "
        "(CUPED) is used."
    )
    return lines
