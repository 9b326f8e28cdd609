"""Starting, stopping and sharing the embedded servers of `NCF_HOME`.

A command starts the servers that it needs and that do not run. The last command that needs them stops them, unless
`ncf-pipeline up` started them.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.passwords import kept_password, password
from ncf_pipeline.local.ports import LOOPBACK, remembered_port
from ncf_pipeline.local.postgres import SUPERUSER, database_url, ensure_database, start_postgres, stop_postgres
from ncf_pipeline.local.private import make_private
from ncf_pipeline.local.processes import is_alive, stop_together, this_process
from ncf_pipeline.local.redis import redis_url, start_redis, stop_redis
from ncf_pipeline.local.signals import ending_in_order, undisturbed
from ncf_pipeline.local.state import (
    AIRFLOW,
    GROUPS,
    POSTGRES,
    REDIS,
    Services,
    User,
    locked,
    read_services,
    write_services,
)
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.migrations import migrate

SHOP_DATABASE = "ncf"
METADATA_DATABASE = "airflow"

Say = Callable[[str], None]


def silent(_line: str) -> None:
    """Prints nothing."""


def up(settings: Settings, *, airflow: bool = True, say: Say = silent) -> Settings:
    """Starts the servers that do not run yet. They run until `down`.

    Args:
        settings: if they name a database or a list store, no embedded one is started.
        airflow: start Airflow too.
        say: is called with progress messages.

    Returns:
        Settings with the addresses of the running servers.

    Raises:
        ServiceError: a server did not start. Servers that this call started are stopped again.
    """
    groups = _needed(settings, airflow=airflow)
    with ending_in_order(), locked(settings.home), _in_our_words(settings.home):
        services = read_services(settings.home)
        _start(settings, services, groups, say)
        services.kept = sorted({*services.kept, *groups})
        write_services(settings.home, services)
        return connected(settings, services)


def down(settings: Settings, *, say: Say = silent) -> None:
    """Stops every embedded server of this home, even if another command uses it.

    Raises:
        ServiceError: a server belongs to another user.
    """
    with undisturbed(), locked(settings.home), _in_our_words(settings.home):
        services = read_services(settings.home)
        services.kept = []
        _stop(settings.home, services, GROUPS, say)


@contextmanager
def serving(
    settings: Settings,
    *,
    database: bool = True,
    list_store: bool = True,
    airflow: bool = False,
    migrated: bool = True,
    say: Say = silent,
) -> Iterator[Settings]:
    """Provides servers for a block: those that the settings name, those that run already, or new ones.

    Args:
        settings: of the shop.
        database: the block needs the database.
        list_store: the block needs the list store.
        airflow: the block needs Airflow, which needs both.
        migrated: migrate an embedded database to the newest schema.
        say: is called with progress messages.

    Yields:
        Settings with the addresses of the servers.

    Raises:
        ServiceError: a server did not start.
    """
    home = settings.home
    groups = _needed(settings, database=database, list_store=list_store, airflow=airflow)
    if not groups:
        if home.is_dir():  # servers of your own need none
            with _in_our_words(home):
                make_private(home)
        yield settings
        return
    this_command = User(*this_process(), groups=tuple(sorted(groups)))
    with ending_in_order():
        try:
            with locked(home), _in_our_words(home):
                services = read_services(home)
                _start(settings, services, groups, say, migrated=migrated)
                services.users.append(this_command)
                write_services(home, services)
            yield connected(settings, services)
        finally:
            with undisturbed(), locked(home), _in_our_words(home):
                services = read_services(home)
                if this_command in services.users:
                    services.users.remove(this_command)
                needed = {*services.kept, *(group for user in services.users for group in user.groups)}
                _stop(home, services, [group for group in GROUPS if group not in needed], say)


def is_embedded(settings: Settings, group: str) -> bool:
    """Returns whether the settings leave the database (or list store) to the embedded server.

    That includes settings with the embedded server's address, even an outdated one: `load_settings` takes it from the
    record, and the server may have restarted on another port since.

    Args:
        settings: of the shop.
        group: `postgres` or `redis`.
    """
    url = plain(settings.database_url if group == POSTGRES else settings.redis_url)
    if url is None:
        return True
    parts = urlsplit(url)
    name = _secret_name(SHOP_DATABASE) if group == POSTGRES else REDIS
    return parts.hostname == LOOPBACK and parts.password == (kept_password(settings.home, name) or "")


def plain(secret: SecretStr | None) -> str | None:
    """Returns an address with its password."""
    return None if secret is None else secret.get_secret_value()


def connected(settings: Settings, services: Services) -> Settings:
    """Returns the settings with the addresses of the embedded servers that they use."""
    urls = {}
    if is_embedded(settings, POSTGRES) and services.database_url:
        urls["database_url"] = services.database_url
    if is_embedded(settings, REDIS) and services.redis_url:
        urls["redis_url"] = services.redis_url
    return Settings(**{**settings.model_dump(), **urls})


def _needed(settings: Settings, *, database: bool = True, list_store: bool = True, airflow: bool = False) -> set[str]:
    groups = set()
    # Airflow keeps its metadata in the embedded Postgres, even if the shop has its own database.
    if airflow or (database and is_embedded(settings, POSTGRES)):
        groups.add(POSTGRES)
    if (airflow or list_store) and is_embedded(settings, REDIS):
        groups.add(REDIS)
    if airflow:
        groups.add(AIRFLOW)
    return groups


def _start(settings: Settings, services: Services, groups: set[str], say: Say, *, migrated: bool = True) -> None:
    """Starts missing servers, and records each at once, so that the record is right even if the command is killed."""
    home = settings.home
    _remove_the_dead(services)
    before = set(services.processes)
    try:
        if POSTGRES in groups and POSTGRES not in before:
            # Airflow must not keep running while its database restarts.
            _stop(home, services, [AIRFLOW], say)
            _start_postgres(home, services, say)
        if REDIS in groups and REDIS not in before:
            _start_redis(home, services, say)
        if POSTGRES in groups and is_embedded(settings, POSTGRES):
            services.database_url = _ensure_database(home, services, SHOP_DATABASE)
            write_services(home, services)
            if migrated:
                for name in migrate(connected(settings, services)):
                    say(f"Migration {name} applied")
        if AIRFLOW in groups:
            from ncf_pipeline.local.start_airflow import start_airflow  # imports an HTTP client

            metadata_url = _ensure_database(home, services, METADATA_DATABASE)
            start_airflow(connected(settings, services), services, metadata_url=metadata_url, say=say)
    except BaseException:
        with undisturbed():
            _stop_processes(services, [name for name in services.processes if name not in before])
            write_services(home, services)
        raise


def _start_postgres(home: Path, services: Services, say: Say) -> None:
    port = remembered_port(home, POSTGRES)
    secret = password(home, _secret_name(SUPERUSER))
    log = home.resolve() / "logs" / "postgres.log"
    services.processes[POSTGRES] = start_postgres(home / "postgres", port=port, password=secret, log=log)
    services.ports[POSTGRES] = port
    write_services(home, services)
    say(f"Postgres runs on {LOOPBACK}:{port}")


def _start_redis(home: Path, services: Services, say: Say) -> None:
    port = remembered_port(home, REDIS)
    secret = password(home, REDIS)
    log = home.resolve() / "logs" / "redis.log"
    services.processes[REDIS] = start_redis(home / "redis", port=port, password=secret, log=log)
    services.ports[REDIS] = port
    services.redis_url = redis_url(port, password=secret)
    write_services(home, services)
    say(f"Redis runs on {LOOPBACK}:{port}")


def _ensure_database(home: Path, services: Services, name: str) -> str:
    """Creates an embedded database if it is missing; returns its address."""
    port = services.ports[POSTGRES]
    server_secret = password(home, _secret_name(SUPERUSER))
    secret = password(home, _secret_name(name))
    server = database_url(port, role=SUPERUSER, password=server_secret, database="postgres")
    ensure_database(server, name, password=secret)
    return database_url(port, role=name, password=secret, database=name)


def _secret_name(role: str) -> str:
    return f"postgres_{role}"


def _remove_the_dead(services: Services) -> None:
    dead = [name for name, process in services.processes.items() if not is_alive(process)]
    _stop_processes(services, dead)  # stops the processes that they started


def _stop(home: Path, services: Services, groups: Iterable[str], say: Say) -> None:
    for group in groups:
        names = [name for name in services.processes if name.partition("-")[0] == group]
        ran = any(is_alive(services.processes[name]) for name in names)
        _stop_processes(services, names)
        write_services(home, services)
        if ran:
            say(f"{group.capitalize()} stopped")


def _stop_processes(services: Services, names: list[str]) -> None:
    """Stops servers, Airflow first, and removes them from the record."""
    # A running task gets a few seconds, then it is killed; Airflow retries it later.
    stop_together([services.processes[name] for name in names if name.startswith(AIRFLOW)], patience=10)
    for name in names:
        if name == REDIS:
            stop_redis(services.processes[name])
        elif name == POSTGRES:
            stop_postgres(services.processes[name])
        del services.processes[name]
    services.drop_addresses()


@contextmanager
def _in_our_words(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ServiceError(
                f"The disk of {home} is full: free some space or set NCF_HOME to another folder."
            ) from error
        raise ServiceError(f"{home} cannot be used: {error}. Set NCF_HOME to a folder of yours.") from error
