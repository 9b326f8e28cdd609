"""Scores lists against what was bought after them, per customer and over all customers."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Interactions, Lists
from ncf_pipeline.metrics import ndcg_at_k, precision_at_k, recall_at_k
from ncf_pipeline.splits import holdout, interactions_as_of

NDCG_DEPTH = 10
QUESTIONS = (FOR_YOU, DISCOVER)


@dataclass(frozen=True)
class Holdout:
    """The truth of one backtest.

    Attributes:
        start: first instant of the holdout.
        end: first instant after it.
        bought: for each question, what each customer bought: everything (`for_you`), or what was new
            to them (`discover`). Only customers who bought something that the question asks for.
        known_customers: those of them with an interaction before `start`.
        catalogue: stock codes with an interaction before `start`, guests' included.
    """

    start: datetime
    end: datetime
    bought: dict[str, dict[int, frozenset[str]]]
    known_customers: tuple[int, ...]
    catalogue: frozenset[str]


@dataclass(frozen=True)
class Scores:
    """One recommender's answer to one question, over all customers of the holdout.

    Attributes:
        recommender: `candidate`, `incumbent`, or a baseline's name.
        question: `for_you` or `discover`.
        k: depth of precision, recall and coverage.
        customers: over how many customers the means are.
        precision_at_k: mean Precision@k, in [0, 1].
        recall_at_k: mean Recall@k, in [0, 1].
        ndcg_at_10: mean NDCG@10, in [0, 1].
        catalog_coverage: distinct products among the first `k` of all lists, over the catalogue.
    """

    recommender: str
    question: str
    k: int
    customers: int
    precision_at_k: float
    recall_at_k: float
    ndcg_at_10: float
    catalog_coverage: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def truth_of(interactions: pd.DataFrame, start: datetime, end: datetime) -> Holdout:
    """What customers bought in `[start, end)`, as the two questions ask for it.

    Args:
        interactions: columns of `columns.Interactions`, from the shop's first day to `end` or later.
        start: first instant of the holdout.
        end: first instant after it.
    """
    before = interactions_as_of(interactions, start)
    bought = _products_by_customer(holdout(interactions, start, end))
    # "New to the customer" is judged by every purchase, the returned ones too: they have seen it.
    ever = _products_by_customer(interactions[interactions[Interactions.PURCHASED_AT] < start])
    new = {customer: codes - ever.get(customer, frozenset()) for customer, codes in bought.items()}
    known = set(before[Interactions.CUSTOMER_ID].dropna().astype(int))
    return Holdout(
        start=start,
        end=end,
        bought={FOR_YOU: bought, DISCOVER: {customer: codes for customer, codes in new.items() if codes}},
        known_customers=tuple(sorted(known & set(bought))),
        catalogue=frozenset(before[Interactions.STOCK_CODE]),
    )


def score(lists: pd.DataFrame, truth: Holdout, *, recommender: str, k: int) -> list[Scores]:
    """Scores of both questions; a customer without a list scores 0.

    Args:
        lists: columns of `columns.Lists`; audience `customer`, lists `for_you` and `discover`.
        truth: what the customers bought.
        recommender: the name to report under.
        k: depth of precision, recall and coverage.
    """
    return [
        summarise(
            score_by_customer(lists, truth, question=question, k=k),
            recommender=recommender,
            question=question,
            k=k,
            catalog_coverage=catalog_coverage(lists, truth, question=question, k=k),
        )
        for question in QUESTIONS
    ]


def score_by_customer(lists: pd.DataFrame, truth: Holdout, *, question: str, k: int) -> pd.DataFrame:
    """Metrics of each holdout customer, the index in ascending order of customer_id.

    Returns:
        Columns `precision_at_k`, `recall_at_k`, `ndcg_at_10`.
    """
    recommended = _lists_by_customer(lists, question)
    bought = truth.bought[question]
    rows = [
        (
            precision_at_k(recommended.get(customer, ()), bought=bought[customer], k=k),
            recall_at_k(recommended.get(customer, ()), bought=bought[customer], k=k),
            ndcg_at_k(recommended.get(customer, ()), bought=bought[customer], k=NDCG_DEPTH),
        )
        for customer in sorted(bought)
    ]
    return pd.DataFrame(
        rows,
        columns=["precision_at_k", "recall_at_k", "ndcg_at_10"],
        index=pd.Index(sorted(bought), name=Interactions.CUSTOMER_ID),
        dtype=float,
    )


def summarise(by_customer: pd.DataFrame, *, recommender: str, question: str, k: int, catalog_coverage: float) -> Scores:
    """Means over customers; NaN where there is none."""
    return Scores(
        recommender=recommender,
        question=question,
        k=k,
        customers=len(by_customer),
        precision_at_k=float(by_customer["precision_at_k"].mean()),
        recall_at_k=float(by_customer["recall_at_k"].mean()),
        ndcg_at_10=float(by_customer["ndcg_at_10"].mean()),
        catalog_coverage=catalog_coverage,
    )


def catalog_coverage(lists: pd.DataFrame, truth: Holdout, *, question: str, k: int) -> float:
    """Distinct products among the first `k` of all lists, over the catalogue; 0 for an empty catalogue."""
    shown = {code for codes in _lists_by_customer(lists, question).values() for code in codes[:k]}
    return len(shown & truth.catalogue) / len(truth.catalogue) if truth.catalogue else 0.0


def _products_by_customer(interactions: pd.DataFrame) -> dict[int, frozenset[str]]:
    of_customers = interactions.dropna(subset=[Interactions.CUSTOMER_ID])
    groups = of_customers.groupby(Interactions.CUSTOMER_ID, sort=True)[Interactions.STOCK_CODE]
    return {int(str(customer)): frozenset(codes) for customer, codes in groups}


def _lists_by_customer(lists: pd.DataFrame, question: str) -> dict[int, list[str]]:
    chosen = lists[(lists[Lists.AUDIENCE] == "customer") & (lists[Lists.LIST_NAME] == question)]
    return {int(key): list(codes) for key, codes in zip(chosen[Lists.KEY], chosen[Lists.STOCK_CODES], strict=True)}
