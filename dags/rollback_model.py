"""Serve an earlier version again, or a later one, when a person asks for it.

Enter the version, or leave it empty. If it is empty, the run shows the versions that can serve, under Required Actions,
and waits for a choice. If Redis still holds the version's lists, shoppers see them within a second; else they are
written again. A retrain or refresh that runs meanwhile does not undo the rollback. The page *Versions* compares two
versions and starts this DAG; the command `ncf-pipeline rollback` does the same.
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
            minimum=0,
            title="Version",
            description="For example 7; 0 for the baselines. Empty: choose from a list, under Required Actions.",
        ),
        "reason": Param(None, type=["null", "string"], title="Reason", description="Why, for the registry."),
        "instead_of": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Instead of",
            description="The version that serves now. If another one serves when the run begins, nothing is changed. "
            "Empty: whichever serves.",
        ),
    },
)
def rollback_model() -> None:
    choose = ChooseVersion(task_id="choose", doc="The version in the form, or the one that a person chooses now.")

    @task
    def roll_back(version: int, params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        """Makes the version serve; returns the fields of `serving.rollback.Rollback`."""
        from dataclasses import asdict

        from ncf_pipeline.serving.rollback import rollback

        asked = {"reason": params["reason"], "instead_of": params["instead_of"]}
        return asdict(rollback(task_settings(), int(version), actor=requested_by(dag_run), **asked))

    chosen: Any = choose.output
    roll_back(chosen)


rollback_model()
