"""Prints what extras of this project need, for a layer that a change of the code does not touch."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def needed(project: dict[str, Any], extras: list[str]) -> list[str]:
    """The requirements of the project and these extras, extras of extras among them."""
    found = list(project["dependencies"])
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            own = re.fullmatch(rf"{project['name']}\[(.+)\]", requirement)
            found += needed(project, own.group(1).split(",")) if own else [requirement]
    return sorted(set(found))


if __name__ == "__main__":
    pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    print("\n".join(needed(pyproject["project"], sys.argv[1:])))
