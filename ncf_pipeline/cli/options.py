"""Options that several commands have, and where they say what they do."""

import logging
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def log_to_terminal(*, quiet: bool) -> None:
    """Shows on standard error what is done, or, quietly, warnings alone."""
    handler = RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%H:%M:%S", markup=False)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], format="%(message)s")
    logging.getLogger("ncf_pipeline").setLevel(logging.WARNING if quiet else logging.INFO)
