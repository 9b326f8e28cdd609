"""Compute what a change of a merchandiser's rules would do to the lists, before anybody decides.

The page *Rules* starts it. The task makes the lists of the newest publication twice, with the rules as they are and as
they would be, and stores how many differ, a few of them before and after, and the share of the expected purchases that
is lost. It publishes nothing and changes no rule. `ncf-pipeline rules hide CODE --preview` computes the same in a
terminal.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import task_settings


@dag(
    description="What a change of rules would do, before anybody decides.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    # It has no schedule, and whoever asks on the page waits for it.
    is_paused_upon_creation=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=1),
    on_failure_callback=run_failed,
    tags=["recommender", "serving"],
    params={"preview": Param(type="integer", minimum=1, title="Preview", description="Its number on the page Rules.")},
)
def preview_rules() -> None:
    @task
    def compute(params: Any = None) -> None:
        """Computes the preview, and stores its result for the page."""
        from ncf_pipeline.serving.rules import previews

        previews.make(task_settings(), int(params["preview"]))

    compute()


preview_rules()
