"""The dashboard counts what happened, also the first time: Prometheus itself evaluates its queries."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

DASHBOARD = Path(__file__).parents[2] / "docker" / "grafana" / "recommender.json"
LINES = "airflow_ncf_ingest_lines_read"
STAGE = "airflow_ncf_stage_duration_ingest_invoices_merge_sum"


def queries(title):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    (panel,) = [panel for panel in panels if panel["title"] == title]
    return [target["expr"] for target in panel["targets"]]


# Every 5 minutes, from 01:00 on, because a counter begins when it first counts: 100; 150 from 20:00 on; nothing from
# 40:00 to 41:00, when the exporter starts again; then 20.
COUNTED = "_x12 100x227 150x239 _x12 20x60"
DAYS = {  # hour: of the day before it
    2: 100,
    21: 150,
    30: 50,
    42: 70,
    # 45 hours in, only what came after the restart is less than a day old.
    45: 20,
}


@pytest.mark.parametrize(
    ("title", "series", "labels"),
    [("Lines a day", LINES, "{}"), ("Seconds of each stage in a day", STAGE, '{stage="ingest_invoices_merge"}')],
)
def test_a_day_counts_what_happened_in_it(title, series, labels, tmp_path):
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("no promtool here: Debian's package prometheus has it")
    expression = f"round({queries(title)[0]})"
    asked = [
        {"expr": expression, "eval_time": f"{hour}h", "exp_samples": [{"labels": labels, "value": counted}]}
        for hour, counted in DAYS.items()
    ]
    test = {"interval": "5m", "input_series": [{"series": series, "values": COUNTED}], "promql_expr_test": asked}
    file = tmp_path / "dashboard.yaml"
    file.write_text(yaml.safe_dump({"evaluation_interval": "5m", "tests": [test]}))
    told = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
