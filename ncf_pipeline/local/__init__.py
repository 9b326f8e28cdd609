"""Embedded servers: everything on one machine, nothing else installed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncf_pipeline.local.services import serving

__all__ = ["serving"]


def __getattr__(name: str) -> Any:
    # Only when it is asked for: Airflow's processes import a module of this package, and no servers.
    if name == "serving":
        from ncf_pipeline.local.services import serving

        return serving
    raise AttributeError(name)
