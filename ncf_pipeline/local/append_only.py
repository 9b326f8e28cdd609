"""Mends the embedded Redis' append-only file after a full disk.

Since Redis 7, and in Valkey, a write that a full disk cuts short is taken back by cutting the file, but the next write
goes where the short one ended. Between them lies a hole of zeros. Nothing is lost, as the next write repeats all, but
the server refuses to start with such a file, and what `redis-check-aof` offers is to cut off everything behind it.
"""

import mmap
from pathlib import Path

from ncf_pipeline.storage.files import new_file


def cut_out_holes(folder: Path) -> int:
    """Removes the zeros between commands from the files that commands were appended to.

    A file with any other damage stays as it is.

    Args:
        folder: `appendonlydir` of a server that does not run.

    Returns:
        Bytes that were removed.

    Raises:
        OSError: a file cannot be read.
        ArtifactError: a mended file cannot be written.
    """
    removed = 0
    for path in sorted(folder.glob("*.incr.aof")):
        if not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            holes = _holes(content)
            if not holes:
                continue
            mode = path.stat().st_mode
            with new_file(path.as_uri()) as mended:
                at = 0
                for start, end in holes:
                    mended.write(content[at:start])
                    at = end
                mended.write(content[at:])
            path.chmod(mode)
        removed += sum(end - start for start, end in holes)
    return removed


def _holes(content: mmap.mmap) -> list[tuple[int, int]]:
    """Where zeros lie between two commands; nothing if the file is damaged in another way.

    A command is `*N` and N times `$LENGTH` and as many bytes, each line ended by CR and LF; `#` begins a remark.
    """
    holes, at, size = [], 0, len(content)
    while at < size:
        first = content[at]
        if first == 0:
            end = at
            while end < size and content[end] == 0:
                end += 1
            holes.append((at, end))
            at = end
        elif first == ord("#"):
            at = _after_line(content, at)
        elif first == ord("*"):
            line = _after_line(content, at)
            parts, at = _number(content[at + 1 : line]), line
            for _ in range(parts):
                line = _after_line(content, at)
                at = line + _number(content[at + 1 : line]) + 2
        else:
            return []
    # A last command that is cut short is left to the server, which knows what to do with it.
    return holes


def _after_line(content: mmap.mmap, at: int) -> int:
    end = content.find(b"\n", at)
    return end + 1 if end >= 0 else len(content)


def _number(digits: bytes) -> int:
    return int(digits) if digits.strip().isdigit() else 0
