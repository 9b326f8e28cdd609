"""Alerts to on-call: their kinds, their text, their delivery, and one alert for each incident. Without Airflow.

A module that detects a fault passes an `Alert` to `tell`, and calls `recover` once the fault is gone. Tasks use
`ncf_pipeline.airflow.alerts` for both.
"""

from ncf_pipeline.alerts.channels import Channel, channels, deliver
from ncf_pipeline.alerts.incidents import (
    Incident,
    answered,
    incidents,
    recover,
    recover_after,
    recover_others,
    recover_quarantine,
    retell,
    tell,
    untold_runs,
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
    "recover",
    "recover_after",
    "recover_others",
    "recover_quarantine",
    "retell",
    "tell",
    "untold_runs",
]
