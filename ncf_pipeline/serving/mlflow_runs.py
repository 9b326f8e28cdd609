"""Shows model versions in MLflow, where `MLFLOW_TRACKING_URI` is set. The registry stays the source; MLflow has a copy.

Each version that the gate has decided about is one run, with its recipe, its figures, its card and where its files are.
A version with a refit is also a version of MLflow's registered model, whose alias `champion` names the one that serves.
The model's own files are not copied: they name customers, and an erasure could not reach them there.

Nothing is kept here about what MLflow has. A sync compares the registry with MLflow, so it can be killed at any point
and run again: a run has the version's number from its first moment, and is found by it.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ncf_pipeline.errors import ArtifactError, InputError, NcfError, PassingError, SettingsError, TrackingError
from ncf_pipeline.evaluation.scores import EVERYONE, KNOWN, Scores
from ncf_pipeline.extras import missing
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import ModelVersion, StoredDecision
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.locks import Lock

logger = logging.getLogger(__name__)

CHAMPION = "champion"
"""The alias in MLflow."""

VERSION, CREATED_AT, COPIED = "ncf.version", "ncf.created_at", "ncf.copied"
"""Tags of a run: the version's number, when it was opened, and the hash of what was copied, set last."""

METRICS = {
    "P_at_{k}": "precision_at_k",
    "P_at_{k}_low": "precision_low",
    "P_at_{k}_high": "precision_high",
    "R_at_{k}": "recall_at_k",
    "NDCG_at_10": "ndcg_at_10",
    "MAP_at_10": "map_at_10",
    "revenue_at_{k}": "revenue_at_k",
    "novelty": "novelty",
    "coverage": "catalog_coverage",
    "full_lists": "full_lists",
    "overlap": "overlap",
}
"""Metrics by their name in MLflow: that of the model card, but MLflow allows no @ in a name."""

TELL_SECONDS = 20.0
"""After so long, `tell` begins no other version."""

_CLIENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds; 120 by default
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # 7 by default; the next sync tries again
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # the client reports its use to its makers otherwise
}
"""How MLflow's client behaves, unless the environment says otherwise."""

_FORMAT = 1  # of what is copied; with another one, every run is written again
_PARAMETERS_AT_ONCE, _RUNS_AT_ONCE = 100, 1000  # the most that MLflow takes
_LOCK = Lock(0x6D6C666C, "tells MLflow of versions")  # "mlfl"


@dataclass(frozen=True)
class Synced:
    """What one sync did.

    Attributes:
        versions: that MLflow should have.
        written: of these, how many were new or had changed.
        champion: the version that the alias names; None if there is no alias, because version 0 or nothing serves.
    """

    versions: int
    written: int
    champion: int | None


def tell(settings: Settings) -> None:
    """Tells MLflow what changed, if it is set. Never raises: whoever changed something has done so.

    What cannot be told now is told by the next call. If MLflow does not answer, that takes a few seconds, and at most
    about `TELL_SECONDS`; if another process tells it, none.

    Args:
        settings: whose registry and MLflow.
    """
    if settings.mlflow_tracking_uri is None:
        return
    try:
        with _LOCK.held_if_free(settings) as is_held:
            if is_held:
                _sync(settings, until=time.monotonic() + TELL_SECONDS)
    except NcfError as error:
        logger.warning(
            "MLflow does not show every version; the next publication, rollback or watch tells it, and so does "
            "`ncf-pipeline mlflow sync`: %s",
            settings.without_secrets(str(error)),
        )


def sync(settings: Settings) -> Synced:
    """Brings MLflow to what the registry says. Run again, it changes nothing.

    Args:
        settings: whose registry and MLflow.

    Raises:
        SettingsError: `MLFLOW_TRACKING_URI` is not set, or the client is not installed.
        TrackingError: MLflow does not answer, or refused. The next sync goes on.
        InputError: the runs there are of another installation.
        ArtifactError: the artifact store does not answer.
    """
    if settings.mlflow_tracking_uri is None:
        raise SettingsError("MLFLOW_TRACKING_URI is not set, so there is nothing to tell. It is MLflow's address.")
    with _LOCK.held(settings):
        return _sync(settings)


def _sync(settings: Settings, *, until: float | None = None) -> Synced:
    """Syncs; after `until`, a time of the monotonic clock, no other version is begun."""
    assert settings.mlflow_tracking_uri is not None
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ModuleNotFoundError as error:
        raise SettingsError(missing(error.name or "mlflow")) from error
    try:
        client = mlflow.MlflowClient(tracking_uri=settings.mlflow_tracking_uri.get_secret_value())
        return _Copy(settings, client).bring_up_to_date(until)
    except (MlflowException, OSError, ImportError, ValueError) as error:  # requests' errors are OSErrors
        reason = " ".join(str(error).split())[:300]
        raise TrackingError(f"MLflow did not take everything: {reason}. Is MLFLOW_TRACKING_URI right?") from error


class _Copy:
    """What MLflow has of a registry."""

    def __init__(self, settings: Settings, client: Any) -> None:
        self.settings, self.client, self.name = settings, client, settings.mlflow_name

    def bring_up_to_date(self, until: float | None) -> Synced:
        found = self.client.get_experiment_by_name(self.name)
        if found is not None and found.lifecycle_stage != "active":
            raise InputError(
                f"The MLflow experiment {self.name} was deleted there. Restore it, or set NCF_MLFLOW_NAME to another."
            )
        experiment = found.experiment_id if found is not None else self.client.create_experiment(self.name)
        runs = {run.data.tags[VERSION]: run for run in self._runs(experiment)}
        decided, written = 0, 0
        for entry in registry.model_versions(self.settings):
            if entry.recommender == registry.BASELINES:
                continue
            decision = registry.gate_decision(self.settings, entry.version)
            if decision is None:
                continue  # its figures may still change
            decided += 1
            if until is not None and time.monotonic() > until:
                raise TrackingError(f"MLflow takes long: after {written} versions, the rest was left.")
            written += self._write(experiment, entry, decision, runs.get(str(entry.version)))
        return Synced(decided, written, self._move_alias())

    def _runs(self, experiment: str) -> Iterator[Any]:
        token = None
        while True:
            page = self.client.search_runs(
                [experiment], f"tags.`{VERSION}` LIKE '%'", max_results=_RUNS_AT_ONCE, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _write(self, experiment: str, entry: ModelVersion, decision: StoredDecision, run: Any) -> bool:
        """Writes a version's run and its version of the registered model; returns whether anything had changed."""
        created = entry.created_at.astimezone(UTC)
        if run is not None and run.data.tags.get(CREATED_AT) != created.isoformat():
            raise InputError(
                f"{entry.name} of the MLflow experiment {self.name} is that of another installation. Set "
                "NCF_MLFLOW_NAME to a name of this one's own."
            )
        scores = registry.evaluation(self.settings, entry.version)
        parameters, figures, tags = _parameters(entry), _figures(scores), _tags(entry, decision)
        copied = _hash([_FORMAT, parameters, figures, tags])
        if run is not None and run.data.tags.get(COPIED) == copied:
            return False
        at = _milliseconds(created)
        if run is None:
            identity = {VERSION: str(entry.version), CREATED_AT: created.isoformat()}
            run = self.client.create_run(experiment, start_time=at, run_name=entry.name, tags=identity)
        self._log(run.info.run_id, parameters, figures, tags, at)
        self._log_card(entry, run.info.run_id)
        self.client.set_terminated(run.info.run_id, "FINISHED", end_time=_milliseconds(decision.decided_at))
        if entry.url is not None:
            self._register(entry, run)
        self.client.set_tag(run.info.run_id, COPIED, copied)
        return True

    def _log(
        self, run_id: str, parameters: Mapping[str, str], figures: Mapping[str, float], tags: Mapping[str, str], at: int
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        named = [Param(name, value) for name, value in parameters.items()]
        for first in range(0, len(named), _PARAMETERS_AT_ONCE):
            self.client.log_batch(run_id, params=named[first : first + _PARAMETERS_AT_ONCE], synchronous=True)
        self.client.log_batch(
            run_id,
            metrics=[Metric(name, value, at, 0) for name, value in figures.items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
            synchronous=True,
        )

    def _log_card(self, entry: ModelVersion, run_id: str) -> None:
        """Copies the card and its plots, of the refit if there is one; an artifact that is damaged has none to copy."""
        from ncf_pipeline.registry import artifacts  # imports torch: only where there is a card to copy
        from ncf_pipeline.registry.manifests import KnownManifests

        url = entry.url or artifacts.version_url(self.settings.artifacts, entry.version, backtest=True)
        known = KnownManifests(self.settings, entry.version, is_backtest=entry.url is None)
        try:
            names = artifacts.read_manifest(url, known=known)["sha256"]
            card = [name for name in names if name == artifacts.CARD or name.endswith(".svg")]
            files = {name: artifacts.read_file(url, name, known=known).decode() for name in card}
        except ArtifactError as error:
            if isinstance(error, PassingError):
                raise
            logger.info("MLflow gets no card of %s: %s", entry.name, error)
            return
        for name, text in files.items():
            self.client.log_text(run_id, text, name)

    def _register(self, entry: ModelVersion, run: Any) -> None:
        if self._of_run(run.info.run_id) is not None:
            return
        if not self.client.search_registered_models(f"name = '{self.name}'"):
            self.client.create_registered_model(self.name)
        # Not the artifact's own address as the source: MLflow refuses folders of another machine.
        tags = {VERSION: str(entry.version), "ncf.url": str(entry.url)}
        description = f"{entry.name}: {entry.url}"
        self.client.create_model_version(
            self.name, run.info.artifact_uri, run.info.run_id, tags=tags, description=description, await_creation_for=0
        )

    def _of_run(self, run_id: str) -> Any:
        found = self.client.search_model_versions(f"name = '{self.name}' and run_id = '{run_id}'")
        return found[0] if found else None

    def _move_alias(self) -> int | None:
        """Lets the alias name the version that serves; removes it if that is version 0, or none."""
        registered = next(iter(self.client.search_registered_models(f"name = '{self.name}'")), None)
        if registered is None:
            return None
        serving = registry.champion(self.settings)
        wanted = None
        if serving is not None and serving.recommender != registry.BASELINES:
            its = f"name = '{self.name}' and tags.`{VERSION}` = '{serving.version}'"
            wanted = next(iter(self.client.search_model_versions(its)), None)
        named = registered.aliases.get(CHAMPION)
        if wanted is None:
            if named is not None:
                self.client.delete_registered_model_alias(self.name, CHAMPION)
            return None
        if str(named) != str(wanted.version):
            self.client.set_registered_model_alias(self.name, CHAMPION, wanted.version)
        assert serving is not None
        return serving.version


def _parameters(entry: ModelVersion) -> dict[str, str]:
    facts = {
        "snapshot_id": entry.snapshot_id,
        "cutoff": entry.cutoff.isoformat(),
        "holdout_start": entry.holdout_start.isoformat(),
    }
    return facts | dict(_flat(entry.config))


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value if isinstance(value, str) else json.dumps(value)


def _figures(scores: Sequence[Scores]) -> dict[str, float]:
    """The figures over everyone, and the precision over known customers, as `QUESTION/RECOMMENDER/METRIC`."""
    figures = dict[str, float]()
    for each in scores:
        start = f"{each.question}/{each.recommender}"
        if each.cohort == EVERYONE and each.customers:
            for name, field in METRICS.items():
                if (value := getattr(each, field)) is not None:
                    figures[f"{start}/{name.format(k=each.k)}"] = float(value)
        elif each.cohort == KNOWN and each.customers:
            figures[f"{start}/P_at_{each.k}_known"] = float(each.precision_at_k)
    return figures


def _tags(entry: ModelVersion, decision: StoredDecision) -> dict[str, str]:
    """What may change, and what is for people. None of it names a customer."""
    return {
        "ncf.state": entry.state,
        "ncf.gate": "let through" if decision.promote else "held",
        "ncf.requested_by": entry.requested_by,
        "ncf.promoted_at": _text(entry.promoted_at),
        "ncf.withdrawn_at": _text(entry.withdrawn_at),
        "ncf.pruned_at": _text(entry.pruned_at),
        "ncf.url": entry.url or "",
        # Without the reasons: people write some of them, and may name a customer.
        "mlflow.note.content": f"{entry.name}, {entry.state}: `ncf-pipeline models show {entry.version}` says why.",
    }


def _text(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds") if at is not None else ""


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
