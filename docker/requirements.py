"""Prints the requirements of some extras of this project, for an image layer that code changes do not affect."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def needed(project: dict[str, Any], extras: list[str]) -> list[str]:
    """Returns the requirements of the project and of these extras, including extras that they refer to."""
    requirements = list(project["dependencies"])
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(.+)\]", requirement)
            requirements += needed(project, own.group(1).split(",")) if own else [requirement]
    return sorted(set(requirements))


if __name__ == "__main__":
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    print("\n".join(needed(pyproject["project"], sys.argv[1:])))
