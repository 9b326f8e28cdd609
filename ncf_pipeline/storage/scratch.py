"""Folders on this machine for files that a run only needs while it works, such as an unpacked workbook.

They name customers. A run removes its folder when it ends; that of a killed run is removed when the next run makes one.
"""

import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_NAME = re.compile(r"ncf-[a-z0-9_]{8}")
_LOCK = ".in-use"
_DAY = 86_400


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder under `TMPDIR` that only this user can read, with its lock alone. It is gone afterwards.

    Raises:
        OSError: it cannot be made.
    """
    remove_dead_folders()
    with tempfile.TemporaryDirectory(prefix="ncf-") as name:
        folder = Path(name)
        unlocked = folder / f"{_LOCK}.new"
        # The system drops the lock when the process ends, however it ends. Nobody may find the file without its lock.
        lock = os.open(unlocked, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            with suppress(OSError):  # a file system without locks: then it is removed after a day
                fcntl.flock(lock, fcntl.LOCK_EX)
                unlocked.rename(folder / _LOCK)
            yield folder
        finally:
            os.close(lock)


def remove_dead_folders() -> None:
    """Removes this user's folders whose process is dead. What cannot be removed stays."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob("ncf-*"):
            if _NAME.fullmatch(folder.name):
                _remove_if_dead(folder)


def _remove_if_dead(folder: Path) -> None:
    with suppress(OSError):
        about = folder.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            return
        try:
            with (folder / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process lives
        except FileNotFoundError:
            if time.time() - about.st_mtime < _DAY:
                return  # it may just have been made
        shutil.rmtree(folder, ignore_errors=True)
        logger.info("Removed %s, which a killed run had left.", folder)
