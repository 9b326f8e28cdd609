"""What people are shown after a run, read from the database: plain dictionaries, so that `--json` prints them."""

from collections.abc import Sequence
from typing import Any

from psycopg2.extras import RealDictCursor

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.ingest.summary import batch_summary
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import live_periods as live_history
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.resources import query
from ncf_pipeline.training import figures as drawn

__all__ = ["batch_summary", "descriptions", "figures", "retrain_summary", "top_spenders"]


def retrain_summary(settings: Settings, version: int | None = None) -> dict[str, Any]:
    """A version with its evaluation and the gate's decision.

    Args:
        settings: whose registry.
        version: the newest if None.

    Returns:
        `version`, `state`, `snapshot_id`, `cutoff`, `holdout_start`, `url`, `config`, `evaluation` (a
        dict for each recommender and question), `decision` (None before the gate), its lineage (`parent`, `batches`,
        `code`), `events`, each change of its state with actor and reason, and `live`: what its lists did while they
        served, a dict for each publication, window, recommender and question (see `ml.live_performance`).

    Raises:
        InputError: there is no such version.
    """
    versions = registry.model_versions(settings)
    if not versions:
        raise InputError("There is no model version yet: `ncf-pipeline retrain` makes the first.")
    entry = registry.model_version(settings, version) if version is not None else versions[0]
    decision = registry.gate_decision(settings, entry.version)
    return {
        "version": entry.version,
        "state": entry.state,
        "snapshot_id": entry.snapshot_id,
        "cutoff": entry.cutoff.isoformat(),
        "holdout_start": entry.holdout_start.isoformat(),
        "created_at": entry.created_at.isoformat(),
        "promoted_at": entry.promoted_at.isoformat() if entry.promoted_at else None,
        "withdrawn_at": entry.withdrawn_at.isoformat() if entry.withdrawn_at else None,
        "pruned_at": entry.pruned_at.isoformat() if entry.pruned_at else None,
        "url": entry.url,
        "parent": entry.parent,
        "batches": registry.batches(settings, entry.version),
        "code": entry.code,
        "config": entry.config,
        "evaluation": [score.as_dict() for score in registry.evaluation(settings, entry.version)],
        "decision": {**decision, "decided_at": decision["decided_at"].isoformat()} if decision else None,
        "events": [
            {**event, "at": event["at"].isoformat()} for event in registry.model_events(settings, entry.version)
        ],
        "live": [
            {**row, **{name: row[name].isoformat() for name in ("bought_from", "bought_until")}}
            for row in live_history.performance(settings, entry.version)
        ],
    }


def figures(settings: Settings, version: int) -> list[tuple[str, bytes]]:
    """What each figure of a version's model card shows, and its SVG; none where the artifact is gone."""
    entry = registry.model_version(settings, version)
    url = entry.url or artifacts.version_url(settings.artifacts, version, backtest=True)
    try:
        return [(caption, artifacts.read_file(url, name)) for name, caption in drawn.CAPTIONS.items()]
    except ArtifactError:
        return []


def top_spenders(settings: Settings, count: int = 10) -> list[dict[str, Any]]:
    """The customers who spent most, returns taken off: `customer_id`, `country`, `spent`, `invoices`."""
    with transaction(settings) as connection, connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query("top_spenders"), {"count": count})
        return [dict(row) for row in cursor.fetchall()]


def descriptions(settings: Settings, stock_codes: Sequence[str]) -> dict[str, str]:
    """What products are called, by stock code; those without a description are left out."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(query("descriptions"), {"stock_codes": list(stock_codes)})
        return dict(cursor.fetchall())
