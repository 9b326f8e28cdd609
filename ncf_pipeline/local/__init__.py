"""Embedded servers: Postgres, Redis and Airflow on one machine, with nothing else installed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncf_pipeline.local.services import serving

__all__ = ["serving"]


def __getattr__(name: str) -> Any:
    # Imported on demand: Airflow's processes import a module of this package but start no servers.
    if name == "serving":
        from ncf_pipeline.local.services import serving

        return serving
    raise AttributeError(name)
