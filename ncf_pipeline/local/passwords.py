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
    return kept_password(home, name) or keep_password(home, name, secrets.token_urlsafe(length)[:length])


def password_path(home: Path, name: str) -> Path:
    """The file of a password."""
    return home / SECRETS_FOLDER / name


def kept_password(home: Path, name: str) -> str | None:
    """The password of that name, if there is one already."""
    try:
        return password_path(home, name).read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ServiceError(f"{password_path(home, name)} cannot be read: {error.strerror}. Correct that.") from error


def keep_password(home: Path, name: str, secret: str) -> str:
    """Keeps a password, and gives it back."""
    path = password_path(home, name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secret + "\n")
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror}. Correct that.") from error
    return secret


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
