"""Serve an earlier version again, or a later one, by hand.

Give the version, or leave it empty: then the run shows the versions that can serve, under Required Actions, and waits
for a choice. While Redis still holds a version's lists, shoppers see them within a second of that; else they are
written again. A retrain or a refresh that runs meanwhile does not undo it. `ncf-pipeline rollback` does the same.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.questions import ChooseVersion
from ncf_pipeline.airflow.settings import requested_by, task_settings


@dag(
    description="Serve another version, at once.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=2),
    on_failure_callback=run_failed,
    tags=["recommender", "serving"],
    params={
        "version": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Version",
            description="Such as 7. Empty: choose from a list, under Required Actions, a few seconds from now.",
        ),
    },
)
def rollback_model() -> None:
    choose = ChooseVersion(task_id="choose", doc="The version that the form names, or that somebody chooses now.")

    @task
    def roll_back(version: int, dag_run: Any = None) -> dict[str, Any]:
        """Makes the version serve; gives it with the publication's number, and whether a flip was enough."""
        from dataclasses import asdict

        from ncf_pipeline.serving.rollback import rollback

        return asdict(rollback(task_settings(), int(version), actor=requested_by(dag_run)))

    chosen: Any = choose.output
    roll_back(chosen)


rollback_model()
