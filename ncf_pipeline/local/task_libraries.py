"""Imports the large libraries of tasks. Airflow's fork server does it once, and tasks are forked from it.

Otherwise each task would import them for itself: up to three seconds, and a day's refresh has eight tasks. Nothing of
this package is imported but what this file needs, so the next task runs what is installed. Nor is polars: it starts
threads when it is imported, and they would be missing after a fork.
"""

import gc
import importlib
from contextlib import suppress

import ncf_pipeline.model  # noqa: F401 - before torch: it says how torch's threads wait
from ncf_pipeline.quality.library import great_expectations

LIBRARIES = (
    "fsspec",
    "numba",
    "openpyxl",
    "psycopg2.extras",
    "pyarrow.parquet",
    "pydantic_settings",
    "redis",
    "safetensors.torch",
    "scipy.sparse.linalg",
    "scipy.special",
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",
)


def import_libraries() -> None:
    """Imports Great Expectations and `LIBRARIES`; what is not installed is left out."""
    with suppress(ImportError):
        great_expectations()  # before Airflow, whose log would get its many remarks
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # what tasks share stays shared: their collections of garbage do not touch it


import_libraries()
