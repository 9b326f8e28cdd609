"""Makes the secrets of compose.yaml, a file each, where they are missing: `make docker-secrets`."""

import base64
import secrets
import sys
from pathlib import Path

NAMES = {
    "postgres_db_password": 32,
    "airflow_db_password": 32,
    "ncf_db_password": 32,
    "redis_password": 32,
    "airflow_admin_password": 20,
    "grafana_admin_password": 20,
    "erasure_key": 64,
    "jwt_secret": 64,
    "api_secret_key": 64,
    "s3_access_key": 20,
    "s3_secret_key": 40,
}


def make(folder: Path) -> None:
    """Writes the ones that are missing. The folder is for its owner alone; a container's user reads single files."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = {name: secrets.token_hex(length // 2) for name, length in NAMES.items()}
    made["fernet_key"] = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    for name, text in made.items():
        file = folder / name
        if not file.exists():
            file.write_text(text)
            file.chmod(0o444)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent / "secrets")
