"""Which failure of an installation is the machine's, and which is the project's."""

import subprocess
from pathlib import Path

import pytest
from pythons import SUPPORTED, CannotTryError, install

NO_FILE = "ERROR: No matching distribution found for torch==2.13.0\n"
NO_NETWORK = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken "
    "by 'NewConnectionError('...: [Errno -2] Name or service not known')': /simple/torch/\n"
)
NO_ROOM = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"


def installing(step, stderr, settings=""):
    def run(what, *command, timeout=None):
        if what == step:
            raise subprocess.CalledProcessError(1, command, "", stderr)
        return settings

    install("python3.13", Path("environment"), run, patience=60)


@pytest.mark.parametrize("step", ["torch", "the locks", "torch's libraries", "the project"])
def test_a_package_without_a_file_for_a_python_is_a_failure(step):
    with pytest.raises(subprocess.CalledProcessError):
        installing(step, NO_FILE)


@pytest.mark.parametrize("step", ["torch", "the locks", "torch's libraries", "the project"])
@pytest.mark.parametrize(
    ("said", "settings"),
    [
        (NO_NETWORK + NO_FILE, ""),
        (NO_ROOM, ""),
        (NO_FILE, ":env:.no-index='1'\n"),
    ],
    ids=["network", "disk", "no index"],
)
def test_what_the_machine_prevents_is_passed_over(step, said, settings):
    with pytest.raises(CannotTryError, match=step):
        installing(step, said, settings)


def test_a_retry_that_helped_is_no_reason():
    with pytest.raises(subprocess.CalledProcessError):
        installing("torch", NO_NETWORK.replace("total=0", "total=3") + NO_FILE)


def test_the_pythons_are_those_that_make_takes():
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    (oldest, *_, newest) = SUPPORTED
    assert f"({oldest[0]}, {oldest[1]}) <= sys.version_info < ({newest[0]}, {newest[1] + 1})" in makefile
