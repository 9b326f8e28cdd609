"""Links on a task's page in Airflow's UI."""

from typing import Any

from airflow.sdk import BaseOperatorLink

from ncf_pipeline.airflow.settings import task_settings, ui_url


class DataDocsLink(BaseOperatorLink):
    """Links a task to the page of its batch, which says what each rule means and which lines broke it."""

    name = "Data Docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """Returns the page's URL. Airflow asks for it when the task has ended, even if it failed."""
        from ncf_pipeline.ingest import data_docs

        (batch_id,) = operator.op_args
        return data_docs.link(task_settings(), batch_id)


def add_data_docs(*tasks: Any) -> None:
    """Adds the link to TaskFlow tasks whose only argument is a batch's id."""
    for task in tasks:
        task.operator.operator_extra_links = (DataDocsLink(),)


class ModelLink(BaseOperatorLink):
    """Links a task to the page of its model version, which says what the gate decided, and why."""

    name = "Model"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """Returns the page's URL."""
        return f"{ui_url()}/models/v{operator.op_args[0]}"


def add_model_page(*tasks: Any) -> None:
    """Adds the link to TaskFlow tasks whose first argument is a model version."""
    for task in tasks:
        task.operator.operator_extra_links = (ModelLink(),)
