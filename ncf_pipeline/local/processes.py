"""Starting a server that outlives us, knowing it again, and stopping it.

A server is known by its pid together with the instant at which it started: a pid alone may have
been given to another process since.
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

_LARGE_LOG = 10_000_000  # bytes; a larger log is set aside at the next start
_SAME_START = 0.05  # seconds; starts are counted in hundredths
_POLL = 0.05  # seconds between two looks

# Ours, as long as we live: a dead child stays in the process table until its parent has looked.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ServerProcess:
    """A server that was started, perhaps by an earlier command."""

    name: str  # as people call it: Postgres, Redis, ...
    pid: int  # also the number of its process group and its session
    started: float  # seconds from the machine's start to the process's: no clock can change it
    log: Path
    log_start: int  # size of the log before it started, in bytes


def spawn(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str],
    account: struct_passwd | None = None,
) -> ServerProcess:
    """Starts a server in a session of its own, so that a Ctrl-C meant for us does not reach it.

    Args:
        name: as people call it.
        command: the program and its arguments.
        log: its standard output and error are appended here.
        cwd: the folder that it runs in.
        env: its whole environment.
        account: the user that it runs as; ours if None.

    Raises:
        ServiceError: the program is missing, or the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
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
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
    except OSError as error:
        raise ServiceError(f"{name} did not start: {error}.") from error
    _children[child.pid] = child
    try:
        started = _since_boot(psutil.Process(child.pid))
    except psutil.NoSuchProcess:  # on platforms where a dead child is gone before its parent looked
        started = 0.0
    return ServerProcess(name, child.pid, started, log, log_start)


def is_alive(process: ServerProcess) -> bool:
    """Whether this very process still runs."""
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        return False
    return runs(process.pid, process.started)


def runs(pid: int, started: float) -> bool:
    """Whether the process of that pid is the one that started then.

    Args:
        pid: of the process.
        started: seconds from the machine's start.
    """
    try:
        found = psutil.Process(pid)
        return found.status() != psutil.STATUS_ZOMBIE and abs(_since_boot(found) - started) < _SAME_START
    except psutil.NoSuchProcess:
        return False


def listens(process: ServerProcess, port: int) -> bool:
    """Whether it is this server, or a child of it, that listens on a TCP port."""
    with suppress(psutil.Error):
        server = psutil.Process(process.pid)
        for member in (server, *server.children(recursive=True)):
            with suppress(psutil.Error):
                for connection in member.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                        return True
    return False


def wait_until(ready: Callable[[], bool], process: ServerProcess, *, patience: float) -> None:
    """Returns when the server is ready.

    Args:
        ready: looks once.
        process: the server.
        patience: seconds to wait.

    Raises:
        ServiceError: it died or is not ready in time; the message has what its log says.
    """
    deadline = time.monotonic() + patience
    while not ready():
        if not is_alive(process):
            raise ServiceError(f"{process.name} did not start: {last_words(process)}")
        if time.monotonic() > deadline:
            raise ServiceError(f"{process.name} is not ready after {patience:.0f} s: {last_words(process)}")
        time.sleep(_POLL)


def stop(process: ServerProcess, *, how: signal.Signals = signal.SIGTERM, patience: float = 30) -> None:
    """Stops a server and what it started. A server that is not there any more is stopped already.

    Args:
        process: the server.
        how: the signal that asks it to stop.
        patience: seconds after which it is killed.

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
    """Stops servers at the same time, which takes as long as the slowest."""
    for process in processes:
        if is_alive(process):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, signal.SIGTERM)
    for process in processes:
        stop(process, patience=patience)


def _session(process: ServerProcess) -> list[psutil.Process]:
    """What runs in the server's session: itself, and what it started and left behind."""
    if psutil.pid_exists(process.pid) and not is_alive(process) and process.pid not in _children:
        return []  # the number belongs to somebody else now, so the session that had it is gone
    members = []
    for found in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(found.pid) == process.pid and found.status() != psutil.STATUS_ZOMBIE:
                members.append(found)
    return members


def find_strays(name: str, program: str, *, cwd: Path, log: Path) -> list[ServerProcess]:
    """Servers that run in a folder although nobody recorded them: whoever started them was killed.

    Args:
        name: as people call it.
        program: what runs, e.g. `postgres`, or `airflow` for `python -m airflow`.
        cwd: the folder that they run in.
        log: where they write.
    """
    strays = []
    folder = cwd.resolve()
    for found in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            command = found.cmdline()
            called = Path(command[0]).name.split()[:1] if command else []
            if program not in (called and called[0], command[2] if command[1:2] == ["-m"] else None):
                continue
            if Path(found.cwd()) == folder and os.getsid(found.pid) == found.pid:
                strays.append(ServerProcess(name, found.pid, _since_boot(found), log, 0))
    return strays


def memory_mb(servers: Iterable[ServerProcess]) -> int:
    """Memory of servers and all that they started, shared pages counted once where the system can tell."""
    families = {server.pid for server in servers}
    total = 0
    # A parent comes before its children, unless pids have wrapped around: then a measurement is too small once.
    for member in psutil.process_iter():
        with suppress(psutil.Error):
            if member.pid in families or member.ppid() in families:
                families.add(member.pid)
                used = member.memory_full_info()
                total += getattr(used, "pss", used.rss)
    return total // 2**20


def this_process() -> tuple[int, float]:
    """Our own pid and start, by which others can tell whether we still run."""
    return os.getpid(), _since_boot(psutil.Process())


def last_words(process: ServerProcess) -> str:
    """What the log says since this start: the last line that speaks of an error, else the last line."""
    try:
        with process.log.open("rb") as log:
            log.seek(process.log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    # Postgres goes on to say that it is shut down; the reason stands before.
    grave = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "Fatal", "ERROR", "Error"))]
    words = (grave or lines or ["it said nothing"])[-1].strip()
    return f"{words} (log: {process.log})"


def _since_boot(process: psutil.Process) -> float:
    # Both are shifted together when the clock is set, so the difference stays.
    return float(process.create_time() - psutil.boot_time())
