"""Tries Pythons of this machine: installs from the locks, starts servers, and takes a small shop from file to lists.

By default the oldest and the newest supported one, `--all` for each; `.ci/run` and `make try-pythons` call it. It says
which Pythons it passed over, and why: what the network or the disk prevents is no failure, and a package that has no
file for a Python is one. `--installed .venv` takes that environment for its Python, and installs nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[1]
SUPPORTED = [(3, minor) for minor in range(11, 15)]
LOCKS = ("requirements.lock", "requirements-local.lock")
PATIENCE = 420  # seconds for an installation: torch's libraries may be gigabytes, and CI waits for no slow network
OF_THE_MACHINE = ("Retry(total=0", "Read timed out", "Connection broken", "No space left on device")  # what pip says
ABOUT = "import ensurepip, json, sys, venv; print(json.dumps([*sys.version_info[:3], sys.base_prefix]))"
SHOP = """
import sys
from pathlib import Path
from ncf_pipeline.synthetic import write_workbook
shop = write_workbook(Path(sys.argv[1]), customers=250, products=200, days=200, seed=1)
print(shop["CustomerID"].dropna().astype(int).mode()[0])
"""


Run = Callable[..., str]
"""Runs a command, and notes how long it took under a name."""


class CannotTryError(Exception):
    """This machine cannot try this Python, whatever the project does."""


def main() -> None:
    """Tries them, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="each supported version, not only oldest and newest")
    parser.add_argument("--installed", type=Path, help="an environment in which everything is installed")
    parser.add_argument("--patience", type=int, default=PATIENCE, metavar="SECONDS", help="for an installation")
    parser.add_argument("programs", nargs="*", help="Pythons; by default those of the path and of pyenv")
    arguments = parser.parse_args()
    found = interpreters(arguments.programs or known())
    for version in SUPPORTED:
        if version not in found:
            print(f"Python {version[0]}.{version[1]}   skipped: none was found that can make an environment")
    chosen = [version for version in SUPPORTED if version in found]
    if not arguments.all:
        for version in chosen[1:-1]:
            print(f"Python {version[0]}.{version[1]}   skipped: neither the oldest nor the newest one here")
        chosen = sorted({*chosen[:1], *chosen[-1:]})
    own = interpreters([str(arguments.installed / "bin" / "python")]) if arguments.installed else {}
    failed = False
    for version in chosen:
        name = f"Python {version[0]}.{version[1]}"
        try:
            steps = tried(found[version], arguments.installed if version in own else None, arguments.patience)
            print(f"{name}   passed: {steps}")
        except CannotTryError as error:
            print(f"{name}   skipped: {error}")
        except subprocess.CalledProcessError as error:
            failed = True
            print(f"{name}   FAILED: {' '.join(map(str, error.cmd))}\n{error.stdout}{error.stderr}")
        sys.stdout.flush()
    sys.exit(failed)


def known() -> list[str]:
    """Returns the programs that may be Pythons."""
    named = [path for major, minor in SUPPORTED if (path := shutil.which(f"python{major}.{minor}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [sys.executable, *named, *(str(path) for path in sorted(pyenv.glob("3.*/bin/python"), reverse=True))]


def interpreters(programs: Sequence[str]) -> dict[tuple[int, int], str]:
    """Returns the first program of each supported version that can make an environment with pip."""
    found: dict[tuple[int, int], str] = {}
    for program in programs:
        asked = subprocess.run([program, "-c", ABOUT], capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            major, minor, *_ = json.loads(asked.stdout)
            if (major, minor) in SUPPORTED:
                found.setdefault((major, minor), program)
    return found


def tried(python: str, installed: Path | None, patience: int) -> str:
    """Takes a shop from a file to a customer's list.

    Args:
        python: the program.
        installed: an environment that has everything; None to make one.
        patience: the seconds that making one may take.

    Returns:
        How long each step took.

    Raises:
        CannotTryError: this machine cannot install it.
        subprocess.CalledProcessError: a step failed.
    """
    took = []
    with tempfile.TemporaryDirectory(prefix="ncf-try-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres runs as a user of its own, if this is root
        environment = {**os.environ, "NCF_HOME": str(folder / "home")}

        def run(what: str, *command: str | Path, timeout: float | None = None) -> str:
            started = time.monotonic()
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=timeout
            )
            took.append(f"{what} {time.monotonic() - started:.0f} s")
            return done.stdout

        if installed is None:
            install(python, folder / "venv", run, patience=patience)
        else:
            took.append(f"installed in {installed}")
        bin_ = (PROJECT / installed if installed else folder / "venv") / "bin"
        customer = run("a shop", bin_ / "python", "-c", SHOP, folder / "invoices.xlsx").strip()
        ncf = bin_ / "ncf-pipeline"
        try:
            run("up", ncf, "up", "--no-airflow")
            run("ingest", ncf, "ingest", folder / "invoices.xlsx")
            run("retrain", ncf, "retrain")
            answer = json.loads(run("read", ncf, "recommend", customer, "--json"))
        finally:
            run("down", ncf, "down")
        if answer["source"] != "customer" or len(answer["products"]) != 10:
            raise subprocess.CalledProcessError(1, ["a list of ten"], json.dumps(answer), "")
    return ", ".join(took)


def install(python: str, environment: Path, run: Run, *, patience: int) -> None:
    """Makes an environment as `make install` does, without the development tools.

    Raises:
        CannotTryError: the network, the disk or the settings of this machine prevent it.
        subprocess.CalledProcessError: a step failed, such as for a package that has no file for this Python.
    """
    end = time.monotonic() + patience
    pip: list[str | Path] = [environment / "bin" / "python", "-m", "pip"]
    add = [*pip, "install", "--quiet"]
    torch = ("--requirement", PROJECT / "requirements-torch.lock")
    locks = [part for lock in LOCKS for part in ("--requirement", PROJECT / lock)]
    steps = {
        "torch": [*add, "--no-deps", *torch],
        "the locks": [*add, "--no-deps", "--require-hashes", *locks],
        "torch's libraries": [*add, *torch],
        "the project": [*add, "--no-deps", PROJECT],
    }
    run("venv", python, "-m", "venv", environment)
    for what, command in steps.items():
        try:
            run(what, *command, timeout=max(end - time.monotonic(), 1))
        except subprocess.TimeoutExpired as error:
            raise CannotTryError(f"it was not installed within {patience} s: {what} took too long") from error
        except subprocess.CalledProcessError as error:
            for line in error.stderr.splitlines():
                if any(sign in line for sign in OF_THE_MACHINE):
                    raise CannotTryError(f"pip could not install {what}: {line.strip()}") from error
            if "no-index=" in run("settings", *pip, "config", "list"):
                raise CannotTryError(f"pip may use no index here, and found no files of {what}") from error
            raise


if __name__ == "__main__":
    main()
