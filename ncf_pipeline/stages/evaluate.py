"""The candidate recipe against the baselines, with confidence intervals. Writes nothing but a snapshot."""

from datetime import datetime, timedelta
from typing import Any

from ncf_pipeline.baselines import BASELINES
from ncf_pipeline.bootstrap import mean_interval
from ncf_pipeline.evaluation import NDCG_DEPTH, QUESTIONS, score_by_customer
from ncf_pipeline.gate import CANDIDATE
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.settings import Settings
from ncf_pipeline.snapshot import read_snapshot, take_snapshot
from ncf_pipeline.stages.retrain import evaluate_recipe, recommend_holdout


def evaluate(settings: Settings, cutoff: datetime | None = None) -> dict[str, Any]:
    """Backtests the recipe and says how sure the figures are.

    Args:
        settings: `holdout_days`, `k`, `seed` and `device` count.
        cutoff: end of the holdout; just after the newest invoice line if None.

    Returns:
        `snapshot_id`, `cutoff`, `holdout_start`, `k`, and `rows`: for each question and recommender the
        number of customers, the means of three metrics, the 95% interval of Precision@k over customers
        (`low`, `high`), and the paired difference candidate minus recommender with its interval
        (`ahead`, `ahead_low`, `ahead_high`; None for the candidate itself).

    Raises:
        TrainingError: there is too little to learn from or to evaluate on.
    """
    frozen = read_snapshot(settings, take_snapshot(settings, cutoff))
    holdout_start = frozen.cutoff - timedelta(days=settings.holdout_days)
    k = settings.k
    model, truth, _ = evaluate_recipe(
        frozen, Recipe(seed=settings.seed), holdout_start=holdout_start, k=k, device=settings.device
    )
    lists = {CANDIDATE: recommend_holdout(model, frozen.interactions, truth, k)}
    for name, baseline in BASELINES.items():
        lists[name] = baseline(frozen.interactions, holdout_start, max(k, NDCG_DEPTH), truth.known_customers)
    rows: list[dict[str, Any]] = []
    for question in QUESTIONS:
        by_customer = {name: score_by_customer(made, truth, question=question, k=k) for name, made in lists.items()}
        for name, scores in by_customer.items():
            interval = mean_interval(scores["precision_at_k"])
            row = {
                "question": question,
                "recommender": name,
                "customers": len(scores),
                "precision_at_k": interval.mean,
                "low": interval.low,
                "high": interval.high,
                "recall_at_k": float(scores["recall_at_k"].mean()),
                "ndcg_at_10": float(scores["ndcg_at_10"].mean()),
                "ahead": None,
            }
            if name != CANDIDATE:
                ahead = mean_interval(by_customer[CANDIDATE]["precision_at_k"] - scores["precision_at_k"])
                row |= {"ahead": ahead.mean, "ahead_low": ahead.low, "ahead_high": ahead.high}
            rows.append(row)
    return {
        "snapshot_id": frozen.snapshot_id,
        "cutoff": frozen.cutoff.isoformat(),
        "holdout_start": holdout_start.isoformat(),
        "k": k,
        "rows": rows,
    }
