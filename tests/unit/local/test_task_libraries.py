"""What the embedded Airflow's tasks are forked from."""

import json
import os
import subprocess
import sys

import pytest

_PROGRAM = """
import gc, json, os, sys, threading
from ncf_pipeline.local import task_libraries

print(json.dumps({
    "missing": [name for name in task_libraries.LIBRARIES if name not in sys.modules],
    "has": [name for name in ("great_expectations", "torch", "polars", "scipy.stats") if name in sys.modules],
    "of the package": sorted(name for name in sys.modules if name.startswith("ncf_pipeline")),
    "torch's threads": os.environ["OMP_WAIT_POLICY"],
    "threads": threading.active_count(),
    "frozen": gc.get_freeze_count() > 100_000,
}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """What a process has that imported the module, as Airflow's fork server does."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment | {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_all_libraries_are_there(imported):
    assert imported["missing"] == []


def test_great_expectations_is_imported_as_the_rules_import_it_and_what_starts_threads_is_not(imported):
    assert imported["has"] == ["great_expectations", "torch"]
    assert imported["threads"] == 1


def test_the_package_itself_is_imported_anew_by_each_task(imported):
    assert imported["of the package"] == [
        "ncf_pipeline",
        "ncf_pipeline.local",
        "ncf_pipeline.local.task_libraries",
        "ncf_pipeline.model",
        "ncf_pipeline.quality",
        "ncf_pipeline.quality.library",
    ]


def test_torchs_threads_wait_without_spinning(imported):
    assert imported["torch's threads"] == "PASSIVE"


def test_garbage_collection_of_a_task_does_not_touch_what_it_shares(imported):
    assert imported["frozen"]
