"""An embedded Airflow: four processes on 127.0.0.1, its metadata in the embedded Postgres.

`airflow standalone` would be one command, but its log servers listen on every interface and cannot
be told otherwise. With LocalExecutor nobody needs them: logs are files on this machine.
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
"""Airflow's processes by name, with their command lines."""

_MIGRATED_FILE = "migrated.json"


class PortTakenError(ServiceError):
    """Another program took the port that was free a moment ago."""


def stop_strays(home: Path) -> None:
    """Stops Airflow processes of this home that nobody recorded: two schedulers would be one too many."""
    folder = home.resolve() / "airflow"
    stop_together(find_strays("Airflow", "airflow", cwd=folder, log=folder / "log"), patience=10)


def start_component(name: str, environment: Mapping[str, str], *, logs: Path) -> ServerProcess:
    """Starts one of `COMPONENTS` without waiting for it.

    Args:
        name: of the component.
        environment: from `airflow_environment`.
        logs: the folder of its log.
    """
    return spawn(
        f"Airflow's {name}",
        [sys.executable, "-m", "airflow", *COMPONENTS[name]],
        log=logs / f"airflow-{name}.log",
        cwd=Path(environment["AIRFLOW_HOME"]),
        env=inherited_environment() | dict(environment),
    )


def migrate_metadata(environment: Mapping[str, str], *, metadata_url: str) -> bool:
    """Brings Airflow's own database to its schema, unless this version has done so before.

    Returns:
        Whether there was anything to do.

    Raises:
        ServiceError: it failed; the message has Airflow's last line.
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
    """Returns when all parts have reported in.

    Args:
        port: of the API server.
        processes: by component.
        since: a heartbeat from before is a former process's.
        patience: seconds.

    Raises:
        PortTakenError: another program took the port while the API server was starting.
        ServiceError: one died, or is not healthy in time; the message has what its log says.
    """
    deadline = time.monotonic() + patience
    server = processes["api-server"]
    with httpx.Client(base_url=airflow_url(port), trust_env=False, timeout=5) as client:
        while True:
            # All, and not the first: the one that is to blame may not be the one that was looked at first.
            dead = [process for process in processes.values() if not is_alive(process)]
            if server in dead and not is_free(port):
                raise PortTakenError(f"Port {port} was taken by another program while Airflow started: try again.")
            if dead:
                raise ServiceError(f"{dead[0].name} did not start: {last_words(dead[0])}")
            # Another home's Airflow on the same port would say that it is healthy, too.
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
    """Says how to install Airflow where it is missing.

    Raises:
        ServiceError: it is not installed.
    """
    if importlib.util.find_spec("airflow") is None:
        raise ServiceError("Airflow is not installed: pip install 'ncf-pipeline[airflow,local]', or use --no-airflow.")


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
