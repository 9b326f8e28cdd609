"""Erase a customer everywhere: Postgres, files in the artifact store, and every publication in Redis. By hand.

Every place is searched before and after; the run fails if something still names them. It waits until no other run
reads or writes customers, and can be run again at any time. What they bought stays as a guest's, so that sales figures
do not change; who buys after it under the same number is a new customer.

The number that was typed in stays in this run's configuration until the run is deleted in Airflow: delete it once it
has succeeded. `ncf-pipeline forget CUSTOMER` leaves no such trace.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ncf_pipeline.airflow.alerts import run_failed
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.settings import requested_by, task_settings


@dag(
    description="Erase a customer everywhere, and prove it.",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=24),
    on_failure_callback=run_failed,
    tags=["recommender", "privacy"],
    params={
        "customer": Param(
            type="integer",
            minimum=1,
            title="Customer",
            description="The customer's id. There is no way back.",
        ),
    },
)
def forget_customer() -> None:
    @task
    def forget(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        """Gives what was found where, without saying of whom."""
        from ncf_pipeline.erasure.forget import forget as erase

        return erase(task_settings(), int(params["customer"]), requested_by=requested_by(dag_run)).as_dict()

    forget()


forget_customer()
