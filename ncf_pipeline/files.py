"""Files in the artifact store: whole or not there."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

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
    with _translated(url, advice, OSError, ImportError, ValueError):
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        opened = filesystem.open(f"{path}.tmp", "wb")
    try:
        with _translated(url, advice, OSError), opened as file:
            yield file
    except BaseException:
        with suppress(OSError):
            filesystem.rm(f"{path}.tmp")
        raise
    with _translated(url, advice, OSError, ValueError):
        filesystem.mv(f"{path}.tmp", path)


@contextmanager
def _translated(url: str, advice: str, *errors: type[Exception]) -> Iterator[None]:
    try:
        yield
    except errors as error:
        raise ArtifactError(f"{url} was not written: {error}. {advice}") from error
