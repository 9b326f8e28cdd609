"""Generates the missing secrets of compose.yaml, one file each: `make docker-secrets`."""

import base64
import secrets
import sys
from pathlib import Path

NAMES = {
    "postgres_db_password": 32,
    "airflow_db_password": 32,
    "ncf_db_password": 32,
    "celery_db_password": 32,
    "shop_worker_db_password": 32,
    "gpu_worker_db_password": 32,
    "watcher_db_password": 32,
    "pages_db_password": 32,
    "lists_api_db_password": 32,
    "broker_redis_password": 32,
    "lists_redis_password": 32,
    "lists_api_redis_password": 32,
    "dismisser_redis_password": 32,
    "stock_redis_password": 32,
    "airflow_admin_password": 20,
    "airflow_watcher_password": 20,
    "grafana_admin_password": 20,
    "erasure_key": 64,
    "jwt_secret": 64,
    "api_secret_key": 64,
    "s3_access_key": 20,
    "s3_secret_key": 40,
}


def make(folder: Path) -> None:
    """Generates missing secrets. Only the owner can list the folder; the user of a container can read its files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    generated = {name: secrets.token_hex(length // 2) for name, length in NAMES.items()}
    generated["fernet_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    keys = [f"{role}={secrets.token_hex(32)}" for role in ("reader:storefront", "writer:desk")]
    generated["lists_api_keys"] = "\n".join(keys)
    for name, text in generated.items():
        file = folder / name
        if not file.exists():
            file.write_text(text)
            file.chmod(0o444)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "secrets")
