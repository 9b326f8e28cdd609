"""Lists that are published with a mark: see `tests/support/published.py`."""

from published import keys, publish, store, without_grace  # noqa: F401
