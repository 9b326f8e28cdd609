"""Resolves the dependencies for every supported Python into the locks: `make lock`.

Each lock stands on the one before it: `requirements.lock` is what production runs, `requirements-local.lock` what one
machine needs besides, `requirements-dev.lock` the development tools. They name the files by their hashes. torch has a
lock of its own, without hashes, because its build differs by machine; pip finds the CUDA libraries of that build.

Versions that are locked stay, where they still fit. `--upgrade` takes the newest ones.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lock import LAYERS, PROJECT, TORCH

OF_TORCH = re.compile(r"nvidia-|cuda-|triton$")
HEAD = "# Written by `make lock`: for every supported Python, on top of {below}.\n"
ABOUT_TORCH = """# Written by `make lock`. Without hashes: which build is right depends on the machine.
# It is installed first, by itself, and not by the locks with hashes.
"""


def main() -> None:
    """Writes the locks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = parser.parse_args()
    known = [text for path in (TORCH, *LAYERS) if path.exists() for text in blocks(path.read_text()).values()]
    below: dict[str, str] = {}
    extras: list[str] = []
    for path, added in LAYERS.items():
        extras += added
        found = resolved(extras, known, upgrade=arguments.upgrade)
        moved = sorted(name for name, text in below.items() if pin(found[name]) != pin(text))
        if moved:  # the layers above ask for less than the newest: it has to be so in all of them
            sys.exit(f"{path.name} needs other versions of {', '.join(moved)}. Give them bounds in pyproject.toml.")
        # Also a package that a lock below has for some systems alone, and this one for all.
        new = {name: text for name, text in found.items() if below.get(name) != text}
        if "torch" in new:
            TORCH.write_text(ABOUT_TORCH + pin(new.pop("torch")) + "\n")
        names = " and ".join(f"`{each.name}`" for each in LAYERS if each != path and set(LAYERS[each]) < set(extras))
        head = HEAD.format(below=names or f"`{TORCH.name}`")
        path.write_text(head + "".join(text for name, text in new.items() if not OF_TORCH.match(name)))
        below, known = found, list(found.values()) + known
        print(f"{path.name}: {len(new)} packages.")


def resolved(extras: Sequence[str], known: Sequence[str], *, upgrade: bool) -> dict[str, str]:
    """Returns the lines of each package that the project needs with these extras."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock"
        output.write_text("".join(known))
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml", "--quiet"]
        command += ["--universal", "--fork-strategy", "fewest", "--generate-hashes", "--no-header", "--no-annotate"]
        command += [argument for extra in extras for argument in ("--extra", extra)]
        command += ["--upgrade"] * upgrade
        done = subprocess.run([*command, "--output-file", output], cwd=PROJECT, check=False)
        if done.returncode:
            sys.exit("The locks stay as they were.")
        return blocks(output.read_text())


def pin(block: str) -> str:
    """Returns the name and the version of a package's lines."""
    return block.split(maxsplit=1)[0]


def blocks(text: str) -> dict[str, str]:
    """Splits a lock into the lines of each package.

    Raises:
        SystemExit: a package has two versions, such as one for older Pythons.
    """
    found: dict[str, str] = {}
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE):
        name = re.match(r"[a-z0-9.-]+", block)
        if name is None:
            continue
        if name.group() in found:
            sys.exit(f"No one version of {name.group()} is for every Python. Give it bounds in pyproject.toml.")
        found[name.group()] = block
    return found


if __name__ == "__main__":
    main()
