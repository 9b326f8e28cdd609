"""The Dockerfiles and compose files follow linters and the compose specification."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
PARTS = {
    "api-server",
    "scheduler",
    "dag-processor",
    "triggerer",
    "watcher",
    "worker",
    "gpu-worker",
    "gpu-worker-nvidia",
}


def services():
    return yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]


@pytest.mark.parametrize("file", ["Dockerfile", "smoke/Dockerfile"])
def test_hadolint_reports_nothing(file):
    hadolint = Path(sys.executable).with_name("hadolint")  # from this environment, which may not be on the path
    linted = subprocess.run([hadolint, "--no-color", DOCKER / file], capture_output=True, text=True)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("file", ["compose.yaml", "smoke/compose.yaml"])
def test_a_compose_file_follows_the_specification(file):
    # Variables and merge keys are resolved first, as compose does.
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DOCKER / file).read_text())
    content = {name: part for name, part in yaml.safe_load(text).items() if not name.startswith("x-")}
    assert set(PyCompose.from_yaml(yaml.safe_dump(content)).service_names()) == set(content["services"])
    content["services"]["minio"]["helthcheck"] = {}
    with pytest.raises(ValueError, match="helthcheck"):
        PyCompose.from_yaml(yaml.safe_dump(content))


def test_compose_can_read_it(monkeypatch, tmp_path):
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True) if shutil.which("docker") else None
    if plugin is not None and plugin.returncode == 0:
        program = ["docker", "compose"]
    elif shutil.which("docker-compose"):
        program = ["docker-compose"]
    else:
        pytest.skip("no compose here")
    monkeypatch.setenv("NCF_SECRETS", str(tmp_path))
    files = ["--file", DOCKER / "compose.yaml", "--file", DOCKER / "smoke" / "compose.yaml"]
    read = subprocess.run([*program, *files, "config", "--quiet"], capture_output=True, text=True)
    assert read.returncode == 0, read.stderr


def test_neither_an_image_nor_a_file_contains_a_secret():
    text = (DOCKER / "compose.yaml").read_text() + (DOCKER / "Dockerfile").read_text()
    assert not re.search(r"(?i)(password|secret|_key)\w*\s*[:=]\s*[\"']?[a-z0-9+/]{12,}[\"']?$", text, re.MULTILINE)
    copied = [line for line in (DOCKER / "Dockerfile").read_text().splitlines() if line.startswith("COPY")]
    assert not [line for line in copied if "secrets" in line]
    ignored = (PROJECT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "**"
    assert not [line for line in ignored if line.startswith("!") and "secret" in line]


def test_images_run_as_an_unprivileged_user_and_have_a_health_check():
    text = (DOCKER / "Dockerfile").read_text()
    final = text[text.index("AS airflow") :]
    assert "USER 50000:50000" in final
    assert "HEALTHCHECK" in final
    assert {line.split(" AS ")[1] for line in text.splitlines() if line.startswith("FROM")} >= {"airflow", "gpu-worker"}


def test_every_service_has_a_health_check_and_every_image_a_tag():
    for name, service in services().items():
        image = service["image"]
        assert image.startswith("ncf-") or re.search(r":[\w.-]+\}?$", image), name
        if name not in PARTS | {"init", "statsd-exporter", "prometheus", "grafana"}:
            assert service["healthcheck"]["test"], name  # the image has the health check of the parts


def test_only_the_gpu_workers_train_and_they_share_no_volume():
    found = services()
    assert {name for name, service in found.items() if service.get("command") == "gpu-worker"} == {
        "gpu-worker",
        "gpu-worker-nvidia",
    }
    theirs = {volume.split(":")[0] for volume in found["gpu-worker"]["volumes"]}
    others = {
        volume.rsplit(":", 1)[0]
        for name, service in found.items()
        if not name.startswith("gpu-worker")
        for volume in service.get("volumes", [])
    }
    assert theirs == {"checkpoints"}
    assert not {volume for volume in others if "checkpoints" in volume}
    (device,) = found["gpu-worker-nvidia"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert (found["gpu-worker"]["profiles"], found["gpu-worker-nvidia"]["profiles"]) == (["cpu"], ["nvidia"])


def test_every_secret_of_the_compose_file_is_generated(tmp_path):
    subprocess.run(["python3", DOCKER / "make_secrets.py", tmp_path / "secrets"], check=True)
    made = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert set(yaml.safe_load((DOCKER / "compose.yaml").read_text())["secrets"]) == set(made)
    assert all(len(text) >= 20 for text in made.values())
    subprocess.run(["python3", DOCKER / "make_secrets.py", tmp_path / "secrets"], check=True)
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == made
