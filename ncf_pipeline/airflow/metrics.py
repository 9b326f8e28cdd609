"""Metrics, sent through Airflow's own: StatsD or OpenTelemetry, as configured in Airflow's `[metrics]`.

Every name is listed here, and docker/grafana/ shows each. Names carry no tags, because plain StatsD drops them: a name
that ends with a dot is a prefix, and its comment says what is appended.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ncf_pipeline.ingest.batches import BatchCounts
    from ncf_pipeline.serving.watch import Freshness
    from ncf_pipeline.settings import Settings

STAGE_DURATION: Final = "ncf.stage.duration."  # ms; DAG, task
LINES_READ: Final = "ncf.ingest.lines_read"  # counter
LINES_MERGED: Final = "ncf.ingest.lines_merged"  # counter
LINES_QUARANTINED: Final = "ncf.ingest.lines_quarantined"  # counter
PRECISION: Final = "ncf.retrain.precision_at_k."  # of the newest version; question, recommender
PUBLICATION_AGE: Final = "ncf.publication.age_seconds"
PUBLICATION_CUSTOMERS: Final = "ncf.publication.customers"
PUBLICATION_PRODUCTS: Final = "ncf.publication.products"
INCIDENTS_OPEN: Final = "ncf.incidents.open"

ALL: Final = (
    STAGE_DURATION,
    LINES_READ,
    LINES_MERGED,
    LINES_QUARANTINED,
    PRECISION,
    PUBLICATION_AGE,
    PUBLICATION_CUSTOMERS,
    PUBLICATION_PRODUCTS,
    INCIDENTS_OPEN,
)


def prometheus_name(name: str) -> str:
    """Returns the name in Prometheus, with Airflow's default prefix.

    >>> prometheus_name(INCIDENTS_OPEN)
    'airflow_ncf_incidents_open'
    """
    return f"airflow.{name}".replace(".", "_")


def succeeded(instance: Any) -> None:
    """Reports how long a task took."""
    started, ended = instance.start_date, instance.end_date
    if isinstance(started, datetime) and isinstance(ended, datetime):
        _stats().timing(
            f"{STAGE_DURATION}{instance.dag_id}.{instance.task_id}", (ended - started).total_seconds() * 1e3
        )


def ingested(counts: "BatchCounts") -> None:
    """Reports how many lines of a batch were read, merged and quarantined."""
    for name, lines in (
        (LINES_READ, counts.read),
        (LINES_MERGED, counts.merged),
        (LINES_QUARANTINED, counts.quarantined),
    ):
        _stats().incr(name, lines)


def watched(settings: "Settings", freshness: "Freshness") -> None:
    """Reports the live publication, the newest version's precision, and the number of open incidents.

    Raises:
        DatabaseError: Postgres does not answer.
    """
    from ncf_pipeline import alerts
    from ncf_pipeline.evaluation.scores import EVERYONE
    from ncf_pipeline.registry import versions as registry

    stats = _stats()
    if freshness.age is not None:
        stats.gauge(PUBLICATION_AGE, freshness.age.total_seconds())
        stats.gauge(PUBLICATION_CUSTOMERS, freshness.customers)
        stats.gauge(PUBLICATION_PRODUCTS, freshness.products)
    stats.gauge(INCIDENTS_OPEN, len(alerts.incidents(settings)))
    for version in registry.model_versions(settings)[:1]:
        for entry in registry.evaluation(settings, version.version):
            if entry.cohort == EVERYONE:
                recommender = entry.recommender.replace(" ", "_").replace(".", "_")
                stats.gauge(f"{PRECISION}{entry.question}.{recommender}", entry.precision_at_k)


def _stats() -> Any:
    from airflow.sdk.observability.stats import Stats

    return Stats
