"""Files in the artifact store: a reader finds a whole file or none."""

import errno
import os
import posixpath
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ncf_pipeline.errors import ArtifactError, StoreUnavailableError
from ncf_pipeline.extras import EXTRA_OF, missing
from ncf_pipeline.settings import load_settings
from ncf_pipeline.storage.faults import RefusedAddressError, may_pass, one_line

SCHEMES = ("file", "http", "https", "s3", "gs", "gcs", "abfs", "abfss", "az")
"""How addresses may begin. `NCF_URL_SCHEMES` adds more."""

UNFINISHED = ".tmp"
"""How the name of a file ends that is being written. After a week its writer is not alive: see `serving.prune`."""


class NoRegularFileError(OSError):
    """A path names a folder, a pipe, a socket or a device. Whoever translates it puts the name in front."""


def filesystem_of(url: str) -> tuple[Any, str]:
    """The store that a URL names, and the path there.

    Raises:
        OSError, ImportError, ValueError: there is no such store, or it may not be used; one of `store_errors`.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    if "::" in url:
        raise RefusedAddressError("an address with :: in it is a chain of addresses, and those are not used")
    # Read here and not passed down: addresses come from people, from other servers and from the database.
    if scheme not in SCHEMES and scheme not in (more := load_settings().url_schemes.split()):
        allowed = ", ".join((*SCHEMES, *more))
        raise RefusedAddressError(
            f"addresses that begin with {scheme}:// are not used, only {allowed}; NCF_URL_SCHEMES can add it"
        )
    try:
        options = {}
        if scheme in ("http", "https"):
            from ncf_pipeline.storage import web  # only here: web servers are rare, and the client is slow to import

            options = {"get_client": web.client}
        filesystem, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:  # fsspec names the package, and the error behind it the module
        package = error.name or getattr(error.__cause__, "name", None)
        raise ImportError(missing(package) if package in EXTRA_OF else str(error)) from error
    except store_errors():
        raise
    except Exception as error:  # each kind of store has its own way to refuse what it needs and does not get
        scheme = url.partition("://")[0]
        raise ValueError(f"addresses that begin with {scheme}:// cannot be used: {one_line(error)}") from error
    return filesystem, path


def open_file(url: str, *, is_streamed: bool = False) -> IO[bytes]:
    """Opens a file to read.

    Args:
        url: of the file.
        is_streamed: whether it is only read from its beginning to its end, so a web server is asked once.

    Raises:
        OSError, ImportError, ValueError: there is no such file or no such store; one of `store_errors`.
    """
    filesystem, path = filesystem_of(url)
    from_web = is_streamed and url.startswith(("http://", "https://"))
    try:
        opened: IO[bytes] = filesystem.open(path, "rb", **({"block_size": 0} if from_web else {}))
    except FileNotFoundError as error:
        if isinstance(error.__cause__, RefusedAddressError):
            raise error.__cause__ from error
        if may_pass(error):  # a web server that does not answer is reported as a file that does not exist
            raise ConnectionError(one_line(error.__cause__ or error)) from error
        raise
    return opened


def open_regular(path: Path, *, beneath: Path | None = None) -> BufferedReader:
    """Opens a regular file of this machine to read. A pipe is not waited for, and a device is not touched.

    Args:
        path: of the file; links are followed if `beneath` is None.
        beneath: a folder without links in its path. The file must be in it, and no part of its path below a link.

    Raises:
        NoRegularFileError: it is something else.
        OSError: there is no such file, this user may not read it, or a part of its path is a link.
    """
    if beneath is None:
        _check_regular(path.stat().st_mode)  # before it is opened: that alone rewinds some devices
        return _regular(os.open(path, _TO_READ))
    *folders, name = path.relative_to(beneath).parts
    at = os.open(beneath, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        _check_regular(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
        return _regular(os.open(name, _TO_READ | os.O_NOFOLLOW, dir_fd=at))
    finally:
        os.close(at)


_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def _regular(opened: int) -> BufferedReader:
    try:
        _check_regular(os.fstat(opened).st_mode)
    except BaseException:
        os.close(opened)
        raise
    return os.fdopen(opened, "rb")


def _check_regular(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link",
    }
    raise NoRegularFileError(errno.EINVAL, f"it is {kinds.get(stat.S_IFMT(mode), 'a device')}, and no file")


@contextmanager
def new_file(url: str, *, advice: str = "Is there room, and may this user write there?") -> Iterator[IO[bytes]]:
    """Opens a file to write. It gets its name, and replaces an older file, only when the block ends without an error.

    Until then it has a name that no other writer uses and that ends in `UNFINISHED`. In a local folder, the file and
    its name are on the disk when this returns, so the database may name the URL.

    Args:
        url: of the file; missing folders are created.
        advice: the end of the error's message.

    Raises:
        ArtifactError: the artifact store refused; a `StoreUnavailableError` if that may pass. An error of the block
            itself is raised unchanged.
    """
    with _translated(url, advice):
        filesystem, path = filesystem_of(url)
        is_local = isinstance(filesystem, LocalFileSystem)
        _make_folder(filesystem, posixpath.dirname(path), is_local=is_local)
        unfinished = f"{path}.{uuid.uuid4().hex[:8]}{UNFINISHED}"
        opened = filesystem.open(unfinished, "wb")
    try:
        with _translated(url, advice, OSError, *_vendor_errors()), opened as file:
            yield file
        with _translated(url, advice):
            if is_local:
                _to_disk(unfinished)
                Path(unfinished).replace(path)
                _to_disk(posixpath.dirname(path))
            else:
                filesystem.mv(unfinished, path)
    except BaseException:
        with suppress(*store_errors()):
            filesystem.rm(unfinished)
        raise


def list_files(url: str) -> dict[str, datetime | None]:
    """Lists the files below a folder.

    Returns:
        When each file was written, by its path in the folder; None if the store does not say.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = filesystem_of(url)
        filesystem.invalidate_cache()  # other processes may have written files since
        files: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
    except store_errors() as error:
        raise store_error(f"{url} cannot be listed", error) from error
    return {posixpath.relpath(name, path): _written_at(details) for name, details in files.items()}


def file_exists(url: str) -> bool:
    """Whether a file exists.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = filesystem_of(url)
        filesystem.invalidate_cache()
        return bool(filesystem.exists(path))
    except store_errors() as error:
        raise store_error(f"{url} cannot be looked up", error) from error


def remove_file(url: str) -> None:
    """Removes a file if it exists.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    try:
        filesystem, path = filesystem_of(url)
        with suppress(FileNotFoundError):
            filesystem.rm_file(path)
    except store_errors() as error:
        raise store_error(f"{url} was not removed", error, "May this user remove files there?") from error


def store_errors() -> tuple[type[Exception], ...]:
    """The errors that fsspec and its clients raise if a store cannot be reached, or refuses."""
    # Of these, a store raises the last if it cannot be written at all, such as a web server.
    return (OSError, ImportError, ValueError, *_vendor_errors(), NotImplementedError)


def store_error(what: str, error: Exception, advice: str = "Can the artifact store be reached?") -> ArtifactError:
    """Translates an error of `store_errors`.

    Args:
        what: a main clause that says what failed, and where.
        error: as fsspec or its client raised it.
        advice: what to do.

    Returns:
        A `StoreUnavailableError`, which tasks retry, if the fault may pass.
    """
    kind = StoreUnavailableError if may_pass(error) else ArtifactError
    reason = "this kind of store cannot do that" if isinstance(error, NotImplementedError) else one_line(error)
    return kind(f"{what}: {reason}. {advice}")


def _make_folder(filesystem: Any, folder: str, *, is_local: bool) -> None:
    missing = [each for each in (folder, *map(str, Path(folder).parents)) if is_local and not Path(each).exists()]
    filesystem.makedirs(folder, exist_ok=True)
    for made in missing:
        _to_disk(posixpath.dirname(made))  # the folder's own name


def _to_disk(path: str) -> None:
    """Returns when the content of a local file, or the names in a local folder, would survive a power cut."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _vendor_errors() -> tuple[type[Exception], ...]:
    # s3fs passes on botocore's errors if a store cannot be reached or credentials are missing; others aiohttp's.
    botocore, aiohttp = sys.modules.get("botocore.exceptions"), sys.modules.get("aiohttp")
    return (
        *((botocore.BotoCoreError, botocore.ClientError) if botocore else ()),
        *((aiohttp.ClientError,) if aiohttp else ()),
    )


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
            raise store_error(f"{url} was not written", error, advice) from error
        raise
