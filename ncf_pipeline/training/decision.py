"""gate: what the rule is asked, and what is kept of its answer."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

import pandas as pd
import torch

from ncf_pipeline.columns import FOR_YOU, Interactions
from ncf_pipeline.evaluation.gate import (
    GateDecision,
    Thresholds,
    TrainingFacts,
    decide,
    objections_to_refit,
    objections_to_training,
)
from ncf_pipeline.evaluation.scores import EVERYONE, INCUMBENT, Scores, agreement
from ncf_pipeline.model.ids import worth_of_ids
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.settings import Settings
from ncf_pipeline.training import model_card

logger = logging.getLogger(__name__)

TRAINING = "training"
"""Where a manifest holds the facts of a training."""

NOT_COMPARED = "not_compared"
"""Where the backtest's manifest says why there was no comparison with an incumbent that there is."""

_COMPARED_CUSTOMERS = 1000


def thresholds(settings: Settings) -> Thresholds:
    """The gate's thresholds, as set."""
    return settings.of_prefix("gate", Thresholds)


def gate(settings: Settings, version: int) -> GateDecision:
    """Decides whether the version may serve, and stores and logs the decision with its reasons.

    Raises:
        ArtifactError: the backtest's model is not there any more, or damaged.
    """
    candidate = registry.model_version(settings, version)
    scores = registry.evaluation(settings, version)
    manifest = artifacts.read_manifest(artifacts.version_url(settings.artifacts, version, backtest=True))
    decision = decide(scores, TrainingFacts.from_dict(manifest[TRAINING]), thresholds(settings))
    if alone := manifest.get(NOT_COMPARED):
        decision = replace(decision, reasons=(*decision.reasons, alone))
    registry.record_decision(
        settings,
        version,
        decision,
        details={
            "thresholds": asdict(decision.thresholds),
            "training": _jsonable(manifest[TRAINING]),
            "snapshot_id": candidate.snapshot_id,
            "requested_by": candidate.requested_by,
            "incumbent": _compared(settings, candidate, scores),
            NOT_COMPARED: alone,
        },
    )
    _complete_card(settings, version)
    log_decision(settings, version)
    return decision


def not_compared(settings: Settings, version: int) -> str | None:
    """What on-call should hear of a decision: that an incumbent could not be compared with, and why; else None."""
    decision = registry.gate_decision(settings, version)
    return decision.details.get(NOT_COMPARED) if decision else None


def log_decision(settings: Settings, version: int) -> list[str]:
    """Writes the stored decision and its reasons to the log; gives the reasons."""
    decision = registry.gate_decision(settings, version)
    if decision is None:
        logger.info("Gate: v%d was not decided yet.", version)
        return []
    logger.info("Gate: v%d %s.", version, "may serve" if decision.promote else "is held; what serves stays")
    for reason in decision.reasons:
        logger.info("Gate: %s", reason)
    return list(decision.reasons)


def training_facts(model: TrainedModel, interactions: pd.DataFrame, *, incumbent_lines: int | None) -> TrainingFacts:
    """What the gate asks of how a model was trained.

    Args:
        model: the backtest's or the refit's.
        interactions: of the snapshot, whatever the model was given.
        incumbent_lines: that the incumbent learned from; None where there is none.
    """
    worth = worth_of_ids(model, interactions)
    return TrainingFacts(
        losses=tuple(report.loss for report in model.history),
        out_of_time=any(report.out_of_time for report in model.history),
        finite_weights=all(bool(torch.isfinite(tensor).all()) for tensor in model.network.state_dict().values()),
        lines=model.lines,
        lines_there=int((interactions[Interactions.PURCHASED_AT] < model.cutoff).sum()),
        incumbent_lines=incumbent_lines,
        customers_in_place=worth.customers_in_place,
        products_in_place=worth.products_in_place,
        queries=worth.queries,
        customers_worth=worth.customers,
        products_worth=worth.products,
    )


def object_to_refit(
    settings: Settings,
    model: TrainedModel,
    facts: TrainingFacts,
    evaluated: TrainedModel,
    interactions: pd.DataFrame,
    *,
    k: int,
) -> list[str]:
    """What speaks against serving a refit: how it was trained, or how little it agrees with what was evaluated."""
    bounds = thresholds(settings)
    shared = _agreement(interactions, model, evaluated, k)
    return objections_to_training(facts, bounds, whose="the refit") + objections_to_refit(shared, bounds)


def _complete_card(settings: Settings, version: int) -> None:
    url = artifacts.version_url(settings.artifacts, version, backtest=True)
    stored = registry.gate_decision(settings, version)
    if stored is not None:
        artifacts.revise_card(url, lambda card: model_card.with_decision(card, stored))


def _compared(settings: Settings, candidate: registry.ModelVersion, scores: Sequence[Scores]) -> int | None:
    """The incumbent that was scored beside the candidate; one that can score no more was not."""
    if not any(score.recommender == INCUMBENT and score.cohort == EVERYONE for score in scores):
        return None
    entry = registry.incumbent(settings, holdout_start=candidate.holdout_start, before_version=candidate.version)
    return entry.version if entry else None


def _agreement(interactions: pd.DataFrame, model: TrainedModel, evaluated: TrainedModel, k: int) -> float:
    """How much of `for_you` refit and evaluated model share, for the customers that bought last."""
    in_order = interactions.sort_values(Interactions.PURCHASED_AT)[Interactions.CUSTOMER_ID].dropna()
    customers = in_order.drop_duplicates(keep="last").tail(_COMPARED_CUSTOMERS).astype(int).tolist()
    one, other = (
        customer_lists(which, interactions, model.cutoff, k, customers=customers) for which in (model, evaluated)
    )
    shared = agreement(one, other, question=FOR_YOU, k=k)
    logger.info("Refit and evaluated model share %.1f%% of %d customers' lists.", 100 * shared, len(customers))
    return shared


def _jsonable(value: Any) -> Any:
    """The same with text for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _jsonable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
