"""Settings inside a task: the connections `retail_db`, `list_store` and `alerts`, then `NCF_*` variables."""

import json
from typing import Any
from urllib.parse import quote, urlencode

from airflow.sdk import Connection
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied
from airflow.sdk.log import mask_secret

from ncf_pipeline.settings import Settings, load_settings

RETAIL_DB = "retail_db"
LIST_STORE = "list_store"
ALERTS = "alerts"
PREFIX = "/recommender"


def task_settings(**overrides: Any) -> Settings:
    """The settings of a task.

    Args:
        overrides: the run's params, e.g. `k`; None means "as set".

    Raises:
        SettingsError: a value makes no sense.
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


def ui_url() -> str:
    """Where the pages that this package adds to Airflow's UI are."""
    return f"{conf.get('api', 'base_url', fallback='http://localhost:8080').rstrip('/')}{PREFIX}"


def requested_by(dag_run: Any) -> str:
    """Who or what a run is for, in words: `admin (manual)`, or `scheduled`."""
    kind = str(getattr(dag_run.run_type, "value", dag_run.run_type))
    person = getattr(dag_run, "triggering_user_name", None)
    return f"{person} ({kind})" if person else kind


def _connection(connection_id: str) -> Connection | None:
    """A connection; None where there is none, or where Airflow gives none out.

    What a missed deadline calls may not read those in Airflow's database, and falls back to variables.
    """
    try:
        connection: Connection = Connection.get(connection_id)
    except (AirflowNotFoundException, AirflowSecretsBackendAccessDenied):
        return None
    return connection


def _channels() -> dict[str, str]:
    """The connection `alerts`, of the type Apprise, as the setting has it: a tag is the least severity."""
    connection = _connection(ALERTS)
    if connection is None:
        return {}
    config = connection.extra_dejson.get("config")
    entries = json.loads(config) if isinstance(config, str) else config or []
    entries = entries if isinstance(entries, list) else [entries]
    written = (f"{entry['tag']}={entry['path']}" if entry.get("tag") else entry["path"] for entry in entries)
    return {"alerts": " ".join(written)}


def _connected(setting: str, connection_id: str) -> dict[str, Any]:
    """A setting that is a URL, from a connection, with what else the connection says; nothing where there is none."""
    connection = _connection(connection_id)
    if connection is None:
        return {}
    extra = dict(connection.extra_dejson)
    database = connection.schema or str(extra.pop("db", "") or "")
    told: dict[str, Any] = {}
    scheme = "postgresql"
    if setting == "redis_url":
        encrypted = _is_true(extra.pop("ssl", False)) or connection.conn_type == "rediss"
        scheme = "rediss" if encrypted else "redis"
        if "cluster" in extra:
            told["redis_cluster"] = extra.pop("cluster")
    login = quote(connection.login or "", safe="")
    if connection.password:
        login += ":" + quote(connection.password, safe="")
    host = f"{connection.host or ''}:{connection.port}" if connection.port else connection.host or ""
    # What is left are the driver's own options, such as sslmode or a socket's folder.
    options = urlencode({name: value for name, value in extra.items() if isinstance(value, str | int)})
    url = f"{scheme}://{login + '@' if login else ''}{host}/{database}{'?' + options if options else ''}"
    return {setting: url, **told}


def _is_true(value: Any) -> bool:
    """What a connection's extra says, which is text where the connection is a URL."""
    return str(value).lower() in ("true", "1", "yes")
