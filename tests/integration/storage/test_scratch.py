"""What a run needs only while it works names customers: nothing of it outlives the run by long."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ncf_pipeline.storage.scratch import remove_dead_folders, scratch_folder

RUN = """
import time
from ncf_pipeline.storage.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "cells.arrow").write_text("14646")
    print(folder, flush=True)
    time.sleep(600)
"""

LOOP = """
from ncf_pipeline.storage.scratch import scratch_folder
for _ in range(300):
    with scratch_folder() as folder:
        (folder / "cells.arrow").write_text("14646")
        assert (folder / "cells.arrow").exists()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def run():
    """A run that works in a folder of its own, and the folder."""
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_the_folder_of_a_killed_run_is_removed_by_the_next_run(run):
    process, folder = run
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "cells.arrow").exists()
    with scratch_folder() as mine:
        assert not folder.exists()
        assert mine.exists()
    assert not mine.exists()


def test_the_folder_of_a_living_run_stays(run):
    _, folder = run
    with scratch_folder() as outer, scratch_folder() as inner:
        (outer / "a").write_text("a")
        remove_dead_folders()
        assert (outer / "a").exists()
        assert inner.exists()
    assert (folder / "cells.arrow").exists()


def test_many_at_once_keep_their_folders(temporary):
    """Each makes folders and looks for dead ones at the same time; none loses its own."""
    runs = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(4)]
    assert [run.wait() for run in runs] == [0, 0, 0, 0]
    assert not list(temporary.glob("ncf-*"))


def test_folders_of_others_stay(temporary):
    kept = [temporary / name for name in ("ncf-notes", "ncf-a1b2c3d4", "other-a1b2c3d4")]
    for folder in kept:
        folder.mkdir()
    (temporary / "ncf-e5f6g7h8").symlink_to(kept[0])
    os.utime(kept[0], (0, 0))  # is not named as ours are; the second was made just now
    remove_dead_folders()
    assert all(folder.exists() for folder in kept)
    assert (temporary / "ncf-e5f6g7h8").is_symlink()


def test_only_this_user_can_read_the_folder():
    with scratch_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
