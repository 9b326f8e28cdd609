"""What an installation says that lacks what a command needs."""

import subprocess
import sys

import pytest

from ncf_pipeline import __version__


@pytest.mark.parametrize("missing", ["psutil", "psycopg2", "torch"])
def test_a_package_that_is_not_installed_is_one_line(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from ncf_pipeline.__main__ import main; main()"
    command = [sys.executable, "-c", code, "retrain", "--cutoff", "2011-12-09"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"Error: {missing} is not installed.")
    assert "Traceback" not in done.stderr


def test_the_version_needs_no_command():
    done = subprocess.run(
        [sys.executable, "-m", "ncf_pipeline", "--version"], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == f"{__version__}\n"
