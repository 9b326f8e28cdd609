"""An embedded Airflow: four processes on 127.0.0.1, with its metadata in the embedded Postgres.

`airflow standalone` would be one command, but its log servers always listen on every interface. With LocalExecutor
they are not needed: logs are files on this machine.
"""

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.extras import missing
from ncf_pipeline.local.airflow_environment import airflow_url, inherited_environment
from ncf_pipeline.local.passwords import write_private
from ncf_pipeline.local.ports import is_free
from ncf_pipeline.local.processes import ServerProcess, find_strays, is_alive, last_words, listens, spawn, stop_together
from ncf_pipeline.storage.database import one_line

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
"""The arguments of `airflow` that start each process, by its name."""

WATCHER = "ncf_pipeline"
"""The module whose command `watch` watches the components from outside."""

_MIGRATED_FILE = "migrated.json"


class PortTakenError(ServiceError):
    """Another program took a port after it was chosen."""


def stop_strays(home: Path) -> None:
    """Stops Airflow processes of this home that are not on record, so that no second scheduler runs."""
    folder = home.resolve() / "airflow"
    for program in ("airflow", WATCHER):
        stop_together(find_strays("Airflow", program, cwd=folder, log=folder / "log"), patience=10)


def start_component(name: str, environment: Mapping[str, str], *, logs: Path) -> ServerProcess:
    """Starts one of `COMPONENTS` without waiting for it.

    Args:
        name: of the component.
        environment: from `airflow_environment`.
        logs: the folder for its log.

    Raises:
        ServiceError: the process cannot be started.
    """
    return spawn(
        f"Airflow's {name}",
        [sys.executable, "-m", "airflow", *COMPONENTS[name]],
        log=logs / f"airflow-{name}.log",
        cwd=Path(environment["AIRFLOW_HOME"]),
        env=inherited_environment() | dict(environment),
    )


def start_watcher(environment: Mapping[str, str], *, home: Path) -> ServerProcess:
    """Starts what tells on-call of the failures that Airflow cannot tell itself.

    Args:
        environment: from `watcher_environment`.
        home: `NCF_HOME`.

    Raises:
        ServiceError: the process cannot be started.
    """
    return spawn(
        "The watcher of Airflow",
        [sys.executable, "-m", WATCHER, "watch"],
        log=home / "logs" / "airflow-watcher.log",
        cwd=home / "airflow",
        env=inherited_environment() | dict(environment),
    )


def migrate_metadata(environment: Mapping[str, str], *, metadata_url: str) -> bool:
    """Migrates Airflow's own database, unless this version of Airflow has done so before.

    Args:
        environment: from `airflow_environment`.
        metadata_url: of Airflow's own database.

    Returns:
        True if a migration ran.

    Raises:
        ServiceError: the migration failed; the message has the last line of Airflow's output.
    """
    record = Path(environment["AIRFLOW_HOME"]) / _MIGRATED_FILE
    version = importlib.metadata.version("apache-airflow-core")
    try:
        done = json.loads(record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        done = None
    heads = _schema_heads(metadata_url)
    if heads and done == {"airflow": version, "schema": heads}:
        return False
    finished = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=inherited_environment() | dict(environment),
        cwd=environment["AIRFLOW_HOME"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        start_new_session=True,
    )
    if finished.returncode != 0:
        reason = (finished.stdout.strip().splitlines() or [f"exit code {finished.returncode}"])[-1]
        raise ServiceError(f"Airflow's database cannot be migrated: {reason}")
    write_private(record, json.dumps({"airflow": version, "schema": _schema_heads(metadata_url)}) + "\n")
    return True


def wait_until_healthy(
    port: int,
    processes: Mapping[str, ServerProcess],
    *,
    since: datetime,
    patience: float = 120,
) -> None:
    """Waits until every component is healthy.

    Args:
        port: of the API server.
        processes: by component.
        since: when the components were started. Older heartbeats come from earlier processes.
        patience: seconds to wait.

    Raises:
        PortTakenError: another program took the port while the API server started.
        ServiceError: a component died or is not healthy in time; the message quotes its log.
    """
    deadline = time.monotonic() + patience
    server = processes["api-server"]
    with httpx.Client(base_url=airflow_url(port), trust_env=False, timeout=5) as client:
        while True:
            # Check all of them: if several died, the API server may have lost its port.
            dead = [process for process in processes.values() if not is_alive(process)]
            if server in dead and not is_free(port):
                raise PortTakenError(f"Port {port} was taken by another program while Airflow started. Try again.")
            if dead:
                raise ServiceError(f"{dead[0].name} did not start: {last_words(dead[0])}")
            # An Airflow of another home on this port would answer too.
            late = _late_components(client, since) if listens(server, port) else ["api-server"]
            if not late:
                return
            if time.monotonic() > deadline:
                process = processes[late[0]]
                raise ServiceError(f"{process.name} is not healthy after {patience:.0f} s: {last_words(process)}")
            time.sleep(0.2)


def _late_components(client: httpx.Client, since: datetime) -> list[str]:
    try:
        answer = client.get("/api/v2/monitor/health")
        health: dict[str, Any] = answer.json() if answer.status_code == httpx.codes.OK else {}
    except (httpx.HTTPError, json.JSONDecodeError):
        return ["api-server"]
    late = []
    for name, key in (("scheduler", "scheduler"), ("dag-processor", "dag_processor"), ("triggerer", "triggerer")):
        part = health.get(key) or {}
        beat = part.get(f"latest_{key}_heartbeat")
        if part.get("status") != "healthy" or beat is None or datetime.fromisoformat(beat) < since:
            late.append(name)
    return late


def ensure_installed() -> None:
    """Checks that Airflow is installed.

    Raises:
        ServiceError: it is not; the message says how to install it.
    """
    if importlib.util.find_spec("airflow") is None:
        raise ServiceError(f"{missing('airflow')} Or use --no-airflow.")


def _schema_heads(metadata_url: str) -> list[str]:
    try:
        connection = psycopg2.connect(metadata_url, connect_timeout=10)
    except psycopg2.Error as error:
        raise ServiceError(f"Airflow's database cannot be reached: {one_line(error)}.") from error
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("select to_regclass('public.alembic_version') is not null")
            (exists,) = cursor.fetchone() or (False,)
            if not exists:
                return []
            cursor.execute("select version_num from alembic_version order by version_num")
            return [head for (head,) in cursor.fetchall()]
    finally:
        connection.close()
