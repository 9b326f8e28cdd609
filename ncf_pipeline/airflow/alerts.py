"""On-call hears of a task that failed, and of data that a person must look at."""

import logging
from typing import Any

logger = logging.getLogger(__name__)


def alert(context: dict[str, Any]) -> None:
    """Says which task failed, why, and that shoppers keep the last good lists.

    Airflow calls it after the last try of a task (`on_failure_callback`).

    Args:
        context: of the failed task.
    """
    instance = context["task_instance"]
    error = context.get("exception")
    reason = str(error or "no exception was reported").rstrip(".")
    _send(
        f"{instance.dag_id}.{instance.task_id} failed in run {context['run_id']} (try {instance.try_number}): "
        f"{reason}. The lists that serve are untouched. Log: {instance.log_url}",
        getattr(error, "details", None),
    )


def warn(message: str) -> None:
    """Says what a person must look at, although the run goes on.

    Args:
        message: one line or more; the first says what it is about.
    """
    _send(message)


def _send(message: str, details: str | None = None) -> None:
    logger.error("ALERT %s", "\n".join(filter(None, (message, details))))
