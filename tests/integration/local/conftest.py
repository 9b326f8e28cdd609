"""Folders in which embedded servers can run, and a look at where they listen."""

import shutil
import tempfile
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def folder():
    """A folder that the user can pass through as whom Postgres runs; pytest keeps its own ones closed."""
    path = Path(tempfile.mkdtemp(prefix="ncf-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def listening():
    """Addresses on which a process and its children listen, and ports of Unix sockets as None."""

    def listening(pid):
        process = psutil.Process(pid)
        addresses = set()
        for member in (process, *process.children(recursive=True)):
            for connection in member.net_connections("all"):
                if connection.status == psutil.CONN_LISTEN:
                    addresses.add(tuple(connection.laddr))
        return addresses

    return listening
