"""Unpacks packed files in processes of their own, which have limits, and refuses what holds too much."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.readers.header import shortened

logger = logging.getLogger(__name__)

_SECONDS = 1800


def too_large(name: str, max_unpacked_mb: int, megabytes: int | None = None) -> InputError:
    """The error for a file that holds more than it may.

    Args:
        name: what people call it.
        max_unpacked_mb: what it may hold.
        megabytes: what it holds, if that is known.
    """
    found = "more than" if megabytes is None else f"{megabytes:,} MB, more than"
    return InputError(
        f"{name} unpacks to {found} the {max_unpacked_mb:,} MB that are allowed. "
        "If it should be so large, raise NCF_MAX_UNPACKED_MB."
    )


def unpacked_by(
    program: str, name: str, *arguments: str, max_unpacked_mb: int, kind: str, advice: str
) -> dict[str, Any]:
    """What a program of this folder answers: a JSON object, or `error`, or `is_too_large`.

    Args:
        program: its file name.
        name: what people call the file that it reads, for messages.
        arguments: of the program, which gets the limit in bytes in front of them.
        max_unpacked_mb: a file that unpacks to more megabytes is refused.
        kind: of file, for messages: "workbook".
        advice: what to do with a file that needs too much memory or time.

    Raises:
        InputError: the file is damaged, holds too much, or needs too much memory or time.
    """
    # -P: imports nothing from the current folder.
    command = [sys.executable, "-P", str(Path(__file__).with_name(program)), str(max_unpacked_mb << 20), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{name} could not be read within {_SECONDS // 60} minutes. {advice}") from error
    logger.debug("%s: %s", name, done.stderr.decode(errors="replace"))
    if done.returncode:
        raise InputError(f"{name} cannot be read: it needs more memory or time than a {kind} should. {advice}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer.get("is_too_large"):
        raise too_large(name, max_unpacked_mb)
    if "error" in answer:
        reason = shortened(answer["error"].splitlines()[0] if answer["error"] else "damaged", 120)
        raise InputError(f"{name} is not a readable {kind} ({reason}). Save it again, or send it again.")
    return answer
