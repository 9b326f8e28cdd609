"""Take events out of Redis: what visitors viewed, put into a basket or wished.

This DAG exists if `NCF_EVENTS_SCHEDULE` is set, such as `5 * * * *`, every hour. The storefront adds events to the
stream `ncf:events`; this moves them into `retail.shop_event`. Events that cannot be used go to quarantine with the
reason: `ncf-pipeline events quarantine`. Events older than `NCF_EVENTS_DAYS` are removed. docs/events.md has the rest.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.schedules import OFF, timetable
from ncf_pipeline.airflow.settings import task_settings
from ncf_pipeline.settings import Settings

SCHEDULE = Settings().events_schedule


@dag(
    description="Move what visitors viewed, put into a basket or wished from Redis into Postgres.",
    doc_md=__doc__,
    schedule=timetable(SCHEDULE),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=6),
    on_failure_callback=run_failed,
    tags=["recommender", "ingest"],
)
def take_events() -> None:
    @task
    def take() -> dict[str, Any]:
        """Moves what waits in the stream into the database."""
        from ncf_pipeline.events import stages

        return stages.take(task_settings()).as_dict()

    take()


if SCHEDULE != OFF:
    take_events()
