"""When the DAGs run by themselves, and by when they must be done."""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from ncf_pipeline.airflow.alerts import retrain_late

OFF = "off"


def timetable(cron: str) -> CronTriggerTimetable | None:
    """The schedule of a DAG.

    Args:
        cron: five fields, in UTC; `off` for a DAG that runs by hand alone.
    """
    if cron == OFF:
        return None
    # The first scheduled run is the next one. `False` would still start one that was due not long ago.
    return CronTriggerTimetable(cron, timezone="UTC", run_immediately=timedelta(0))


def retrain_deadline(hours: float) -> DeadlineAlert:
    """On-call hears of a retrain that is not done so many hours after it was queued; the run goes on."""
    return DeadlineAlert(
        # Not the logical date: that of a backfilled run has long passed.
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=SyncCallback(retrain_late),
    )
