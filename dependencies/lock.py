"""The locked packages, and what is accepted of them."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
TORCH = PROJECT / "requirements-torch.lock"
LAYERS = {
    PROJECT / "requirements.lock": ["airflow", "api", "celery", "s3"],
    PROJECT / "requirements-local.lock": ["local", "peers", "storefront"],
    PROJECT / "requirements-dev.lock": ["dev"],
}
"""The extras that each lock adds to those before it."""
ACCEPTED = Path(__file__).with_name("accepted.toml")


@dataclass(frozen=True)
class Vulnerability:
    """A known vulnerability that is accepted until the end of a day."""

    id: str
    package: str
    reason: str
    until: date


@dataclass(frozen=True)
class Licence:
    """A licence that is accepted, or that a package does not state itself."""

    package: str
    licence: str
    reason: str


def locked(paths: Iterable[Path] = (TORCH, *LAYERS)) -> dict[str, str]:
    """Returns the version of each locked package, by its canonical name, in order.

    Raises:
        SystemExit: a line of a lock names no single version.
    """
    versions: dict[str, str] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            if not line.strip() or line.startswith(("#", " ", "-")):
                continue
            requirement = Requirement(line.partition(" #")[0].rstrip(" \\"))
            specifiers = list(requirement.specifier)
            if len(specifiers) != 1 or specifiers[0].operator != "==":
                raise SystemExit(f"{path.name}: {line!r} names no single version. Write the lock again: `make lock`.")
            versions[canonicalize_name(requirement.name)] = specifiers[0].version
    return dict(sorted(versions.items()))


def accepted(path: Path = ACCEPTED) -> tuple[list[Vulnerability], list[Licence]]:
    """Returns the vulnerabilities and the licences that are accepted."""
    stated = tomllib.loads(path.read_text())
    return (
        [Vulnerability(**each) for each in stated.get("vulnerability", [])],
        [Licence(**each) for each in stated.get("licence", [])],
    )
