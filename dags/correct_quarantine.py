"""Release lines from quarantine, corrected, or discard them. Started by hand.

`ncf-pipeline quarantine list` shows the lines with their numbers; the alert names the batch. Many lines are easier to
correct in Excel: `ncf-pipeline quarantine export FILE.xlsx`, then drop the corrected file into the inbox. The page
*Quarantine* shows the lines, and starts this DAG with the number of what somebody asked for there.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.assets import INVOICE_LINES
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import requested_by, task_settings


@dag(
    description="Release lines from quarantine, corrected, or discard them.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=1),
    on_failure_callback=run_failed,
    tags=["recommender", "ingest"],
    params={
        "request": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Request",
            description="Its number on the page Quarantine, which says what is released. The other fields do not count "
            "then.",
        ),
        "action": Param(
            "release",
            enum=["release", "discard"],
            title="Action",
            description="Release: check the lines again and merge the good ones. Discard: never load them.",
        ),
        "lines": Param(
            [],
            type="array",
            items={"type": "string", "pattern": "^ *[1-9][0-9]* *$"},
            title="Lines",
            description="The lines' numbers in quarantine, one on each line.",
        ),
        "set": Param(
            [],
            type="array",
            items={"type": "string", "pattern": "="},
            title="Cells to set",
            description="Corrected cells of the released lines, such as quantity=6; one on each line. "
            "Empty: release the lines unchanged, because the rules have changed.",
        ),
        "note": Param(
            None,
            type=["null", "string"],
            title="Note",
            description="Why, for later readers.",
        ),
    },
)
def correct_quarantine() -> None:
    @task.branch
    def choose(params: Any = None) -> str:
        """Chooses between release and discard."""
        return "release" if params["request"] else str(params["action"])

    @task(outlets=[INVOICE_LINES])
    def release(params: Any = None, dag_run: Any = None) -> int | None:
        """Checks the lines again, as a batch of their own, and merges the good ones.

        Returns the batch's id; None if the request was taken back or is done.
        """
        from ncf_pipeline.ingest import stages as ingest
        from ncf_pipeline.ingest.corrections import changes_from

        if params["request"]:
            return ingest.release_request(task_settings(), int(params["request"]))
        changes, by = changes_from(params["set"]), requested_by(dag_run)
        return ingest.release(task_settings(), _numbers(params), changes, actor=by, reason=params["note"]).batch_id

    @task
    def check(batch_id: int | None) -> None:
        """Fails if a line is still broken; the error has the number under which it waits now."""
        from ncf_pipeline.ingest import corrections

        if batch_id is not None:
            corrections.check_released(task_settings(), batch_id)

    @task
    def discard(params: Any = None, dag_run: Any = None) -> list[int]:
        """Records that the lines will not be corrected. They are kept, with the note."""
        from ncf_pipeline.ingest import corrections

        by = requested_by(dag_run)
        note = params["note"] or f"discarded by {by}"
        return corrections.discard_lines(task_settings(), _numbers(params), note=note, actor=by)

    released: Any = release()
    choose() >> [released, discard()]
    check(released)


def _numbers(params: dict[str, Any]) -> list[int]:
    return [int(line) for line in params["lines"]]


correct_quarantine()
