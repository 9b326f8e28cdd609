"""What on-call hears: of which kinds, in which words, once for each incident, and by which way. Without Airflow.

A module that finds something broken makes an `Alert` and gives it to `tell`; what finds it well again calls `recover`.
Inside a task, `ncf_pipeline.airflow.alerts` does both.
"""

from ncf_pipeline.alerts.channels import Channel, channels, deliver
from ncf_pipeline.alerts.incidents import Incident, incidents, recover, recover_after, recover_quarantine, retell, tell
from ncf_pipeline.alerts.kinds import KINDS, Kind, Severity, failure_of
from ncf_pipeline.alerts.messages import Alert

__all__ = [
    "KINDS",
    "Alert",
    "Channel",
    "Incident",
    "Kind",
    "Severity",
    "channels",
    "deliver",
    "failure_of",
    "incidents",
    "recover",
    "recover_after",
    "recover_quarantine",
    "retell",
    "tell",
]
