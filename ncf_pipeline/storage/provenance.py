"""Which code runs, so that a model can be traced to it."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from ncf_pipeline import __version__
from ncf_pipeline.storage.resources import resource

_PACKAGE = Path(__file__).parents[1]
_GIT_SECONDS = 10


@cache
def code() -> dict[str, Any]:
    """The code of this process, as JSON that is stored with each model version.

    Returns:
        `package_version`; `sha256` over all Python files and queries of the package, uncommitted edits included;
        `commit` of the checkout, None if the package is installed or git is missing.
    """
    digest = hashlib.sha256()
    queries = resource("sql", "queries")
    for folder, pattern in ((_PACKAGE, "**/*.py"), (queries, "*.sql")):
        for path in sorted(folder.glob(pattern)):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder).as_posix()}:{len(content)}:".encode())
            digest.update(content)
    return {"package_version": __version__, "sha256": digest.hexdigest(), "commit": _commit(_PACKAGE.parent)}


def _commit(root: Path) -> str | None:
    if not (root / ".git").exists():  # installed, perhaps inside somebody else's repository
        return None
    try:
        command = ["git", "-C", str(root), "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_GIT_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
