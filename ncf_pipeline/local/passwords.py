"""Generated passwords, each in a file of mode 600 under `NCF_HOME/secrets`."""

import os
import secrets
from pathlib import Path

from ncf_pipeline.errors import ServiceError

SECRETS_FOLDER = "secrets"


def password(home: Path, name: str, *, length: int = 32) -> str:
    """The password of that name: the one generated before, else a new one.

    Args:
        home: `NCF_HOME`.
        name: of its file.
        length: characters of a new one, from A-Z, a-z, 0-9, - and _: nothing to escape in a URL.

    Raises:
        ServiceError: its file cannot be read or written.
    """
    path = home / SECRETS_FOLDER / name
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            kept = path.read_text().strip()
        except FileNotFoundError:
            kept = ""
        if not kept:
            kept = secrets.token_urlsafe(length)[:length]
            write_private(path, kept + "\n")
    except OSError as error:
        raise ServiceError(f"The password file {path} cannot be used: {error.strerror}. Correct that.") from error
    return kept


def write_private(path: Path, text: str) -> None:
    """Writes a file that only we can read, by rename: a reader sees the old text or the new, whole."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
