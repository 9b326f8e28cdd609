"""The candidate recipe against the baselines, with confidence intervals. Writes nothing but a snapshot."""

from datetime import datetime, timedelta
from typing import Any

from ncf_pipeline.evaluation import score
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.settings import Settings
from ncf_pipeline.snapshot import read_snapshot, take_snapshot
from ncf_pipeline.stages.retrain import train_and_recommend, truth_for


def evaluate(settings: Settings, cutoff: datetime | None = None) -> dict[str, Any]:
    """Backtests the recipe and says how sure the figures are.

    Args:
        settings: `holdout_days`, `k`, `seed` and `device` count.
        cutoff: end of the holdout; just after the newest invoice line if None.

    Returns:
        `snapshot_id`, `cutoff`, `holdout_start`, and `evaluation`: the fields of `evaluation.Scores` for
        each question, cohort and recommender.

    Raises:
        TrainingError: there is too little to learn from or to evaluate on.
    """
    frozen = read_snapshot(settings, take_snapshot(settings, cutoff))
    truth = truth_for(frozen, frozen.cutoff - timedelta(days=settings.holdout_days))
    _, lists = train_and_recommend(frozen, Recipe(seed=settings.seed), truth, k=settings.k, device=settings.device)
    return {
        "snapshot_id": frozen.snapshot_id,
        "cutoff": frozen.cutoff.isoformat(),
        "holdout_start": truth.start.isoformat(),
        "evaluation": [entry.as_dict() for entry in score(lists, truth, k=settings.k)],
    }
