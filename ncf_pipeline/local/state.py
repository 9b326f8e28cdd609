"""The record of the embedded servers, `services.json` in `NCF_HOME`, and the lock of its writers."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.passwords import write_private
from ncf_pipeline.local.private import make_private
from ncf_pipeline.local.processes import ServerProcess, runs
from ncf_pipeline.settings import SERVICES_FILE

LOCK_FILE = "services.lock"

AIRFLOW, REDIS, POSTGRES = GROUPS = ("airflow", "redis", "postgres")
"""Groups of servers, in the order in which they stop: Airflow needs the others to stop cleanly."""


@dataclass(frozen=True)
class User:
    """A command that uses servers now.

    Attributes:
        pid: its process id.
        started: seconds from the machine's boot to its start.
        groups: of the servers that it uses: `postgres`, `redis`, `airflow`.
    """

    pid: int
    started: float
    groups: tuple[str, ...]


@dataclass
class Services:
    """The embedded servers that were started and not stopped. They may have died since.

    Attributes:
        processes: by name: `postgres`, `redis`, `airflow-scheduler`, ...
        kept: groups that run until `down`.
        users: commands that use servers now.
        ports: by group.
        database_url: of the shop's database, with its password.
        redis_url: of the list store, with its password.
        airflow_url: of Airflow's UI.
        airflow_fingerprint: of the environment that Airflow runs in.
    """

    processes: dict[str, ServerProcess] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)
    database_url: str | None = None
    redis_url: str | None = None
    airflow_url: str | None = None
    airflow_fingerprint: str | None = None

    def drop_addresses(self) -> None:
        """Removes the addresses of servers that do not run."""
        if POSTGRES not in self.processes:
            self.database_url = None
        if REDIS not in self.processes:
            self.redis_url = None
        if f"{AIRFLOW}-api-server" not in self.processes:
            self.airflow_url = None


def read_services(home: Path) -> Services:
    """Returns the record; an empty one if it is missing or damaged.

    Raises:
        ServiceError: it belongs to another user.
    """
    try:
        record = json.loads((home / SERVICES_FILE).read_text())
        record["processes"] = {
            name: ServerProcess(**{**process, "log": Path(process["log"])})
            for name, process in record["processes"].items()
        }
        record["users"] = [User(**{**user, "groups": tuple(user["groups"])}) for user in record["users"]]
        services = Services(**record)
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, KeyError, TypeError, AttributeError):
        return Services()
    except PermissionError as error:
        raise ServiceError(f"{home / SERVICES_FILE} cannot be read: set NCF_HOME to a folder of yours.") from error
    services.users = [user for user in services.users if runs(user.pid, user.started)]
    return services


def write_services(home: Path, services: Services) -> None:
    """Writes the record to a file of mode 600, because the addresses hold passwords."""
    write_private(home / SERVICES_FILE, json.dumps(asdict(services), indent=2, default=str) + "\n")


@contextmanager
def locked(home: Path, *, patience: float = 240) -> Iterator[None]:
    """Lets one command at a time start or stop servers of this home; others wait.

    Args:
        home: `NCF_HOME`; created if it is missing.
        patience: seconds to wait.

    Raises:
        ServiceError: the home cannot be used, or another command holds the lock for too long.
    """
    try:
        make_private(home)
        lock = os.open(home / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ServiceError(f"{home} cannot be used: {error.strerror}. Set NCF_HOME to a folder of yours.") from error
    try:
        deadline = time.monotonic() + patience
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise ServiceError(
                    f"Another command has been starting or stopping servers in {home} for {patience:.0f} s: "
                    "wait for it, or stop it."
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)
