"""Remove models, snapshots and lists that nobody needs any more from the artifact store.

These versions are kept: the champion, those that stopped serving within `NCF_KEEP_WEEKS`, those whose lists Redis still
holds, the one that a rollback goes back to, and those that the next retrains are compared with. This is a DAG of its
own, so that it cannot fail a retrain. If it fails, only disk space is lost, and the next run continues.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import task_settings


@dag(
    description="Remove what nobody needs any more from the artifact store.",
    doc_md=__doc__,
    # The first scheduled run is the next one. `False` would still start one that was due not long ago.
    schedule=CronTriggerTimetable("0 6 * * *", timezone="UTC", run_immediately=timedelta(0)),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=2),
    on_failure_callback=run_failed,
    tags=["recommender", "upkeep"],
)
def prune_artifacts() -> None:
    @task
    def prune() -> dict[str, int]:
        """Returns how many of each were removed; the log names them."""
        from dataclasses import asdict

        from ncf_pipeline.serving.prune import prune as prune_stage

        return asdict(prune_stage(task_settings()))

    prune()


prune_artifacts()
