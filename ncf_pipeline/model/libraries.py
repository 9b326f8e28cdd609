"""Libraries that only part of the model needs: imported when they are used, so that the rest works without them."""

import importlib
from types import ModuleType

from ncf_pipeline.errors import SettingsError


def library(name: str, without: str) -> ModuleType:
    """Imports a library.

    Args:
        name: of the module.
        without: what to do instead, as part of a sentence: how to run without the library.

    Raises:
        ModuleNotFoundError: it is not installed. The command says which extra brings it.
        SettingsError: it needs a missing system library, as LightGBM needs OpenMP.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError) as error:
        raise SettingsError(f"{name} cannot be imported: {error}. Install what it misses, or {without}.") from error
