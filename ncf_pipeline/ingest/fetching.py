"""A file on this machine, wherever it came from, with the hash of its bytes."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import fsspec

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.inbox import local_path, name_of
from ncf_pipeline.ingest.readers.header import shortened


class FileChangedError(InputError):
    """A file that somebody is writing. It is not refused, but left for the next round."""


class FileGoneError(InputError):
    """A file that was there a moment ago: another run took it."""


@dataclass(frozen=True)
class Source:
    """A file that can be opened.

    Attributes:
        location: where it was found: a path or a URL.
        name: what people call it.
        path: of the file, or of its copy on this machine.
        sha256: of its bytes.
        bytes: its size.
        state: size and time of the last change when the bytes were read.
    """

    location: str
    name: str
    path: Path
    sha256: str
    bytes: int
    state: tuple[int, int]


def fetch(location: str, folder: Path) -> Source:
    """Makes a file readable here, and reads its bytes once for their hash.

    Args:
        location: a path or a URL.
        folder: where a copy goes, if it lies elsewhere.

    Raises:
        FileGoneError: there is no such file any more.
        InputError: it cannot be read.
    """
    name = name_of(location)
    try:
        path = local_path(location) or _copy(location, folder)
        state = _state(path)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise FileGoneError(f"{name} is gone: it was moved, or another run has taken it.") from error
    except (OSError, ImportError, ValueError) as error:
        reason = getattr(error, "strerror", None) or shortened(str(error))
        raise InputError(f"{name} cannot be read: {reason}. May this user read it?") from error
    return Source(location, name, path, sha256, state[0], state)


def check_unchanged(source: Source) -> None:
    """Makes sure that the bytes that were parsed are those that were hashed.

    Raises:
        FileChangedError: it was written to in between.
    """
    if not source.path.exists() or _state(source.path) != source.state:
        raise FileChangedError(f"{source.name} changed while it was read: it is left for the next round.")


def _copy(location: str, folder: Path) -> Path:
    filesystem, path = fsspec.core.url_to_fs(location)
    copy = folder / hashlib.sha256(location.encode()).hexdigest()
    with filesystem.open(path, "rb") as remote, copy.open("wb") as local:
        shutil.copyfileobj(remote, local, 1 << 20)
    return copy


def _state(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
