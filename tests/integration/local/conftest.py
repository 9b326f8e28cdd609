"""Folders in which embedded servers can run, and the addresses on which they listen."""

import shutil
import tempfile
from pathlib import Path

import psutil
import pytest


@pytest.fixture
def folder():
    """A folder that the user who runs Postgres can traverse; pytest's own folders are closed."""
    path = Path(tempfile.mkdtemp(prefix="ncf-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def listening():
    """Returns the addresses on which a process and its children listen; a Unix socket counts as None."""

    def listening(pid):
        process = psutil.Process(pid)
        addresses = set()
        for member in (process, *process.children(recursive=True)):
            for connection in member.net_connections("all"):
                if connection.status == psutil.CONN_LISTEN:
                    addresses.add(tuple(connection.laddr))
        return addresses

    return listening
