"""Removes what nobody needs any more from the artifact store. Its rows in the registry stay.

These models are kept: the champion; versions that stopped serving within `keep_weeks`; versions whose lists the list
store still holds; the one that a rollback would go back to; the challenger of an experiment; and those that the next
retrains will be compared with: the incumbent, and versions of the last `gate_recent_weeks` before the champion's
cutoff, even if that is longer than `keep_weeks`. A backtest's model is kept until its run has ended. Model cards and
manifests always stay, because they are small and people read them.

The registry is changed before files are removed. So a reader in between gets a clear error, and if a run is killed in
the middle, the next one finishes the work.
"""

import logging
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncf_pipeline.errors import DamagedModelError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.sentences import FOLDER as EXPERIMENTS
from ncf_pipeline.registry import retention
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.artifacts import TENSORS, VOCABULARIES, files_of, is_content
from ncf_pipeline.registry.snapshots import prune_snapshots, remove_unnamed
from ncf_pipeline.registry.versions import ModelVersion
from ncf_pipeline.serving import publication
from ncf_pipeline.serving.drafts import FOLDER as DRAFTS
from ncf_pipeline.serving.drafts import remove_ended
from ncf_pipeline.serving.rollback import version_before
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import UNFINISHED, list_files, remove_file

logger = logging.getLogger(__name__)

ABANDONED = timedelta(days=7)
"""A run that has not ended after this time never will; checkpoints use the same time."""

DATA_DOCS = "data_docs"
"""The folder of the pages of `ingest.data_docs`."""


@dataclass(frozen=True)
class Pruned:
    """How many of each were removed from the artifact store.

    Attributes:
        models: tensors and vocabularies of refitted versions.
        backtests: the same of versions as they were evaluated.
        snapshots: of interactions and products.
        publications: files of lists.
        parts: of publications that were being made, and never will be; and folders of what their shards share.
        unfinished: files that a killed writer left, or whose place a later try's files took.
    """

    models: int = 0
    backtests: int = 0
    snapshots: int = 0
    publications: int = 0
    parts: int = 0
    unfinished: int = 0


def prune(settings: Settings, *, now: datetime | None = None) -> Pruned:
    """Removes from the artifact store what nobody needs.

    Args:
        settings: `keep_weeks`, `gate_recent_weeks` and `holdout_days` are used.
        now: the present instant, with a zone; None reads the clock of the database.

    Returns:
        How many of each were removed; the log names them.

    Raises:
        ListStoreError: Redis did not say which lists it holds, so nothing was removed.
        ArtifactError: the artifact store refused. The next call removes the rest.
    """
    now = now or retention.database_now(settings)
    served = set(publication.publications(settings))
    kept = retention.kept_publications(settings)
    versions = registry.model_versions(settings)
    needed = _needed(settings, versions, {entry.version for entry in kept if entry.number in served}, now)
    gone = [entry.version for entry in versions if entry.version not in needed]
    retention.discard_models(settings, gone)

    of_needed: dict[int, int] = {}
    for entry in kept:
        if entry.state == "published" and entry.version in needed:
            of_needed.setdefault(entry.version, entry.number)  # its newest lists, for a rollback
    weeks, numbers = timedelta(weeks=settings.keep_weeks), served | set(of_needed.values())
    retention.discard_publications(
        settings,
        [
            entry.number
            for entry in kept
            if entry.number not in numbers and now - entry.at > (weeks if entry.state == "published" else ABANDONED)
        ],
    )
    snapshots = prune_snapshots(
        settings,
        keep={entry.snapshot_id for entry in versions if entry.version in needed},
        unused_since=now - ABANDONED,
    )
    for snapshot_id in snapshots:
        logger.info("Removed snapshot %s.", snapshot_id)
    unnamed = remove_unnamed(settings, older_than=now - ABANDONED)
    for folder in unnamed:
        logger.info("Removed %s/snapshots/%s, which no record names.", settings.artifacts, folder)
    versions = registry.model_versions(settings)
    pruned = {entry.version for entry in versions if entry.pruned_at is not None}
    running = {entry.version for entry in versions if _may_still_run(entry, now)}
    return Pruned(
        models=_remove_models(settings, "models", pruned),
        backtests=_remove_models(settings, "backtests", {entry.version for entry in versions} - running),
        snapshots=len(snapshots),
        publications=_remove_publications(settings),
        parts=_remove_parts(settings, now),
        unfinished=len(unnamed) + _remove_unfinished(settings, now) + _remove_unnamed(settings, running, now),
    )


def _needed(settings: Settings, versions: list[ModelVersion], served: set[int], now: datetime) -> set[int]:
    promoted = [entry for entry in versions if entry.promoted_at is not None]
    champion = next((entry for entry in versions if entry.state == "champion"), None)
    if champion is None:
        return {entry.version for entry in versions}  # no version serves, so a person is at work
    needed = {champion.version} | served
    needed |= {entry.version for entry in versions if entry.recommender == registry.BASELINES}  # no model to remove
    needed |= {entry.version for entry in versions if _may_still_run(entry, now)}
    running = experiment_registry.running(settings)
    if running is not None and running.design.challenger is not None:
        needed.add(running.design.challenger)
    since = now - timedelta(weeks=settings.keep_weeks)
    needed |= {entry.version for entry in promoted if entry.retired_at is None or entry.retired_at > since}
    if (before := version_before(settings, champion)) is not None:
        needed.add(before)
    # The next holdout starts no earlier than the champion's. Kept: its incumbent, and those of the weeks after.
    start = champion.cutoff - timedelta(days=settings.holdout_days)
    incumbent = registry.incumbent(settings, holdout_start=start, before_version=versions[0].version + 1)
    needed |= {entry.version for entry in promoted if incumbent is None or entry.cutoff >= incumbent.cutoff}
    recent = champion.cutoff - timedelta(weeks=settings.gate_recent_weeks)
    needed |= {entry.version for entry in promoted if entry.withdrawn_at is None and entry.cutoff >= recent}
    return needed


def _may_still_run(entry: ModelVersion, now: datetime) -> bool:
    """Whether the version's run may not have ended yet, or may be retried."""
    return entry.state in ("candidate", "held") and now - entry.created_at < ABANDONED and entry.pruned_at is None


def _remove_models(settings: Settings, folder: str, versions: set[int]) -> int:
    removed = set()
    for name in list_files(f"{settings.artifacts}/{folder}"):
        matched = re.fullmatch(rf"v(\d+)/(?:[0-9a-f]{{16}}-)?({re.escape(TENSORS)}|{re.escape(VOCABULARIES)})", name)
        if matched and int(matched[1]) in versions:
            _remove(f"{settings.artifacts}/{folder}/{name}")
            removed.add(matched[1])
    return len(removed)


def _remove_publications(settings: Settings) -> int:
    kept = {entry.number for entry in retention.kept_publications(settings)}
    known = retention.publication_numbers(settings)
    removed = 0
    for name in list_files(f"{settings.artifacts}/publications"):
        matched = re.fullmatch(r"p(\d+)\.parquet", name)
        # A file without a row is about to get one: the file is written first.
        if matched and int(matched[1]) in known - kept:
            _remove(f"{settings.artifacts}/publications/{name}")
            removed += 1
    return removed


def _remove_parts(settings: Settings, now: datetime) -> int:
    removed = remove_ended(settings, abandoned_before=now - ABANDONED)
    for url in removed:
        logger.info("Removed %s.", url)
    return len(removed)


def _remove_unfinished(settings: Settings, now: datetime) -> int:
    removed = 0
    for folder in ("models", "backtests", "snapshots", "publications", DRAFTS, DATA_DOCS, EXPERIMENTS):
        for name, at in list_files(f"{settings.artifacts}/{folder}").items():
            if re.search(rf"{re.escape(UNFINISHED)}(/|$)", name) and _is_abandoned(at, now):
                _remove(f"{settings.artifacts}/{folder}/{name}")
                removed += 1
    return removed


def _remove_unnamed(settings: Settings, running: set[int], now: datetime) -> int:
    """Removes the files in models' folders that no manifest names and that no living writer will name."""
    removed = 0
    for url in (f"{settings.artifacts}/{folder}" for folder in ("models", "backtests")):
        of_versions: dict[str, dict[str, datetime | None]] = {}
        for path, at in list_files(url).items():
            folder, _, name = path.partition("/")
            if re.fullmatch(r"v\d+", folder) and is_content(name):
                of_versions.setdefault(folder, {})[name] = at
        for folder, found in of_versions.items():
            old = {name for name, at in found.items() if _is_abandoned(at, now)}
            if int(folder[1:]) in running or not old:
                continue
            with suppress(DamagedModelError):  # a person may still repair it
                for name in sorted(old - files_of(f"{url}/{folder}")):
                    _remove(f"{url}/{folder}/{name}")
                    removed += 1
    return removed


def _is_abandoned(at: datetime | None, now: datetime) -> bool:
    return at is not None and now - at > ABANDONED


def _remove(url: str) -> None:
    remove_file(url)
    logger.info("Removed %s.", url)
