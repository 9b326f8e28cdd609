"""What an installation says that lacks what a command needs."""

import subprocess
import sys

import pytest

from ncf_pipeline import __version__

# As where it was never installed: libraries that look whether it has been imported see nothing.
WITHOUT = """
import sys
class Without:
    def __init__(self, name): self.name = name
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name: raise ModuleNotFoundError(f"No module named {name!r}", name=name)
"""


@pytest.mark.parametrize("missing", ["psutil", "psycopg2", "torch"])
def test_a_package_that_is_not_installed_is_one_line(missing):
    code = f"{WITHOUT}\nsys.meta_path.insert(0, Without({missing!r})); from ncf_pipeline.__main__ import main; main()"
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
