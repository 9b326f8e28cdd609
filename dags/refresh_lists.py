"""Score every customer and product with the champion on the newest purchases, and publish. Nothing is trained.

Runs whenever `retail/invoice_lines` changes, that is, after each ingest with new lines. So new purchases and new
customers reach the storefront at once. Until a model has been promoted, version 0 serves: the first ingest leads to the
first lists. The tasks are skipped only while the shop has no purchases.

| task | does | a retry |
| --- | --- | --- |
| `prepare` | reads the purchases, and pins what the lists depend on | begins anew |
| `score`, for each shard | writes a file with the lists of some customers, unless it is there | makes the same |
| `publish` | joins the files, checks the lists, makes them live | takes the same files |

If somebody was erased, another version was made to serve or rules changed meanwhile, `publish` makes all lists again by
itself: its log says why. A shop has one shard for each 50,000 customers (`NCF_SCORING_SHARDS`).

`prepare` also tells on-call of a merchandiser's rule that matches nothing, such as one with a mistyped country.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.assets import INVOICE_LINES
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import task_settings
from ncf_pipeline.airflow.shards import score


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
    def prepare() -> list[str]:
        """Opens a draft of the champion's lists; returns the URLs of the parts to make, one for each shard."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.airflow.rules import tell_of_idle_rules
        from ncf_pipeline.serving import publish as stages

        parts = stages.prepare(task_settings(), requested_by="refresh_lists")
        if not parts:
            raise AirflowSkipException("There are no purchases yet: ingest_invoices loads them.")
        tell_of_idle_rules(task_settings())
        return parts

    @task
    def publish(parts: Any) -> int:
        """Joins the parts, checks all lists, and makes them live; returns the publication's number."""
        from airflow.sdk.exceptions import AirflowSkipException

        from ncf_pipeline.serving.publish import publish_parts

        number = publish_parts(task_settings(), list(parts), requested_by="refresh_lists")
        if number is None:
            raise AirflowSkipException("There are no purchases any more.")
        return number

    publish(score.expand(part=prepare()))


refresh_lists()
