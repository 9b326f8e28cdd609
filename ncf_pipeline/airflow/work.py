"""Airflow as the page `now` sees it: its DAGs and runs, read and switched in the API server, which has its database."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import quote

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.log import Log
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowException
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from sqlalchemy import func, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.pages.recommender.work import Dag, Made, Run

_UNFINISHED = (DagRunState.QUEUED, DagRunState.RUNNING)
_ASSETS = "when invoices have changed"

_MADE_BY: Mapping[Made, Sequence[tuple[str, str]]] = {
    "batch": (("ingest_invoices", "land"), ("correct_quarantine", "release")),
    "publication": (("refresh_lists", "publish"), ("retrain_recommender", "publish")),
}
"""DAGs and tasks that return the number of what they made."""

_MOST_RUNS = 2_000
"""Newest runs that are searched for what made something."""


class AirflowWork:
    """The DAGs of this Airflow. Every method raises `ServiceError` if its database does not answer or it refuses."""

    def dags(self, dag_ids: Sequence[str]) -> Mapping[str, Dag]:
        """Returns those of these DAGs that Airflow knows, by id, in three queries."""
        with _session() as session:
            known = session.scalars(select(DagModel).where(DagModel.dag_id.in_(dag_ids), ~DagModel.is_stale)).all()
            unfinished: dict[str, list[Run]] = {}
            runs = select(DagRun).where(DagRun.dag_id.in_(dag_ids), DagRun.state.in_(_UNFINISHED))
            for run in session.scalars(runs.order_by(DagRun.id)):
                unfinished.setdefault(run.dag_id, []).append(_run(run))
            newest = (
                select(func.max(DagRun.id))
                .where(DagRun.dag_id.in_(dag_ids), DagRun.state.not_in(_UNFINISHED))
                .group_by(DagRun.dag_id)
            )
            last = {run.dag_id: _run(run) for run in session.scalars(select(DagRun).where(DagRun.id.in_(newest)))}
            return {
                dag.dag_id: Dag(
                    dag.dag_id,
                    bool(dag.is_paused),
                    _schedule(dag),
                    None if dag.is_paused else dag.next_dagrun_create_after,
                    tuple(unfinished.get(dag.dag_id, ())),
                    last.get(dag.dag_id),
                )
                for dag in known
            }

    def switch(self, dag_ids: Sequence[str], *, on: bool, by: str) -> None:
        """Pauses or unpauses DAGs, all or none, and notes each in the audit log."""
        with _session() as session:
            known = select(DagModel).where(DagModel.dag_id.in_(dag_ids), ~DagModel.is_stale)
            dags = {dag.dag_id: dag for dag in session.scalars(known)}
            for dag_id in dag_ids:
                if dag_id not in dags:
                    raise ServiceError(f"Airflow does not know {dag_id}.")
                dags[dag_id].is_paused = not on
                session.add(Log("unpause" if on else "pause", owner=by, owner_display_name=by, dag_id=dag_id))

    def runs_that_made(self, what: Made, numbers: Collection[int]) -> Mapping[int, tuple[str, str]]:
        """Returns the DAG and the run that made each of these, by what its task returned.

        A command's has none; neither has what was made before the newest 2,000 runs, or by a run that was removed.
        """
        returned = (
            select(XComModel.dag_id, XComModel.run_id, XComModel.value)
            .where(
                tuple_(XComModel.dag_id, XComModel.task_id).in_(_MADE_BY[what]),
                XComModel.key == XCOM_RETURN_KEY,
            )
            .order_by(XComModel.dag_run_id.desc())
            .limit(_MOST_RUNS)
        )
        made: dict[int, tuple[str, str]] = {}
        with _session() as session:
            for row in session.execute(returned):
                number = XComModel.deserialize_value(row)
                if isinstance(number, int) and number in numbers:
                    made.setdefault(number, (row.dag_id, row.run_id))
        return made

    def address(self, dag_id: str, run_id: str | None = None) -> str:
        """Returns where Airflow's UI shows a DAG, or one of its runs."""
        base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
        return f"{base}/dags/{dag_id}" + (f"/runs/{quote(run_id, safe='')}" if run_id else "")


@contextmanager
def _session() -> Iterator[Session]:
    try:
        with create_session() as session:
            yield session
    except SQLAlchemyError as error:
        raise ServiceError(f"Airflow's database does not answer, or refuses: {type(error).__name__}.") from error
    except (AirflowException, ValueError) as error:
        raise ServiceError(f"Airflow refused: {error}") from error


def _run(run: DagRun) -> Run:
    since = run.start_date or run.queued_at or run.run_after
    state = str(getattr(run.state, "value", run.state))
    return Run(run.run_id, state, since, run.end_date, run.triggering_user_name)


def _schedule(dag: DagModel) -> str | None:
    if not dag.timetable_summary or dag.timetable_summary in ("None", "Never, external triggers only"):
        return None
    words = dag.timetable_description or dag.timetable_summary
    return _ASSETS if "asset" in words.lower() else f"{words} (UTC)"
