"""`NCF_HOME` is its owner's alone: customers' purchases lie there, and passwords."""

import logging
import os
import stat
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(home: Path) -> None:
    """Creates the folder if it is missing, and closes it, with everything in it, to all other users.

    The folder itself is closed first: from then on, nobody else reaches what is in it. If it is closed already, nothing
    in it is looked at. No folder above it is changed, and no link is followed.

    Args:
        home: `NCF_HOME`.

    Raises:
        OSError: it cannot be created or closed. A folder of another user is left as it is.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = home.stat()
    if not about.st_mode & _OTHERS or about.st_uid != os.geteuid():
        return
    home.chmod(stat.S_IMODE(about.st_mode) & ~_OTHERS)
    for folder, _, files in os.walk(home):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            with suppress(FileNotFoundError, PermissionError):  # a server that runs may remove its own
                mode = path.lstat().st_mode
                if mode & _OTHERS and not stat.S_ISLNK(mode):
                    path.chmod(stat.S_IMODE(mode) & ~_OTHERS)
    logger.warning("Other users could look into %s. It is closed to them now, with everything in it.", home.resolve())
