"""What is measured, through Airflow's own metrics: StatsD or OpenTelemetry, as `[metrics]` of Airflow says.

All names are here. They have no tags, for plain StatsD drops those; a name that ends with a dot goes on with what it
is of. docker/grafana/ shows each.
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
    """What Prometheus' StatsD exporter makes of a name, with the prefix that Airflow puts before it by default."""
    return f"airflow.{name}".replace(".", "_")


def succeeded(instance: Any) -> None:
    """How long a task took."""
    started, ended = instance.start_date, instance.end_date
    if isinstance(started, datetime) and isinstance(ended, datetime):
        _stats().timing(
            f"{STAGE_DURATION}{instance.dag_id}.{instance.task_id}", (ended - started).total_seconds() * 1e3
        )


def ingested(counts: "BatchCounts") -> None:
    """Where the lines of a batch went."""
    for name, lines in (
        (LINES_READ, counts.read),
        (LINES_MERGED, counts.merged),
        (LINES_QUARANTINED, counts.quarantined),
    ):
        _stats().incr(name, lines)


def watched(settings: "Settings", found: "Freshness") -> None:
    """What serves, how good the newest version is, and how much is broken."""
    from ncf_pipeline import alerts
    from ncf_pipeline.evaluation.scores import EVERYONE
    from ncf_pipeline.registry import versions as registry

    stats = _stats()
    if found.age is not None:
        stats.gauge(PUBLICATION_AGE, found.age.total_seconds())
        stats.gauge(PUBLICATION_CUSTOMERS, found.customers)
        stats.gauge(PUBLICATION_PRODUCTS, found.products)
    stats.gauge(INCIDENTS_OPEN, len(alerts.incidents(settings)))
    for version in registry.model_versions(settings)[:1]:
        for entry in registry.evaluation(settings, version.version):
            if entry.cohort == EVERYONE:
                recommender = entry.recommender.replace(" ", "_").replace(".", "_")
                stats.gauge(f"{PRECISION}{entry.question}.{recommender}", entry.precision_at_k)


def _stats() -> Any:
    from airflow.sdk.observability.stats import Stats

    return Stats
