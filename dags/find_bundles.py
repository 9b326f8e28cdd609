"""Find product sets that sell together, in all invoices so far, for merchandisers who offer bundles.

They are stored in `retail.bundle`, in place of the previous ones. This is a DAG of its own, so that no list waits for
it or fails with it. If it fails, the previous bundles stay.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task

from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import task_settings


@dag(
    description="Product sets that sell together, for a merchandiser.",
    doc_md=__doc__,
    # The first scheduled run is the next one. `False` would still start one that was due not long ago.
    schedule=CronTriggerTimetable("0 2 * * 1", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=2),
    tags=["recommender", "merchandising"],
)
def find_bundles() -> None:
    @task
    def find() -> int:
        """Returns the number of bundles."""
        from ncf_pipeline.serving.bundles import bundles

        return len(bundles(task_settings()))

    find()


find_bundles()
