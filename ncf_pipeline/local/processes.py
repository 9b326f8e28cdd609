"""Processes that outlive the command that started them: how to find, watch and stop them again."""

import json
import os
import secrets
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from ncf_pipeline.errors import ServiceError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Running:
    """A process by its id and the time at which it was created, since ids are used again."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "Running":
        """The process that has this id now.

        Raises:
            psutil.NoSuchProcess: there is none.
        """
        return cls(pid, psutil.Process(pid).create_time())

    def process(self) -> psutil.Process | None:
        """The process if it still runs, and is not another one with the same id."""
        try:
            process = psutil.Process(self.pid)
            alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            return process if alive and abs(process.create_time() - self.created) < 1 else None
        except psutil.NoSuchProcess:
            return None


def remember(path: Path, running: Running) -> None:
    """Writes a pid file, whole or not at all."""
    write_private(path, json.dumps({"pid": running.pid, "created": running.created}))


def recall(path: Path) -> Running | None:
    """The process of a pid file, if it still runs."""
    try:
        running = Running(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return running if running.process() else None


def stop(running: Running, *, patience: float = 20.0) -> None:
    """Ends a process and its children: politely, then by force."""
    process = running.process()
    if process is None:
        return
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=patience)
    for left in alive:
        try:
            left.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)


def write_private(path: Path, text: str) -> None:
    """Writes a file that only this user may read (mode 600), whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def secret_in(path: Path, *, length: int = 24) -> str:
    """The secret kept in a file of mode 600; generated the first time."""
    try:
        return path.read_text()
    except FileNotFoundError:
        secret = secrets.token_hex(length)
        write_private(path, secret)
        return secret


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(*preferred: int | None) -> int:
    """The first of the preferred ports that is free, else any free one."""
    for port in preferred:
        if port and port_is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def last_line(log: Path) -> str:
    """What a server said last, for an error message."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "it wrote no log"
    return lines[-1] if lines else "its log is empty"


def wait_until_listening(name: str, port: int, running: Running, log: Path, *, patience: float = 30.0) -> None:
    """Returns once a server accepts connections.

    Raises:
        ServiceError: it died or did not listen in time.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if running.process() is None:
            raise ServiceError(f"{name} did not start: {last_line(log)} (log: {log}).")
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.05)
    raise ServiceError(f"{name} does not listen after {patience:.0f} s: {last_line(log)} (log: {log}).")
