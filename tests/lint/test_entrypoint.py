"""The image's entrypoint fills in what compose.yaml declares, and nothing elsewhere. Each part has its own secrets."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
ENTRYPOINT = DOCKER / "entrypoint.py"
COMPOSED = {"POSTGRES_ADDRESS": "db.example:5433", "REDIS_ADDRESS": "redis.example:6380"}


def entrypoint():
    spec = importlib.util.spec_from_file_location("entrypoint", ENTRYPOINT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NEEDS = entrypoint().NEEDS


@pytest.fixture
def started(tmp_path):
    """Runs the entrypoint where every program prints its arguments and its environment."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("airflow", "ncf-pipeline", "python", "bash"):
        program = programs / name
        program.write_text(
            f"#!{sys.executable}\nimport json, os, sys\nprint(json.dumps([sys.argv, dict(os.environ)]))\n"
        )
        program.chmod(0o755)

    def run(command, environment):
        given = {"PATH": str(programs), "TMPDIR": str(tmp_path), **environment}
        return given, subprocess.run(
            [sys.executable, ENTRYPOINT, *command], env=given, capture_output=True, text=True, cwd=tmp_path
        )

    return run


def told(done):
    assert done.returncode == 0, done.stderr
    (program, *arguments), environment = json.loads(done.stdout)
    environment.pop("LC_CTYPE", None)  # Python sets it itself
    return [Path(program).name, *arguments], environment


def secrets_of(part, tmp_path):
    passwords = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json")}
    return COMPOSED | passwords | {name.upper(): f"{name}/1" for name in NEEDS[part]}


@pytest.mark.parametrize("command", [["scheduler"], ["healthcheck"], ["bash", "-c", "exec airflow celery worker"]])
def test_outside_compose_the_environment_is_left_as_it_is(started, command):
    environment = {"AIRFLOW__CELERY__BROKER_URL": "redis://broker.company:6379/0", "FERNET_KEY": "unrelated"}
    given, done = started(command, environment)
    assert told(done)[1] == given


@pytest.mark.parametrize("address", COMPOSED)
def test_one_address_alone_is_not_compose(started, address):
    given, done = started(["airflow", "scheduler"], {address: "10.0.0.1:80", "JWT_SECRET": "unrelated"})
    assert told(done)[1] == given


@pytest.mark.parametrize("part", entrypoint().PARTS)
def test_a_part_starts_with_its_secrets_and_becomes_its_program(started, part, tmp_path):
    command, environment = told(started([part], secrets_of(part, tmp_path))[1])
    assert command == entrypoint().PARTS[part]
    assert environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    text = json.dumps({name: value for name, value in environment.items() if not value.endswith("/1")})
    others = {name for part in NEEDS.values() for name in part} - set(NEEDS[part])
    assert not [name for name in others if f"{name}%2F1" in text]


@pytest.mark.parametrize("part", entrypoint().PARTS)
def test_a_part_names_the_secret_that_it_misses(started, part, tmp_path):
    for missing in NEEDS[part]:
        environment = secrets_of(part, tmp_path)
        del environment[missing.upper()]
        done = started([part], environment)[1]
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{part} needs the secret {missing}: mount it into /run/secrets, or set ")
        assert done.stderr.count("\n") == 1


def test_no_worker_gets_what_would_let_it_change_more_than_its_tasks_do():
    owners = {"ncf_db_password", "postgres_db_password", "airflow_db_password", "fernet_key", "jwt_secret"}
    for part in ("worker", "gpu-worker"):
        assert owners.isdisjoint(NEEDS[part])
    assert "lists_redis_password" not in NEEDS["gpu-worker"]
    assert {part for part, needed in NEEDS.items() if "broker_redis_password" in needed} == {
        "scheduler",
        "worker",
        "gpu-worker",
    }


@pytest.mark.parametrize(
    ("part", "login"),
    [("worker", "shop_worker"), ("gpu-worker", "gpu_worker"), ("watcher", "watcher"), ("api-server", "pages")],
)
def test_each_part_logs_in_under_its_own_role(started, part, login, tmp_path):
    environment = told(started([part], secrets_of(part, tmp_path))[1])[1]
    url = f"postgresql://{login}:{login}_db_password%2F1@db.example:5433/ncf"
    assert (environment["AIRFLOW_CONN_RETAIL_DB"], environment["NCF_DATABASE_URL"]) == (url, url)


def test_the_owner_of_the_schema_goes_before_other_logins(started, tmp_path):
    environment = told(started(["ncf-pipeline", "status"], secrets_of("init", tmp_path))[1])[1]
    assert environment["NCF_DATABASE_URL"].startswith("postgresql://ncf:ncf_db_password%2F1@")


def test_the_broker_and_the_lists_have_users_of_their_own(started, tmp_path):
    environment = told(started(["worker"], secrets_of("worker", tmp_path))[1])[1]
    broker = "redis://broker:broker_redis_password%2F1@redis.example:6380/1"
    lists = "redis://lists:lists_redis_password%2F1@redis.example:6380/0"
    assert environment["AIRFLOW__CELERY__BROKER_URL"] == broker
    assert (environment["AIRFLOW_CONN_LIST_STORE"], environment["NCF_REDIS_URL"]) == (lists, lists)


def test_a_variable_that_is_set_takes_precedence(started, tmp_path):
    mine = {"AIRFLOW__CELERY__BROKER_URL": "redis://elsewhere:6379/3", "AIRFLOW__CORE__EXECUTOR": "LocalExecutor"}
    environment = secrets_of("worker", tmp_path) | mine
    del environment["BROKER_REDIS_PASSWORD"]
    told_environment = told(started(["worker"], environment)[1])[1]
    assert mine.items() <= told_environment.items()


def test_only_the_owner_reads_the_passwords_of_the_api_server(started, tmp_path):
    told(started(["api-server"], secrets_of("api-server", tmp_path))[1])
    passwords = tmp_path / "passwords.json"
    assert json.loads(passwords.read_text()) == {
        "admin": "airflow_admin_password/1",
        "watcher": "airflow_watcher_password/1",
    }
    assert passwords.stat().st_mode & 0o077 == 0


def test_the_health_check_looks_at_the_part_that_runs(started, tmp_path):
    told(started(["gpu-worker"], secrets_of("gpu-worker", tmp_path))[1])
    command, _ = told(started(["healthcheck"], secrets_of("gpu-worker", tmp_path))[1])
    assert command == ["python", "/opt/stack/healthcheck.py", "gpu-worker"]


def test_compose_gives_each_part_the_secrets_that_it_needs_and_no_others():
    services = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    parts = {name.removesuffix("-nvidia"): service for name, service in services.items()}
    assert set(NEEDS) <= set(parts)
    assert {part: sorted(parts[part]["secrets"]) for part in NEEDS} == {
        part: sorted(needed) for part, needed in NEEDS.items()
    }
