"""The DAG that measures an experiment each week."""

import json
from dataclasses import replace

import pytest

from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import stages as experiments
from ncf_pipeline.registry import live_periods
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.publish import refresh

from ..integration.conftest import admitted, promoted, untrained  # noqa: F401
from ..integration.experiments.test_experiments import CUSTOMERS, DESIGN, share, shop  # noqa: F401

pytestmark = [pytest.mark.xdist_group("airflow"), pytest.mark.timeout(600)]


def states(run):
    return {instance.task_id: str(instance.state) for instance in run.get_task_instances()}


def test_without_an_experiment_nothing_is_done_and_a_harmful_one_ends(
    dags,
    connections,
    shop,  # noqa: F811
    webhook,
    monkeypatch,
):
    config = json.dumps({"path": webhook.url, "tag": "warn"})
    monkeypatch.setenv("AIRFLOW_CONN_ALERTS", json.dumps({"conn_type": "apprise", "extra": {"config": config}}))
    assert states(dags["measure_uplift"].test()) == {"measure": "skipped", "publish": "skipped"}

    experiments.start(connections, DESIGN, by="test")
    number = refresh(connections)
    start = live_periods.live_periods(connections)[-1].answers_from
    shop.sell(start, 1)
    assert states(dags["measure_uplift"].test()) == {"measure": "success", "publish": "skipped"}
    (first,) = experiment_registry.reports(connections, 1)
    assert first.sentence.startswith("It is too early")
    assert webhook.got == []

    shop.sell(start, 4, growth={customer: 1.6 for customer in CUSTOMERS if customer not in share()})
    assert states(dags["measure_uplift"].test()) == {"measure": "success", "publish": "success"}
    assert experiment_registry.running(connections) is None
    assert publication.live_publication(connections)["name"] == f"p{number + 1:06d}"
    assert live_periods.live_periods(connections)[-1].experiment is None
    (alert,) = webhook.got
    assert alert["title"].startswith("[warn] spring: customers with best sellers are worse off")
    assert "docs/runbook.md#an-experiment-harms-its-share" in alert["message"]
    assert "ncf-pipeline experiment report spring" in alert["message"]

    # A week later, nobody is harmed any more, and on-call learns that it is over.
    assert states(dags["measure_uplift"].test()) == {"measure": "skipped", "publish": "skipped"}
    assert [each["title"][:6] for each in webhook.got] == ["[warn]", "[over]"]

    # The command that ends an experiment may be killed before the next publication.
    experiments.start(connections, replace(DESIGN, name="autumn"), by="test")
    refresh(connections)
    experiments.stop(connections, "autumn", by="test", why="enough")
    assert states(dags["measure_uplift"].test()) == {"measure": "success", "publish": "success"}
    assert live_periods.live_periods(connections)[-1].experiment is None
