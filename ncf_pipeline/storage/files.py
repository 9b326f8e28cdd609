"""Files in the artifact store: a reader finds a whole file or none."""

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
    """Opens a file to write. It gets its name, and replaces an older file, only when the block ends without an error.

    Args:
        url: of the file; missing folders are created.
        advice: the end of the error's message.

    Raises:
        ArtifactError: the artifact store refused. An error of the block itself is raised unchanged.
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
    """Lists the files below a folder.

    Returns:
        When each file was written, by its path in the folder; None if the store does not say.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.invalidate_cache()  # other processes may have written files since
        files: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be listed: {error}. Can the artifact store be reached?") from error
    return {posixpath.relpath(name, path): _written_at(details) for name, details in files.items()}


def file_exists(url: str) -> bool:
    """Whether a file exists.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        return bool(filesystem.exists(path))
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be looked up: {error}. Can the artifact store be reached?") from error


def remove_file(url: str) -> None:
    """Removes a file if it exists.

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
    """The errors that fsspec and its clients raise if a store cannot be reached, or refuses."""
    return (OSError, ImportError, ValueError, *_vendor_errors())


def _vendor_errors() -> tuple[type[Exception], ...]:
    # s3fs passes on botocore's errors if a store cannot be reached or credentials are missing.
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
