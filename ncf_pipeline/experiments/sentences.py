"""The outcome of an experiment in one sentence, and a plan in a few."""

from ncf_pipeline.experiments.analysis import FEWEST_BUYERS, UNLIKELY
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.plan import Plan
from ncf_pipeline.experiments.power import FEWEST_WEEKS, MOST_WEEKS
from ncf_pipeline.experiments.results import Results

FOLDER = "experiments"
"""The folder of all reports in the artifact store."""

PEOPLE_WROTE = ("Hypothesis: ", "Ended by ")
"""How those facts of a report begin that contain text by people. All other facts are about groups."""

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
            f"No result can be trusted: {ratio.in_share:,} of {ratio.of_all:,} customers are in the share, which "
            f"should have {ratio.share:.1%} of them (a sample ratio mismatch). Find the cause first."
        )
    if verdict == "early":
        return (
            f"It is too early to decide, {over}. A decision needs at least {FEWEST_WEEKS} weeks, and in each group "
            f"{FEWEST_BUYERS} customers who have bought."
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
    least = percent(design.minimum_effect)
    if verdict == "none":
        return (
            f"No difference can be distinguished from chance, {over}; an effect of {least} would probably have shown."
        )
    if design.decides == "once":
        end = f"{design.ends_at:%Y-%m-%d}" if design.ends_at is not None else "its end"
        if ended:
            return f"Nothing was decided: the experiment ended before its one look on {end} ({over})."
        return f"Nothing is decided before {end}, when this experiment has its one look (so far {over})."
    if ended:
        return f"No difference could be distinguished from chance, {over}; {_rest(results, least, ended=True)}."
    return f"No difference can be distinguished from chance yet, {over}; {_rest(results, least, ended=False)}."


def _rest(results: Results, least: str, *, ended: bool) -> str:
    more = results.more_weeks
    if more is None:
        return f"the groups {'were' if ended else 'are'} too small to find {least}, even in {MOST_WEEKS} more weeks"
    weeks = f"about {more} more {'week' if more == 1 else 'weeks'}"
    return f"the experiment {'would have needed' if ended else 'needs'} {weeks}"


def percent(share: float) -> str:
    """A share in percent, with up to three digits.

    >>> percent(0.12), percent(0.005)
    ('12%', '0.5%')
    """
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
        ("weekly looks", weekly, largest.weekly),
        ("one look at the end", once, largest.once),
    )
    lines = []
    for words, needed_by_share, of_largest in ways:
        enough = [(share, needed.weeks) for share, needed in needed_by_share if needed.weeks is not None]
        if enough:
            share, weeks = min(enough)
            longer = ", longer than the past that this is based on" if weeks > plan.seen_weeks else ""
            lines.append(f"With {words}, a share of {share:.1%} needs {_weeks(weeks)}{longer}.")
            continue
        least = of_largest.smallest_effect_in_half_a_year
        found = f"{least:+.1%} or more" if least is not None else "no effect"
        lines.append(
            f"With {words}, the shop is too small to find {effect} with a power of {power}: {plan.most_weeks} weeks "
            f"are not enough, even with {largest.share:.1%} of the customers in the smaller group. Half a year finds "
            f"{found}."
        )
    lines.append(
        f"Based on {plan.customers:,} customers and {plan.seen_weeks:.0f} weeks of the past. Effects are estimated "
        "with CUPED."
    )
    return lines
