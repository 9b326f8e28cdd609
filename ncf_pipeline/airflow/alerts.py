"""One function tells on-call that a task has failed."""

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
    logger.error(
        "ALERT %s.%s failed in run %s (try %s): %s. The lists that serve are untouched. Log: %s",
        instance.dag_id,
        instance.task_id,
        context["run_id"],
        instance.try_number,
        context.get("exception") or "no exception was reported",
        instance.log_url,
    )
