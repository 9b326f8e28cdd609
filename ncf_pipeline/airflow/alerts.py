"""Alerts from tasks and runs: of failures, of data that a person must check, and of their end.

Nothing here raises if a message cannot be sent: that must neither fail a task nor hide why one failed. Only an unknown
kind raises, because it is a mistake in the code.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from ncf_pipeline.errors import InputError, PassingError, QualityError
from ncf_pipeline.settings import Settings

if TYPE_CHECKING:  # a DAG file must not import their libraries
    from airflow.sdk import Context

    from ncf_pipeline.alerts import Alert, Kind

logger = logging.getLogger(__name__)

SCORE = "score"
"""The mapped task of the DAGs that publish: one for each shard of the customers."""

_P = ParamSpec("_P")


def _never_raises(function: Callable[_P, None]) -> Callable[_P, None]:
    @wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.exception("On-call may not have received this alert.")

    return call


@_never_raises
def alert(context: "Context") -> None:
    """Alerts on-call that a task failed, and why. Airflow calls it after the last try (`on_failure_callback`).

    What a person entered wrongly in the form of a run is told to this person, by the task's log, and not to on-call.
    """
    from ncf_pipeline.alerts import Alert, Run, answered, failure_of

    instance = context["task_instance"]
    error = context.get("exception")
    run = Run(instance.dag_id, str(context["run_id"]))
    if _is_of_the_form(context, error):
        logger.warning("On-call is not alerted: whoever started this run can correct what was entered. %s", error)
        answered(_settings(), run)
        return
    reason = str(error or "Airflow reported no exception").rstrip(".")
    kind = failure_of(instance.dag_id)
    tries = "once" if instance.try_number == 1 else f"{instance.try_number} times"
    _tell(
        Alert(
            kind,
            key=_name(instance),
            what=f"{_name(instance)} failed: {reason}.",
            details="\n".join(filter(None, (getattr(error, "details", None), f"Run: {context['run_id']}"))),
            since=getattr(instance, "start_date", None) or datetime.now(UTC),
            did=f"The task was tried {tries}. {kind.did}",
            look=instance.log_url,
            run=run,
        )
    )


def _is_of_the_form(context: "Context", error: object) -> bool:
    """Returns whether a run failed because of what a person entered when starting it."""
    if isinstance(error, PassingError) or not isinstance(error, InputError | QualityError):
        return False
    run, dag = context["dag_run"], context["dag"]
    if str(getattr(run.run_type, "value", run.run_type)) != "manual":
        return False
    # A DAG without a schedule has nothing but its form. In another, data that arrived by itself may be wrong too.
    return dag.schedule is None or (bool(run.conf) and isinstance(error, InputError))


@_never_raises
def recovered(context: "Context") -> None:
    """Closes the incidents that a task's success ends, and reports its duration (`on_success_callback`)."""
    from ncf_pipeline.airflow import metrics
    from ncf_pipeline.alerts import recover_after

    instance = context["task_instance"]
    metrics.succeeded(instance)
    if getattr(instance, "map_index", -1) >= 0:
        return  # others of the mapped task may have failed: what follows it ends the incident
    ended = [_name(instance)]
    if SCORE in getattr(getattr(instance, "task", None), "upstream_task_ids", ()):
        ended.append(f"{instance.dag_id}.{SCORE}")
    for title in (title for task in ended for title in recover_after(_settings(), task)):
        logger.info("OVER %s", title)


@_never_raises
def run_failed(context: "Context") -> None:
    """Alerts on-call that Airflow stopped a run for taking too long (`on_failure_callback` of a DAG).

    A run that fails for another reason has a failed task, which alerts by itself; if it was killed, the watcher does.
    """
    from ncf_pipeline.alerts import Alert, Run
    from ncf_pipeline.alerts.kinds import RUN_STOPPED

    if "timed_out" not in str(context.get("reason")):
        return
    run = context["dag_run"]
    what = f"The run {run.run_id} of {run.dag_id} was stopped: it took too long."
    since = run.start_date or datetime.now(UTC)
    _tell(Alert(RUN_STOPPED, key=run.dag_id, what=what, since=since, run=Run(run.dag_id, run.run_id)))


@_never_raises
def retrain_late(context: dict[str, Any]) -> None:
    """Alerts on-call that a retrain has missed its deadline.

    Args:
        context: of the deadline: `dag_run` and `deadline`, each a dictionary.
    """
    from ncf_pipeline.alerts import Alert, Run
    from ncf_pipeline.alerts.kinds import RETRAIN_LATE

    run, deadline = context["dag_run"], context["deadline"]
    what = f"The run {run['dag_run_id']} of {run['dag_id']} missed its deadline, {deadline['deadline_time']}."
    _tell(Alert(RETRAIN_LATE, key=run["dag_id"], what=what, run=Run(run["dag_id"], run["dag_run_id"])))


@_never_raises
def tell(alert: "Alert") -> None:
    """Alerts on-call, unless they know of the incident already."""
    _tell(alert)


def warn(message: str, *, kind: "Kind", key: str | None = None, look: str | None = None) -> None:
    """Alerts on-call to something that a person must check, while the run continues.

    Args:
        message: one or more lines; the first is the title.
        kind: a constant of `ncf_pipeline.alerts.kinds`. A kind that lasts is sent once, until `over` is called.
        key: tells two incidents of the kind apart. Default: one incident for the kind, or for an event one in each run.
        look: the command or link that shows more. Default: the kind's command.

    Raises:
        InputError: there is no such kind.
    """
    from ncf_pipeline.alerts.kinds import check_kind

    _warn(message, check_kind(kind), key, look)


@_never_raises
def _warn(message: str, kind: "Kind", key: str | None, look: str | None) -> None:
    from ncf_pipeline.alerts import Alert

    what, _, details = message.partition("\n")
    if key is None:
        key = kind.name if kind.lasts else f"{_run()} {what}"
    _tell(Alert(kind, key=key, what=what, details=details or None, look=look))


def warn_of_each(messages: Mapping[str, str], *, kind: "Kind") -> None:
    """Alerts on-call to each of several things that a person must check, once, and closes those that are over.

    Args:
        messages: of all that is detected now, by the incident's key.
        kind: a constant of `ncf_pipeline.alerts.kinds` that lasts.
    """
    for key, message in messages.items():
        warn(message, kind=kind, key=key)
    _over_but(kind, tuple(messages))


@_never_raises
def _over_but(kind: "Kind", still: tuple[str, ...]) -> None:
    from ncf_pipeline.alerts import recover_others

    for title in recover_others(_settings(), kind, still):
        logger.info("OVER %s", title)


def over(kind: "Kind", key: str | None = None) -> None:
    """Closes an incident that `warn` opened, if it is open.

    Args:
        kind: as passed to `warn`.
        key: as passed to `warn`; None for every open incident of the kind.

    Raises:
        InputError: there is no such kind.
    """
    from ncf_pipeline.alerts.kinds import check_kind

    _over(check_kind(kind), key)


@_never_raises
def _over(kind: "Kind", key: str | None) -> None:
    from ncf_pipeline.alerts import recover

    for title in recover(_settings(), kind, key):
        logger.info("OVER %s", title)


def _tell(alert: "Alert") -> None:
    from ncf_pipeline.alerts import tell

    settings = _settings()
    logger.error("ALERT %s", settings.without_secrets(f"{alert.what}\n{alert.body(settings.runbook_url)}"))
    tell(settings, alert)


def _settings() -> Settings:
    from ncf_pipeline.airflow.settings import task_settings

    return task_settings()


def _name(instance: Any) -> str:
    return f"{instance.dag_id}.{instance.task_id}"


def _run() -> str:
    from airflow.sdk import get_current_context

    try:
        return str(get_current_context()["run_id"])
    except RuntimeError:
        return datetime.now(UTC).isoformat()
