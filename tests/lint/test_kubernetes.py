"""The Kubernetes files follow the schema of Kubernetes, and use the queue that the DAGs name."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

PROJECT = Path(__file__).parents[2]
KUBERNETES = PROJECT / "docker" / "kubernetes"
VERSION = "1.33"


def values():
    return yaml.safe_load((KUBERNETES / "values.yaml").read_text())


def pod(worker):
    """Returns the Deployment that the chart builds for a group of Celery workers, as far as these values say."""
    container = {"name": "worker", "image": "ncf-airflow", "env": worker["env"], "resources": worker["resources"]}
    container["volumeMounts"] = worker["extraVolumeMounts"]
    spec = {"containers": [container], "volumes": worker["extraVolumes"]}
    spec |= {name: worker[name] for name in ("nodeSelector", "tolerations") if name in worker}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "worker"},
        "spec": {
            "replicas": worker["replicas"],
            "selector": {"matchLabels": {"tier": "airflow"}},
            "template": {"metadata": {"labels": {"tier": "airflow"}}, "spec": spec},
        },
    }


def workers():
    celery = values()["workers"]["celery"]
    return {"default": celery, **{worker["name"]: worker for worker in celery["sets"]}}


@pytest.mark.parametrize("name", ["default", "gpu"])
def test_the_pod_of_a_worker_follows_the_schema(name):
    kubernetes_validate.validate(pod(workers()[name]), VERSION, strict=True)


def test_the_schema_rejects_a_mistake():
    broken = pod(workers()["gpu"])
    broken["spec"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


@pytest.mark.parametrize("document", range(2))
def test_the_files_applied_before_the_chart_follow_the_schema(document):
    found = list(yaml.safe_load_all((KUBERNETES / "prepare.yaml").read_text()))
    kubernetes_validate.validate(found[document], VERSION, strict=True)


def test_the_watcher_follows_the_schema():
    kubernetes_validate.validate(yaml.safe_load((KUBERNETES / "watcher.yaml").read_text()), VERSION, strict=True)


def test_only_training_runs_on_a_node_with_a_gpu():
    found = workers()
    assert values()["executor"] == "CeleryExecutor"
    assert (found["default"]["queue"], found["gpu"]["queue"]) == ("default", "gpu")
    assert found["gpu"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in found["default"]["resources"]["limits"]
    assert "nodeSelector" not in found["default"]
    names = {variable["name"]: variable.get("value") for variable in found["gpu"]["env"]}
    assert names["NCF_GPU_PROMISED"] == "true"
    assert "NCF_INBOX" not in names
    shared = {volume["name"] for volume in found["gpu"]["extraVolumes"]}
    assert shared.isdisjoint(volume["name"] for volume in found["default"]["extraVolumes"])


def test_the_values_contain_no_secret():
    for worker in workers().values():
        for variable in worker["env"]:
            assert ("valueFrom" in variable) == variable["name"].startswith("AIRFLOW_CONN_")
