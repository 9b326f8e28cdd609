"""Files in the artifact store: whole or not there."""

import posixpath
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import IO, Any

import fsspec

from ncf_pipeline.errors import ArtifactError


@contextmanager
def new_file(url: str, *, advice: str = "Is there room, and may this user write there?") -> Iterator[IO[bytes]]:
    """A file to write; it has its name once the block has ended well, and takes the place of one that had it.

    Args:
        url: of the file; its folder is made.
        advice: what the error says at its end.

    Raises:
        ArtifactError: the artifact store refused. What else goes wrong in the block is not of the store, and stays
            what it is.
    """
    with _translated(url, advice):
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        opened = filesystem.open(f"{path}.tmp", "wb")
    try:
        with _translated(url, advice, OSError, *_vendor_errors()), opened as file:
            yield file
    except BaseException:
        with suppress(*store_errors()):
            filesystem.rm(f"{path}.tmp")
        raise
    with _translated(url, advice):
        filesystem.mv(f"{path}.tmp", path)


def list_files(url: str) -> dict[str, datetime | None]:
    """All files below a folder, by their path in it, and when each was written, where the store tells.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()  # of what other processes wrote since
        found: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be listed: {error}. Is the artifact store there?") from error
    return {posixpath.relpath(name, path): _written_at(details) for name, details in found.items()}


def file_exists(url: str) -> bool:
    """Whether there is a file.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        return bool(filesystem.exists(path))
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be looked up: {error}. Is the artifact store there?") from error


def remove_file(url: str) -> None:
    """Removes a file, if it is there.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        with suppress(FileNotFoundError):
            filesystem.rm_file(path)
    except store_errors() as error:
        raise ArtifactError(f"{url} was not removed: {error}. May this user remove files there?") from error


def store_errors() -> tuple[type[Exception], ...]:
    """What fsspec and the clients below it raise when a store cannot be reached, or refuses."""
    return (OSError, ImportError, ValueError, *_vendor_errors())


def _vendor_errors() -> tuple[type[Exception], ...]:
    # s3fs passes on what botocore says of a store that is away or of credentials that are missing.
    botocore = sys.modules.get("botocore.exceptions")
    return (botocore.BotoCoreError,) if botocore else ()


def _written_at(details: dict[str, Any]) -> datetime | None:
    at = details.get("LastModified") or details.get("mtime") or details.get("created")
    if isinstance(at, int | float):
        return datetime.fromtimestamp(at, UTC)
    return at if isinstance(at, datetime) else None


@contextmanager
def _translated(url: str, advice: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, errors or store_errors()):
            raise ArtifactError(f"{url} was not written: {error}. {advice}") from error
        raise
