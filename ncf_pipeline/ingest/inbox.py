"""Finds the files to load, in the inbox or elsewhere, and moves them from the inbox to `processed` or `rejected`.

A folder in the inbox has the name of the mapping that reads the files in it.
"""

import json
import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from ncf_pipeline.errors import InputError, SourceUnavailableError
from ncf_pipeline.ingest.readers.file_kinds import SUFFIXES
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.redaction import redacted, redacted_location
from ncf_pipeline.storage.faults import may_pass
from ncf_pipeline.storage.files import filesystem_of, store_errors

logger = logging.getLogger(__name__)

_UNFINISHED = (".tmp", ".part", ".partial", ".crdownload", ".filepart", ".swp")
_GLOB = frozenset("*?[")


File = str | dict[str, str]
"""A file to load, as Airflow passes it between tasks: a location, or a dictionary of `location` and `mapping`."""


def location_and_mapping(file: File) -> tuple[str, str | None]:
    """Where a file is, and the name of the mapping that reads it; None if it has our columns.

    >>> location_and_mapping({"location": "/shop/orders.csv", "mapping": "shopify"})
    ('/shop/orders.csv', 'shopify')
    """
    return (file, None) if isinstance(file, str) else (file["location"], file["mapping"])


@dataclass(frozen=True)
class Found:
    """A file to load.

    Attributes:
        location: as `location_of` writes it.
        folder: name of the inbox's folder in which it lies; None directly in the inbox, or elsewhere.
    """

    location: str
    folder: str | None = None


def files_in_inbox(inbox: Path, *, settle_seconds: float) -> list[Found]:
    """The files in the inbox and its folders that have stopped growing, by name, without hidden and temporary ones.

    The last version of an invoice counts. A file of another kind is included, so that it is refused with a reason
    instead of lying there unseen; so are links, pipes, sockets and devices. A folder that is a link out of the inbox is
    not looked into, and the log says so.

    Args:
        inbox: the folder; it may be missing.
        settle_seconds: a file that changed less than this ago is watched until then.

    Returns:
        Those directly in the inbox, then those of each folder.
    """
    folder = inbox.resolve()
    waiting = {path: _state(path) for path in _all_files(folder)}
    # Seconds since the last change; the time of the inode counts too, because a copying tool cannot set it back.
    youngest = min((time.time() - changed for _, _, changed in waiting.values()), default=settle_seconds)
    if (left := settle_seconds - youngest) > 0:
        time.sleep(min(left, settle_seconds))
    settled = [path for path, state in waiting.items() if os.path.lexists(path) and _state(path) == state]
    for path in sorted(set(waiting) - set(settled)):
        logger.info("%s is still growing. It is left for the next run.", shortened(path.name))
    return [Found(_written(path), folder_in(inbox, path)) for path in settled]


def files_by_folder(inbox: Path) -> dict[str, int]:
    """How many files each folder of the inbox holds, without those that hold none."""
    folders = [folder_in(inbox, path) for path in _all_files(inbox.resolve())]
    return dict(Counter(name for name in folders if name is not None))


def folder_in(inbox: Path, path: Path) -> str | None:
    """The name of the inbox's folder in which a file lies; None if it lies directly in the inbox, or elsewhere.

    >>> folder_in(Path("/shop/inbox"), Path("/shop/inbox/shopify/orders.csv"))
    'shopify'
    """
    return path.parent.name if path.parent.parent == inbox.resolve() else None


def files_at(paths: Sequence[str]) -> list[str]:
    """The files that match paths, folders, globs and URLs, each once, in the order given.

    Raises:
        InputError: an entry matches no file, or cannot be looked up; the message names it.
    """
    locations: list[str] = []
    for given in paths:
        files = list(_remote(given) if "://" in given else _local(given))
        if not files:
            raise InputError(
                f"{shortened(redacted_location(given))}: there is no such file, and no folder with a file of "
                f"{', '.join(SUFFIXES)}. Correct the path."
            )
        locations += files
    return list(dict.fromkeys(locations))


def location_of(path: Path) -> str:
    """The name of a local file in records: its absolute path, or a URL if the path is not Unicode text."""
    # Only the parent is resolved: a link in the inbox is moved itself, not its target.
    return _written(path.parent.resolve() / path.name)


def local_path(location: str) -> Path | None:
    """The path of a location on this machine; None for a remote one."""
    if location.startswith("file://"):
        return Path(os.fsdecode(unquote_to_bytes(urlsplit(location).path)))
    return None if "://" in location else Path(location)


def name_of(location: str) -> str:
    """What people call a file: the last part of its path, in one printable line.

    >>> name_of("/inbox/day.csv"), name_of("https://shop.example/day.csv?X-Amz-Signature=4f3a")
    ('day.csv', 'day.csv')
    """
    if location.startswith(("http://", "https://")):
        location = urlsplit(location).path or location
    location = redacted_location(location)
    return shortened(location.rstrip("/").rpartition("/")[2]) or shortened(location)


def move_to_processed(inbox: Path, location: str, batch_id: int) -> None:
    """Moves a merged file out of the inbox.

    Args:
        inbox: the folder; `processed` is beside it.
        location: of the file; a file from elsewhere stays where it is.
        batch_id: added to the name if `processed` has a file of the same name.
    """
    _move(inbox, location, "processed", batch_id)


def move_to_rejected(inbox: Path, location: str, reason: str, batch_id: int) -> None:
    """Moves a refused file out of the inbox and writes the reason beside it, as `NAME.reason.json`.

    Args:
        inbox: the folder; `rejected` is beside it.
        location: of the file; a file from elsewhere stays where it is.
        reason: why it was refused.
        batch_id: of the rejected batch; added to the name if `rejected` has a file of the same name.
    """
    moved = _move(inbox, location, "rejected", batch_id)
    if moved is not None:
        record = {
            "file": moved.name,
            "reason": reason,
            "batch": batch_id,
            "rejected_at": datetime.now().isoformat(timespec="seconds"),
        }
        beside = moved.with_name(f"{moved.name}.reason.json")
        beside.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def _move(inbox: Path, location: str, folder_name: str, batch_id: int) -> Path | None:
    path = local_path(location)
    if path is None or inbox.resolve() not in (path.parent, path.parent.parent):
        return None
    folder = inbox.resolve().parent / folder_name / (folder_in(inbox, path) or "")
    target = folder / path.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target):
            target = folder / f"{path.stem}-batch{batch_id:06d}{path.suffix}"
        shutil.move(path, target)
    except FileNotFoundError:
        # Another run has moved it, or this one did before it was killed.
        return None
    except OSError as error:
        logger.warning(
            "%s stays in the inbox: %s. Its batch is recorded; move it by hand.",
            name_of(location),
            error,
        )
        return None
    return target


def _all_files(inbox: Path) -> Iterator[Path]:
    """The files directly in the inbox, then those of each folder in it, by name. Hidden folders are left out."""
    if not inbox.is_dir():
        return
    entries = sorted(inbox.iterdir(), key=_order)
    yield from (path for path in entries if not path.is_dir() and _is_finished_name(path))
    for folder in entries:
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        if inbox not in folder.resolve().parents:
            logger.warning(
                "The folder %s of the inbox is a link that leads out of it, so its files are not read. Drop the files "
                "into a folder of the inbox, or mount the other one there.",
                shortened(folder.name),
            )
            continue
        yield from (path for path in _content(folder) if not path.is_dir() and _is_finished_name(path))


def _content(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir(), key=_order)
    except OSError as error:
        logger.warning(
            "The folder %s of the inbox cannot be read: %s.", shortened(folder.name), error.strerror or error
        )
        return []


def _written(path: Path) -> str:
    return path.as_uri() if _is_bytes(str(path)) else str(path)


def _is_bytes(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


def _is_finished_name(path: Path) -> bool:
    return not path.name.startswith((".", "~$")) and not path.name.lower().endswith(_UNFINISHED)


def _state(path: Path) -> tuple[int, int, float]:
    try:
        about = path.stat()
    except OSError:  # a link to nothing
        about = path.lstat()
    return about.st_size, about.st_mtime_ns, max(about.st_mtime, about.st_ctime)


def _local(given: str) -> Iterator[str]:
    try:
        path = Path(given).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{shortened(redacted_location(given))}: this machine has no such user. Correct the path."
        ) from error
    if path.is_dir():
        yield from (location_of(each) for each in sorted(path.iterdir(), key=_order) if _is_invoice_file(each))
    elif path.exists() or path.is_symlink():
        yield location_of(path)
    elif _GLOB & set(given):
        pattern = str(path)
        root = Path(path.anchor) if path.anchor else Path()
        files = sorted(root.glob(pattern.removeprefix(path.anchor)), key=_order)
        yield from (location_of(each) for each in files if _is_invoice_file(each))


def _order(path: Path) -> tuple[Path, str, str]:
    """By name without its ending, so that `sales-corrected.csv` comes after `sales.csv`, and its lines count."""
    return path.parent, path.name.partition(".")[0], path.name


def _is_invoice_file(path: Path) -> bool:
    return path.is_file() and _is_finished_name(path) and _has_suffix(path.name)


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(tuple(SUFFIXES))


def _remote(given: str) -> Iterator[str]:
    try:
        parts = urlsplit(given)
        if parts.scheme == "file":
            yield from _local(str(local_path(given)))
            return
        filesystem, path = filesystem_of(given)
        if _GLOB & set(path) and parts.scheme not in {"http", "https"}:
            yield from (filesystem.unstrip_protocol(each) for each in sorted(filesystem.glob(path)))
        # An address of a web server that names a file is not read as a list of files.
        elif not (parts.scheme in {"http", "https"} and _has_suffix(parts.path)) and filesystem.isdir(path):
            names = sorted(filesystem.ls(path, detail=False))
            yield from (filesystem.unstrip_protocol(each) for each in names if _has_suffix(each))
        elif filesystem.exists(path):
            yield given
    except store_errors() as error:
        kind = SourceUnavailableError if may_pass(error) else InputError
        reason = shortened(redacted(str(error))).rstrip(".")
        raise kind(
            f"{shortened(redacted_location(given))} cannot be looked up: {reason}. Is the address right?"
        ) from error
