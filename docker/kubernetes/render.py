"""Renders Airflow's Helm chart with these values, validates it, and writes down what each container gets.

    python docker/kubernetes/render.py CHART    a folder, or what helm pull apache-airflow/airflow --version 1.22.0 gets

The result, tests/lint/rendered_chart.yaml, is a table of facts, with which tests run the image's entrypoint where there
is neither helm nor a cluster. Helm validates the values against the chart's schema, and what it renders is validated
strictly against that of Kubernetes.
"""

import argparse
import configparser
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "tests" / "lint" / "rendered_chart.yaml"
KUBERNETES = "1.33"
RELEASE = "recommender"
# Each is a combination of values that docs/kubernetes.md names; the first is what the others change.
COMBINATIONS = {
    "values": ("values.yaml",),
    "fab": ("values.yaml", "auth-fab.yaml"),
    "keycloak": ("values.yaml", "auth-keycloak.yaml"),
}


def sha256_of_values() -> dict[str, str]:
    """Returns the hash of each file of values, by which a test notices that the table is of earlier ones.

    It is of what helm reads: a comment changes nothing.
    """
    names = sorted({name for files in COMBINATIONS.values() for name in files})
    read = {name: json.dumps(yaml.safe_load((HERE / name).read_text())) for name in names}
    return {name: hashlib.sha256(content.encode()).hexdigest() for name, content in read.items()}


def render(helm: str, chart: Path, files: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the objects of the chart with some files of values.

    Exits with helm's message if the chart's schema refuses the values.
    """
    values = [option for name in files for option in ("--values", str(HERE / name))]
    command = [helm, "template", RELEASE, str(chart), "--namespace", RELEASE, *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return [without_nulls(found) for found in yaml.safe_load_all(done.stdout) if found]


def without_nulls(given: Any) -> Any:
    """Returns an object without its empty fields, as Kubernetes reads it."""
    if isinstance(given, dict):
        return {name: without_nulls(value) for name, value in given.items() if value is not None}
    return [without_nulls(value) for value in given] if isinstance(given, list) else given


def validate(found: dict[str, Any]) -> None:
    """Exits if an object does not follow the schema of Kubernetes."""
    import kubernetes_validate

    try:
        kubernetes_validate.validate(found, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        sys.exit(f"{found['kind']} {found['metadata']['name']}: {error}")


def facts_of(objects: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what the containers get: their command, environment, user and folders, and Airflow's configuration."""
    containers: dict[str, Any] = {}
    configuration: dict[str, Any] = {}
    services: list[str] = []
    for found in objects:
        if found["kind"] == "Service":
            services.append(found["metadata"]["name"])
        if "airflow.cfg" in found.get("data", {}):
            read = configparser.RawConfigParser()
            read.read_string(found["data"]["airflow.cfg"])
            configuration = {section: dict(read[section]) for section in sorted(read.sections())}
        spec = found.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" not in spec:
            continue
        pod = spec["template"]["spec"]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            name = f"{found['kind']}/{found['metadata']['name']}/{container['name']}"
            containers[name] = container_facts(container, pod, found.get("spec", {}))
    return {"services": sorted(services), "airflow.cfg": configuration, "containers": containers}


def container_facts(container: dict[str, Any], pod: dict[str, Any], owner: dict[str, Any]) -> dict[str, Any]:
    """Returns what one container gets."""
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    volumes |= {claim["metadata"]["name"]: {"a claim": {}} for claim in owner.get("volumeClaimTemplates", [])}
    facts = {
        "image": container["image"],
        "command": container.get("command", []) + container.get("args", []),
        "environment": {variable["name"]: value_of(variable) for variable in container.get("env", [])},
        "folders": {
            mount["mountPath"]: folder(mount, volumes[mount["name"]]) for mount in container.get("volumeMounts", [])
        },
        "security": pod.get("securityContext", {}) | container.get("securityContext", {}),
        "memory": container.get("resources", {}).get("limits", {}).get("memory", "no limit"),
    }
    if container.get("envFrom"):
        facts["environment from"] = container["envFrom"]
    probes = {
        name: container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container
    }
    facts["probes"] = {
        name: probe["exec"]["command"]
        if "exec" in probe
        else f"GET :{probe['httpGet']['port']}{probe['httpGet']['path']}"
        for name, probe in probes.items()
    }
    facts["seconds to end"] = pod.get("terminationGracePeriodSeconds", 30)
    return {name: value for name, value in facts.items() if value}


def what_probes(probe: dict[str, Any]) -> Any:
    """Returns the command of a probe, or the address that it asks."""
    return probe["exec"]["command"] if "exec" in probe else f"GET :{probe['httpGet']['port']}{probe['httpGet']['path']}"


def value_of(variable: dict[str, Any]) -> str:
    """Returns a variable's value, or the name and key of its secret."""
    if "valueFrom" not in variable:
        return str(variable.get("value", ""))
    secret = variable["valueFrom"]["secretKeyRef"]
    return f"secret {secret['name']}/{secret['key']}" + (" if it exists" if secret.get("optional") else "")


def folder(mount: dict[str, Any], volume: dict[str, Any]) -> str:
    """Returns what lies in a folder, and whether the container may write there."""
    kind = next(name for name in volume if name != "name")
    source = volume[kind].get("secretName") or volume[kind].get("claimName") or volume[kind].get("name") or ""
    what = " ".join(filter(None, (kind, source, mount.get("subPath"))))
    return f"{what}, read-only" if mount.get("readOnly") else what


def differences(facts: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Returns the entries that are not those of another dictionary, each as a whole below the level of a container."""
    changed: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, dict) and isinstance(base.get(name), dict):
            below = differences(value, base[name])
            if below:
                changed[name] = below
        elif value != base.get(name):
            changed[name] = value
    changed |= {name: None for name in base if name not in facts}
    return changed


def merged(base: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    """Returns what `differences` was made of."""
    result = dict(base)
    for name, value in changed.items():
        if value is None:
            del result[name]
        else:
            result[name] = merged(base[name], value) if isinstance(value, dict) and name in base else value
    return result


def main() -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chart", type=Path)
    chart = parser.parse_args().chart
    helm = shutil.which("helm")
    if helm is None:
        sys.exit("helm is not on PATH: install helm 3.19 or newer (https://helm.sh/docs/intro/install).")
    if not chart.exists():
        sys.exit(
            f"{chart} does not exist: run helm pull apache-airflow/airflow --version 1.22.0, and give the archive."
        )
    shown = subprocess.run([helm, "show", "chart", chart], capture_output=True, text=True, check=True)
    rendered = {name: render(helm, chart, files) for name, files in COMBINATIONS.items()}
    for found in (found for objects in rendered.values() for found in objects):
        validate(found)
    facts = {name: facts_of(objects) for name, objects in rendered.items()}
    table: dict[str, Any] = {
        "chart": f"airflow {yaml.safe_load(shown.stdout)['version']}",
        "kubernetes": KUBERNETES,
        "sha256": sha256_of_values(),
    }
    base = facts.pop("values")
    table["values"] = base
    table |= {name: differences(other, base) for name, other in facts.items()}
    header = "# Written by docker/kubernetes/render.py: what each container of the rendered chart gets.\n"
    TABLE.write_text(header + yaml.safe_dump(table, sort_keys=False, width=110))
    objects = sum(len(objects) for objects in rendered.values())
    print(
        f"{len(base['containers'])} containers; {objects} objects follow the schema of Kubernetes {KUBERNETES}: {TABLE}"
    )


if __name__ == "__main__":
    main()
