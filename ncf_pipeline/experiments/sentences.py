"""The outcome of an experiment in one sentence, and a plan in a few."""

from collections.abc import Sequence

from ncf_pipeline.experiments.analysis import UNLIKELY
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.measures import MEASURES
from ncf_pipeline.experiments.plan import Plan, PlannedShare
from ncf_pipeline.experiments.power import FEWEST_BUYERS, FEWEST_WEEKS, MOST_WEEKS
from ncf_pipeline.experiments.results import MISMATCH, Interval, MeasureResult, Results

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
    """The outcome of a look at an experiment: a sentence; more if several are asked, or the effect is diluted."""
    exposure = results.exposure
    if exposure is not None and exposure.is_invalid and results.sample_ratio.p >= UNLIKELY:
        return (
            "No result can be trusted: in the checks of what the storefront reads, only "
            f"{exposure.groups.treated.share_right:.1%} of the treated customers and "
            f"{exposure.groups.control.share_right:.1%} of the control customers saw their group's lists. "
            "Find the cause first."
        )
    diluted = []
    if exposure is not None and exposure.is_diluted and results.verdict not in ("early", MISMATCH):
        diluted = [
            "The effect is diluted: not all customers saw their group's lists, so only about "
            f"{exposure.contrast:.0%} of it shows."
        ]
    return " ".join([_of_deciding(design, results), *_of_others(design, results), *diluted])


def _of_others(design: Design, results: Results) -> list[str]:
    """What the look decides about the measures that are asked besides the deciding one."""
    asked = [result for result in results.measures if result.measure in design.also and result.together is not None]
    said = [_of_other(result) for result in asked if result.decision in ("more", "less", "none", "open")]
    if not said or (design.decides == "once" and results.verdict == "open"):
        return []
    return [
        f"Of the other measures asked: {'; '.join(said)}. With {len(design.asked)} measures asked, the intervals are "
        "wider: all of them together miss the truth in at most 5 of 100 experiments."
    ]


def _of_other(result: MeasureResult) -> str:
    if result.decision not in ("more", "less"):
        return f"no difference in {result.words} can be distinguished from chance"
    interval = result.together or result.ratio
    value = interval.value
    words, more, less = _SPENT[result.measure]
    said = words.format(percent=f"{abs(value):.1%}", more=more if value > 0 else less).removesuffix(" than")
    return f"they {said} ({interval.low:+.1%} to {interval.high:+.1%})"


def _of_deciding(design: Design, results: Results) -> str:
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
        interval = _deciding_interval(design, result)
        words, more, less = _SPENT[design.metric]
        value = result.ratio.value
        said = words.format(percent=f"{abs(value):.1%}", more=more if value > 0 else less)
        return (
            f"Customers with {design.groups.treated} {said} those with {design.groups.control} "
            f"(95% interval {interval.low:+.1%} to {interval.high:+.1%}), {over}."
        )
    least = percent(design.minimum_effect)
    if verdict == "none":
        can = "could" if ended else "can"
        return f"No difference {can} be distinguished from chance, {over}{_not_seen(design, results)}."
    if design.decides == "once":
        end = f"{design.ends_at:%Y-%m-%d}" if design.ends_at is not None else "its end"
        if ended:
            return f"Nothing was decided: the experiment ended before its one look on {end} ({over})."
        return f"Nothing is decided before {end}, when this experiment has its one look (so far {over})."
    if ended:
        return f"No difference could be distinguished from chance, {over}; {_rest(results, least, ended=True)}."
    return f"No difference can be distinguished from chance yet, {over}; {_rest(results, least, ended=False)}."


def _not_seen(design: Design, results: Results) -> str:
    """The interval of the deciding measure, and whether it leaves room for the effect that was worth finding."""
    result = next((each for each in results.measures if each.measure == design.metric), None)
    if result is None:
        return ""
    interval = _deciding_interval(design, result)
    inside = interval.low <= design.minimum_effect <= interval.high
    so = f"so an effect of {percent(design.minimum_effect)} is {'not excluded' if inside else 'excluded'}"
    return f" (95% interval {interval.low:+.1%} to {interval.high:+.1%}), {so}"


def _deciding_interval(design: Design, result: MeasureResult) -> Interval:
    """The interval that decides: of all asked measures together, of one look, or always valid."""
    return result.together or (result.ratio if design.decides == "once" else result.always)


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
    lines = []
    if plan.also:
        lines.append(
            f"{1 + len(plan.also)} measures are asked, so each has an interval at {1 - plan.alpha:.1%}, and all hold "
            "together at 95%."
        )
    lines += [_chance_in_words(plan, planned, plan.metric) for planned in plan.shares if plan.weeks is not None]
    lines += _needed_in_words(plan, plan.shares, f"{MEASURES[plan.metric].words}: " if plan.also else "")
    for other in plan.also:
        lines += [_chance_in_words(plan, planned, other.metric) for planned in other.shares if plan.weeks is not None]
        lines += _needed_in_words(plan, other.shares, f"{MEASURES[other.metric].words}: ")
    lines.append(
        f"Based on {plan.customers:,} customers and {plan.seen_weeks:.0f} weeks of the past. Effects are estimated "
        "with CUPED."
    )
    return lines


def _chance_in_words(plan: Plan, planned: PlannedShare, metric: str) -> str:
    """What the plan's weeks find with one share."""

    def of_100(chance: float | None) -> str:
        return f"{100 * (chance or 0):.0f} of 100"

    def least(effect: float | None) -> str:
        return f"{effect:+.1%}" if effect is not None else "no effect"

    weekly, once = planned.weekly, planned.once
    return (
        f"{_weeks(plan.weeks or 0)} with a share of {planned.share:.1%} find {plan.effect:+.1%} in "
        f"{MEASURES[metric].words} in {of_100(weekly.chance)} experiments with weekly looks, and in "
        f"{of_100(once.chance)} with one look at the end. The smallest increase that they find in "
        f"{of_100(plan.power)} is {least(weekly.smallest_effect)} or {least(once.smallest_effect)}."
    )


def _needed_in_words(plan: Plan, shares: Sequence[PlannedShare], measure: str) -> list[str]:
    effect, power = f"{plan.effect:+.1%}", f"{plan.power:.0%}"
    largest = max(shares, key=lambda planned: planned.share)
    weekly = [(planned.share, planned.weekly) for planned in shares]
    once = [(planned.share, planned.once) for planned in shares]
    ways = (
        ("weekly looks", weekly, largest.weekly),
        ("one look at the end", once, largest.once),
    )
    lines = []
    for words, needed_by_share, of_largest in ways:
        start = f"{measure}{'with' if measure else 'With'} {words}"
        enough = [(share, needed.weeks) for share, needed in needed_by_share if needed.weeks is not None]
        if enough:
            share, weeks = min(enough)
            longer = ", longer than the past that this is based on" if weeks > plan.seen_weeks else ""
            quickest_share, quickest = min(enough, key=lambda of_share: (of_share[1], of_share[0]))
            sooner = f"; one of {quickest_share:.1%} needs {_weeks(quickest)}" if quickest < weeks else ""
            lines.append(f"{start}, a share of {share:.1%} needs {_weeks(weeks)}{longer}{sooner}.")
            continue
        least = of_largest.smallest_effect_in_half_a_year
        found = f"{least:+.1%} or more" if least is not None else "no effect"
        lines.append(
            f"{start}, the shop is too small to find {effect} with a power of {power}: {plan.most_weeks} weeks "
            f"are not enough, even with {largest.share:.1%} of the customers in the smaller group. Half a year can "
            f"find {found}."
        )
    return [f"{line[0].upper()}{line[1:]}" for line in lines]
