"""Erase a customer from Postgres, from the files in the artifact store, and from every publication in Redis.

Started by hand. The run waits until no other run reads or writes customers. It searches every place before and after,
and fails if a place still names the customer; it can be run again at any time. The customer's purchases stay as a
guest's, so that sales figures do not change. If somebody buys under the same id later, that is a new customer.

The id that was typed in stays in this run's configuration in Airflow: once the run has succeeded, delete it.
`ncf-pipeline forget CUSTOMER` leaves no such trace.
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
            # A number is taken too, for calls from when ids were numbers. The form shows a text field.
            type=["string", "integer"],
            minLength=1,
            maxLength=254,
            title="Customer",
            description="The customer's id, for example 14646 or anna@example.com. This cannot be undone.",
        ),
        "gone": Param(
            [],
            type="array",
            items={"type": "string"},
            title="Stores that are gone",
            description="URLs of artifact stores that no longer exist. An erasure that failed names them.",
        ),
    },
)
def forget_customer() -> None:
    @task
    def forget(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        """Returns what was found where, with the id masked."""
        from ncf_pipeline.erasure.forget import forget as erase

        customer, gone = str(params["customer"]), params["gone"]
        return erase(task_settings(), customer, requested_by=requested_by(dag_run), gone=gone).as_dict()

    forget()


forget_customer()
