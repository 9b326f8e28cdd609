"""Options and arguments that several commands share."""

import getpass
import logging
import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from ncf_pipeline.redaction import redacted

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def log_to_terminal(*, quiet: bool) -> None:
    """Logs to standard error: what the command does, or only warnings if `quiet`."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S", markup=False)
    handler.addFilter(_redact)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")
    logging.getLogger("ncf_pipeline").setLevel(logging.WARNING if quiet else logging.INFO)


def _redact(record: logging.LogRecord) -> bool:
    """Masks secrets in a line of the log, also in one of a library."""
    record.msg, record.args = redacted(record.getMessage()), None
    return True


def version_number(text: str) -> int:
    """Reads the number of a model version.

    Raises:
        typer.BadParameter: the text is not a version; the command exits with 2.

    >>> version_number("v7")
    7
    """
    digits = text.removeprefix("v")
    if not digits.isdecimal():
        raise typer.BadParameter(f"{text!r} is not a version: write 7 or v7.")
    return int(digits)


def at_terminal() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty()  # None if it was closed


def heed_ctrl_c() -> None:
    """Lets Ctrl-C end a prompt at once.

    polars replaces its handler by one after which a waiting read continues, so that nothing would happen before Enter.
    This puts Python's own handler back.
    """
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


def user() -> str:
    """Who runs the command, as the registry stores it."""
    return f"command line, {user_name()}"


def user_name() -> str:
    """The name of the user on this machine; their number if it has no name, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"
