"""Links on a task's page in Airflow."""

from typing import Any

from airflow.sdk import BaseOperatorLink

from ncf_pipeline.airflow.settings import task_settings, ui_url


class DataDocsLink(BaseOperatorLink):
    """From a task to the page of its batch: every rule in words, and what broke it."""

    name = "Data Docs"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The page's address; Airflow asks for it when the task has ended, however it ended."""
        from ncf_pipeline.ingest import data_docs

        (batch_id,) = operator.op_args
        return data_docs.link(task_settings(), batch_id)


def add_data_docs(*tasks: Any) -> None:
    """Gives TaskFlow tasks, whose only argument is a batch's id, the link to its page."""
    for task in tasks:
        task.operator.operator_extra_links = (DataDocsLink(),)


class ModelLink(BaseOperatorLink):
    """From a task to the page of its model version: what the gate decided, and why."""

    name = "Model"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002
        """The page's address."""
        return f"{ui_url()}/models/v{operator.op_args[0]}"


def add_model_page(*tasks: Any) -> None:
    """Gives TaskFlow tasks, whose first argument is a model version, the link to its page."""
    for task in tasks:
        task.operator.operator_extra_links = (ModelLink(),)
