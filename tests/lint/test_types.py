"""Mistakes that the type checker must reject."""

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]
MISTAKES = """\
from ncf_pipeline.airflow import alerts; from ncf_pipeline.alerts import kinds
alerts.warn("v7 is held.", kind="model_hold", key="v7")
alerts.over("model_hold")
alerts.warn("", kind=kinds.MODEL_HOLD)
alerts.warn("v7 is held.", kind=kinds.MODEL_HELD, key="v7")
"""


# The types are the project's own. Without its cache, mypy would read every library for a minute or two.
WITHOUT_LIBRARIES = ["--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]


def test_mypy_rejects_a_typo_in_the_kind_of_an_alert(tmp_path):
    file = tmp_path / "mistaken.py"
    file.write_text(MISTAKES)
    command = [sys.executable, "-m", "mypy", "--config-file", PROJECT / "pyproject.toml", "--no-error-summary"]
    command += [*WITHOUT_LIBRARIES, "--cache-dir", os.devnull, file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
    assert done.returncode == 1, done.stdout + done.stderr
    errors = dict(line.partition(f"{file.name}:")[2].split(": error: ") for line in done.stdout.splitlines())
    assert '"warn" has incompatible type "str"; expected "Kind"  [arg-type]' in errors.pop("2")
    assert '"over" has incompatible type "str"; expected "Kind"  [arg-type]' in errors.pop("3")
    assert 'Module has no attribute "MODEL_HOLD"' in errors.pop("4")
    assert errors == {}  # nor a word about the line with the right kind


def test_mypy_checks_every_folder_with_code():
    import tomllib

    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert set(settings["files"]) == {"ncf_pipeline", "dags", "benchmarks", "dependencies", "docker"}
    assert settings["strict"]
