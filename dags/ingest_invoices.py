"""Load new invoices from the inbox into Postgres: discover → land → validate → quarantine → merge.

Drop `.xlsx`, `.csv`, `.csv.gz` or `.parquet` files into the inbox, or into the folder there whose mapping says how
they look, such as `shopify`. All files become one batch. Lines that break a critical rule go to quarantine with the
rule's name. The others are merged by invoice, so you can safely send a file again, corrected or not. A run that changes
lines starts `refresh_lists`.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ncf_pipeline.airflow import alerts, metrics
from ncf_pipeline.airflow.assets import INVOICE_LINES
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.links import add_data_docs
from ncf_pipeline.airflow.schedules import timetable
from ncf_pipeline.airflow.settings import mask_secrets_of, task_settings
from ncf_pipeline.settings import Settings


@dag(
    description="Load new invoices from the inbox into Postgres, and put broken lines into quarantine.",
    doc_md=__doc__,
    schedule=timetable(Settings().ingest_schedule),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=6),
    on_failure_callback=alerts.run_failed,
    tags=["recommender", "ingest"],
    params={
        "paths": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Files",
            description="Files, folders, globs or URLs to load, one on each line. Empty: all files in the inbox.",
        ),
        "mapping": Param(
            None,
            type=["null", "string"],
            examples=["shopify", "woocommerce", "square", "online-retail-ii", "uci"],
            title="Mapping",
            description="What says how these files look: a ready one, or one of `ncf-pipeline mapping list`. Empty: "
            "they have the columns InvoiceNo, StockCode, ...; files in a folder of the inbox are read by its mapping.",
        ),
    },
)
def ingest_invoices() -> None:
    @task.short_circuit
    def discover(params: Any = None) -> list[Any]:
        """Finds the files to load, each with its mapping. If there are none, the other tasks are skipped."""
        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.ingest import stages as ingest

        settings = task_settings()
        for path in params["paths"] or ():
            mask_secrets_of(path)
        files = ingest.discover(settings, params["paths"] or None, params.get("mapping") or None)
        unread = {folder.name: f"{folder.what}\n{folder.advice}" for folder in ingest.unread_folders(settings)}
        alerts.warn_of_each(unread, kind=kinds.FOLDER_NOT_READ)
        return ingest.without_secrets(files)

    @task
    def land(files: list[Any], params: Any = None) -> int:
        """Copies every line of the files into the landing table, as one batch."""
        from ncf_pipeline.ingest import stages as ingest

        settings = task_settings()
        for path in params["paths"] or ():
            mask_secrets_of(path)
        return ingest.land(settings, ingest.with_secrets(files, params["paths"]))

    @task
    def validate(batch_id: int) -> dict[str, Any]:
        """Checks the rules of expectations/invoices.json on the batch."""
        from ncf_pipeline.ingest import stages as ingest

        return ingest.validate(task_settings(), batch_id).as_dict()

    @task
    def quarantine(batch_id: int) -> dict[str, Any]:
        """Sets aside lines that break a critical rule, and alerts on-call to them and to refused files."""
        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.ingest import stages as ingest

        settings = task_settings()
        waiting = ingest.quarantine(settings, batch_id)
        if (alert := ingest.quarantine_alert(settings, batch_id)) is not None:
            alerts.tell(alert)
        elif not waiting.lines and (message := ingest.quality_message(settings, batch_id)):
            alerts.warn(message, kind=kinds.FILES_REFUSED, key=f"batch {batch_id}")
        return waiting.as_dict()

    @task(outlets=[INVOICE_LINES])
    def merge(batch_id: int) -> dict[str, Any]:
        """Merges the other lines into retail.invoice_line, by invoice; ends as skipped if nothing changed."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.ingest import stages as ingest

        counts = ingest.merge(task_settings(), batch_id)
        if message := ingest.lost_lines(counts):
            alerts.warn(message, kind=kinds.LINES_LOST, key=f"batch {batch_id}")
        metrics.ingested(counts)
        if not counts.merged and not counts.replaced:
            # A skipped task emits no asset event, so the same lists are not made again.
            raise AirflowSkipException(f"Nothing changed: {counts}")
        return counts.as_dict()

    files: Any = discover()
    batch_id: Any = land(files)
    checked, waiting = validate(batch_id), quarantine(batch_id)
    checked >> waiting >> merge(batch_id)
    add_data_docs(checked, waiting)


ingest_invoices()
