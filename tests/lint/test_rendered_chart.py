"""What Airflow's Helm chart gives each container works with our image: rendered_chart.yaml, a table of facts.

`docker/kubernetes/render.py` writes the table. Here each command runs through the image's entrypoint, with programs
that print what they get, and Airflow itself reads the configuration.
"""

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[2]
DOCKER = PROJECT / "docker"
KUBERNETES = DOCKER / "kubernetes"

spec = importlib.util.spec_from_file_location("render", KUBERNETES / "render.py")
render = importlib.util.module_from_spec(spec)
spec.loader.exec_module(render)

TABLE = yaml.safe_load(render.TABLE.read_text())
COMBINED = {
    name: render.merged(TABLE["values"], TABLE[name] if name != "values" else {}) for name in render.COMBINATIONS
}
CONTAINERS = [(name, container) for name, facts in COMBINED.items() for container in facts["containers"]]
# Those whose image alone differs from the first combination's run the same.
RUN = [
    (name, container)
    for name, container in CONTAINERS
    if name == "values" or set(TABLE[name]["containers"].get(container, ())) - {"image"}
]
PROBES = [
    (name, container, probe)
    for name, container in RUN
    for probe, what in COMBINED[name]["containers"][container].get("probes", {}).items()
    if isinstance(what, list)
]
# What each container of the chart ends in.
BECOMES = {
    "wait-for-migrations": ["airflow", "db", "check-migrations", "--migration-wait-timeout=600"],
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler"],
    "dag-processor": ["airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer"],
    "StatefulSet/recommender-worker/worker": ["airflow", "celery", "worker"],
    "StatefulSet/recommender-worker-gpu/worker": ["airflow", "celery", "worker", "-q", "gpu"],
    "run-airflow-migrations": ["airflow", "pools", "set", "gpu", "1", "Training: one at a time on one device."],
    "database-cleanup": ["airflow", "db", "clean", "--clean-before-timestamp", "TIME", "--yes", "--skip-archive"],
    "create-user": ["airflow", "users", "create", "--username", "secret recommender-watcher/user", "--role", "Viewer"],
    "log-groomer": ["bash", "/clean-logs"],
}
WRITABLE = re.compile(r"(emptyDir|a claim|persistentVolumeClaim)( [^\s,]+)*")


def facts(name, container):
    return COMBINED[name]["containers"][container]


def becomes(container):
    part = container.rpartition("/")[2]
    return next(command for name, command in BECOMES.items() if name in (container, part) or part.endswith(f"-{name}"))


@pytest.fixture
def started(tmp_path):
    """Runs a container's command as our image does, where Airflow's programs print their arguments and environment."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("airflow", "python"):
        program = programs / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\n"
            "if sys.argv[1:2] == ['-c']: os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
            "print(json.dumps([sys.argv, dict(os.environ)]))\n"
        )
        program.chmod(0o755)
    (programs / "python3").symlink_to(sys.executable)
    bash = shutil.which("bash")
    (programs / "bash").write_text(
        f'#!/bin/sh\n[ "$1" = /clean-logs ] && exec {programs}/python "$@"\nexec {bash} "$@"\n'
    )
    (programs / "bash").chmod(0o755)
    # The image's files and the mounted secrets, where this machine has them.
    places = {"/entrypoint": str(DOCKER / "entrypoint.py"), "/tmp/": f"{tmp_path}/"}
    for mounted in ("/run/airflow-users/passwords.json", "/run/keycloak/client-secret"):
        file = tmp_path / mounted.lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_text(f"content of {mounted}")
        places[mounted] = str(file)

    named = re.compile("|".join(rf"(?<![\w/.-]){re.escape(place)}" for place in places))

    def run(command, environment, *, entrypoint=True):
        """A probe runs beside the entrypoint."""
        command = [named.sub(lambda found: places[found[0]], word) for word in command]
        if entrypoint:
            command = [sys.executable, str(DOCKER / "entrypoint.py"), *command]
        given = {**environment, "PATH": f"{programs}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
        done = subprocess.run(command, env=given, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return given, [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]

    return run


def test_the_table_is_of_these_values():
    assert TABLE["sha256"] == render.sha256_of_values(), "run make kubernetes-table CHART=..., and look at what changed"
    assert TABLE["chart"] == "airflow 1.22.0"
    readme = (PROJECT / "docs" / "kubernetes.md").read_text() + (KUBERNETES / "values.yaml").read_text()
    assert set(re.findall(r"--version (\S+)", readme)) == {"1.22.0"}


def test_the_table_has_every_part():
    parts = {container.rpartition("/")[2] for _, container in CONTAINERS}
    assert {"scheduler", "dag-processor", "triggerer", "api-server", "worker", "database-cleanup"} <= parts
    assert {"run-airflow-migrations", "create-user", "wait-for-migrations"} <= parts
    for part in ("scheduler", "dag-processor", "triggerer", "worker"):
        assert f"{part}-log-groomer" in parts
    images = {facts(*one)["image"] for one in CONTAINERS}
    ours = "registry.example/ncf-airflow"
    assert images == {f"{ours}:1", f"{ours}-fab:1", f"{ours}-keycloak:1"}


@pytest.mark.parametrize(("name", "container"), RUN)
def test_each_program_gets_what_the_chart_gave(started, name, container):
    found = facts(name, container)
    given, programs = started(found["command"], found["environment"])
    argv, environment = programs[-1]
    changed = {name for name in {*environment, *given} if environment.get(name) != given.get(name)}
    own = {"AIRFLOW__KEYCLOAK_AUTH_MANAGER__CLIENT_SECRET"} if "keycloak" in found["command"][-1] else set()
    assert changed - {"LC_CTYPE", "PWD", "SHLVL", "_", "OLDPWD"} == own
    command = [Path(argv[0]).name, *argv[1:]]
    expected = ["python" if word == "bash" else word for word in becomes(container)]
    command = ["TIME" if re.fullmatch(r"20\d\d-\d\d-\d\dT[\d:]+", word) else word for word in command]
    assert command[: len(expected)] == expected


def test_the_migration_job_migrates_before_it_makes_the_pool(started):
    found = facts("values", "Job/recommender-run-airflow-migrations/run-airflow-migrations")
    _, programs = started(found["command"], found["environment"])
    assert [argv[1:3] for argv, _ in programs] == [["db", "migrate"], ["pools", "set"]]


def test_the_api_server_can_write_the_passwords_of_the_simple_auth_manager(started, tmp_path):
    found = facts("values", "Deployment/recommender-api-server/api-server")
    started(found["command"], found["environment"])
    file = TABLE["values"]["airflow.cfg"]["core"]["simple_auth_manager_passwords_file"]
    copied = tmp_path / Path(file).relative_to("/tmp")
    assert copied.read_text() == "content of /run/airflow-users/passwords.json"
    assert copied.stat().st_mode & 0o777 == 0o600


def test_keycloaks_secret_comes_from_its_file(started):
    found = facts("keycloak", "Deployment/recommender-api-server/api-server")
    _, programs = started(found["command"], found["environment"])
    name = "AIRFLOW__KEYCLOAK_AUTH_MANAGER__CLIENT_SECRET"
    assert programs[-1][1][name] == "content of /run/keycloak/client-secret"


@pytest.mark.parametrize(("name", "container", "probe"), PROBES)
def test_a_probe_runs_in_our_image(started, name, container, probe):
    found = facts(name, container)
    _, programs = started(found["probes"][probe], found["environment"], entrypoint=False)
    argv, _ = programs[-1]
    part = container.rpartition("/")[2]
    job = {"scheduler": "SchedulerJob", "dag-processor": "DagProcessorJob", "triggerer": "TriggererJob"}.get(part)
    if job:
        assert {"jobs", "check", "--local", "--job-type", job} == set(argv[1:])
    else:
        app = "airflow.providers.celery.executors.celery_executor.app"
        assert argv[1:8] == ["-m", "celery", "--app", app, "inspect", "ping", "-d"]
        assert argv[8].startswith("celery@")


def test_the_image_has_what_the_chart_starts_by_name():
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert "COPY docker/entrypoint.py /entrypoint\n" in dockerfile
    assert "COPY docker/clean-logs /clean-logs\n" in dockerfile
    for name in ("entrypoint.py", "clean-logs"):
        assert os.access(DOCKER / name, os.X_OK), name
        assert f"!docker/{name}" in (PROJECT / ".dockerignore").read_text().splitlines()
    # The image says where the DAGs are, for its own version of Python.
    assert re.search(r"^ENV AIRFLOW__CORE__DAGS_FOLDER=\S+/ncf_pipeline/_resources/dags$", dockerfile, re.MULTILINE)
    assert not [one for one in CONTAINERS if "AIRFLOW__CORE__DAGS_FOLDER" in facts(*one).get("environment", {})]


def test_airflow_reads_the_configuration_and_knows_every_command(tmp_path):
    """One process: to import Airflow takes seconds."""
    lines = []
    for section, options in TABLE["values"]["airflow.cfg"].items():
        lines += [f"[{section}]", *(f"{name} = {value}" for name, value in options.items())]
    (tmp_path / "airflow.cfg").write_text("\n".join(lines))
    containers = COMBINED["values"]["containers"]
    parts = {container: facts("values", container).get("environment", {}) for container in containers}
    commands = [becomes(container)[1:] for container in parts if becomes(container)[0] == "airflow"]
    script = """
import json, os, sys
parts, commands = json.loads(sys.stdin.read())
from airflow.configuration import conf
from airflow.cli.cli_parser import get_parser
from airflow._shared.module_loading import import_string
read = {}
for part, variables in parts.items():
    added = {name: value for name, value in variables.items() if name != "AIRFLOW_HOME"}
    os.environ.update(added)
    read[part] = [
        conf.get("core", "executor"), conf.get("celery", "broker_url", fallback=""),
        conf.get("celery", "result_backend", fallback=""),
        conf.get("core", "execution_api_server_url"), conf.get("operators", "default_queue"),
        conf.get("celery", "worker_concurrency"), conf.get("database", "sql_alchemy_conn"),
    ]
    for name in added:
        del os.environ[name]
for command in commands:
    get_parser().parse_args([word.replace("TIME", "2026-01-01T00:00:00") for word in command])
manager = import_string(conf.get("core", "auth_manager"))
print(json.dumps([read, manager.__name__, [user.username for user in manager.get_users()]]))
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "NCF_"))}
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([parts, commands]),
        env=environment | {"AIRFLOW_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    read, manager, users = json.loads(done.stdout.splitlines()[-1])
    assert (manager, users) == ("SimpleAuthManager", ["admin", "watcher"])
    for container in read:
        executor, broker, results, api, queue, concurrency, database = read[container]
        assert (executor, queue) == ("CeleryExecutor", "default")
        assert api == "http://recommender-api-server:8080/execution/"
        assert int(concurrency) == (1 if "worker-gpu/worker" in container and "groomer" not in container else 2)
        if {"scheduler", "worker"} & {container.rpartition("/")[2]}:
            assert broker == "secret recommender-broker/connection"
            assert results == "secret recommender-celery-results/connection"
        if container.endswith(("/scheduler", "/api-server", "/triggerer", "/dag-processor", "/database-cleanup")):
            assert database == "secret recommender-metadata-db/connection"


def secrets_of(name, container):
    values = facts(name, container).get("environment", {}).values()
    return {value.split()[1] for value in values if value.startswith("secret ")}


def test_a_part_gets_only_the_secrets_that_it_needs():
    by_part = {container: secrets_of("values", container) for container in COMBINED["values"]["containers"]}
    metadata = {container for container, found in by_part.items() if "recommender-metadata-db/connection" in found}
    assert not [container for container in metadata if "worker" in container or "groomer" in container]
    assert metadata == {name for name, found in by_part.items() if "recommender-fernet-key/fernet-key" in found}
    tokens = {container for container, found in by_part.items() if "recommender-jwt-secret/jwt-secret" in found}
    assert {container.rpartition("/")[2] for container in tokens} == {"api-server", "scheduler"}
    gpu = by_part["StatefulSet/recommender-worker-gpu/worker"]
    assert "recommender-retail-db/training" in gpu
    assert not gpu & {"recommender-lists/connection", "recommender-retail-db/worker", "recommender-retail-db/owner"}
    assert not [container for container, found in by_part.items() if "recommender-retail-db/owner" in found]
    for container, found in by_part.items():
        if container.endswith("log-groomer"):
            assert found == set(), container
        if not container.endswith(("worker/worker", "worker-gpu/worker", "api-server/api-server")):
            shops = ("recommender-retail-db", "recommender-s3", "recommender-lists", "recommender-erasure-key")
            assert not [secret for secret in found if secret.startswith(shops)], container
    assert not [one for one in CONTAINERS if "environment from" in facts(*one)]


@pytest.mark.parametrize(("name", "container"), CONTAINERS)
def test_a_container_may_do_little_and_has_a_limit(name, container):
    found = facts(name, container)
    security = found["security"]
    assert (security["runAsUser"], security["runAsGroup"], security["runAsNonRoot"]) == (50000, 50000, True)
    assert security["readOnlyRootFilesystem"] is True
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["memory"].endswith("i")
    # Everything that a part writes lies on a volume.
    folders = found["folders"]
    writable = [folder for folder, what in folders.items() if WRITABLE.fullmatch(what)]
    assert {"/tmp", "/opt/airflow"} <= set(writable)
    for variable in ("NCF_INBOX", "NCF_CHECKPOINTS"):
        if variable in found.get("environment", {}):
            assert found["environment"][variable] in writable
    # Where ingest moves the inbox's files.
    if "NCF_INBOX" in found.get("environment", {}):
        inbox = Path(found["environment"]["NCF_INBOX"])
        for folder in (inbox, inbox.parent / "processed", inbox.parent / "rejected"):
            assert folders[str(folder)] == f"persistentVolumeClaim recommender-inbox {folder.name}"


def test_a_training_keeps_its_checkpoints_and_its_time_to_end():
    gpu = facts("values", "StatefulSet/recommender-worker-gpu/worker")
    assert gpu["folders"][gpu["environment"]["NCF_CHECKPOINTS"]] == "a claim"
    assert "/opt/ncf/inbox" not in gpu["folders"]
    assert gpu["seconds to end"] >= 1800


def test_the_watcher_finds_the_api_server():
    watcher = yaml.safe_load((KUBERNETES / "watcher.yaml").read_text())["spec"]["template"]["spec"]["containers"][0]
    url = next(variable["value"] for variable in watcher["env"] if variable["name"] == "NCF_AIRFLOW_URL")
    assert url.removeprefix("http://").removesuffix(":8080") in TABLE["values"]["services"]


def test_the_documentation_creates_every_secret_and_no_other():
    text = (PROJECT / "docs" / "kubernetes.md").read_text().replace("\\\n", " ")
    created = set()
    for line in text.splitlines():
        if found := re.search(r"create secret generic (\S+)", line):
            created |= {f"{found[1]}/{key}" for key in re.findall(r"--from-(?:literal|file)=([\w.-]+)=", line)}
    used = {secret for one in CONTAINERS for secret in secrets_of(*one)}
    used |= {"recommender-airflow-users/passwords.json", "recommender-keycloak/client-secret"}
    used.add("recommender-lists-api/keys")  # a file
    for file in ("prepare.yaml", "watcher.yaml", "lists-api.yaml"):
        for found in yaml.safe_load_all((KUBERNETES / file).read_text()):
            text = json.dumps(found)
            used |= {
                "/".join(pair) for pair in re.findall(r'"secretKeyRef": {"name": "([\w-]+)", "key": "([\w.-]+)"', text)
            }
    assert created == used


def cleaned(home, **variables):
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(home), "AIRFLOW__LOG_CLEANUP_FREQUENCY_MINUTES": "0"}
    subprocess.run(["bash", DOCKER / "clean-logs"], env=environment | variables, check=True, timeout=60)
    return {str(path.relative_to(home / "logs")) for path in (home / "logs").rglob("*")}


def write_log(home, name, *, days=0.0, size=10):
    file = home / "logs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x" * size)
    os.utime(file, (time.time() - days * 86_400,) * 2)
    return file


def test_old_logs_and_the_folders_that_they_leave_are_deleted(tmp_path):
    old, new = write_log(tmp_path, "dag/run 1/old.log", days=16), write_log(tmp_path, "dag/run 2/new.log", days=14)
    (tmp_path / "logs" / "latest").symlink_to(old)
    (tmp_path / "logs" / "begun").mkdir()
    os.utime(old.parent, (time.time() - 7200,) * 2)
    assert cleaned(tmp_path) == {"dag", "dag/run 1", "dag/run 2", "dag/run 2/new.log", "begun"}
    os.utime(old.parent, (time.time() - 7200,) * 2)
    assert "dag/run 1" not in cleaned(tmp_path)
    assert cleaned(tmp_path, AIRFLOW__LOG_RETENTION_DAYS="0", AIRFLOW__LOG_RETENTION_MINUTES="60") >= {"begun"}
    assert not new.exists()


def test_the_oldest_logs_go_first_beyond_a_size(tmp_path):
    for day in (3, 1, 2):
        write_log(tmp_path, f"dag/{day} days.log", days=day, size=100_000)
    assert cleaned(tmp_path, AIRFLOW__LOG_MAX_SIZE_BYTES="250000") == {"dag", "dag/1 days.log", "dag/2 days.log"}


def test_the_groomer_ends_when_its_pod_does(tmp_path):
    (tmp_path / "logs").mkdir()
    environment = {"PATH": os.environ["PATH"], "AIRFLOW_HOME": str(tmp_path)}
    groomer = subprocess.Popen(["bash", DOCKER / "clean-logs"], env=environment, start_new_session=True)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            groomer.wait(timeout=1)
        groomer.send_signal(signal.SIGTERM)
        assert groomer.wait(timeout=30) == 0
    finally:
        os.killpg(groomer.pid, signal.SIGKILL) if groomer.poll() is None else None
