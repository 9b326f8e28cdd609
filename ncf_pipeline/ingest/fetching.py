"""Brings a file onto this machine, from a path or a URL, and hashes its bytes."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from ncf_pipeline.errors import InputError, SourceUnavailableError
from ncf_pipeline.ingest.inbox import local_path, name_of
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.storage.faults import may_pass
from ncf_pipeline.storage.files import open_file, store_errors


class FileChangedError(InputError):
    """A file changed while it was read. It is not refused, but left for the next run."""


class FileGoneError(InputError):
    """A file has disappeared since it was discovered; another run may have taken it."""


@dataclass(frozen=True)
class Source:
    """A file that can be opened.

    Attributes:
        location: path or URL where it was found.
        name: what people call it.
        path: of the file, or of its copy on this machine.
        sha256: of its bytes.
        bytes: its size.
        state: its size, and the time of its last change in nanoseconds, when it was hashed.
        mapping: what says how it looks; None if it has our columns.
    """

    location: str
    name: str
    path: Path
    sha256: str
    bytes: int
    state: tuple[int, int]
    mapping: Mapping | None = None

    @property
    def read_as(self) -> tuple[str, str | None]:
        """What is read: the hash of its bytes, and that of its mapping."""
        return self.sha256, self.mapping.sha256 if self.mapping else None


def fetch(location: str, folder: Path, mapping: Mapping | None = None) -> Source:
    """Copies a remote file onto this machine; hashes the file.

    Args:
        location: a path or a URL.
        folder: where the copy of a remote file goes.
        mapping: what says how it looks.

    Returns:
        The file as it can be opened here, with its hash.

    Raises:
        FileGoneError: the file has disappeared.
        InputError: it cannot be read; a `SourceUnavailableError` if that may pass.
    """
    name = name_of(location)
    try:
        path = local_path(location) or _copy(location, folder)
        state = _state(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise FileGoneError(f"{name} is gone: somebody moved it, or another run has taken it.") from error
    except store_errors() as error:
        reason = (getattr(error, "strerror", None) or shortened(str(error))).rstrip(".")
        if may_pass(error):
            raise SourceUnavailableError(f"{name} cannot be read now: {reason}. Try again later.") from error
        raise InputError(f"{name} cannot be read: {reason}. May this user read it?") from error
    return Source(location, name, path, sha256, bytes=state[0], state=state, mapping=mapping)


def check_unchanged(source: Source) -> None:
    """Checks that the bytes that were parsed are those that were hashed.

    Raises:
        FileChangedError: the file was written to in between.
    """
    if not source.path.exists() or _state(source.path) != source.state:
        raise FileChangedError(f"{source.name} changed while it was read. It is left for the next run.")


def _copy(location: str, folder: Path) -> Path:
    copy = folder / hashlib.sha256(location.encode()).hexdigest()
    with open_file(location) as remote, copy.open("wb") as local:
        shutil.copyfileobj(remote, local, 1 << 20)
    return copy


def _state(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
