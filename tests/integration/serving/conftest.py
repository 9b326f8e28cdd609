"""Versions of a network that learned nothing, week by week: see `tests/support/weekly_versions.py`."""

from weekly_versions import candidate, live, serve, shop, states, store  # noqa: F401
