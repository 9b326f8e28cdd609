"""A home in which Airflow can run; its path contains a space, as many paths do."""

import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from ncf_pipeline.local.services import down
from ncf_pipeline.settings import Settings


def processes_in(home):
    """Returns the processes that run in a home, on record or not."""
    processes = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(home)) and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process)
        except (psutil.Error, OSError):
            continue
    return processes


@pytest.fixture(scope="module")
def home():
    # Not pytest's own folder, which the user who runs Postgres cannot traverse.
    folder = Path(tempfile.mkdtemp(prefix="ncf-test-"))
    path = folder / "a home"
    yield path
    down(Settings(home=path))
    left = processes_in(folder)
    shutil.rmtree(folder)
    assert left == []
