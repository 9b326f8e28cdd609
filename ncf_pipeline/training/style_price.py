"""What variety and an order by expected revenue cost, on a holdout: in precision, and what is had for it.

What a shop showed in the week before the holdout is not known for a model that was trained just now. So the model's own
lists of that day stand for it, made a week before the holdout without that limit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import pandas as pd

from ncf_pipeline.columns import Interactions, Lists
from ncf_pipeline.evaluation.scores import CANDIDATE, KNOWN, PLAIN, QUESTIONS, Holdout, Scores, score
from ncf_pipeline.evaluation.summary import difference, number, percent
from ncf_pipeline.model.families import families_of
from ncf_pipeline.model.lists.assemble import Earlier, ListMaker, customer_lists
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.lists.style import PLAIN as PLAIN_STYLE
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.lists.variety import LOOK_AHEAD, Reranking, ShownBefore, Variety
from ncf_pipeline.model.trained import TrainedModel

STYLE = "style"
"""The key of a manifest that holds a `StyleFacts`."""

WEEK = timedelta(days=7)

NO_SETTING = "none"

HEADINGS = ("P@{k}", "difference [95%]", "families", "catalogue", "same as a week before", "revenue@{k}")


@dataclass(frozen=True)
class HowVaried:
    """How varied the lists of known customers are, as means over customers.

    Attributes:
        families: different families among the first `k`.
        kept: share of the first `k` that were among the first `k` a week before.
    """

    families: float
    kept: float


@dataclass(frozen=True)
class StyleFacts:
    """What the lists of a candidate are served with, for its card and its gate.

    Attributes:
        words: the style.
        varied: by question, and then by recommender: `candidate` as it is served, and `plain`.
    """

    words: str
    varied: dict[str, dict[str, HowVaried]]

    def as_dict(self) -> dict[str, Any]:
        """As a manifest stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "StyleFacts":
        """The facts that `as_dict` returned."""
        varied = {
            question: {name: HowVaried(**values) for name, values in of.items()}
            for question, of in stored["varied"].items()
        }
        return cls(stored["words"], varied)


@dataclass(frozen=True)
class Price:
    """What one setting costs on one question, over known customers.

    Attributes:
        setting: as it is set, such as `NCF_VARIETY_FAMILY=2`; `none` for lists without any.
        question: `for_you` or `discover`.
        k: depth.
        customers: that the means are over.
        precision_at_k: with the setting.
        difference: Precision@k with the setting less without; None for `none`.
        difference_low: lower end of its 95% interval, paired by customer.
        difference_high: upper end.
        families: different families among the first `k`.
        catalog_coverage: share of the catalogue among the first `k` of all lists.
        kept: share of the first `k` that were among the first `k` a week before.
        revenue_at_k: share of what the customers spent that went to the first `k`.
    """

    setting: str
    question: str
    k: int
    customers: int
    precision_at_k: float
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    families: float
    catalog_coverage: float
    kept: float
    revenue_at_k: float

    def cells(self) -> tuple[str, ...]:
        """A text for each of `HEADINGS`."""
        return (
            number(self.precision_at_k),
            difference(self.difference, self.difference_low, self.difference_high),
            f"{self.families:.2f}",
            percent(self.catalog_coverage),
            percent(self.kept),
            percent(self.revenue_at_k),
        )


def week_before(
    model: TrainedModel | None,
    interactions: pd.DataFrame,
    truth: Holdout,
    depth: int,
    style: Style,
    looks: pd.DataFrame | None,
) -> pd.DataFrame:
    """The lists of the holdout's customers a week before it, without a limit on what was shown before these."""
    return customer_lists(
        model,
        interactions,
        truth.start - WEEK,
        depth,
        customers=list(truth.known_customers),
        looks=looks,
        style=style.without_repeat,
    )


def recommend_holdout(
    model: TrainedModel | None,
    interactions: pd.DataFrame,
    truth: Holdout,
    depth: int,
    style: Style = PLAIN_STYLE,
    *,
    looks: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Recommends to the holdout's known customers as the shop would have shown it at the holdout's start.

    Args:
        model: trained on purchases before the holdout; None for version 0.
        interactions: columns of `columns.Interactions`.
        truth: the holdout.
        depth: length of a list.
        style: in which order, and with how much variety.
        looks: columns of `columns.Looks`; only a model that reads them needs any.

    Returns:
        Lists in the columns of `columns.Lists`.
    """
    earlier: Earlier | None = None
    if style.variety.repeat is not None:
        earlier = [week_before(model, interactions, truth, depth, style, looks)], truth.start - WEEK
    customers = list(truth.known_customers)
    return customer_lists(
        model, interactions, truth.start, depth, customers=customers, looks=looks, style=style, earlier=earlier
    )


def facts_of(
    style: Style,
    model: TrainedModel,
    interactions: pd.DataFrame,
    truth: Holdout,
    lists: Mapping[str, pd.DataFrame],
    *,
    depth: int,
    k: int,
    looks: pd.DataFrame | None = None,
) -> StyleFacts | None:
    """How varied a candidate's lists are, as they are served and plain; None if they are served plain.

    Args:
        style: of the served lists.
        model: the candidate.
        interactions: columns of `columns.Interactions`.
        truth: the holdout.
        lists: by recommender, `CANDIDATE` and `PLAIN` among them.
        depth: length of a list.
        k: depth of the figures.
        looks: columns of `columns.Looks`; only a model that reads them needs any.
    """
    if style.is_plain:
        return None
    styles = {CANDIDATE: style, PLAIN: PLAIN_STYLE}
    family = _family_of(interactions)
    before = {name: week_before(model, interactions, truth, depth, each, looks) for name, each in styles.items()}
    return StyleFacts(
        str(style),
        {
            question: {name: how_varied(lists[name], before[name], question, k, family) for name in styles}
            for question in QUESTIONS
        },
    )


def how_varied(
    lists: pd.DataFrame, before: pd.DataFrame, question: str, k: int, family: Mapping[str, int]
) -> HowVaried:
    """How varied lists are.

    Args:
        lists: columns of `columns.Lists`.
        before: the same customers' lists a week before; customers without one do not count for `kept`.
        question: `for_you` or `discover`.
        k: depth.
        family: of each stock code.
    """
    now, then = _first(lists, question, k), _first(before, question, k)
    both = [(codes, then[who]) for who, codes in now.items() if who in then and codes]
    return HowVaried(
        families=sum(len({family[code] for code in codes}) for codes in now.values()) / max(len(now), 1),
        kept=sum(len(set(codes) & set(others)) / len(codes) for codes, others in both) / max(len(both), 1),
    )


def card_section(facts: StyleFacts | None, scores: Sequence[Scores]) -> list[str]:
    """The lines of a model card about order and variety; none if the lists are plain."""
    if facts is None:
        return []
    rows = [
        f"| {question} | {'served' if name == CANDIDATE else 'plain'} | {number(of[name].precision_at_k)} | "
        f"{difference(of[PLAIN].ahead, of[PLAIN].ahead_low, of[PLAIN].ahead_high) if name == CANDIDATE else ''} | "
        f"{varied.families:.2f} | {percent(of[name].catalog_coverage)} | {percent(varied.kept)} |"
        for question, of in _known(scores)
        for name, varied in facts.varied[question].items()
    ]
    return [
        "## Order and variety",
        "",
        f"Lists are served and judged {facts.words}. `plain` is the same model without that.",
        "",
        "| list | | P@K known | difference [95%] | families among the first K | catalogue | same as a week before |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]


def notes(facts: StyleFacts | None, scores: Sequence[Scores]) -> list[str]:
    """What a gate's decision says of order and variety; nothing if the lists are plain."""
    if facts is None:
        return []
    return [
        f"{question}: judged as it is served, {facts.words}: Precision@{of[PLAIN].k} "
        f"{number(of[CANDIDATE].precision_at_k)}, without that {number(of[PLAIN].precision_at_k)}, "
        f"{difference(of[PLAIN].ahead, of[PLAIN].ahead_low, of[PLAIN].ahead_high)}"
        for question, of in _known(scores)
    ]


def prices(
    model: TrainedModel,
    interactions: pd.DataFrame,
    truth: Holdout,
    *,
    as_set: Style,
    categories: Mapping[str, str],
    depth: int,
    k: int,
    looks: pd.DataFrame | None = None,
) -> list[Price]:
    """Prices several limits and the order by value, each alone, and what is set now.

    Args:
        model: trained on purchases before the holdout.
        interactions: columns of `columns.Interactions`.
        truth: the holdout.
        as_set: the shop's style.
        categories: of the shop's products; without any, limits on categories are left out.
        depth: length of a list.
        k: depth of the figures.
        looks: columns of `columns.Looks`; only a model that reads them needs any.

    Returns:
        For each question, the lists without any setting first.
    """
    maker = ListMaker(model, interactions, truth.start, looks=looks)
    customers = list(truth.known_customers)
    deep = pd.concat(maker.customers(depth + LOOK_AHEAD, chosen=customers), ignore_index=True)
    before = week_before(model, interactions, truth, depth, PLAIN_STYLE, looks)
    lists = {NO_SETTING: _cut(deep, depth)}
    for setting, variety in _limits(k, categories):
        lists[setting] = _varied(deep, variety, before, truth, maker, depth)
    for weight in (0.25, 0.5, 1.0):
        by_value = maker.in_order("value", weight)
        setting = f"NCF_ORDER=value NCF_VALUE_WEIGHT={weight:g}"
        lists[setting] = pd.concat(by_value.customers(depth, chosen=customers), ignore_index=True)
    if not as_set.is_plain:
        lists["as set"] = recommend_holdout(model, interactions, truth, depth, as_set, looks=looks)
    named = {CANDIDATE if name == NO_SETTING else name: made for name, made in lists.items()}
    fallbacks = fallback_lists(interactions, truth.start, depth)
    scores = [each for each in score(named, truth, k=k, fallbacks=fallbacks) if each.cohort == KNOWN]
    family = _family_of(interactions)
    return [
        _price(each, how_varied(named[each.recommender], before, each.question, k, family))
        for each in scores
        if each.customers
    ]


def _limits(k: int, categories: Mapping[str, str]) -> Iterator[tuple[str, Variety]]:
    for most in (1, 2, 3):
        yield f"NCF_VARIETY_FAMILY={most}", Variety(family=most, places=k)
    if categories:
        for most in (1, 2, 3):
            yield f"NCF_VARIETY_CATEGORY={most}", Variety(category=most, places=k, categories=categories)
    for most in (0, 1, 2, 3):
        yield f"NCF_VARIETY_REPEAT={most}", Variety(repeat=most, places=k)


def _varied(
    deep: pd.DataFrame, variety: Variety, before: pd.DataFrame, truth: Holdout, maker: ListMaker, depth: int
) -> pd.DataFrame:
    """Brings variety to lists that are long enough; the same as `ListMaker` makes, without scoring again."""
    state = maker.state
    ranking = Reranking(variety, [str(code) for code in state.events.products])
    shown = ShownBefore([before], truth.start - WEEK, state, variety.places)
    customer = state.events.index_of(deep[Lists.KEY].tolist()).tolist()
    codes = [
        list(ranking.ranked(row, again=shown.again(who, name)))
        for row, who, name in zip(deep[Lists.STOCK_CODES], customer, deep[Lists.LIST_NAME], strict=True)
    ]
    return _cut(deep.assign(**{Lists.STOCK_CODES: pd.Series(codes, index=deep.index)}), depth)


def _cut(deep: pd.DataFrame, depth: int) -> pd.DataFrame:
    return deep.assign(**{Lists.STOCK_CODES: deep[Lists.STOCK_CODES].map(lambda codes: list(codes)[:depth])})


def _price(of: Scores, varied: HowVaried) -> Price:
    lead = (of.ahead, of.ahead_high, of.ahead_low)  # of the lists without a setting over these
    less, low, high = (None if value is None else 0.0 - value for value in lead)
    return Price(
        setting=NO_SETTING if of.recommender == CANDIDATE else of.recommender,
        question=of.question,
        k=of.k,
        customers=of.customers,
        precision_at_k=of.precision_at_k,
        difference=less,
        difference_low=low,
        difference_high=high,
        families=varied.families,
        catalog_coverage=of.catalog_coverage,
        kept=varied.kept,
        revenue_at_k=of.revenue_at_k or 0.0,
    )


def _known(scores: Sequence[Scores]) -> Iterator[tuple[str, dict[str, Scores]]]:
    """For each question that somebody answered, the scores over known customers by recommender."""
    for question in QUESTIONS:
        of = {each.recommender: each for each in scores if each.question == question and each.cohort == KNOWN}
        if PLAIN in of and of[PLAIN].customers:
            yield question, of


def _family_of(interactions: pd.DataFrame) -> dict[str, int]:
    codes = sorted(interactions[Interactions.STOCK_CODE].unique())
    return dict(zip(codes, families_of(codes).tolist(), strict=True))


def _first(lists: pd.DataFrame, question: str, k: int) -> dict[str, list[str]]:
    chosen = lists[lists[Lists.LIST_NAME] == question]
    return {str(who): list(codes)[:k] for who, codes in zip(chosen[Lists.KEY], chosen[Lists.STOCK_CODES], strict=True)}
