"""What runs in `NCF_HOME`, on record: `services.json`, and the lock that its writers take."""

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
from ncf_pipeline.local.processes import ServerProcess, runs
from ncf_pipeline.settings import SERVICES_FILE

LOCK_FILE = "services.lock"

AIRFLOW, REDIS, POSTGRES = GROUPS = ("airflow", "redis", "postgres")
"""Kinds of servers, in the order in which they are stopped: Airflow needs the others to end in order."""


@dataclass(frozen=True)
class User:
    """A command that uses servers now."""

    pid: int
    started: float  # seconds from the machine's start
    groups: tuple[str, ...]  # which servers it uses: postgres, redis, airflow


@dataclass
class Services:
    """The embedded servers that were started and not stopped. They may have died since."""

    processes: dict[str, ServerProcess] = field(default_factory=dict)  # by name: postgres, airflow-scheduler, ...
    kept: list[str] = field(default_factory=list)  # groups that stay until `down`
    users: list[User] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=dict)  # by group
    database_url: str | None = None
    redis_url: str | None = None
    airflow_url: str | None = None
    airflow_fingerprint: str | None = None  # of the environment that Airflow runs in

    def forget_addresses(self) -> None:
        """Takes the addresses of what does not run off the record."""
        if POSTGRES not in self.processes:
            self.database_url = None
        if REDIS not in self.processes:
            self.redis_url = None
        if f"{AIRFLOW}-api-server" not in self.processes:
            self.airflow_url = None


def read_services(home: Path) -> Services:
    """What is on record; nothing where there is no record or a damaged one."""
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
    """Puts it on record, in a file of mode 600: the addresses hold passwords."""
    write_private(home / SERVICES_FILE, json.dumps(asdict(services), indent=2, default=str) + "\n")


@contextmanager
def locked(home: Path, *, patience: float = 240) -> Iterator[None]:
    """One command at a time starts or stops servers of this home; others wait.

    Args:
        home: `NCF_HOME`, made where it is missing.
        patience: seconds to wait.

    Raises:
        ServiceError: the home cannot be used, or another command takes too long.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
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
                    "wait for it, or end it."
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(lock)
