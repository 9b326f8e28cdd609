#!/usr/bin/env python3
"""Starts a container's command. Under compose.yaml, it first reads the part's secrets and configures Airflow.

    entrypoint.py api-server | scheduler | dag-processor | triggerer | watcher | worker | gpu-worker
    entrypoint.py lists-api | init | healthcheck
    entrypoint.py COMMAND...    any other command in the same environment: `ncf-pipeline status`, `airflow dags list`

Only compose.yaml sets POSTGRES_ADDRESS and REDIS_ADDRESS. Without them, as under Airflow's Helm chart, the command gets
the environment as it is. With them, a secret is a file in /run/secrets, or a variable of the same name in capitals, and
variables that are set take precedence.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

SECRETS = Path("/run/secrets")
PART = Path(tempfile.gettempdir()) / "part"  # names the part that this container runs, for its health check

WORKER = ["airflow", "celery", "worker", "--without-mingle", "--without-gossip"]
PARTS = {
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler"],
    "dag-processor": ["airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer"],
    "watcher": ["ncf-pipeline", "watch"],
    "worker": [*WORKER, "--queues", "default"],
    "lists-api": ["ncf-pipeline", "serve", "--host", "0.0.0.0"],
    # One at a time: a second training on the same device would slow both down.
    "gpu-worker": [*WORKER, "--queues", "gpu", "--concurrency", "1"],
}

# The databases, each with its owner's login. Celery's results are apart: no worker can read Airflow's database.
DATABASES = ("airflow", "celery", "ncf")
# The logins to the shop's database besides its owner, and the roles of sql/roles.sql that each has.
LOGINS = {
    "shop_worker": ("ncf_ingest", "ncf_training", "ncf_publishing"),
    "gpu_worker": ("ncf_training",),
    "watcher": ("ncf_publishing",),
    "pages": ("ncf_reading", "ncf_correcting", "ncf_merchandising", "ncf_experimenting", "ncf_hiding"),
    "lists_api": ("ncf_hiding",),
}

_METADATA = ("airflow_db_password", "fernet_key")
_S3 = ("s3_access_key", "s3_secret_key")
# The secrets that each part needs. compose.yaml gives it these and no others.
NEEDS = {
    "init": (
        "postgres_db_password",
        *(f"{name}_db_password" for name in (*DATABASES, *LOGINS)),
        "fernet_key",
        *_S3,
    ),
    # Who reaches the API server may do all that Airflow does, and see the pages.
    "api-server": (
        *_METADATA,
        "jwt_secret",
        "api_secret_key",
        "airflow_admin_password",
        "airflow_watcher_password",
        "pages_db_password",
        "lists_redis_password",
        *_S3,
    ),
    # It signs a token for each task: jwt_secret.
    "scheduler": (*_METADATA, "celery_db_password", "broker_redis_password", "jwt_secret"),
    "dag-processor": _METADATA,
    # Its log server checks the API server's signature: api_secret_key. So do the workers'.
    "triggerer": (*_METADATA, "api_secret_key"),
    "watcher": ("watcher_db_password", "airflow_watcher_password"),
    # The lists over HTTP. It sees no purchase, and of Redis what readers see.
    "lists-api": ("lists_api_db_password", "lists_api_redis_password", "lists_api_keys"),
    "worker": (
        "celery_db_password",
        "broker_redis_password",
        "api_secret_key",
        "shop_worker_db_password",
        "lists_redis_password",
        *_S3,
        "erasure_key",
    ),
    # It neither sees Redis' lists nor may change what serves.
    "gpu-worker": (
        "celery_db_password",
        "broker_redis_password",
        "api_secret_key",
        "gpu_worker_db_password",
        *_S3,
        "erasure_key",
    ),
    # Runs commands of the owner of the shop's database, such as `ncf-pipeline forget`.
    "owner": ("ncf_db_password", "lists_redis_password", *_S3, "erasure_key"),
}


def secret(name: str) -> str:
    """Returns a secret; empty if there is none."""
    file = SECRETS / name
    return file.read_text().strip() if file.is_file() else os.environ.get(name.upper(), "")


def is_composed() -> bool:
    """Returns whether compose.yaml started this container."""
    return "POSTGRES_ADDRESS" in os.environ and "REDIS_ADDRESS" in os.environ


def postgres(role: str, database: str) -> str:
    """Returns `role:password@host:port/database`."""
    password = quote(secret(f"{role}_db_password"), safe="")
    return f"{role}:{password}@{os.environ['POSTGRES_ADDRESS']}/{database}"


def redis(user: str, database: int) -> str:
    """Returns the address of a Redis database, for one of its users."""
    return f"redis://{user}:{quote(secret(f'{user}_redis_password'), safe='')}@{os.environ['REDIS_ADDRESS']}/{database}"


def keys_of_the_api() -> dict[str, str]:
    """Returns the variable with the API's keys, or with their file, if there is one: the API reads it again."""
    file = SECRETS / "lists_api_keys"
    return {"NCF_API_KEYS_FILE": str(file)} if file.is_file() else {"NCF_API_KEYS": secret("lists_api_keys")}


def variables_of_secrets() -> dict[str, dict[str, str]]:
    """Returns, by secret, the variables that it becomes. Of the logins to the shop's database, the owner's is last."""
    shop = {
        f"{role}_db_password": {
            "AIRFLOW_CONN_RETAIL_DB": f"postgresql://{postgres(role, 'ncf')}",
            "NCF_DATABASE_URL": f"postgresql://{postgres(role, 'ncf')}",
        }
        for role in (*LOGINS, "ncf")
    }
    return {
        "airflow_db_password": {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"postgresql+psycopg2://{postgres('airflow', 'airflow')}",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": f"postgresql+asyncpg://{postgres('airflow', 'airflow')}",
        },
        "fernet_key": {"AIRFLOW__CORE__FERNET_KEY": secret("fernet_key")},
        "celery_db_password": {
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+postgresql+psycopg2://{postgres('celery', 'celery')}"
        },
        "broker_redis_password": {"AIRFLOW__CELERY__BROKER_URL": redis("broker", 1)},
        "jwt_secret": {"AIRFLOW__API_AUTH__JWT_SECRET": secret("jwt_secret")},
        "api_secret_key": {"AIRFLOW__API__SECRET_KEY": secret("api_secret_key")},
        "lists_redis_password": {"AIRFLOW_CONN_LIST_STORE": redis("lists", 0), "NCF_REDIS_URL": redis("lists", 0)},
        "lists_api_redis_password": {"NCF_REDIS_URL": redis("lists_api", 0)},
        "lists_api_keys": keys_of_the_api(),
        "s3_access_key": {"AWS_ACCESS_KEY_ID": secret("s3_access_key")},
        "s3_secret_key": {"AWS_SECRET_ACCESS_KEY": secret("s3_secret_key")},
        # The same key on every worker: with another key, a worker would load erased customers again.
        "erasure_key": {"NCF_ERASURE_KEY": secret("erasure_key")},
        "airflow_watcher_password": {"NCF_AIRFLOW_PASSWORD": secret("airflow_watcher_password")},
        **shop,
    }


def environment(part: str | None = None) -> dict[str, str]:
    """Returns the environment of a container that compose.yaml started.

    Exits with one line if a secret that the part needs is missing.

    Args:
        part: of `NEEDS`; None for any other command, which gets what is there.
    """
    filled = {
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",  # the name by which other parts reach it
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://api-server:8080/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,watcher:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "/opt/airflow/passwords.json",
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "default",
        "AIRFLOW__SCHEDULER__ENABLE_HEALTH_CHECK": "True",
    }
    becomes = variables_of_secrets()
    for name in NEEDS.get(part or "", ()):
        is_set = any(variable in os.environ for variable in becomes.get(name, {name.upper(): ""}))
        if not secret(name) and not is_set:
            sys.exit(
                f"{part} needs the secret {name}: mount it into {SECRETS}, or set {name.upper()}. "
                "See docs/operations.md."
            )
    for name, variables in becomes.items():
        if secret(name):
            filled |= variables
    return {**filled, **os.environ}


def init() -> None:
    """Creates databases, logins, schemas, roles, the pool and the bucket. It is safe to run at every start."""
    import subprocess

    import fsspec

    from ncf_pipeline.local.postgres import ensure_database, ensure_login
    from ncf_pipeline.settings import load_settings
    from ncf_pipeline.storage.migrations import apply_roles, migrate

    server = f"postgresql://{postgres('postgres', 'postgres')}"
    for name in DATABASES:
        ensure_database(server, name, password=secret(f"{name}_db_password"))
    subprocess.run(["airflow", "db", "migrate"], check=True)
    subprocess.run(["airflow", "pools", "set", "gpu", "1", "Training: one at a time on one device."], check=True)
    print(f"Migrations applied: {', '.join(migrate(load_settings())) or 'none'}")
    # The owner of the schema may not create roles.
    apply_roles(load_settings(database_url=f"postgresql://{postgres('postgres', 'ncf')}"))
    for name, roles in LOGINS.items():
        ensure_login(server, name, password=secret(f"{name}_db_password"), roles=roles)
    print(f"Logins: {', '.join(LOGINS)}")
    artifacts = load_settings().artifacts
    filesystem, path = fsspec.core.url_to_fs(artifacts)
    if "file" not in filesystem.protocol:
        path = path.partition("/")[0]
    filesystem.makedirs(path, exist_ok=True)
    print(f"Artifacts are stored in {artifacts}")


def main(command: list[str]) -> None:
    """Replaces this process with the part or the command."""
    part = command[0] if len(command) == 1 else None
    if is_composed():
        os.environ.update(environment(part))
        if part == "api-server":
            passwords = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
            passwords.touch(mode=0o600)
            passwords.write_text(
                json.dumps({"admin": secret("airflow_admin_password"), "watcher": os.environ["NCF_AIRFLOW_PASSWORD"]})
            )
        if part == "init":
            init()
            return
    if part == "healthcheck":
        running = PART.read_text() if PART.exists() else "api-server"
        command = ["python", "/opt/stack/healthcheck.py", running]
    elif part in PARTS:
        PART.write_text(part)
        command = PARTS[part]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
