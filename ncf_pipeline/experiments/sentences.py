"""An experiment's outcome in one plain sentence, and a plan's in a few."""

from ncf_pipeline.experiments.analysis import FEWEST_BUYERS, UNLIKELY
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.plan import Plan
from ncf_pipeline.experiments.power import FEWEST_WEEKS, MOST_WEEKS
from ncf_pipeline.experiments.results import Results

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


def sentence(design: Design, results: Results) -> str:
    """The outcome of a look at an experiment, in one sentence."""
    ended, ratio, verdict = results.has_ended, results.sample_ratio, results.verdict
    over = f"over {results.customers:,} customers and {_weeks(results.weeks)}"
    if ratio.p < UNLIKELY:
        return (
            f"Nothing can be said: {ratio.in_share:,} of {ratio.of_all:,} customers are in a group that should "
            f"have {ratio.share:.1%} of them, which chance does not do. Find out why first."
        )
    if verdict == "early":
        return (
            f"It is too early to say anything: {over}. At least {FEWEST_WEEKS} weeks, and {FEWEST_BUYERS} customers in "
            "each group who bought, are needed."
        )
    if verdict in ("more", "less"):
        result = results.measure(design.metric)
        interval = result.ratio if design.decides == "once" else result.always
        words, more, less = _SPENT[design.metric]
        value = result.ratio.value
        said = words.format(percent=f"{abs(value):.1%}", more=more if value > 0 else less)
        return (
            f"Customers with {design.groups.treated} {said} those with {design.groups.control} "
            f"(95% interval {interval.low:+.1%} to {interval.high:+.1%}), {over}."
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
        f"{_rest(design, results.more_weeks, ended=ended)} ({over})."
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


def plan_in_words(plan: Plan) -> list[str]:
    """What a plan means: a line for each way of deciding, and one for what it is based on."""
    effect, power = f"{plan.effect:+.1%}", f"{plan.power:.0%}"
    largest = max(plan.shares, key=lambda planned: planned.share)
    weekly = [(planned.share, planned.weekly) for planned in plan.shares]
    once = [(planned.share, planned.once) for planned in plan.shares]
    ways = (
        ("looked at every week", weekly, largest.weekly),
        ("looked at once, at the end", once, largest.once),
    )
    lines = []
    for words, needed_by_share, of_largest in ways:
        enough = [(share, needed.weeks) for share, needed in needed_by_share if needed.weeks is not None]
        if enough:
            share, weeks = min(enough)
            drawn_on = ", longer than the past that tells it" if weeks > plan.seen_weeks else ""
            lines.append(f"A share of {share:.1%}, {words}: {_weeks(weeks)}{drawn_on}.")
            continue
        least = of_largest.smallest_effect_in_half_a_year
        would = f"half a year would find {least:+.1%} or more" if least is not None else "nothing would be found"
        lines.append(
            f"The shop is too small to find {effect} with a chance of {power}, {words}: not within "
            f"{plan.most_weeks} weeks, even with {largest.share:.1%} of the customers in the smaller group; "
            f"{would}."
        )
    lines.append(
        f"From {plan.customers:,} customers and {plan.seen_weeks:.0f} weeks of the past; customers' own past "
        "(CUPED) is used."
    )
    return lines
