"""Settings inside a task: from the connections `retail_db`, `list_store` and `alerts`, then from `NCF_*`."""

import json
from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import Connection
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied
from airflow.sdk.log import mask_secret

from ncf_pipeline.redaction import has_secrets, secrets_of
from ncf_pipeline.settings import Settings, load_settings

RETAIL_DB = "retail_db"
LIST_STORE = "list_store"
ALERTS = "alerts"
PREFIX = "/recommender"


def task_settings(**overrides: Any) -> Settings:
    """Returns the settings of a task, and masks their secrets in its log.

    Args:
        overrides: params of the run, such as `k`. None leaves the setting as it is.

    Raises:
        SettingsError: a value is invalid.
    """
    connected = {
        **_connected("database_url", RETAIL_DB),
        **_connected("redis_url", LIST_STORE),
        **_channels(),
    }
    given = connected | {name: value for name, value in overrides.items() if value is not None}
    settings = load_settings(**given)
    for secret in settings.secrets():
        mask_secret(secret)
    return settings.model_copy(update={"data_docs_url": settings.data_docs_url or f"{ui_url()}/data-docs"})


def mask_secrets_of(location: str) -> None:
    """Masks the password or signature in a file's URL in the log of this task."""
    if has_secrets(location):
        for secret in secrets_of(location):
            mask_secret(secret)


def ui_url() -> str:
    """Returns the URL of the pages that this package adds to Airflow's UI."""
    return f"{conf.get('api', 'base_url', fallback='http://localhost:8080').rstrip('/')}{PREFIX}"


def requested_by(dag_run: Any) -> str:
    """Returns who or what started a run: `admin (manual)`, or `scheduled`."""
    kind = str(getattr(dag_run.run_type, "value", dag_run.run_type))
    person = getattr(dag_run, "triggering_user_name", None)
    return f"{person} ({kind})" if person else kind


def _connection(connection_id: str) -> Connection | None:
    """Returns a connection; None if it does not exist or Airflow denies access.

    The callback of a missed deadline may not read connections from Airflow's database. It falls back to `NCF_*`.
    """
    try:
        connection: Connection = Connection.get(connection_id)
    except (AirflowNotFoundException, AirflowSecretsBackendAccessDenied):
        return None
    return connection


def _channels() -> dict[str, str]:
    """Returns the Apprise connection `alerts` in the form of `NCF_ALERTS`; a tag becomes the severity prefix."""
    connection = _connection(ALERTS)
    if connection is None:
        return {}
    config = connection.extra_dejson.get("config")
    entries = json.loads(config) if isinstance(config, str) else config or []
    entries = entries if isinstance(entries, list) else [entries]
    written = (f"{entry['tag']}={entry['path']}" if entry.get("tag") else entry["path"] for entry in entries)
    return {"alerts": " ".join(written)}


def _connected(setting: str, connection_id: str) -> dict[str, Any]:
    """Returns a setting that is a URL, and other settings from the connection's extra; empty without a connection."""
    connection = _connection(connection_id)
    if connection is None:
        return {}
    extra = dict(connection.extra_dejson)
    database = connection.schema or str(extra.pop("db", "") or "")
    others: dict[str, Any] = {}
    scheme = "postgresql"
    if setting == "redis_url":
        encrypted = _is_true(extra.pop("ssl", False)) or connection.conn_type == "rediss"
        scheme = "rediss" if encrypted else "redis"
        if "cluster" in extra:
            others["redis_cluster"] = extra.pop("cluster")
    login = quote(connection.login or "", safe="")
    if connection.password:
        login += ":" + quote(connection.password, safe="")
    host = f"{connection.host or ''}:{connection.port}" if connection.port else connection.host or ""
    # The rest are options of the driver, such as sslmode or a socket's folder.
    options = urlencode({name: value for name, value in extra.items() if isinstance(value, str | int)})
    url = f"{scheme}://{login + '@' if login else ''}{host}/{database}{'?' + options if options else ''}"
    return {setting: url, **others}


def _is_true(value: Any) -> bool:
    """Reads a flag from a connection's extra, where it is text if the connection is a URL."""
    return str(value).lower() in ("true", "1", "yes")
