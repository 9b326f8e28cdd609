"""Processes of servers that outlive the command that started them: start, recognise, stop.

A server is identified by its pid and its start time, because the pid alone may belong to another process by now.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pwd import struct_passwd

import psutil

from ncf_pipeline.errors import ServiceError

_LARGE_LOG = 10_000_000  # bytes; a larger log is renamed at the next start
_SAME_START = 0.05  # seconds; start times have a resolution of 0.01 s
_POLL = 0.05  # seconds between two checks

# Children of this process: a dead child stays in the process table until its parent has polled it.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ServerProcess:
    """A server that was started, perhaps by an earlier command.

    Attributes:
        name: for people: `Postgres`, `Redis`, ...
        pid: its process id, also the id of its process group and its session.
        started: seconds from the machine's boot to its start, which no change of the clock affects.
        log: the file that it writes to.
        log_start: the size of the log before it started, in bytes.
    """

    name: str
    pid: int
    started: float
    log: Path
    log_start: int


def spawn(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    account: struct_passwd | None = None,
) -> ServerProcess:
    """Starts a server in a session of its own, so that Ctrl-C in the terminal does not reach it.

    Args:
        name: for people.
        command: the program and its arguments.
        log: its standard output and error are appended here.
        cwd: the folder that it runs in.
        env: its whole environment.
        account: the user that it runs as; None for the current user.

    Raises:
        ServiceError: the program is missing, or the log cannot be written.
    """
    try:
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LARGE_LOG:
            log.replace(log.with_suffix(log.suffix + ".1"))
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            log_start = output.tell()
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
                umask=0o077,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
    except OSError as error:
        raise ServiceError(f"{name} did not start: {error}.") from error
    _children[child.pid] = child
    try:
        started = _since_boot(psutil.Process(child.pid))
    except psutil.NoSuchProcess:  # on platforms that remove a dead child before its parent has polled it
        started = 0.0
    return ServerProcess(name, child.pid, started, log, log_start)


def is_alive(process: ServerProcess) -> bool:
    """Returns whether this process still runs."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        return False
    return runs(process.pid, process.started)


def runs(pid: int, started: float) -> bool:
    """Returns whether the process with this pid runs and started at this time.

    Args:
        pid: of the process.
        started: seconds since the machine's boot.
    """
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(_since_boot(process) - started) < _SAME_START
    except psutil.NoSuchProcess:
        return False


def listens(process: ServerProcess, port: int) -> bool:
    """Returns whether this server, or a child of it, listens on a TCP port."""
    with suppress(psutil.Error):
        server = psutil.Process(process.pid)
        for member in (server, *server.children(recursive=True)):
            with suppress(psutil.Error):
                for connection in member.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                        return True
    return False


def wait_until(ready: Callable[[], bool], process: ServerProcess, *, patience: float) -> None:
    """Waits until the server is ready.

    Args:
        ready: checks once.
        process: the server.
        patience: seconds to wait.

    Raises:
        ServiceError: it died or is not ready in time; the message quotes its log.
    """
    deadline = time.monotonic() + patience
    while not ready():
        if not is_alive(process):
            raise ServiceError(f"{process.name} did not start: {last_words(process)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{process.name} is not ready after {patience:.0f} s: {last_words(process)}")
        time.sleep(_POLL)


def stop(process: ServerProcess, *, how: signal.Signals = signal.SIGTERM, patience: float = 30) -> None:
    """Stops a server and the processes that it started. Does nothing if it does not run.

    Args:
        process: the server.
        how: the signal to send first.
        patience: seconds until it is killed.

    Raises:
        ServiceError: it belongs to another user.
    """
    try:
        if is_alive(process):
            os.kill(process.pid, how)
            deadline = time.monotonic() + patience
            while is_alive(process) and time.monotonic() < deadline:
                time.sleep(_POLL)
        for member in _session(process):
            with suppress(psutil.NoSuchProcess):
                member.kill()
    except (PermissionError, psutil.AccessDenied) as error:
        raise ServiceError(
            f"{process.name} (process {process.pid}) belongs to another user: stop it as that user."
        ) from error
    except ProcessLookupError:
        pass
    child = _children.pop(process.pid, None)
    if child is not None:
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=5)


def stop_together(processes: Sequence[ServerProcess], *, patience: float) -> None:
    """Stops several servers at the same time.

    Args:
        processes: the servers.
        patience: seconds until each is killed.

    Raises:
        ServiceError: one belongs to another user.
    """
    for process in processes:
        if is_alive(process):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGTERM)
    for process in processes:
        stop(process, patience=patience)


def _session(process: ServerProcess) -> list[psutil.Process]:
    """Returns the processes of the server's session: itself, and those that it started."""
    if psutil.pid_exists(process.pid) and not is_alive(process) and process.pid not in _children:
        return []  # the pid belongs to another process now, so the session is gone
    members = []
    for candidate in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(candidate.pid) == process.pid and candidate.status() != psutil.STATUS_ZOMBIE:
                members.append(candidate)
    return members


def find_strays(name: str, program: str, *, cwd: Path, log: Path) -> list[ServerProcess]:
    """Returns servers that run in a folder but are not on record, because the command that started them was killed.

    Args:
        name: for people.
        program: such as `postgres`, or `airflow` for `python -m airflow`.
        cwd: the folder that they run in.
        log: the file that they write to.
    """
    strays = []
    folder = cwd.resolve()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            command = process.cmdline()
            called = Path(command[0]).name.split()[:1] if command else []
            if program not in (called and called[0], command[2] if command[1:2] == ["-m"] else None):
                continue
            if Path(process.cwd()) == folder and os.getsid(process.pid) == process.pid:
                strays.append(ServerProcess(name, process.pid, _since_boot(process), log, 0))
    return strays


def memory_mb(servers: Iterable[ServerProcess]) -> int:
    """Returns the memory of servers and their descendants in MB. Shared pages count once if the system can tell."""
    families = {server.pid for server in servers}
    total = 0
    # A parent comes before its children, unless pids have wrapped around: then one measurement is too small.
    for member in psutil.process_iter():
        with suppress(psutil.Error):
            if member.pid in families or member.ppid() in families:
                families.add(member.pid)
                used = member.memory_full_info()
                total += getattr(used, "pss", used.rss)
    return total // 2**20


def this_process() -> tuple[int, float]:
    """Returns this process's pid and start time, by which other commands can tell whether it still runs."""
    return os.getpid(), _since_boot(psutil.Process())


def last_words(process: ServerProcess) -> str:
    """Returns the last line with an error that the server has logged since its start, or else its last line."""
    try:
        with process.log.open("rb") as log:
            log.seek(process.log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    # Postgres logs the reason first, and then that it shuts down.
    grave = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "Fatal", "ERROR", "Error"))]
    words = (grave or lines or ["nothing was logged"])[-1].strip()
    return f"{words} (log: {process.log})"


def _since_boot(process: psutil.Process) -> float:
    # When the clock is set, both change by the same amount.
    return float(process.create_time() - psutil.boot_time())
