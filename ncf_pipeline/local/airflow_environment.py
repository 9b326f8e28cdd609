"""The configuration of Airflow's processes: environment variables only, no file to keep in sync."""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from ncf_pipeline.local.hostname import loopback
from ncf_pipeline.local.passwords import (
    SECRETS_FOLDER,
    keep_password,
    kept_password,
    password,
    password_path,
    write_private,
)
from ncf_pipeline.local.ports import LOOPBACK
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.resources import resource

ADMIN = "admin"
WATCHER = "watcher"  # may read only
_ADMIN_PASSWORD = "airflow_admin"  # noqa: S105 - a file's name
_WATCHER_PASSWORD = "airflow_watcher"  # noqa: S105 - a file's name
_PASSWORDS_FOR_AIRFLOW = "airflow_passwords.json"
_PARALLELISM = 4  # tasks at once; each waiting worker process takes some 30 MB
_EXECUTOR = "ncf_pipeline.airflow.executor.ReadyExecutor"
_FORKED_FROM = "ncf_pipeline.local.task_libraries"


def airflow_environment(settings: Settings, *, port: int, metadata_url: str) -> dict[str, str]:
    """Returns the environment variables of Airflow's processes.

    Args:
        settings: with the URLs of the shop's database and list store.
        port: of the API server and the UI.
        metadata_url: of Airflow's own database.

    Raises:
        ServiceError: a secret cannot be read or written.
    """
    home = settings.home.resolve()
    airflow_home = home / "airflow"
    at = metadata_url.partition("://")[2]
    return {
        "AIRFLOW_HOME": str(airflow_home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(resource("dags").resolve()),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": _EXECUTOR,
        "AIRFLOW__CORE__PARALLELISM": str(_PARALLELISM),
        "AIRFLOW__CORE__FERNET_KEY": _fernet_key(home),
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{loopback.__module__}.{loopback.__name__}",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{WATCHER}:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(_admin_password_file(home)),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{at}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{at}",
        "AIRFLOW__API__HOST": LOOPBACK,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": airflow_url(port),
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": password(home, "airflow_api", length=64),
        "AIRFLOW__API_AUTH__JWT_SECRET": password(home, "airflow_jwt", length=64),
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        # Otherwise the scheduler sleeps for a second between two tasks of a run.
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        # A DAG file that changes is read at once in any case. Reading all others every 30 seconds, as is the default,
        # takes time from the tasks that run meanwhile.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "600",
        # Tasks are forked from a process that has imported their libraries.
        "AIRFLOW__SCHEDULER__MP_START_METHOD": "forkserver",
        "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD": _FORKED_FROM,
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "False",
        "AIRFLOW_CONN_RETAIL_DB": settings.database(),
        "AIRFLOW_CONN_LIST_STORE": settings.list_store(),
        **_settings_as_variables(settings),
    }


def watcher_environment(settings: Settings, *, port: int) -> dict[str, str]:
    """Returns the environment variables of the watcher of Airflow, which needs none of Airflow's.

    Args:
        settings: with the URLs of the shop's database and list store.
        port: of the API server.

    Raises:
        ServiceError: a secret cannot be read or written.
    """
    return {
        **_settings_as_variables(settings),
        "NCF_DATABASE_URL": settings.database(),
        "NCF_REDIS_URL": settings.list_store(),
        "NCF_AIRFLOW_URL": airflow_url(port),
        "NCF_AIRFLOW_USER": WATCHER,
        "NCF_AIRFLOW_PASSWORD": password(settings.home, _WATCHER_PASSWORD),
    }


def fingerprint(environment: Mapping[str, str]) -> str:
    """Returns a hash of the environment, which changes when a setting does."""
    return hashlib.sha256(json.dumps(dict(sorted(environment.items()))).encode()).hexdigest()


def airflow_url(port: int) -> str:
    """Returns the URL of the UI."""
    return f"http://{LOOPBACK}:{port}"


def admin_password_path(home: Path) -> Path:
    """Returns the path of the file with the password of the user `admin`."""
    return password_path(home, _ADMIN_PASSWORD)


def admin_password(home: Path) -> str:
    """Returns the password of the user `admin`; generates it the first time.

    Raises:
        ServiceError: its file cannot be read or written.
    """
    secret = password(home, _ADMIN_PASSWORD)
    file = _admin_password_file(home)
    wanted = json.dumps({ADMIN: secret, WATCHER: password(home, _WATCHER_PASSWORD)})
    if not file.exists() or file.read_text().strip() != wanted:
        write_private(file, wanted + "\n")
    return secret


def inherited_environment() -> dict[str, str]:
    """Returns this process's environment without the variables of another Airflow or of other settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "NCF_"))}
    # Tasks talk to the API server on this machine, never through a proxy.
    for name in ("NO_PROXY", "no_proxy"):
        kept[name] = ",".join(filter(None, (kept.get(name), LOOPBACK, "localhost")))
    return kept | {"PYTHONUNBUFFERED": "1"}


def _admin_password_file(home: Path) -> Path:
    return home.resolve() / SECRETS_FOLDER / _PASSWORDS_FOR_AIRFLOW


def _fernet_key(home: Path) -> str:
    new = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return kept_password(home, "airflow_fernet") or keep_password(home, "airflow_fernet", new)


def _settings_as_variables(settings: Settings) -> dict[str, str]:
    """Returns settings that differ from their defaults, with absolute paths: Airflow runs in another folder."""
    variables = {
        "NCF_HOME": str(settings.home.resolve()),
        "NCF_ARTIFACTS_URL": settings.artifacts,
        "NCF_INBOX": str(settings.inbox_path.resolve()),
    }
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        variable = f"NCF_{name.upper()}"
        # The URLs become connections, whose passwords Airflow masks.
        if variable not in variables and name not in ("database_url", "redis_url") and value != field.default:
            variables[variable] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return variables
