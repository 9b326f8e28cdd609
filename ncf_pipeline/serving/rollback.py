"""Back to an earlier version: a flip of the pointer if Redis still holds its lists, else a new publication."""

import logging
from dataclasses import dataclass
from datetime import datetime

from ncf_pipeline.errors import ChangedMeanwhileError, GoneError, InputError
from ncf_pipeline.privacy import kept_out
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import ModelVersion, Publication
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.announcing import announce
from ncf_pipeline.serving.catching_up import record_what_serves
from ncf_pipeline.serving.mlflow_runs import tell as tell_mlflow
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServableVersion:
    """A version that can serve again.

    Attributes:
        version: its number.
        state: in the registry.
        cutoff: first instant whose purchases the model does not know.
        withdrawn: whether it was rolled back.
        as_of: first instant whose purchases its newest lists do not know.
        in_redis: whether Redis still holds its lists, so that a rollback takes a second.
    """

    version: int
    state: str
    cutoff: datetime
    withdrawn: bool
    as_of: datetime
    in_redis: bool


@dataclass(frozen=True)
class Rollback:
    """What a rollback did.

    Attributes:
        version: the champion now.
        publication: the number of the live publication.
        flipped: whether Redis still held the lists, so that moving the pointer was enough.
    """

    version: int
    publication: int
    flipped: bool


def servable_versions(settings: Settings) -> list[ServableVersion]:
    """The versions that can serve again, newest first."""
    held = set(publication.publications(settings))
    published = _by_version(settings)
    return [
        ServableVersion(
            version=entry.version,
            state=entry.state,
            cutoff=entry.cutoff,
            withdrawn=entry.withdrawn_at is not None,
            as_of=published[entry.version][0].as_of,
            in_redis=any(of_version.number in held for of_version in published[entry.version]),
        )
        for entry in registry.model_versions(settings)
        if entry.version in published and entry.pruned_at is None
    ]


def refuse_if_another_serves(settings: Settings, seen: int, *, unless: int | None = None) -> None:
    """Refuses a decision of somebody who has seen another version serve.

    Args:
        settings: of this run.
        seen: the version that served when they decided.
        unless: it may also serve already.

    Raises:
        ChangedMeanwhileError: another version serves by now.
    """
    serving = registry.champion(settings)
    if serving is not None and serving.version not in (seen, unless):
        raise ChangedMeanwhileError(
            f"{serving.title} serves by now, and v{seen} did when you decided. Nothing was changed. Look again."
        )


def rollback(
    settings: Settings,
    version: int | None = None,
    *,
    actor: str,
    reason: str | None = None,
    instead_of: int | None = None,
) -> Rollback:
    """Makes an earlier version the champion, and its lists live.

    It can be run again at any time, also after it was killed.

    Args:
        settings: of this run.
        version: the one to serve, which may be newer than the champion; if None, the newest before the champion that
            was not rolled back.
        actor: who asks for it; kept in the registry.
        reason: why; kept there too.
        instead_of: the version that they have seen serve; None: they have not looked.

    Returns:
        The version and the publication that are live now.

    Raises:
        ChangedMeanwhileError: another version serves by now than they have seen.
        InputError: there is no such version, it never served, or its model is no longer kept.
        ArtifactError: its lists are no longer kept. The live lists stay live.
        ListStoreError: Redis refused. The live lists stay live.
    """
    record_what_serves(settings)
    if instead_of is not None:
        refuse_if_another_serves(settings, instead_of, unless=version)
    published = _by_version(settings)
    if version is None:
        version = version_before(settings, registry.champion(settings))
        if version is None:
            raise InputError("No other version has served before, so there is nothing to roll back to.")
    entry = registry.model_version(settings, version)
    if version not in published:
        raise InputError(f"{entry.name} never served: choose a version that `ncf-pipeline models` shows as promoted.")
    if entry.pruned_at is not None:
        raise InputError(f"{entry.name} is no longer kept, since {entry.pruned_at:%Y-%m-%d}. Choose a newer version.")
    number, flipped = _make_live(settings, published[version])
    why = f": {reason}" if reason else ""
    registry.restore(settings, version, actor=actor, reason=f"rolled back to publication p{number:06d}{why}")
    # A publisher may have read the previous champion just before that, and begun to write after the flip.
    if publication.hold(settings, number):
        live_periods.record_flip(settings, number)
    if flipped:
        publication.renew(settings, number)  # last, so that neither shoppers nor the registry wait for it
    logger.info("%s serves again, as publication p%06d.", entry.name, number)
    announce(settings)
    tell_mlflow(settings)
    return Rollback(version, number, flipped)


def version_before(settings: Settings, serving: ModelVersion | None) -> int | None:
    """The newest version before `serving` that has served, was not rolled back and is kept; None if there is none."""
    published = {entry.version for entry in registry.publications(settings)}
    return next(
        (
            entry.version
            for entry in registry.model_versions(settings)
            if entry.version in published
            and entry.withdrawn_at is None
            and entry.pruned_at is None
            and (serving is None or entry.version < serving.version)
        ),
        None,
    )


def _by_version(settings: Settings) -> dict[int, list[Publication]]:
    """All publications that were live, newest first, by version."""
    by_version: dict[int, list[Publication]] = {}
    for published in registry.publications(settings):
        by_version.setdefault(published.version, []).append(published)
    return by_version


def _make_live(settings: Settings, published: list[Publication]) -> tuple[int, bool]:
    """Makes lists of one version live again, the newest that Redis holds.

    Args:
        settings: of this run.
        published: the version's publications, newest first.

    Returns:
        The number of the live publication, and whether the list store still held it.
    """
    held = set(publication.publications(settings))
    for number in (of_version.number for of_version in published if of_version.number in held):
        try:
            publication.flip(settings, number)
        except GoneError as error:
            logger.warning("%s", error)
            continue
        live_periods.record_flip(settings, number)
        return number, True
    from ncf_pipeline.serving.publish import republish  # imports torch: a flip must not wait for it

    with kept_out(settings) as erased:
        return republish(settings, published[0], erased=erased), False
