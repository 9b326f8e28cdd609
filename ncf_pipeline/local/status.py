"""Which servers run in `NCF_HOME`, and which publication the storefront reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncf_pipeline.local.processes import is_alive, memory_mb
from ncf_pipeline.local.services import is_embedded, plain
from ncf_pipeline.local.state import AIRFLOW, POSTGRES, REDIS, read_services
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront


@dataclass(frozen=True)
class RunningServer:
    """A process that runs now.

    Attributes:
        pid: its process id.
        memory_mb: its memory in MB, with that of the processes it started.
        log: the file that it writes to.
    """

    pid: int
    memory_mb: int
    log: Path


@dataclass(frozen=True)
class Status:
    """What runs in `NCF_HOME`, and where.

    Attributes:
        home: the absolute path of `NCF_HOME`.
        database_url: of the shop's Postgres, with its password; None if the embedded one does not run.
        redis_url: of the list store, with its password; None if the embedded one does not run.
        airflow_url: of Airflow's UI; None if it does not run.
        pages_url: of the pages under Recommender; None if Airflow does not run.
        inbox: the folder into which invoices are dropped.
        running: embedded servers by name, such as `postgres` or `airflow-scheduler`.
        ports: of the running servers, by group: `postgres`, `redis`, `airflow`.
        died: names of servers that were started and have died since.
        live_publication: what the storefront reads, such as `p000042`; None without one.
        list_store_answers: whether Redis could be asked for it; None if the embedded one does not run.
    """

    home: Path
    database_url: str | None
    redis_url: str | None
    airflow_url: str | None
    pages_url: str | None
    inbox: Path
    running: Mapping[str, RunningServer]
    ports: Mapping[str, int]
    died: tuple[str, ...]
    live_publication: str | None
    list_store_answers: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """What `ncf-pipeline status --json` prints."""
        return {
            "home": str(self.home),
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "airflow_url": self.airflow_url,
            "pages_url": self.pages_url,
            "inbox": str(self.inbox),
            "running": {
                name: {"pid": server.pid, "memory_mb": server.memory_mb, "log": str(server.log)}
                for name, server in self.running.items()
            },
            "ports": dict(self.ports),
            "died": list(self.died),
            "live_publication": self.live_publication,
            "list_store_answers": self.list_store_answers,
        }


def status(settings: Settings) -> Status:
    """Looks up which servers run, and which publication the storefront reads.

    Raises:
        ServiceError: the record of the servers cannot be read.
    """
    services = read_services(settings.home)
    alive = {name: process for name, process in services.processes.items() if is_alive(process)}
    store = plain(settings.redis_url)
    if is_embedded(settings, REDIS):
        store = services.redis_url if REDIS in alive else None
    database = plain(settings.database_url)
    if is_embedded(settings, POSTGRES):
        database = services.database_url if POSTGRES in alive else None
    airflow = services.airflow_url if f"{AIRFLOW}-api-server" in alive else None
    publication, answers = _live_publication(store, settings) if store else (None, None)
    return Status(
        home=settings.home.resolve(),
        database_url=database,
        redis_url=store,
        airflow_url=airflow,
        pages_url=None if airflow is None else f"{airflow}/recommender/",
        inbox=settings.inbox_path.resolve(),
        running={
            name: RunningServer(process.pid, memory_mb([process]), process.log) for name, process in alive.items()
        },
        ports={group: port for group, port in services.ports.items() if any(n.startswith(group) for n in alive)},
        died=tuple(sorted(set(services.processes) - set(alive))),
        live_publication=publication,
        list_store_answers=answers,
    )


def _live_publication(url: str, settings: Settings) -> tuple[str | None, bool]:
    """Returns the live publication, and whether Redis answered."""
    with Storefront(url, prefix=settings.key_prefix, cluster=settings.redis_cluster, timeout=5) as shop:
        seen = shop.for_visitor()
    return seen.publication, seen.source != "unavailable"
