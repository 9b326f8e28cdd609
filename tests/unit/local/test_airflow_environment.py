import importlib.util
import json
from pathlib import Path

from ncf_pipeline.local.airflow_environment import (
    admin_password,
    admin_password_path,
    airflow_environment,
    fingerprint,
    inherited_environment,
)
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.resources import resource


def environment(home, **given):
    settings = Settings(home=home, database_url="postgresql://ncf:p@db/ncf", redis_url="redis://:r@store/0", **given)
    return airflow_environment(settings, port=8081, metadata_url="postgresql://airflow:a@127.0.0.1:5/airflow")


def test_airflow_listens_only_on_loopback_and_tasks_find_it_there(tmp_path):
    variables = environment(tmp_path)
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"
    assert variables["AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK"] == "False"


def test_tasks_get_the_shops_servers_as_connections(tmp_path):
    variables = environment(tmp_path)
    assert variables["AIRFLOW_CONN_RETAIL_DB"] == "postgresql://ncf:p@db/ncf"
    assert variables["AIRFLOW_CONN_LIST_STORE"] == "redis://:r@store/0"
    assert "NCF_DATABASE_URL" not in variables


def test_tasks_get_the_settings_that_differ_from_defaults_with_absolute_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = environment("relative home", top_n=7, key_prefix="shop")
    assert variables["NCF_HOME"] == str(tmp_path / "relative home")
    assert variables["NCF_INBOX"] == str(tmp_path / "relative home" / "inbox")
    assert variables["AIRFLOW_HOME"] == str(tmp_path / "relative home" / "airflow")
    assert (variables["NCF_TOP_N"], variables["NCF_KEY_PREFIX"]) == ("7", "shop")
    assert "NCF_SEED" not in variables


def test_the_dags_are_those_of_the_package(tmp_path):
    assert environment(tmp_path)["AIRFLOW__CORE__DAGS_FOLDER"] == str(resource("dags"))


def test_dag_files_that_do_not_change_are_seldom_read_again(tmp_path):
    assert float(environment(tmp_path)["AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL"]) >= 300


def test_tasks_are_forked_from_a_process_that_has_imported_their_libraries(tmp_path):
    variables = environment(tmp_path)
    assert variables["AIRFLOW__SCHEDULER__MP_START_METHOD"] == "forkserver"
    preloaded = variables["AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"]
    module, _, executor = variables["AIRFLOW__CORE__EXECUTOR"].rpartition(".")
    for name in (preloaded, module):
        assert importlib.util.find_spec(name) is not None
    assert executor == "ReadyExecutor"


def test_the_environment_changes_only_with_the_settings(tmp_path):
    assert fingerprint(environment(tmp_path)) == fingerprint(environment(tmp_path))
    assert fingerprint(environment(tmp_path)) != fingerprint(environment(tmp_path, top_n=7))


def test_keys_are_generated_and_long_enough(tmp_path):
    variables = environment(tmp_path)
    assert len(variables["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert variables["AIRFLOW__API__SECRET_KEY"] != variables["AIRFLOW__API_AUTH__JWT_SECRET"]


def test_the_admin_password_is_in_the_file_for_people_and_in_the_file_for_airflow(tmp_path):
    secret = admin_password(tmp_path)
    assert admin_password_path(tmp_path).read_text().strip() == secret
    variables = environment(tmp_path)["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]
    passwords = json.loads(Path(variables).read_text())
    assert passwords.pop("admin") == secret
    assert list(passwords) == ["watcher"], "who may only read"
    assert passwords["watcher"] != secret
    for path in (tmp_path / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_settings_of_another_airflow_do_not_leak_and_a_proxy_is_bypassed(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", "/elsewhere")
    monkeypatch.setenv("NCF_TOP_N", "3")
    monkeypatch.setenv("NO_PROXY", "example.com")
    inherited = inherited_environment()
    assert not [name for name in inherited if name.startswith(("AIRFLOW", "NCF_"))]
    assert inherited["NO_PROXY"] == "example.com,127.0.0.1,localhost"
