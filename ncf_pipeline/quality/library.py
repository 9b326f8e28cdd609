"""Imports Great Expectations, without what no suite needs. Nothing else of this package is imported here."""

import importlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


def great_expectations() -> Any:
    """Imports the library and returns it."""
    # The library reads it at import. Nothing about the shop's data is sent anywhere.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    # Before the import, which logs two hundred lines.
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    with _imported_when_used("scipy.stats", "altair"):
        import great_expectations as library
        from great_expectations.data_context.types import base

    # This module sets a level of its own when it is imported, and then logs temporary folders.
    logging.getLogger(base.__name__).setLevel(logging.ERROR)
    return library


@contextmanager
def _imported_when_used(*names: str) -> Iterator[None]:
    """Leaves out these modules of the imports in the block: they are imported when something in them is used.

    The library imports them for kinds of rules that no suite has: half of the time and a third of the memory.
    """
    left_out = {name: _import_when_used(name) for name in names if name not in sys.modules}
    sys.modules.update(left_out)
    try:
        yield
    finally:
        for name, module in left_out.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def _import_when_used(name: str) -> ModuleType:
    module = ModuleType(name)

    def attribute(wanted: str) -> Any:
        if sys.modules.get(name) is module:
            del sys.modules[name]
        return getattr(importlib.import_module(name), wanted)

    module.__getattr__ = attribute  # type: ignore[method-assign]  # of a module, called for what it does not have
    return module
