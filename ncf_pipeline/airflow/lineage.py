"""Lineage: what each task reads and writes, for OpenLineage if its provider is installed.

When a task succeeds, its tables (with their server) and its artifacts (by URL) become its inlets and outlets. The
provider turns these into events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ncf_pipeline.redaction import redacted_location

if TYPE_CHECKING:
    from airflow.sdk import Context

    from ncf_pipeline.settings import Settings


@dataclass(frozen=True)
class Flow:
    """What a task reads and writes: tables as `schema.name`, and URLs.

    In a URL, `{artifacts}` is the artifact store, `{lists}` the list store, `{given}` the task's first argument (one
    URL for each item if it is a list), and `{result}` the task's return value.
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


_SNAPSHOT, _BACKTEST, _MODEL = "{artifacts}/snapshots/%s", "{artifacts}/backtests/v%s", "{artifacts}/models/v%s"
_INVOICES = ("retail.invoice_line", "retail.product", "retail.excluded_stock_code")
_EVENTS = "retail.shop_event"
_PUBLICATION = ("ml.publication", "{artifacts}/publications/p{result:06d}.parquet", "{lists}")
_DRAFTS = "{artifacts}/drafts"
_CATEGORIES = ("retail.product_category", "retail.catalogue")
_RULES = (
    "retail.unlisted_product", "retail.product_country", "retail.pinned_product", "retail.list_limit", *_CATEGORIES,
)  # fmt: skip

FLOWS: Final = {
    "ingest_invoices.land": Flow(("{given}",), ("raw.batch", "raw.landed_line")),
    "ingest_invoices.validate": Flow(("raw.landed_line",)),
    "ingest_invoices.quarantine": Flow(("raw.landed_line",), ("raw.quarantined_line",)),
    "ingest_invoices.merge": Flow(("raw.landed_line",), ("retail.invoice", "retail.invoice_line", "retail.product")),
    "take_events.take": Flow(("{lists}",), (_EVENTS, "raw.quarantined_event")),
    "retrain_recommender.snapshot": Flow((*_INVOICES, _EVENTS), ("ml.snapshot", _SNAPSHOT % "{result}")),
    "retrain_recommender.live_performance": Flow(
        (_SNAPSHOT % "{given}", "ml.live_period"), ("ml.live_performance", "ml.drift_report")
    ),
    "retrain_recommender.backtest": Flow(
        (_SNAPSHOT % "{given}", *_CATEGORIES), ("ml.model_version", "ml.evaluation", _BACKTEST % "{result:06d}")
    ),
    "retrain_recommender.gate": Flow(("ml.evaluation", _BACKTEST % "{given:06d}"), ("ml.gate_decision",)),
    "retrain_recommender.refit": Flow((_BACKTEST % "{given:06d}",), ("ml.model_version", _MODEL % "{given:06d}")),
    "retrain_recommender.register": Flow(("ml.gate_decision",), ("ml.model_version", "ml.model_event")),
    "retrain_recommender.prepare": Flow((_MODEL % "{given:06d}", *_RULES), ("ml.draft",)),
    "retrain_recommender.score": Flow(("ml.draft",), (_DRAFTS,)),
    "retrain_recommender.publish": Flow((_MODEL % "{given:06d}", "ml.draft", _DRAFTS), _PUBLICATION),
    "refresh_lists.prepare": Flow((*_INVOICES, _EVENTS, *_RULES), ("ml.draft", "ml.snapshot")),
    "refresh_lists.score": Flow(("ml.draft",), (_DRAFTS,)),
    "refresh_lists.publish": Flow(("ml.draft", _DRAFTS), _PUBLICATION),
    "find_bundles.find": Flow(_INVOICES, ("retail.bundle",)),
}
"""By DAG and task. Tasks that are not listed have no lineage."""


def succeeded(context: "Context") -> None:
    """Sets the inlets and outlets of a task that succeeded. Airflow calls it (`on_success_callback`)."""
    instance = context["task_instance"]
    flow = FLOWS.get(f"{instance.dag_id}.{instance.task_id}")
    if flow is None or find_spec("airflow.providers.openlineage") is None:
        return
    from ncf_pipeline.airflow.settings import task_settings

    settings = task_settings()
    task: Any = instance.task  # of TaskFlow, so that it has `op_args`
    given = next(iter(task.op_args), None)
    result = instance.xcom_pull(task_ids=instance.task_id)
    task.inlets.extend(_entities(flow.reads, settings, given, result))
    task.outlets.extend(_entities(flow.writes, settings, given, result))


def _entities(names: tuple[str, ...], settings: "Settings", given: Any, result: Any) -> Iterator[Any]:
    from airflow.providers.common.compat.lineage.entities import File, Table

    database = urlsplit(settings.database())
    server = f"postgres://{database.hostname}:{database.port or 5432}"
    store = urlsplit(settings.list_store())
    lists = f"{store.scheme}://{store.hostname}:{store.port or 6379}/{settings.key_prefix}"
    for name in names:
        if "{" not in name:
            yield Table(cluster=server, database=database.path.strip("/"), name=name)
            continue
        for one in given if isinstance(given, list) and "{given" in name else [given]:
            url = name.format(artifacts=settings.artifacts, lists=lists, given=one, result=result)
            yield File(url=redacted_location(url) if "://" in url else f"file://{url}")
