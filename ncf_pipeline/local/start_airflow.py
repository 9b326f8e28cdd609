"""Starting the embedded Airflow: port, schema, processes, health, pool."""

from collections.abc import Callable
from datetime import UTC, datetime

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.airflow import (
    COMPONENTS,
    PortTakenError,
    ensure_installed,
    migrate_metadata,
    start_component,
    start_watcher,
    stop_strays,
    wait_until_healthy,
)
from ncf_pipeline.local.airflow_api import AirflowApi
from ncf_pipeline.local.airflow_environment import (
    ADMIN,
    admin_password,
    airflow_environment,
    airflow_url,
    fingerprint,
    watcher_environment,
)
from ncf_pipeline.local.ports import LOOPBACK, is_free, remembered_port
from ncf_pipeline.local.processes import ServerProcess, is_alive, stop_together
from ncf_pipeline.local.state import AIRFLOW, Services, write_services
from ncf_pipeline.settings import Settings

GPU_POOL = "gpu"

_USUAL_PORT = 8080
_WATCHER = f"{AIRFLOW}-watcher"


def start_airflow(settings: Settings, services: Services, *, metadata_url: str, say: Callable[[str], None]) -> None:
    """Starts the processes that do not run, and waits until all are healthy.

    Args:
        settings: with the addresses of running servers.
        services: the record; each started process is added to it.
        metadata_url: of Airflow's own database.
        say: is called with progress messages.

    Raises:
        ServiceError: the port is taken, or a process did not start. The record names the processes that did.
    """
    ensure_installed()
    (settings.home / "airflow").mkdir(parents=True, exist_ok=True)
    try:
        started = _start_missing(settings, services, metadata_url, say)
    except PortTakenError:
        if settings.airflow_port is not None:
            raise
        # All of them, because each one knows the port.
        _stop(services)
        started = _start_missing(settings, services, metadata_url, say)
    if started:
        url = airflow_url(services.ports[AIRFLOW])
        with AirflowApi(url, username=ADMIN, password=admin_password(settings.home)) as api:
            api.ensure_pool(GPU_POOL, slots=1, description="Training: one at a time on one device.")
        services.airflow_url = url
        write_services(settings.home, services)
        say(f"Airflow runs on {LOOPBACK}:{services.ports[AIRFLOW]}")
    _ensure_watched(settings, services)


def _ensure_watched(settings: Settings, services: Services) -> None:
    watcher = services.processes.get(_WATCHER)
    if watcher is None or not is_alive(watcher):
        environment = watcher_environment(settings, port=services.ports[AIRFLOW])
        services.processes[_WATCHER] = start_watcher(environment, home=settings.home.resolve())
        write_services(settings.home, services)


def _start_missing(settings: Settings, services: Services, metadata_url: str, say: Callable[[str], None]) -> bool:
    """Starts the processes that do not run; returns whether there were any."""
    home = settings.home
    admin_password(home)  # without it, Airflow generates one itself
    running = _running(services)
    environment = airflow_environment(settings, port=_port(settings, services, running), metadata_url=metadata_url)
    if running and fingerprint(environment) != services.airflow_fingerprint:
        say("Airflow restarts because settings have changed")
        _stop(services)
        running = {}
        environment = airflow_environment(settings, port=_port(settings, services, {}), metadata_url=metadata_url)
    if len(running) == len(COMPONENTS):
        return False
    if not running:
        stop_strays(home)
        if migrate_metadata(environment, metadata_url=metadata_url):
            say("Airflow's database is at its newest schema")
    services.ports[AIRFLOW] = port = int(environment["AIRFLOW__API__PORT"])
    services.airflow_fingerprint = fingerprint(environment)
    since = datetime.now(UTC)
    for component in COMPONENTS:
        if component not in running:
            running[component] = start_component(component, environment, logs=home.resolve() / "logs")
            services.processes[_name(component)] = running[component]
            write_services(home, services)
    wait_until_healthy(port, running, since=since)
    return True


def _stop(services: Services) -> None:
    names = [name for name in services.processes if name.startswith(AIRFLOW)]
    stop_together([services.processes[name] for name in names], patience=10)
    for name in names:
        del services.processes[name]


def _name(component: str) -> str:
    return f"{AIRFLOW}-{component}"


def _running(services: Services) -> dict[str, ServerProcess]:
    recorded = {component: services.processes.get(_name(component)) for component in COMPONENTS}
    return {component: process for component, process in recorded.items() if process and is_alive(process)}


def _port(settings: Settings, services: Services, running: dict[str, ServerProcess]) -> int:
    """Returns the port for the API server and the UI.

    Raises:
        ServiceError: the settings name a port that is taken.
    """
    current = services.ports.get(AIRFLOW)
    wanted = settings.airflow_port
    if "api-server" in running and current is not None and wanted in (None, current):
        return current
    if wanted is None:
        return remembered_port(settings.home, AIRFLOW, preferred=_USUAL_PORT)
    if not is_free(wanted):
        raise ServiceError(f"Port {wanted} is taken: set NCF_AIRFLOW_PORT to another port, or unset it.")
    return wanted
