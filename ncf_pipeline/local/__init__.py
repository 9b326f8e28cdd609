"""Embedded servers: Postgres, Redis and Airflow on one machine, with nothing else installed."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncf_pipeline.local.services import serving
else:

    def serving(*args: Any, **kwargs: Any) -> Any:
        """As `services.serving`, imported on demand: neither `--help` nor Airflow's processes need it."""
        from ncf_pipeline.local import services

        return services.serving(*args, **kwargs)


__all__ = ["serving"]
