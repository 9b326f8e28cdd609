"""What people are shown after a run, read from the registry and the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.evaluation.gate import Thresholds
from ncf_pipeline.evaluation.power import Power, power_of
from ncf_pipeline.evaluation.scores import Scores
from ncf_pipeline.registry import artifacts, live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.live_periods import KnownOf, PublicationPerformance
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.versions import ModelEvent, ModelVersion, StoredDecision
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_records, read_rows
from ncf_pipeline.training import figures as drawn


@dataclass(frozen=True)
class RetrainSummary:
    """A model version and everything that is stored about it.

    Attributes:
        model: the version's row in the registry.
        batches: ids of the batches whose lines its snapshot holds; None if they were not recorded.
        evaluation: scores of the backtest, for each question, cohort and recommender.
        decision: the gate's; None before the gate has decided.
        events: each change of its state, oldest first.
        live: how its lists performed while they were live, for each publication, window, recommender and question.
        periods: in which its lists were live, and how much of what was bought then is known.
    """

    model: ModelVersion
    batches: list[int] | None
    evaluation: tuple[Scores, ...]
    decision: StoredDecision | None
    events: tuple[ModelEvent, ...]
    live: tuple[PublicationPerformance, ...]
    periods: tuple[KnownOf, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """What `--json` prints; instants as ISO 8601 text."""
        model = self.model
        summary = {
            "version": model.version,
            "recommender": model.recommender,
            "recommenders": registry.recommenders(model.recommender),
            "state": model.state,
            "snapshot_id": model.snapshot_id,
            "cutoff": model.cutoff,
            "holdout_start": model.holdout_start,
            "created_at": model.created_at,
            "promoted_at": model.promoted_at,
            "withdrawn_at": model.withdrawn_at,
            "pruned_at": model.pruned_at,
            "url": model.url,
            "parent": model.parent,
            "batches": self.batches,
            "code": model.code,
            "config": model.config,
            "evaluation": [scores.as_dict() for scores in self.evaluation],
            "decision": self.decision.as_dict() if self.decision else None,
            "events": [event.as_dict() for event in self.events],
            "live": [row.as_dict() for row in self.live],
            "live_periods": [period.as_dict() for period in self.periods],
        }
        return _with_text(summary)


def retrain_summary(settings: Settings, version: int | None = None, *, periods: bool = True) -> RetrainSummary:
    """Reads a version with its evaluation, the gate's decision, its lineage and its live performance.

    Args:
        settings: of the registry to read.
        version: its number; None for the newest.
        periods: whether to read in which periods its lists were live.

    Raises:
        InputError: there is no such version.
    """
    newest = registry.model_versions(settings, most=1) if version is None else []
    if version is None and not newest:
        raise InputError("There is no version yet: `ncf-pipeline ingest` makes version 0, `retrain` the first model.")
    model = registry.model_version(settings, version) if version is not None else newest[0]
    return RetrainSummary(
        model=model,
        batches=registry.batches(settings, model.version),
        evaluation=tuple(registry.evaluation(settings, model.version)),
        decision=registry.gate_decision(settings, model.version),
        events=tuple(registry.model_events(settings, model.version)),
        live=tuple(live_periods.performance(settings, model.version)),
        periods=tuple(live_periods.known_periods(settings, model.version)) if periods else (),
    )


def gate_power(settings: Settings) -> tuple[registry.ModelVersion, Power]:
    """Simulates how often the gate lets candidates through in this shop, as the newest evaluation shows the shop.

    Returns:
        The version that was evaluated, and the gate's operating characteristic.

    Raises:
        InputError: no version was compared with anything.
    """
    for model in registry.model_versions(settings):
        scores = registry.evaluation(settings, model.version)
        if any(score.ahead is not None and score.customers > 0 for score in scores):
            return model, power_of(scores, settings.of_prefix("gate", Thresholds))
    raise InputError(
        "No version was evaluated yet, so nothing is known about this shop: run `ncf-pipeline retrain`, then try again."
    )


def figures(settings: Settings, version: int) -> list[tuple[str, bytes]]:
    """Reads the plots of a version's model card.

    Returns:
        A caption and SVG for each that the card has; none if the artifact is gone.
    """
    entry = registry.model_version(settings, version)
    url = entry.url or artifacts.version_url(settings.artifacts, version, backtest=True)
    try:
        known = KnownManifests(settings, version, is_backtest=entry.url is None)
        there = artifacts.read_manifest(url, known=known)["sha256"]  # an earlier version drew fewer
        return [
            (caption, artifacts.read_file(url, name, known=known))
            for name, caption in drawn.CAPTIONS.items()
            if name in there
        ]
    except ArtifactError:
        return []


@dataclass(frozen=True)
class TopSpender:
    """A customer who spent much.

    Attributes:
        customer_id: of the customer.
        country: of one of their invoices.
        spent: in the shop's currency, less what was returned.
        invoices: number of invoices, without cancellations.
    """

    customer_id: str
    country: str
    spent: float
    invoices: int


def top_spenders(settings: Settings, count: int = 10) -> list[TopSpender]:
    """Finds the customers who spent most."""
    return read_records(settings, TopSpender, "top_spenders", count=count)


def descriptions(settings: Settings, stock_codes: Sequence[str]) -> dict[str, str]:
    """Reads the descriptions of products, by stock code; products without one are left out."""
    rows = read_rows(settings, "descriptions", stock_codes=list(stock_codes))
    return {row.stock_code: row.description for row in rows}


def _with_text(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with ISO 8601 text for each instant, as JSON needs it."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}
