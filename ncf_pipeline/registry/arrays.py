"""Folders of arrays in the artifact store, to be mapped into memory: `.npy` files and a manifest. No pickle.

    <folder>/
        9f86d081884c7d65.npy     an array, uncompressed, named after the SHA-256 of its values
        arrays.json              which array is which, how long its file is, facts for the reader, its own SHA-256

The manifest is written last and takes its name in one step, so a reader finds all arrays or no manifest.

A store on this machine is mapped where it lies. Of any other, each machine keeps a copy in a cache folder, which has
the name of the manifest's SHA-256: the first process copies, the others wait. What is mapped is read from the disk when
it is first used, is shared by all processes of the machine, and may be dropped from memory at any time. An array that
names customers is never copied: it is read into memory.
"""

import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from fsspec.implementations.local import LocalFileSystem

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.registry.manifests import SEAL, seal_of, sealed
from ncf_pipeline.storage.files import (
    UNFINISHED,
    file_exists,
    filesystem_of,
    list_files,
    new_file,
    open_file,
    remove_file,
    store_error,
    store_errors,
)

Array = npt.NDArray[Any]

FORMAT = 1

MANIFEST = "arrays.json"
"""Not the name of a model's manifest: an erasure must not take one for the other."""

UNUSED = 3600
"""Seconds after which a copy that nobody has opened makes room for others. Who maps it keeps it."""

_AT_ONCE = 1 << 24
_ADVICE = "Start the run again."


def write_arrays(
    url: str, arrays: Mapping[str, Array], facts: Mapping[str, Any], *, personal: Collection[str] = ()
) -> None:
    """Writes a folder of arrays. A second writer of the same arrays does no harm.

    Args:
        url: of the folder.
        arrays: by name; of numbers or truth values.
        facts: JSON-able, for the reader.
        personal: names of arrays that name customers.

    Raises:
        ArtifactError: the artifact store refused. There is no manifest, unless there was one before.
    """
    files: dict[str, dict[str, Any]] = {}
    written = dict[str, int]()
    for name, given in arrays.items():
        is_whole = given.flags.c_contiguous or given.flags.f_contiguous
        array = given if is_whole else np.ascontiguousarray(given)
        sha256 = _sha256(array)
        if sha256 not in written:
            with new_file(f"{url}/{sha256[:16]}.npy") as file:
                counted = _Counted(file)
                np.lib.format.write_array(counted, array, allow_pickle=False)
            written[sha256] = counted.bytes
        files[name] = {"file": f"{sha256[:16]}.npy", "sha256": sha256, "bytes": written[sha256]}
    manifest = {"format": FORMAT, "facts": facts, "arrays": files, "personal": sorted(personal)}
    with new_file(f"{url}/{MANIFEST}") as file:
        file.write(sealed(manifest))


def are_there(url: str) -> bool:
    """Whether there is a whole folder of arrays.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused.
    """
    return file_exists(f"{url}/{MANIFEST}")


def map_arrays(url: str, cache: Path) -> tuple[dict[str, Any], dict[str, Array]]:
    """Maps a folder of arrays into memory.

    Args:
        url: of the folder.
        cache: folder on this machine for copies, if the store is not on it.

    Returns:
        The facts, and the arrays by name. Changing an array changes it for this process alone.

    Raises:
        ArtifactError: the folder is missing, incomplete or damaged, or the store or the cache cannot be used.
    """
    manifest = _read_manifest(url)
    entries: dict[str, dict[str, Any]] = manifest["arrays"]
    advice = "May this user read there?"
    try:
        filesystem, path = filesystem_of(url)
        if isinstance(filesystem, LocalFileSystem):
            return manifest["facts"], _all_mapped(Path(path), entries)
        advice = f"May this user write in {cache}, and is there room?"
        arrays = {name: _read(url, entries[name]) for name in manifest["personal"]}
        common = {name: entry for name, entry in entries.items() if name not in arrays}
        with _copy_of(url, common, cache / manifest[SEAL]) as folder:
            arrays |= _all_mapped(folder, common)
    except FileNotFoundError as error:
        raise ArtifactError(f"{url} is incomplete: {error}. {_ADVICE}") from error
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error, advice) from error
    return manifest["facts"], arrays


def remove_arrays(url: str) -> None:
    """Removes a folder of arrays, whole or not. Who has mapped it keeps it.

    Raises:
        ArtifactError: the artifact store cannot be reached, or refused. The next call removes the rest.
    """
    for name in sorted(list_files(url), key=lambda name: name != MANIFEST):
        remove_file(f"{url}/{name}")


def remove_copies(cache: Path, *, keep: Path | None = None, unused: float = 0.0) -> None:
    """Removes this machine's copies. Who has mapped one keeps it.

    Args:
        cache: the folder of the copies.
        keep: one that stays.
        unused: seconds since they were last opened; younger ones stay.
    """
    for lock in cache.glob("*.lock"):
        folder = lock.with_suffix("")
        if folder == keep:
            continue
        with suppress(FileNotFoundError), lock.open() as held:  # another process may remove it at the same time
            if time.time() - lock.stat().st_mtime < unused:
                continue
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # it is being opened
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink()


class _Counted:
    """A file that counts what is written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.bytes = file, 0

    def write(self, content: bytes) -> int:
        self.bytes += len(content)
        return self.file.write(content)


def _sha256(array: Array) -> str:
    digest = hashlib.sha256(f"{array.dtype.str}:{array.shape}:{array.flags.f_contiguous}".encode())
    whole = array if array.flags.c_contiguous else array.T
    digest.update(np.ascontiguousarray(whole).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read_manifest(url: str) -> dict[str, Any]:
    place = f"{url}/{MANIFEST}"
    try:
        with open_file(place) as file:
            manifest: dict[str, Any] = json.loads(file.read())
        is_whole = manifest.get(SEAL) == seal_of(manifest)
    except FileNotFoundError as error:
        raise ArtifactError(f"{place} is missing. {_ADVICE}") from error
    except (json.JSONDecodeError, AttributeError) as error:
        raise ArtifactError(f"{place} is damaged: {error}. {_ADVICE}") from error
    except store_errors() as error:
        raise store_error(f"{place} cannot be read", error) from error
    if not is_whole:
        raise ArtifactError(f"{place} is damaged: its SHA-256 does not match. {_ADVICE}")
    if manifest["format"] != FORMAT:
        raise ArtifactError(f"{place} has format {manifest['format']}, not {FORMAT}: upgrade the package.")
    return manifest


def _all_mapped(folder: Path, entries: Mapping[str, dict[str, Any]]) -> dict[str, Array]:
    """The arrays of a folder by name; those of one file are one array."""
    files = {entry["file"]: entry["bytes"] for entry in entries.values()}
    arrays = {file: _mapped(folder / file, size) for file, size in files.items()}
    return {name: arrays[entry["file"]] for name, entry in entries.items()}


def _read(url: str, entry: Mapping[str, Any]) -> Array:
    """One array, into memory."""
    with open_file(f"{url}/{entry['file']}") as file:
        content = io.BytesIO(file.read())
    return _checked(url, entry, np.lib.format.read_array(content, allow_pickle=False))


def _checked(url: str, entry: Mapping[str, Any], array: Array) -> Array:
    if _sha256(array) != entry["sha256"]:
        raise ArtifactError(f"{url}/{entry['file']} is damaged: its SHA-256 does not match. {_ADVICE}")
    return array


@contextmanager
def _copy_of(url: str, entries: Mapping[str, dict[str, Any]], folder: Path) -> Iterator[Path]:
    """A folder on this machine with the files of these arrays. No other process removes it before the block ends."""
    cache = folder.parent
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = folder.with_suffix(".lock")
    while True:
        with lock.open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            if not _is_at(held, lock):
                continue  # another process has removed it meanwhile, and the folder with it
            os.utime(lock)
            remove_copies(cache, keep=folder, unused=UNUSED)
            folder.mkdir(exist_ok=True, mode=0o700)
            for entry in entries.values():
                if not (file := folder / entry["file"]).exists():
                    _copy(url, entry, file)
            yield folder
            return


def _is_at(opened: IO[Any], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _copy(url: str, entry: Mapping[str, Any], to: Path) -> None:
    """Copies a file of an array, and checks it. It takes its name last."""
    unfinished = to.with_name(f"{to.name}{UNFINISHED}")  # of one process at a time
    with open_file(f"{url}/{entry['file']}") as source, unfinished.open("wb") as copy:
        shutil.copyfileobj(source, copy, _AT_ONCE)
    array = _mapped(unfinished, entry["bytes"])
    _checked(url, entry, array)
    unfinished.rename(to)


def _mapped(path: Path, size: int) -> Array:
    if (found := path.stat().st_size) != size:
        raise ArtifactError(f"{path} is damaged: it has {found:,} bytes, not {size:,}. {_ADVICE}")
    # Not read-only, because compiled loops would be compiled again for such arrays; "c" writes to no file.
    array: Array = np.load(path, mmap_mode="c", allow_pickle=False)
    return array.view(np.ndarray)
