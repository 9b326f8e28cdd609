"""Back to an earlier version: a flip of the pointer where Redis still holds its lists, else a new publication."""

import logging
from typing import Any

from ncf_pipeline import live_history, publication, registry
from ncf_pipeline.errors import InputError
from ncf_pipeline.settings import Settings
from ncf_pipeline.stages.publish import republish

logger = logging.getLogger(__name__)


def rollback(settings: Settings, version: int | None = None, *, actor: str) -> dict[str, Any]:
    """Makes an earlier version serve again, and the champion.

    Args:
        settings: of this run.
        version: which; the one that served before the champion if None. Forward works too.
        actor: who asks for it; kept in the registry.

    Returns:
        `version`, `publication` (its number), and `flipped`: whether the lists were still in the list store.

    Raises:
        InputError: there is no such version, or it never served.
        ListStoreError: Redis refused; what served still serves.
    """
    published = registry.publications(settings)
    if version is None:
        serving = registry.champion(settings)
        before = [entry for entry in published if serving is None or entry.version != serving.version]
        if not before:
            raise InputError("No other version has served before, so there is nothing to roll back to.")
        version = before[0].version
    registry.model_version(settings, version)
    of_version = [entry for entry in published if entry.version == version]
    if not of_version:
        raise InputError(f"v{version} never served: choose a version that `ncf-pipeline models` shows as promoted.")
    newest = of_version[0]
    held = set(publication.publications(settings))
    flipped = newest.number in held
    if flipped:
        publication.flip(settings, newest.number)
        live_history.record_flip(settings, newest.number)
        number = newest.number
    else:
        number = republish(settings, newest)
    registry.promote(settings, version, actor=actor, reason=f"rolled back to publication p{number:06d}")
    logger.info("v%d serves again, as publication p%06d.", version, number)
    return {"version": version, "publication": number, "flipped": flipped}
