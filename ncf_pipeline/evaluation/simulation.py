"""Evaluations of simulated candidates in made-up shops, whose customers are drawn one by one. Pure.

The gate's operating characteristic is measured with them: by `benchmarks/gate_power.py`, and by the tests. For a shop
that has evaluations of its own, see `evaluation.power`.
"""

from collections.abc import Iterator, Mapping
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.evaluation.gate import TrainingFacts
from ncf_pipeline.evaluation.scores import Scores

WELL_TRAINED = TrainingFacts(
    losses=(1.0, 0.5),
    out_of_time=False,
    finite_weights=True,
    lines=1,
    lines_there=1,
    incumbent_lines=1,
    customers_in_place=True,
    products_in_place=True,
    queries=0,
    customers_worth=0.0,
    products_worth=0.0,
)
"""A training that the gate has no objection to."""

REAL = {"for_you": 0.334, "discover": 0.134}
"""Precision@5 in a shop as large as Online Retail: 1,547 customers in the holdout."""

LOW = {"for_you": 0.05, "discover": 0.03}
"""Precision@5 in a shop whose customers seldom buy what is recommended."""

K = 5


def evaluations(
    customers: int,
    precision: Mapping[str, float],
    *,
    worse: Mapping[str, float],
    agreement: float,
    repeats: int,
    seed: int = 0,
) -> Iterator[list[Scores]]:
    """The evaluations of candidates beside an incumbent, over everyone and cohorts as in Online Retail.

    Args:
        customers: in the holdout.
        precision: Precision@5 of the incumbent, by question.
        worse: share by which the candidate's true precision is lower, by question.
        agreement: share of the places at which candidate and incumbent recommend the same.
        repeats: number of candidates.
        seed: of the random numbers.
    """
    random = np.random.default_rng(seed)
    places = round(K * (1 - agreement))
    activity, home = random.random(customers), random.random(customers) < 0.9
    cohorts = {
        "everyone": np.ones(customers, bool),
        "1 invoice": activity < 0.17,
        "2-4 invoices": (activity >= 0.17) & (activity < 0.48),
        "5+ invoices": (activity >= 0.48) & (activity < 0.85),
        "United Kingdom": home,
        "outside United Kingdom": ~home,
    }
    drawn = {}
    for question, hits in precision.items():
        # Customers differ: a beta distribution with the mean `hits`.
        chance = random.beta(hits * 2, (1 - hits) * 2, (repeats, customers))
        # All of the difference is at the places where the lists differ.
        lost = worse.get(question, 0.0) * K / places
        ours = random.binomial(places, np.clip(chance * (1 - lost), 0, 1))
        drawn[question] = (ours - random.binomial(places, chance)) / K
    for repeat in range(repeats):
        found: list[Scores] = []
        for question, hits in precision.items():
            for cohort, members in cohorts.items():
                leads = drawn[question][repeat][members]
                if len(leads):
                    found += _rows(question, cohort, hits, leads)
        yield found


def _rows(question: str, cohort: str, precision: float, leads: npt.NDArray[np.float64]) -> Iterator[Scores]:
    mean, error = float(leads.mean()), float(leads.std()) / sqrt(len(leads))
    shared: dict[str, Any] = {
        "question": question,
        "cohort": cohort,
        "k": K,
        "customers": len(leads),
        "precision_low": precision,
        "precision_high": precision,
        "recall_at_k": 0.1,
        "ndcg_at_10": 0.3,
        "catalog_coverage": 0.2,
        "full_lists": 1.0,
        "overlap": 0.1,
    }
    lead: dict[str, Any] = {"ahead": mean, "ahead_low": mean - 1.96 * error, "ahead_high": mean + 1.96 * error}
    yield Scores("candidate", precision_at_k=precision + mean, ahead=None, ahead_low=None, ahead_high=None, **shared)
    yield Scores("incumbent", precision_at_k=precision, **lead, **shared)
    for baseline in ("best_sellers", "recent_best_sellers", "personal_frequency"):
        yield Scores(baseline, precision_at_k=0.01, ahead=0.1, ahead_low=0.08, ahead_high=0.12, **shared)
