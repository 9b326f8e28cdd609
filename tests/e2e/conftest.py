"""Airflow for the tests: its own home, SQLite for its metadata, no servers.

The environment is set before anything imports airflow, which reads it once.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
_AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="ncf-airflow-"))
atexit.register(shutil.rmtree, _AIRFLOW_HOME, ignore_errors=True)

DEADLINES = {}

os.environ.update(
    {
        "AIRFLOW_HOME": str(_AIRFLOW_HOME),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_AIRFLOW_HOME}/airflow.db",
    }
)


@pytest.fixture(scope="session")
def dags():
    """The DAGs by id, as the DAG processor sees them."""
    from airflow.dag_processing.dagbag import DagBag
    from airflow.utils.db import initdb

    initdb()
    bag = DagBag(str(PROJECT / "dags"))
    assert not bag.import_errors
    for dag_id, dag in bag.dags.items():
        # With a deadline, `dag.test` fails in Airflow 3.3 even if the run succeeds: it takes the deadline for its id.
        DEADLINES[dag_id], dag.deadline = dag.deadline, None
    return bag.dags


@pytest.fixture(scope="session")
def deadlines(dags):
    """The deadlines of the DAGs, by DAG id."""
    return DEADLINES


@pytest.fixture
def connections(settings, monkeypatch):
    """Settings whose addresses the DAGs' tasks read from connections."""
    monkeypatch.setenv("AIRFLOW_CONN_RETAIL_DB", settings.database())
    monkeypatch.setenv("AIRFLOW_CONN_LIST_STORE", settings.list_store())
    monkeypatch.setenv("NCF_HOME", str(settings.home))
    monkeypatch.setenv("NCF_ARTIFACTS_URL", settings.artifacts)
    monkeypatch.setenv("NCF_INBOX", str(settings.inbox_path))
    monkeypatch.setenv("NCF_KEY_PREFIX", settings.key_prefix)
    return settings
