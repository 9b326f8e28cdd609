"""Defaults for every task: which errors are retried, and which callbacks run."""

from datetime import timedelta
from typing import Any

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from ncf_pipeline.airflow import lineage
from ncf_pipeline.airflow.alerts import alert, recovered
from ncf_pipeline.errors import NcfError, PassingError

_RETRIES = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception=PassingError,
            action=RetryAction.DEFAULT,  # with the back-off below
            reason="the server may come back",
        ),
        RetryRule(
            exception=NcfError,
            action=RetryAction.FAIL,
            reason="the same input gives the same error",
        ),
    ]
)

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "recommender",
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": _RETRIES,
    "on_failure_callback": alert,
    "on_success_callback": [recovered, lineage.succeeded],
}
