"""Alerts to on-call: their kinds, their text, their delivery, and one alert for each incident. Without Airflow.

A module that detects a fault passes an `Alert` to `tell`, and calls `recover` once the fault is gone. Tasks use
`ncf_pipeline.airflow.alerts` for both.
"""

from ncf_pipeline.alerts.channels import Channel, channels, deliver
from ncf_pipeline.alerts.incidents import (
    Incident,
    answered,
    incidents,
    record_told,
    recover,
    recover_after,
    recover_others,
    recover_quarantine,
    retell,
    silent_since,
    tell,
    tell_unrecorded,
    untold,
    untold_runs,
    watched,
)
from ncf_pipeline.alerts.kinds import KINDS, Kind, Severity, failure_of
from ncf_pipeline.alerts.messages import Alert, EndedRun, Run

__all__ = [
    "KINDS",
    "Alert",
    "Channel",
    "EndedRun",
    "Incident",
    "Kind",
    "Run",
    "Severity",
    "answered",
    "channels",
    "deliver",
    "failure_of",
    "incidents",
    "record_told",
    "recover",
    "recover_after",
    "recover_others",
    "recover_quarantine",
    "retell",
    "silent_since",
    "tell",
    "tell_unrecorded",
    "untold",
    "untold_runs",
    "watched",
]
