"""Look after the lists, as the storefront reads them, and after the retrains: on-call hears of what is broken.

| it says | when |
| --- | --- |
| Redis does not answer | the storefront's client gets no answer |
| no lists are live | something was published, and the client finds nothing |
| the lists are old | older than `NCF_MAX_LIST_AGE_HOURS` |
| no retrain for too long | none in `NCF_MAX_RETRAIN_AGE_DAYS` |

It also says when each is over, and sends what could not be delivered before. Turn it on first of all.
"""

from datetime import timedelta

from airflow.sdk import dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.schedules import timetable
from ncf_pipeline.airflow.settings import task_settings
from ncf_pipeline.settings import Settings


@dag(
    description="Read the live lists as the storefront does; alert when they are missing or old.",
    doc_md=__doc__,
    schedule=timetable(Settings().watch_schedule),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=1),
    on_failure_callback=run_failed,
    tags=["recommender", "serving"],
)
def watch_freshness() -> None:
    @task
    def look() -> list[str]:
        """Gives the kinds of what is broken; a broken thing does not fail the run, which did its work."""
        from ncf_pipeline.airflow import metrics
        from ncf_pipeline.serving.watch import watch

        settings = task_settings()
        found = watch(settings)
        metrics.watched(settings, found)
        return list(found.broken)

    look()


watch_freshness()
