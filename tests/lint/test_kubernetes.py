"""The Kubernetes files: pods as the Kubernetes schema sees them, and the same queue as the DAGs name."""

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
    """A Deployment's pod as the chart makes it of a group of Celery workers, as far as these values go."""
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
def test_the_pod_of_a_worker_keeps_to_the_schema(name):
    kubernetes_validate.validate(pod(workers()[name]), VERSION, strict=True)


def test_the_schema_would_notice():
    broken = pod(workers()["gpu"])
    broken["spec"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


@pytest.mark.parametrize("document", range(2))
def test_what_is_applied_before_keeps_to_the_schema(document):
    found = list(yaml.safe_load_all((KUBERNETES / "prepare.yaml").read_text()))
    kubernetes_validate.validate(found[document], VERSION, strict=True)


def test_training_alone_goes_to_a_node_with_a_gpu():
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


def test_no_secret_stands_in_the_values():
    for worker in workers().values():
        for variable in worker["env"]:
            assert ("valueFrom" in variable) == variable["name"].startswith("AIRFLOW_CONN_")
