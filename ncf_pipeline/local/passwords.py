"""Generated passwords, each in a file of mode 600 under `NCF_HOME/secrets`."""

import os
import secrets
from pathlib import Path

from ncf_pipeline.errors import ServiceError

SECRETS_FOLDER = "secrets"


def password(home: Path, name: str, *, length: int = 32) -> str:
    """Returns the password of that name; generates it the first time.

    Args:
        home: `NCF_HOME`.
        name: of its file.
        length: of a new password, in characters from A-Z, a-z, 0-9, - and _, which need no escaping in a URL.

    Raises:
        ServiceError: its file cannot be read or written.
    """
    return kept_password(home, name) or keep_password(home, name, secrets.token_urlsafe(length)[:length])


def password_path(home: Path, name: str) -> Path:
    """Returns the path of a password's file."""
    return home / SECRETS_FOLDER / name


def kept_password(home: Path, name: str) -> str | None:
    """Returns the password of that name; None if it was not generated yet.

    Raises:
        ServiceError: its file cannot be read.
    """
    try:
        return password_path(home, name).read_text().strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ServiceError(f"{password_path(home, name)} cannot be read: {error.strerror}. Check the file.") from error


def keep_password(home: Path, name: str, secret: str) -> str:
    """Stores a password, and returns it.

    Args:
        home: `NCF_HOME`.
        name: of its file.
        secret: the password.

    Raises:
        ServiceError: its file cannot be written.
    """
    path = password_path(home, name)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secret + "\n")
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error.strerror}. Check the file.") from error
    return secret


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step with one of mode 600: a reader sees either the old text or the new."""
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
