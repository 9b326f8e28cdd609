"""The gate stage: collects what the rule needs, asks `evaluation.gate.decide`, and stores the decision."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from math import isfinite
from typing import Any

import pandas as pd
import torch

from ncf_pipeline.columns import Interactions
from ncf_pipeline.evaluation.gate import (
    GateDecision,
    Thresholds,
    TrainingFacts,
    decide,
)
from ncf_pipeline.evaluation.scores import BEST_RECENT, EVERYONE, INCUMBENT, Scores
from ncf_pipeline.model.ids import worth_of_ids
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.settings import Settings
from ncf_pipeline.training import model_card
from ncf_pipeline.training.style_price import STYLE, StyleFacts, notes

logger = logging.getLogger(__name__)

TRAINING = "training"
"""The key of a manifest that holds the facts of a training."""

NOT_COMPARED = "not_compared"
"""The key of a backtest's manifest that says why an existing incumbent was not compared with."""


def thresholds(settings: Settings) -> Thresholds:
    """The gate's thresholds, from `NCF_GATE_*`."""
    return settings.of_prefix("gate", Thresholds)


def gate(settings: Settings, version: int) -> GateDecision:
    """Decides whether the version may serve; stores and logs the decision with its reasons.

    Raises:
        InputError: there is no such version.
        ArtifactError: the backtest's model is missing or damaged.
    """
    candidate = registry.model_version(settings, version)
    stored = registry.gate_decision(settings, version)
    if stored is not None and has_served(settings, version):
        return GateDecision(stored.promote, stored.reasons, thresholds(settings), ())
    scores = registry.evaluation(settings, version)
    url = artifacts.version_url(settings.artifacts, version, backtest=True)
    manifest = artifacts.read_manifest(url, known=KnownManifests(settings, version, is_backtest=True))
    decision = decide(
        scores,
        TrainingFacts.from_dict(manifest[TRAINING]),
        thresholds(settings),
        top_n=candidate.config.get("top_n"),
    )
    not_compared_because = manifest.get(NOT_COMPARED)
    recent = manifest.get(BEST_RECENT) or {}
    style = manifest.get(STYLE)
    said = notes(StyleFacts.from_dict(style) if style is not None else None, scores)
    said += [*recent.get("skipped", {}).values(), *([not_compared_because] if not_compared_because else [])]
    decision = replace(decision, reasons=(*decision.reasons, *said))
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
            NOT_COMPARED: not_compared_because,
            BEST_RECENT: recent,
        },
    )
    _complete_card(settings, version)
    log_decision(settings, version)
    return decision


def has_served(settings: Settings, version: int) -> bool:
    """Whether a version has served, so that a repeated run leaves it as it is; logs that."""
    entry = registry.model_version(settings, version)
    if entry.promoted_at is None:
        return False
    logger.info("%s has served, so it stays as it is. For another model, start a new run.", entry.name)
    return True


def not_compared(settings: Settings, version: int) -> str | None:
    """Why the stored decision did not compare with an existing incumbent; None if it did. On-call is alerted of it."""
    decision = registry.gate_decision(settings, version)
    return decision.details.get(NOT_COMPARED) if decision else None


def log_decision(settings: Settings, version: int) -> list[str]:
    """Logs the stored decision and its reasons; returns the reasons."""
    decision = registry.gate_decision(settings, version)
    if decision is None:
        logger.info("Gate: v%d has not been decided yet.", version)
        return []
    outcome = "may serve" if decision.promote else f"is held; {registry.what_serves(settings)}"
    logger.info("Gate: v%d %s.", version, outcome)
    for reason in decision.reasons:
        logger.info("Gate: %s", reason)
    return list(decision.reasons)


def training_facts(
    model: TrainedModel,
    interactions: pd.DataFrame,
    *,
    incumbent_lines: int | None,
    looks: pd.DataFrame | None = None,
    whole: Callable[[int], int] = int,
) -> TrainingFacts:
    """Collects what the gate needs to know about how a model was trained.

    Args:
        model: the candidate or its refit.
        interactions: all of the snapshot, in the columns of `columns.Interactions`; the model may have seen fewer.
        incumbent_lines: interactions that the incumbent was trained on; None without an incumbent.
        looks: all of the snapshot, in the columns of `columns.Looks`; only a model that reads them needs any.
        whole: how many lines so many of the interactions stand for, if these are a sample: see `Snapshot.whole`.
    """
    worth = worth_of_ids(model, interactions, looks)
    return TrainingFacts(
        losses=tuple(report.loss for report in model.history),
        out_of_time=any(report.out_of_time for report in model.history),
        finite_weights=all(bool(torch.isfinite(tensor).all()) for tensor in model.network.state_dict().values()),
        lines=model.lines,
        lines_there=whole(int((interactions[Interactions.PURCHASED_AT] < model.cutoff).sum())),
        incumbent_lines=incumbent_lines,
        customers_in_place=worth.customers_in_place,
        products_in_place=worth.products_in_place,
        queries=worth.queries,
        customers_worth=worth.customers,
        products_worth=worth.products,
    )


def _complete_card(settings: Settings, version: int) -> None:
    url = artifacts.version_url(settings.artifacts, version, backtest=True)
    stored = registry.gate_decision(settings, version)
    if stored is not None:
        known = KnownManifests(settings, version, is_backtest=True)
        artifacts.revise_card(url, lambda card: model_card.with_decision(card, stored), known=known)


def _compared(settings: Settings, candidate: registry.ModelVersion, scores: Sequence[Scores]) -> int | None:
    """The number of the incumbent that was scored beside the candidate; None if none was scored."""
    if not any(score.recommender == INCUMBENT and score.cohort == EVERYONE for score in scores):
        return None
    entry = registry.incumbent(settings, holdout_start=candidate.holdout_start, before_version=candidate.version)
    return entry.version if entry else None


def _jsonable(value: Any) -> Any:
    """The value, with text for numbers that JSON does not have: NaN and infinities."""
    if isinstance(value, dict):
        return {name: _jsonable(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(each) for each in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value
