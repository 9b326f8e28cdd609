"""The Kubernetes files follow the schema of Kubernetes, and use the queue that the DAGs name.

`test_rendered_chart.py` tests what the chart makes of the values.
"""

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from ncf_pipeline.api.app import create_app
from ncf_pipeline.settings import Settings

KUBERNETES = Path(__file__).parents[2] / "docker" / "kubernetes"
VERSION = "1.33"


def values():
    return yaml.safe_load((KUBERNETES / "values.yaml").read_text())


def objects():
    files = ("prepare.yaml", "watcher.yaml", "lists-api.yaml")
    return [found for file in files for found in yaml.safe_load_all((KUBERNETES / file).read_text())]


def workers():
    celery = values()["workers"]["celery"]
    return {"default": celery, **{worker["name"]: worker for worker in celery["sets"]}}


@pytest.mark.parametrize("number", range(6))
def test_the_files_that_are_applied_beside_the_chart_follow_the_schema(number):
    assert len(objects()) == 6
    kubernetes_validate.validate(objects()[number], VERSION, strict=True)


def test_the_schema_rejects_a_mistake():
    broken = objects()[0]
    broken["spec"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_every_file_names_the_same_image():
    image = values()["images"]["airflow"]
    pods = [found["spec"]["template"]["spec"] for found in objects() if "template" in found["spec"]]
    named = {container["image"] for pod in pods for container in pod["containers"]}
    assert named == {f"{image['repository']}:{image['tag']}"}
    for file, provider in (("auth-fab.yaml", "fab"), ("auth-keycloak.yaml", "keycloak")):
        changed = yaml.safe_load((KUBERNETES / file).read_text())
        assert changed["images"]["airflow"] == {"repository": f"{image['repository']}-{provider}"}


def test_the_pods_beside_the_chart_may_do_as_little_as_its_own():
    for pod in (found["spec"]["template"]["spec"] for found in objects() if "template" in found["spec"]):
        assert pod["automountServiceAccountToken"] is False
        allowed = pod["securityContext"] | pod["containers"][0]["securityContext"]
        chart = values()["securityContexts"]
        assert allowed.items() <= (chart["pod"] | chart["containers"]).items()
        assert pod["containers"][0]["resources"]["limits"]["memory"]


def test_the_api_of_the_lists_is_found_by_its_service_and_by_prometheus():
    deployment, service, budget = (found for found in objects() if found["metadata"]["name"].endswith("lists-api"))
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    assert service["spec"]["ports"] == [{"name": "http", "port": port["containerPort"], "targetPort": port["name"]}]
    for selector in (service["spec"]["selector"], budget["spec"]["selector"]["matchLabels"]):
        assert selector == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    scraped = {name.partition("/")[2]: value for name, value in pod["metadata"]["annotations"].items()}
    assert scraped == {"scrape": "true", "port": str(port["containerPort"]), "path": "/metrics"}
    (mount,) = [each for each in container["volumeMounts"] if each["name"] == "keys"]
    given = {each["name"]: each.get("value") for each in container["env"]}
    assert Path(given["NCF_API_KEYS_FILE"]) == Path(mount["mountPath"]) / "keys"
    assert "subPath" not in mount  # a part of a volume does not change with its secret


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_the_probes_ask_what_the_api_answers(probe):
    paths = {route.path for route in create_app(Settings(redis_url="redis://127.0.0.1:1/0"), list).routes}
    (deployment,) = [
        found for found in objects() if found["kind"] == "Deployment" and "lists" in str(found["metadata"])
    ]
    asked = deployment["spec"]["template"]["spec"]["containers"][0][probe]["httpGet"]
    assert asked["path"] in paths


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


def variables(given):
    """Returns every variable of the values, wherever it stands."""
    if isinstance(given, dict):
        own = given.get("env", []) if isinstance(given.get("env"), list) else []
        return own + [variable for name, below in given.items() if name != "env" for variable in variables(below)]
    return [variable for below in given for variable in variables(below)] if isinstance(given, list) else []


@pytest.mark.parametrize("file", ["values.yaml", "auth-fab.yaml", "auth-keycloak.yaml"])
def test_the_values_contain_no_secret(file):
    secret = ("AIRFLOW_CONN_", "AIRFLOW__DATABASE__", "AWS_ACCESS", "AWS_SECRET", "NCF_ERASURE", "NCF_ALERTS")
    secret += ("NCF_DATABASE", "NCF_REDIS", "ADMIN_", "WATCHER_", "AIRFLOW__CORE__FERNET", "AWS_ENDPOINT")
    for variable in variables(yaml.safe_load((KUBERNETES / file).read_text())):
        assert ("valueFrom" in variable) == variable["name"].startswith(secret), variable["name"]


def test_the_values_of_pods_for_scoring_are_right_when_they_are_uncommented():
    """What a commented line holds is YAML; all other comments are sentences."""
    text = (KUBERNETES / "values.yaml").read_text()
    begin, commented = re.compile(r" *# - name: (NCF_SCORING_QUEUE|scoring)$"), False
    lines = []
    for line in text.splitlines():
        commented = bool(begin.match(line)) or (commented and line.lstrip().startswith("# "))
        lines.append(line.replace("# ", "", 1) if commented else line)
    changed = yaml.safe_load("\n".join(lines))
    env = {variable["name"]: variable["value"] for variable in changed["env"]}
    (scoring,) = [worker for worker in changed["workers"]["celery"]["sets"] if worker["name"] == "scoring"]
    assert scoring["queue"] == env["NCF_SCORING_QUEUE"]
    assert scoring["replicas"] == int(env["NCF_SCORING_AT_ONCE"])
    assert scoring["resources"]["limits"]["memory"]
    given = {variable["name"] for variable in scoring["env"]}
    assert given >= {"NCF_DATABASE_URL", "AIRFLOW_CONN_RETAIL_DB", "AWS_ACCESS_KEY_ID", "NCF_ERASURE_KEY"}
    assert not given & {"NCF_REDIS_URL", "AIRFLOW_CONN_LIST_STORE", "NCF_INBOX"}
    unchanged = values()
    changed["env"] = [variable for variable in changed["env"] if not variable["name"].startswith("NCF_SCORING")]
    changed["workers"]["celery"]["sets"].remove(scoring)
    assert changed == unchanged
