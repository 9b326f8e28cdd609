"""Load the shop's catalogue: category, brand, price, stock, launch date and image of each product.

This DAG exists if `NCF_CATALOGUE` names the file, a path or a URL at which the shop's export always lies; the form
takes another one, once. `NCF_CATALOGUE_SCHEDULE`, such as `0 1 * * *`, loads it every night. Rows that are wrong are
not loaded: on-call is told of them, and `ncf-pipeline catalogue refused` names each. To load a file again changes
nothing. docs/catalogue.md has the rest.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from ncf_pipeline.airflow import alerts
from ncf_pipeline.airflow.defaults import DEFAULT_ARGS
from ncf_pipeline.airflow.schedules import timetable
from ncf_pipeline.airflow.settings import mask_secrets_of, requested_by, task_settings
from ncf_pipeline.settings import Settings

SETTINGS = Settings()


@dag(
    description="Load the shop's catalogue: category, brand, price, stock, launch date, image.",
    doc_md=__doc__,
    schedule=timetable(SETTINGS.catalogue_schedule),
    catchup=False,
    max_active_runs=1,
    default_args=DEFAULT_ARGS,
    dagrun_timeout=timedelta(hours=2),
    on_failure_callback=alerts.run_failed,
    tags=["recommender", "ingest"],
    params={
        "file": Param(
            None,
            type=["null", "string"],
            title="File",
            description="A path on the worker, or a URL: .csv, .csv.gz, .parquet or .xlsx. Empty: the one of "
            "NCF_CATALOGUE.",
        ),
        "whole": Param(
            False,
            type="boolean",
            title="The whole catalogue",
            description="Products that the file lacks are then named and marked; they keep their facts. Otherwise it "
            "is a part of it.",
        ),
        "columns": Param(
            [],
            type="array",
            items={"type": "string", "pattern": "^[a-z_]+=.+"},
            title="Columns",
            description="What the file calls a column whose name is not known, such as category=Sparte; one on each "
            "line.",
        ),
    },
)
def load_catalogue() -> None:
    @task
    def load(params: Any = None, dag_run: Any = None) -> dict[str, Any]:
        """Loads every row that can be used in one transaction, and tells readers what is sold out."""
        from ncf_pipeline.alerts import kinds
        from ncf_pipeline.errors import SettingsError
        from ncf_pipeline.serving import catalogue

        settings = task_settings()
        file = params["file"] or (settings.catalogue.get_secret_value() if settings.catalogue else None)
        if not file:
            raise SettingsError("NCF_CATALOGUE is not set on this worker. Set it, or name the file in the form.")
        mask_secrets_of(file)
        columns = dict(each.split("=", 1) for each in params["columns"])
        done = catalogue.load(settings, file, whole=params["whole"], actor=requested_by(dag_run), columns=columns)
        if message := catalogue.refused_message(done):
            alerts.warn(message, kind=kinds.ATTENTION, look="ncf-pipeline catalogue refused")
        return {**done.as_dict(), "refused": len(done.merged.refused), "missing": len(done.merged.missing)}

    load()


if SETTINGS.catalogue is not None:
    load_catalogue()
