"""Starts one part of the stack: reads secrets from files, configures Airflow, and replaces itself with the part.

    entrypoint.py api-server | scheduler | dag-processor | triggerer | watcher | worker | gpu-worker
    entrypoint.py init | healthcheck
    entrypoint.py COMMAND...    any other command in the same environment: `ncf-pipeline status`, `airflow dags list`

A secret is a file in /run/secrets, or a variable of the same name in capitals. Variables that are set take precedence.
"""

import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

SECRETS = Path("/run/secrets")
PART = Path("/tmp/part")  # names the part that this container runs, for its health check

WORKER = ["airflow", "celery", "worker", "--without-mingle", "--without-gossip"]
PARTS = {
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler"],
    "dag-processor": ["airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer"],
    "watcher": ["ncf-pipeline", "watch"],
    "worker": [*WORKER, "--queues", "default"],
    # One at a time: a second training on the same device would slow both down.
    "gpu-worker": [*WORKER, "--queues", "gpu", "--concurrency", "1"],
}


def secret(name: str) -> str:
    """Returns a secret; empty if there is none."""
    file = SECRETS / name
    return file.read_text().strip() if file.is_file() else os.environ.get(name.upper(), "")


def postgres(role: str, name: str) -> str:
    """Returns `role:password@host:port/name` of a database."""
    address = os.environ.get("POSTGRES_ADDRESS", "postgres:5432")
    return f"{role}:{quote(secret(f'{role}_db_password'), safe='')}@{address}/{name}"


def environment() -> dict[str, str]:
    """Returns the environment of Airflow and the tasks.

    Exits with one line if a secret is missing.
    """
    store = (
        f"redis://default:{quote(secret('redis_password'), safe='')}@{os.environ.get('REDIS_ADDRESS', 'redis:6379')}"
    )
    metadata, retail = postgres("airflow", "airflow"), postgres("ncf", "ncf")
    given = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the name by which other parts reach it
        "AIRFLOW__CORE__FERNET_KEY": secret("fernet_key"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://api-server:8080/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,watcher:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "/opt/airflow/passwords.json",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{metadata}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{metadata}",
        "AIRFLOW__CELERY__BROKER_URL": f"{store}/1",
        "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{metadata}",
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "default",
        "AIRFLOW__API__SECRET_KEY": secret("api_secret_key"),
        "AIRFLOW__API_AUTH__JWT_SECRET": secret("jwt_secret"),
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "True",
        "AIRFLOW_CONN_RETAIL_DB": f"postgresql://{retail}",
        "AIRFLOW_CONN_LIST_STORE": f"{store}/0",
        "AWS_ACCESS_KEY_ID": secret("s3_access_key"),
        "AWS_SECRET_ACCESS_KEY": secret("s3_secret_key"),
        # The same key on every worker: with another key, a worker would load erased customers again.
        "NCF_ERASURE_KEY": secret("erasure_key"),
        "NCF_AIRFLOW_PASSWORD": secret("airflow_watcher_password"),
    }
    missing = [name for name, value in given.items() if not value and name not in os.environ]
    if missing:
        sys.exit(f"No value for {missing[0]}: mount its secret into {SECRETS}, or set it. See docs/operations.md.")
    # `ncf-pipeline` takes its addresses from these.
    named = {"NCF_DATABASE_URL": given["AIRFLOW_CONN_RETAIL_DB"], "NCF_REDIS_URL": given["AIRFLOW_CONN_LIST_STORE"]}
    return {**given, **named, **os.environ}


def init() -> None:
    """Creates databases, schemas, the pool and the bucket if they are missing. It is safe to run at every start."""
    import subprocess

    import fsspec

    from ncf_pipeline.local.postgres import ensure_database
    from ncf_pipeline.settings import load_settings
    from ncf_pipeline.storage.migrations import migrate

    for name in ("airflow", "ncf"):
        ensure_database(
            f"postgresql://{postgres('postgres', 'postgres')}", name, password=secret(f"{name}_db_password")
        )
    subprocess.run(["airflow", "db", "migrate"], check=True)
    subprocess.run(["airflow", "pools", "set", "gpu", "1", "Training: one at a time on one device."], check=True)
    settings = load_settings()
    print(f"Migrations applied: {', '.join(migrate(settings)) or 'none'}")
    filesystem, path = fsspec.core.url_to_fs(settings.artifacts)
    if "file" not in filesystem.protocol:
        path = path.partition("/")[0]
    filesystem.makedirs(path, exist_ok=True)
    print(f"Artifacts are stored in {settings.artifacts}")


def main(command: list[str]) -> None:
    """Replaces this process with the part or the command."""
    variables = environment()
    os.environ.update(variables)
    if command == ["init"]:
        init()
        return
    if command == ["healthcheck"]:
        part = PART.read_text() if PART.exists() else "api-server"
        command = ["python", "/opt/stack/healthcheck.py", part]
    elif len(command) == 1 and command[0] in PARTS:
        PART.write_text(command[0])
        if command[0] == "api-server":
            passwords = Path(variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
            passwords.touch(mode=0o600)
            passwords.write_text(
                json.dumps({"admin": secret("airflow_admin_password"), "watcher": variables["NCF_AIRFLOW_PASSWORD"]})
            )
        command = PARTS[command[0]]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
