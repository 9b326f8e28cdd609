"""Bringing the embedded Airflow up: port, schema, processes, health, pool."""

from collections.abc import Callable
from datetime import UTC, datetime

from ncf_pipeline.errors import ServiceError
from ncf_pipeline.local.airflow import (
    COMPONENTS,
    ensure_installed,
    migrate_metadata,
    start_component,
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
)
from ncf_pipeline.local.ports import LOOPBACK, is_free, remembered_port
from ncf_pipeline.local.processes import ServerProcess, is_alive, stop_together
from ncf_pipeline.local.state import AIRFLOW, Services, write_services
from ncf_pipeline.settings import Settings

GPU_POOL = "gpu"

_USUAL_PORT = 8080


def start_airflow(settings: Settings, services: Services, *, metadata_url: str, say: Callable[[str], None]) -> None:
    """Starts the processes that do not run and waits until all are healthy.

    Args:
        settings: of the shop, with working addresses.
        services: the record; what is started is added to it.
        metadata_url: Airflow's own database.
        say: told what was started.

    Raises:
        ServiceError: the port is taken, or a process did not start. The record names what was started.
    """
    ensure_installed()
    home = settings.home
    (home / "airflow").mkdir(parents=True, exist_ok=True)
    secret = admin_password(home)
    running = _running(services)
    environment = airflow_environment(settings, port=_port(settings, services, running), metadata_url=metadata_url)
    if running and fingerprint(environment) != services.airflow_fingerprint:
        say("Airflow starts again, since settings have changed")
        stop_together(list(running.values()), patience=10)
        for name in running:
            del services.processes[_name(name)]
        running = {}
        environment = airflow_environment(settings, port=_port(settings, services, {}), metadata_url=metadata_url)
    if len(running) == len(COMPONENTS):
        return
    if not running:
        stop_strays(home)
        if migrate_metadata(environment, metadata_url=metadata_url):
            say("Airflow's database is at its newest schema")
    port = int(environment["AIRFLOW__API__PORT"])
    since = datetime.now(UTC)
    for component in COMPONENTS:
        if component not in running:
            running[component] = start_component(component, environment, logs=home.resolve() / "logs")
            services.processes[_name(component)] = running[component]
            services.ports[AIRFLOW] = port
            services.airflow_fingerprint = fingerprint(environment)
            write_services(home, services)
    wait_until_healthy(port, running, since=since)
    with AirflowApi(airflow_url(port), username=ADMIN, password=secret) as api:
        api.ensure_pool(GPU_POOL, slots=1, description="Training: one at a time on one device.")
    services.airflow_url = airflow_url(port)
    write_services(home, services)
    say(f"Airflow runs on {LOOPBACK}:{port}")


def _name(component: str) -> str:
    return f"{AIRFLOW}-{component}"


def _running(services: Services) -> dict[str, ServerProcess]:
    recorded = {component: services.processes.get(_name(component)) for component in COMPONENTS}
    return {component: process for component, process in recorded.items() if process and is_alive(process)}


def _port(settings: Settings, services: Services, running: dict[str, ServerProcess]) -> int:
    """The port for the API server and the UI.

    Raises:
        ServiceError: settings name one that is taken.
    """
    current = services.ports.get(AIRFLOW)
    wanted = settings.airflow_port
    if "api-server" in running and current is not None and wanted in (None, current):
        return current
    if wanted is None:
        return remembered_port(settings.home, AIRFLOW, preferred=_USUAL_PORT)
    if not is_free(wanted):
        raise ServiceError(f"Port {wanted} is taken: set NCF_AIRFLOW_PORT to another, or leave it out.")
    return wanted
