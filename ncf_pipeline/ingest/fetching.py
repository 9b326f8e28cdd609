"""Brings a file onto this machine, from a path or a URL, and hashes its bytes."""

import hashlib
import os
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from ncf_pipeline.errors import InputError, SourceUnavailableError
from ncf_pipeline.ingest.inbox import local_path, name_of
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.storage.faults import may_pass
from ncf_pipeline.storage.files import NoRegularFileError, open_file, open_regular, store_errors

_BLOCK = 1 << 20


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
        state: when it was hashed: its size, the times of its last change and of its inode's, and which inode it is.
        mapping: what says how it looks; None if it has our columns.
    """

    location: str
    name: str
    path: Path
    sha256: str
    bytes: int
    state: tuple[int, ...]
    mapping: Mapping | None = None

    @property
    def read_as(self) -> tuple[str, str | None]:
        """What is read: the hash of its bytes, and that of its mapping."""
        return self.sha256, self.mapping.sha256 if self.mapping else None


def fetch(
    location: str, folder: Path, mapping: Mapping | None = None, *, inbox: Path | None = None, max_mb: int | None = None
) -> Source:
    """Copies a remote file onto this machine; hashes the file.

    Args:
        location: a path or a URL.
        folder: where the copy of a remote file goes.
        mapping: what says how it looks.
        inbox: of a file that lies in this folder, links are followed only to files that lie in it, too. Whoever can
            drop files there need not be somebody who may read all others of this machine.
        max_mb: a remote file with more megabytes is refused; None for no limit.

    Returns:
        The file as it can be opened here, with its hash.

    Raises:
        FileGoneError: the file has disappeared.
        InputError: it cannot be read; a `SourceUnavailableError` if that may pass.
    """
    name = name_of(location)
    try:
        path = local_path(location) or _copy(location, name, folder, max_mb)
        path, file = _opened(path, name, inbox.resolve() if inbox is not None else None)
        with file:
            state = _state(os.fstat(file.fileno()))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise FileGoneError(f"{name} is gone: somebody moved it, or another run has taken it.") from error
    except NoRegularFileError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}. Send the file itself.") from error
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
    try:
        state = _state(source.path.stat())
    except OSError:
        state = ()
    if state != source.state:
        raise FileChangedError(f"{source.name} changed while it was read. It is left for the next run.")


def _opened(path: Path, name: str, inbox: Path | None) -> tuple[Path, BufferedReader]:
    """The file, and its path; without links, if it lies in the inbox."""
    if inbox is None or inbox not in path.parents:
        return path, open_regular(path)
    target = Path(os.path.realpath(path))  # unlike `resolve`, it has no objection to a loop of links
    if inbox not in target.parents:
        raise InputError(
            f"{name} is a link that leads out of the inbox, so it is not followed. Put the file itself into the inbox."
        )
    if path.is_symlink() and not os.path.lexists(target):
        raise InputError(f"{name} is a link to a file that does not exist. Put the file itself into the inbox.")
    return target, open_regular(target, beneath=inbox)


def _copy(location: str, name: str, folder: Path, max_mb: int | None) -> Path:
    copy = folder / hashlib.sha256(location.encode()).hexdigest()
    size = 0
    with open_file(location, is_streamed=True) as remote, copy.open("wb") as local:
        while block := remote.read(_BLOCK):
            size += len(block)
            if max_mb is not None and size > max_mb << 20:
                raise InputError(
                    f"{name} has more than the {max_mb:,} MB that are allowed, so it was not copied to its end. "
                    "If it should be so large, raise NCF_MAX_UNPACKED_MB."
                )
            local.write(block)
    return copy


def _state(about: os.stat_result) -> tuple[int, ...]:
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino, about.st_dev
