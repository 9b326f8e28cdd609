"""Downloads every wheel that the images need into a folder, for builds without a network: `make docker-wheelhouse`.

pip asks the conditions of a lock, such as `python_full_version < '3.11.3'`, of the Python that runs it, even where it
downloads for another. So they are decided here, for every release of the image's Python: Debian's is not the newest.
TORCH_INDEX_URL chooses the build of torch, as for the images.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lock import LAYERS, TORCH
from packaging.requirements import Requirement
from resolve import blocks, pin

PYTHON = "3.11"  # of docker/Dockerfile
RELEASES = [f"{PYTHON}.{patch}" for patch in range(32)]


def for_image(text: str) -> str:
    """Returns the lines of a lock that any release of the image's Python needs, without conditions."""
    needed = []
    for block in blocks(text).values():
        stated, _, rest = block.partition("\n")
        requirement = Requirement(stated.rstrip(" \\"))
        if requirement.marker and not any(
            requirement.marker.evaluate(
                {"python_version": PYTHON, "python_full_version": release, "sys_platform": "linux"}
            )
            for release in RELEASES
        ):
            continue
        requirement.marker = None
        needed.append(f"{requirement} \\\n{rest}" if rest else f"{requirement}\n")
    return "".join(needed)


def download(folder: Path, *arguments: str) -> None:
    """Has pip download into the folder.

    Raises:
        SystemExit: pip could not.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *arguments]
    command += ["--python-version", PYTHON, "--only-binary", ":all:"]
    if subprocess.run(command, check=False).returncode:
        sys.exit(f"pip could not download all wheels into {folder}: see its message above, then run it again.")


def main(folder: Path) -> None:
    """Downloads the wheels."""
    url = os.environ.get("TORCH_INDEX_URL")
    index = ["--index-url", url] if url else []
    lock_text = "".join(for_image(path.read_text()) for path in LAYERS)
    with tempfile.TemporaryDirectory() as temporary:
        lock, pins = Path(temporary) / "lock.txt", Path(temporary) / "pins.txt"
        lock.write_text(lock_text)
        pins.write_text("".join(f"{pin(block)}\n" for block in blocks(lock_text).values()))
        download(folder, "--no-deps", "--requirement", str(TORCH), *index)
        download(folder, "--no-deps", "--require-hashes", "--requirement", str(lock))
        # The libraries that this build of torch names, if any.
        download(folder, "--find-links", str(folder), "--constraint", str(pins), "--requirement", str(TORCH), *index)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
