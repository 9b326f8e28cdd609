"""Files in the artifact store: whole or not there."""

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
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
        ArtifactError: the artifact store refused, or what was to be written could not be.
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        filesystem.makedirs(posixpath.dirname(path), exist_ok=True)
        with filesystem.open(f"{path}.tmp", "wb") as file:
            yield file
        filesystem.mv(f"{path}.tmp", path)
    except (OSError, ImportError, ValueError) as error:
        raise ArtifactError(f"{url} was not written: {error}. {advice}") from error
