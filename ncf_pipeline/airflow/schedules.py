"""Schedules and deadlines of the DAGs."""

from datetime import timedelta

from airflow.sdk import CronTriggerTimetable
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from ncf_pipeline.airflow.alerts import retrain_late

OFF = "off"


def timetable(cron: str) -> CronTriggerTimetable | None:
    """Returns a DAG's schedule; None for one that only people start.

    Args:
        cron: five fields, in UTC, or `off`.
    """
    if cron == OFF:
        return None
    # The first run is the next one that is due. `False` would also start one that was due recently.
    return CronTriggerTimetable(cron, timezone="UTC", run_immediately=timedelta(0))


def retrain_deadline(hours: float) -> DeadlineAlert:
    """Returns a deadline, in hours after a run is queued. On-call is alerted when it is missed; the run continues."""
    return DeadlineAlert(
        # Not the logical date, which lies in the past for a backfill.
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=hours),
        callback=SyncCallback(retrain_late),
    )
