"""What runs in `NCF_HOME`, and what the storefront reads."""

from typing import Any

from ncf_pipeline.local.processes import is_alive, memory_mb
from ncf_pipeline.local.services import is_embedded, plain
from ncf_pipeline.local.state import AIRFLOW, POSTGRES, REDIS, read_services
from ncf_pipeline.settings import Settings
from ncf_pipeline.storefront import Storefront


def status(settings: Settings) -> dict[str, Any]:
    """What runs, and where.

    Returns:
        `home`; `database_url`, `redis_url` and `airflow_url` (None where nothing runs); `running` (by
        name: `pid`, `memory_mb`, `log`) and `ports`; `died` (names of servers that were started and are gone);
        `live_publication` (e.g. `p000042`; None without one).
    """
    services = read_services(settings.home)
    alive = {name: process for name, process in services.processes.items() if is_alive(process)}
    store = plain(settings.redis_url)
    if is_embedded(settings, REDIS):
        store = services.redis_url if REDIS in alive else None
    database = plain(settings.database_url)
    if is_embedded(settings, POSTGRES):
        database = services.database_url if POSTGRES in alive else None
    return {
        "home": str(settings.home.resolve()),
        "database_url": database,
        "redis_url": store,
        "airflow_url": services.airflow_url if f"{AIRFLOW}-api-server" in alive else None,
        "running": {
            name: {"pid": process.pid, "memory_mb": memory_mb([process]), "log": str(process.log)}
            for name, process in alive.items()
        },
        "ports": {group: port for group, port in services.ports.items() if any(n.startswith(group) for n in alive)},
        "died": sorted(set(services.processes) - set(alive)),
        "live_publication": _live_publication(store, settings) if store else None,
    }


def _live_publication(url: str, settings: Settings) -> str | None:
    # None where Redis does not answer: `running` and `died` say more than an error here would.
    with Storefront(url, prefix=settings.key_prefix, cluster=settings.redis_cluster, timeout=5) as shop:
        return shop.for_visitor().publication
