"""Mistakes that the type checker must reject."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
IMPORTS = "from ncf_pipeline.airflow import alerts; from ncf_pipeline.alerts import kinds\n"


def check(path, *lines):
    """Returns mypy's output for a file with these lines, with the project's settings."""
    path.write_text(IMPORTS + "\n".join(lines) + "\n")
    command = [sys.executable, "-m", "mypy", "--config-file", PROJECT / "pyproject.toml", "--no-error-summary", path]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT).stdout


@pytest.mark.timeout(600)  # without its cache, mypy reads every library
def test_mypy_rejects_a_typo_in_the_kind_of_an_alert(tmp_path):
    file = tmp_path / "mistaken.py"
    assert '"warn" has incompatible type "str"; expected "Kind"  [arg-type]' in check(
        file, 'alerts.warn("v7 is held.", kind="model_hold", key="v7")'
    )
    assert '"over" has incompatible type "str"; expected "Kind"  [arg-type]' in check(file, 'alerts.over("model_hold")')
    assert 'Module has no attribute "MODEL_HOLD"' in check(file, 'alerts.warn("", kind=kinds.MODEL_HOLD)')
    assert check(file, 'alerts.warn("v7 is held.", kind=kinds.MODEL_HELD, key="v7")') == ""


def test_mypy_checks_every_folder_with_code():
    import tomllib

    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert set(settings["files"]) == {"ncf_pipeline", "dags", "benchmarks", "docker"}
    assert settings["strict"]
