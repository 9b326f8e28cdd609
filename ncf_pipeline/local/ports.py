"""Free ports on 127.0.0.1, remembered so that addresses stay the same if possible."""

import json
import random
import socket
from pathlib import Path

from ncf_pipeline.errors import ServiceError, SettingsError
from ncf_pipeline.local.passwords import write_private

LOOPBACK = "127.0.0.1"
PORTS_FILE = "ports.json"

# Below the range that Linux and macOS use for outgoing connections.
_RANGE = range(15_000, 30_000)


def is_free(port: int) -> bool:
    """Returns whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port whose old connections are in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def listening(host: str, port: int, what: str) -> socket.socket:
    """Returns a socket that listens.

    Args:
        host: the address.
        port: 0 takes any free one.
        what: will answer there, for the message.

    Raises:
        SettingsError: the port is taken, or the address is none of this machine's.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SettingsError(
            f"{what} cannot listen on {host}:{port}: {error.strerror}. Choose another --port."
        ) from error


def free_port() -> int:
    """Returns a port of 127.0.0.1 that is free now.

    Raises:
        ServiceError: no free port was found.
    """
    candidates = random.SystemRandom().sample(_RANGE, 200)
    for port in candidates:
        if is_free(port):
            return port
    raise ServiceError(f"No free port on {LOOPBACK} between {_RANGE.start} and {_RANGE.stop}: stop some servers.")


def remembered_port(home: Path, name: str, *, preferred: int | None = None) -> int:
    """Returns the port that a server had before, the preferred one, or another one: the first that is free.

    Args:
        home: `NCF_HOME`, which remembers the port.
        name: of the server.
        preferred: for a server that had no port yet.

    Raises:
        ServiceError: no free port was found.
    """
    try:
        ports = json.loads((home / PORTS_FILE).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        ports = {}
    wanted = [port for port in (ports.get(name), preferred) if isinstance(port, int)]
    port = next((port for port in wanted if is_free(port)), None) or free_port()
    if ports.get(name) != port:
        write_private(home / PORTS_FILE, json.dumps({**ports, name: port}, indent=2) + "\n")
    return port
