"""Score every customer and product with the champion on the newest purchases, and publish. Nothing is trained.

Runs whenever `retail/invoice_lines` changes, that is, after each ingest with new lines. So new purchases and new
customers reach the storefront at once. Until a model has been promoted, version 0 serves: the first ingest leads to the
first lists. The task is skipped only while the shop has no purchases.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.assets import INVOICE_LINES
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import task_settings


@dag(
    description="Rescore with the champion and publish, after each change of the invoices.",
    doc_md=__doc__,
    schedule=[INVOICE_LINES],
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=6),
    on_failure_callback=run_failed,
    tags=["recommender", "serving"],
)
def refresh_lists() -> None:
    @task
    def refresh() -> int:
        """Returns the publication's number."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.serving.publish import refresh as refresh_stage

        number = refresh_stage(task_settings(), requested_by="refresh_lists")
        if number is None:
            raise AirflowSkipException("There are no purchases yet: ingest_invoices loads them.")
        return number

    refresh()


refresh_lists()
