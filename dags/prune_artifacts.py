"""Remove models, snapshots and lists that nobody needs any more from the artifact store.

Kept are the champion, versions that stopped serving within `NCF_KEEP_WEEKS`, all whose lists Redis still holds, the one
that a rollback goes back to, and those that the next retrains are compared with. It stands alone, so that a retrain
that was promoted is green whatever becomes of this; when it fails, nothing is lost but room, and the next run goes on.
"""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable, dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import task_settings


@dag(
    description="What nobody needs any more leaves the artifact store.",
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
        """Gives how many of each were removed; the log names them."""
        from dataclasses import asdict

        from ncf_pipeline.serving.prune import prune as prune_stage

        return asdict(prune_stage(task_settings()))

    prune()


prune_artifacts()
