"""A home in which Airflow can run; its path has a space, as people's paths do."""

import shutil
import tempfile
from pathlib import Path

import psutil
import pytest

from ncf_pipeline.local.services import down
from ncf_pipeline.settings import Settings


def processes_in(home):
    """What works in a home, recorded or not."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(home)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(scope="module")
def home():
    # Not pytest's own folder: the user that Postgres runs as could not pass through it.
    folder = Path(tempfile.mkdtemp(prefix="ncf-test-"))
    path = folder / "a home"
    yield path
    down(Settings(home=path))
    left = processes_in(folder)
    shutil.rmtree(folder)
    assert left == []
