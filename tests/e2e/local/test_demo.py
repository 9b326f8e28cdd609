"""The demo as a person runs it, when it fails."""

import os
import subprocess
import sys

import pytest

from ncf_pipeline.local.status import status
from ncf_pipeline.settings import Settings

pytestmark = [pytest.mark.xdist_group("embedded airflow"), pytest.mark.timeout(300)]

COMMAND = [sys.executable, "-c", "from ncf_pipeline.cli import main; main()", "demo"]


def run_demo(home, data):
    environment = {**os.environ, "NCF_HOME": str(home), "NCF_DEMO_DATA": str(data)}
    return subprocess.run(COMMAND, env=environment, capture_output=True, text=True)


def test_missing_data_is_reported_in_one_line_before_anything_starts(home):
    done = run_demo(home, "missing.xlsx")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "Error: missing.xlsx cannot be read: No such file or directory. Name a workbook or a CSV of invoices."
    ]
    assert not home.exists()


def test_a_failed_task_ends_the_demo_with_one_line_and_stops_everything(home, tmp_path):
    data = tmp_path / "letters.csv"
    data.write_text("Dear,Sir\n1,2\n")
    done = run_demo(home, data)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ingest_invoices.land failed: InputError: ")
    assert "(log: " in line
    assert "✓ ingest_invoices      discover" in done.stdout
    assert done.stdout.splitlines()[-3:] == ["Airflow stopped", "Redis stopped", "Postgres stopped"]
    assert status(Settings(home=home)).running == {}
