"""The candidate recipe against baselines and peers, with confidence intervals. Writes nothing but a snapshot."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from ncf_pipeline.evaluation.scores import NDCG_DEPTH, score
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.retrain import train_and_recommend, truth_for

logger = logging.getLogger(__name__)


def evaluate(settings: Settings, cutoff: datetime | None = None, *, peers: bool = True) -> dict[str, Any]:
    """Backtests the recipe and says how sure the figures are.

    Args:
        settings: `holdout_days`, `k`, `seed` and `device` count.
        cutoff: end of the holdout; just after the newest invoice line if None.
        peers: whether other models are trained and compared too.

    Returns:
        `snapshot_id`, `cutoff`, `holdout_start`, and `evaluation`: the fields of `evaluation.Scores` for
        each question, cohort and recommender.

    Raises:
        TrainingError: there is too little to learn from or to evaluate on.
        SettingsError: a peer's library is not installed.
    """
    frozen = read_snapshot(settings, take_snapshot(settings, cutoff))
    truth = truth_for(frozen, frozen.cutoff - timedelta(days=settings.holdout_days))
    # They come first: a library that is missing is told before minutes of training.
    made = peer_lists(frozen.interactions, truth.start, settings.k, truth.known_customers) if peers else {}
    _, lists = train_and_recommend(frozen, Recipe(seed=settings.seed), truth, k=settings.k, device=settings.device)
    lists |= made
    return {
        "snapshot_id": frozen.snapshot_id,
        "cutoff": frozen.cutoff.isoformat(),
        "holdout_start": truth.start.isoformat(),
        "evaluation": [entry.as_dict() for entry in score(lists, truth, k=settings.k)],
    }


def peer_lists(
    interactions: pd.DataFrame, as_of: datetime, k: int, customers: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """Lists of every peer, by its name, as long as the metrics ask.

    Raises:
        SettingsError: a peer's library is not installed.
    """
    from ncf_pipeline.model.peers import PEERS

    lists = {}
    for name, peer in PEERS.items():
        started = time.perf_counter()
        lists[name] = peer(interactions, as_of, max(k, NDCG_DEPTH), customers)
        logger.info("%s: lists for %d customers in %.0f s", name, len(customers), time.perf_counter() - started)
    return lists
