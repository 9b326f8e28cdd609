"""Scores lists that were live on what was bought meanwhile. Pure.

Nothing leaks: lists know purchases before their `as_of`, and are scored on purchases from then on. Customers who
bought nothing do not count. Customers who bought and had no list score 0, unless they came after the lists were made:
those saw the fallback, and are counted separately.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import isfinite

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline.columns import Interactions, Lists
from ncf_pipeline.evaluation.baselines import personal_frequency, recent_best_sellers
from ncf_pipeline.evaluation.bootstrap import mean_intervals
from ncf_pipeline.evaluation.scores import NDCG_DEPTH, QUESTIONS, Holdout, score_by_customer, truth_of
from ncf_pipeline.id_order import in_order

LIVE = "live"
INSTEAD = {"personal_frequency": personal_frequency, "recent_best_sellers": recent_best_sellers}
"""Baselines that the shop could have shown instead; they know purchases before the slice's start."""


@dataclass(frozen=True)
class Slice:
    """What customers bought while one publication was live.

    Attributes:
        truth: of the customers who count; `truth.start` and `truth.end` are the slice's, on the shop's clock.
        newcomers: customers who bought, and had bought nothing before the lists were made.
    """

    truth: Holdout
    newcomers: frozenset[str]


@dataclass(frozen=True)
class LiveScores:
    """One question's scores in a slice, customer by customer.

    Attributes:
        question: `for_you` or `discover`.
        without_list: customers who count and had no list.
        by_customer: for `live` and each baseline, a frame with the columns `precision_at_k`, `recall_at_k` and
            `ndcg_at_10`, and one row for each customer who counts, in the same order.
    """

    question: str
    without_list: int
    by_customer: dict[str, pd.DataFrame]

    def precision(self) -> npt.NDArray[np.float64]:
        """(customers, recommenders) Precision@k."""
        columns = [frame["precision_at_k"].to_numpy(np.float64) for frame in self.by_customer.values()]
        return np.column_stack(columns)


def slice_of(
    interactions: pd.DataFrame,
    *,
    as_of: datetime,
    start: datetime,
    end: datetime,
    left_out: Collection[str] = (),
) -> Slice:
    """The customers who count in `[start, end)`, and what they bought.

    Args:
        interactions: columns of `columns.Interactions`, from the shop's first day to `end` or later.
        as_of: first instant whose purchases the lists do not know.
        start: first instant of the slice; not before `as_of`.
        end: first instant after the slice.
        left_out: customers who do not count, because they saw other lists.

    Returns:
        The purchases of customers who were known at `as_of`, and the ids of those who were not.
    """
    truth = truth_of(interactions, start, end)
    before = interactions[interactions[Interactions.PURCHASED_AT] < as_of]
    known = set(before[Interactions.CUSTOMER_ID].dropna().unique())
    everyone = frozenset(customer for bought in truth.bought.values() for customer in bought) - frozenset(left_out)
    newcomers = everyone - known
    bought = {
        question: {customer: codes for customer, codes in of.items() if customer in everyone & known}
        for question, of in truth.bought.items()
    }
    return Slice(replace(truth, bought=bought), newcomers)


def joined(parts: Sequence[Slice]) -> Slice:
    """The slice of a shop whose customers are in several parts.

    Args:
        parts: at least one, all of the same days. Each customer is in one.

    Returns:
        What scoring customer by customer needs; the truth has no cohorts and no catalogue.
    """
    truths = [part.truth for part in parts]
    return Slice(
        Holdout(
            start=truths[0].start,
            end=truths[0].end,
            bought={
                question: {customer: codes for truth in truths for customer, codes in truth.bought[question].items()}
                for question in QUESTIONS
            },
            known_customers=tuple(in_order({customer for truth in truths for customer in truth.known_customers})),
            newcomers={},
            catalogue=frozenset(),
            cohorts={},
            spent={customer: spent for truth in truths for customer, spent in truth.spent.items()},
            novelty={},
        ),
        frozenset().union(*(part.newcomers for part in parts)),
    )


def lists_instead(
    part: Slice, interactions: pd.DataFrame, *, k: int, ranking: list[str] | None = None
) -> dict[str, pd.DataFrame]:
    """What the shop could have shown instead to the customers of a slice whose purchases are among some interactions.

    Args:
        part: from `slice_of`.
        interactions: as for `slice_of`, with all lines of each customer of whom there is one.
        k: depth of precision and recall.
        ranking: all products, the recent best sellers as of the slice's start first, if that is known.

    Returns:
        By name of `INSTEAD`, columns of `columns.Lists`.
    """
    customers = {customer for bought in part.truth.bought.values() for customer in bought}
    if ranking is not None:  # the other customers are in other parts
        interactions = interactions[interactions[Interactions.CUSTOMER_ID].isin(customers)]
        customers &= set(interactions[Interactions.CUSTOMER_ID])
    depth, of_slice = max(k, NDCG_DEPTH), in_order(customers)
    return {
        name: baseline(interactions, part.truth.start, depth, of_slice, ranking=ranking)
        for name, baseline in INSTEAD.items()
    }


def score_slice(
    part: Slice, lists: pd.DataFrame, interactions: pd.DataFrame | Mapping[str, pd.DataFrame], *, k: int
) -> list[LiveScores]:
    """Scores the live lists and the baselines, customer by customer.

    Args:
        part: from `slice_of`.
        lists: what the customers were shown, with columns of `columns.Lists`.
        interactions: as for `slice_of`; or the lists that `lists_instead` has made of them.
        k: depth of precision and recall.

    Returns:
        One entry for each question.
    """
    instead = lists_instead(part, interactions, k=k) if isinstance(interactions, pd.DataFrame) else interactions
    made = {LIVE: lists, **instead}
    scores = []
    for question in QUESTIONS:
        had = lists.loc[(lists[Lists.AUDIENCE] == "customer") & (lists[Lists.LIST_NAME] == question), Lists.KEY]
        by_customer = {name: score_by_customer(of, part.truth, question=question, k=k) for name, of in made.items()}
        without = len(part.truth.bought[question].keys() - set(had))
        scores.append(LiveScores(question, without, by_customer))
    return scores


@dataclass(frozen=True)
class RecommenderScores:
    """One recommender's means over the customers who count, with 95% intervals; None if there are none.

    Attributes:
        question: `for_you` or `discover`.
        recommender: `live`, or one of `INSTEAD`.
        customers: who count.
        without_list: of them, those who had no live list.
        precision_at_k: mean Precision@k.
        precision_low: lower end of its interval.
        precision_high: upper end of its interval.
        ahead: by how much the live lists are ahead of this recommender, customer by customer; None for `live`.
        ahead_low: lower end of its interval.
        ahead_high: upper end of its interval.
        recall_at_k: mean recall@k.
        ndcg_at_10: mean NDCG@10.
        place: order of the rows, from 0.
    """

    question: str
    recommender: str
    customers: int
    without_list: int
    precision_at_k: float | None
    precision_low: float | None
    precision_high: float | None
    ahead: float | None
    ahead_low: float | None
    ahead_high: float | None
    recall_at_k: float | None
    ndcg_at_10: float | None
    place: int


def summary(scores: LiveScores) -> list[RecommenderScores]:
    """One row for each recommender, `live` first."""
    precision = scores.precision()
    means, leads = mean_intervals(precision), mean_intervals(precision[:, [0]] - precision)
    rows = []
    for place, (name, frame) in enumerate(scores.by_customer.items()):
        mean, lead = means[place], leads[place]
        row = RecommenderScores(
            question=scores.question,
            recommender=name,
            customers=len(frame),
            without_list=scores.without_list,
            precision_at_k=_finite(mean.mean),
            precision_low=_finite(mean.low),
            precision_high=_finite(mean.high),
            ahead=None if name == LIVE else _finite(lead.mean),
            ahead_low=None if name == LIVE else _finite(lead.low),
            ahead_high=None if name == LIVE else _finite(lead.high),
            recall_at_k=_finite(float(frame["recall_at_k"].mean())),
            ndcg_at_10=_finite(float(frame["ndcg_at_10"].mean())),
            place=place,
        )
        rows.append(row)
    return rows


def pooled(scores: list[LiveScores]) -> LiveScores:
    """Several slices of one question together: a customer counts once for each slice.

    Args:
        scores: at least one, all of the same question.
    """
    names = scores[0].by_customer
    return LiveScores(
        scores[0].question,
        sum(entry.without_list for entry in scores),
        {name: pd.concat([entry.by_customer[name] for entry in scores]) for name in names},
    )


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
