"""Embedded servers: everything on one machine, nothing else installed."""

from ncf_pipeline.local.services import serving

__all__ = ["serving"]
