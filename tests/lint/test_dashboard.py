"""The dashboard counts what happened, also the first time: Prometheus itself evaluates its queries."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ncf_pipeline.api.metrics import Metrics
from ncf_pipeline.storefront import Statistics

DASHBOARD = Path(__file__).parents[2] / "docker" / "grafana" / "recommender.json"
LINES = "airflow_ncf_ingest_lines_read"
STAGE = "airflow_ncf_stage_duration_ingest_invoices_merge_sum"


PANELS = json.loads(DASHBOARD.read_text())["panels"]


def queries(title):
    (panel,) = [panel for panel in PANELS if panel["title"] == title]
    return [target["expr"] for target in panel["targets"]]


def test_the_panels_of_the_api_ask_for_what_it_counts():
    """Each name and label of a query is one that the API answers under /metrics."""
    metrics = Metrics(Statistics)
    metrics.answered({"method": "GET", "path": "/health"}, 200, 0.01)
    metrics.listed("for_you", "customer")
    told = metrics.text().decode()
    asked = [query for panel in PANELS for query in queries(panel["title"]) if "ncf_api_" in query]
    assert len(asked) == 5
    for query in asked:
        for name in re.findall(r"ncf_api_\w+", query):
            (line, *_) = [line for line in told.splitlines() if line.startswith(name + "{")]
            labels = set(re.findall(r"(\w+)=", line))
            assert set(re.findall(r"by \((\w+)\)|(\w+)!~", query)[0]) - {""} <= labels, query


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
