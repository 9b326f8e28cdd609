"""Check the live lists, as the storefront reads them, and the retrains. Alert on-call if something is broken.

| alert | when |
| --- | --- |
| Redis does not answer | the storefront client gets no answer |
| No lists are live | lists were published, but the client gets none |
| Some lists are gone | keys of a sample are gone, or the publication's counts differ from its keys |
| Some lists are broken | values of a sample are no lists |
| Redis may remove lists | its `maxmemory-policy` is not `noeviction` |
| Redis has no room for the next lists | less memory is free than the live lists take |
| The lists are old | they are older than `NCF_MAX_LIST_AGE_HOURS` |
| No retrain for too long | the last one is older than `NCF_MAX_RETRAIN_AGE_DAYS` |
| Customers do not see their group's lists | in a group of the running experiment, more than 1 of 100; every hour |

It also reports when each is over, and sends alerts that could not be delivered before. Unpause this DAG first.
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
        """Returns the kinds of alerts that are open. They do not fail the run: the check itself has worked."""
        from ncf_pipeline.airflow import metrics
        from ncf_pipeline.serving.watch import watch

        settings = task_settings()
        freshness = watch(settings)
        metrics.watched(settings, freshness)
        return list(freshness.broken)

    look()


watch_freshness()
