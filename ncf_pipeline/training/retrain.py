"""The stages of a retrain, and `run`, their order: snapshot → backtest → gate → refit → register → publish.

Beside them, `live_performance` measures the lists that are live. The tasks of the DAG `retrain_recommender` are these
stages, one to one. A test compares their order with that of `run`.

Each stage takes and gives references (a snapshot id, a version), is a transaction or a rename, and can
be killed and run again. What was decided at the start (holdout, k, recipe) is stored with the
version, so that every later stage means the same.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from ncf_pipeline.errors import DamagedModelError, InputError, OutdatedModelError, SettingsError, TrainingError
from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.gate import TrainingFacts
from ncf_pipeline.evaluation.scores import CANDIDATE, EVERYONE, INCUMBENT, NDCG_DEPTH, Holdout, Scores, score, truth_of
from ncf_pipeline.live.performance import live_performance
from ncf_pipeline.model.device import place
from ncf_pipeline.model.lists.assemble import customer_lists
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import EpochReport, TrainedModel
from ncf_pipeline.model.training import Checkpoints
from ncf_pipeline.privacy import kept_out
from ncf_pipeline.quality.snapshots import check_snapshot
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import Snapshot, newest_cutoff, read_snapshot, take_snapshot
from ncf_pipeline.serving.publish import publish_lists
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import provenance
from ncf_pipeline.training import model_card
from ncf_pipeline.training.approval import Answer, Ask
from ncf_pipeline.training.checkpoints import CheckpointFile, checkpoint_key
from ncf_pipeline.training.decision import (
    NOT_COMPARED,
    TRAINING,
    gate,
    log_decision,
    not_compared,
    object_to_refit,
    training_facts,
)
from ncf_pipeline.training.distributed import train

__all__ = [
    "backtest",
    "finish",
    "gate",
    "live_performance",
    "log_decision",
    "not_compared",
    "publish",
    "refit",
    "register",
    "reject",
    "run",
    "snapshot",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a retrain ended.

    Attributes:
        version: the candidate's number.
        publication: the number of the publication that is live now; None if the version was held.
    """

    version: int
    publication: int | None


def run(
    settings: Settings, cutoff: datetime | None = None, *, run_key: str, requested_by: str, ask: Ask | None = None
) -> Outcome:
    """Runs all stages of a retrain, in the order that each of its callers and the DAG follow.

    Each stage is a task of the DAG `retrain_recommender`, and has the same name there. The one task more, `held`,
    rejects the version after a no.

    Args:
        settings: of the shop and of the retrain.
        cutoff: as for `snapshot`.
        run_key: as for `backtest`.
        requested_by: as for `backtest`.
        ask: asks a person to approve the version; None if nobody is asked.

    Raises:
        SettingsError: `NCF_APPROVAL` is on, and there is nobody to ask.
        InputError: there are no purchases before the cutoff; or the person who is asked does not answer.
        QualityError: the purchases break a critical rule.
        TrainingError: there are too few interactions to train on or to evaluate on.
        ArtifactError: the snapshot or a model is missing or damaged.
        SupersededError: another version was made to serve before this one was published.
    """
    _refuse_without_approval(settings, ask)
    snapshot_id = snapshot(settings, cutoff)
    live_performance(settings, snapshot_id)
    version = backtest(settings, snapshot_id, run_key=run_key, requested_by=requested_by)
    decision = gate(settings, version)
    if not decision.promote or not refit(settings, version):
        return Outcome(version, None)
    return _serve(settings, version, decision.reasons, ask)


def finish(settings: Settings, version: int, *, ask: Ask | None = None) -> Outcome:
    """Continues a retrain that ended after its refit: approval, `register` and `publish`.

    Args:
        settings: of the shop.
        version: a candidate that the gate let through.
        ask: asks a person to approve the version; None if nobody is asked.

    Raises:
        SettingsError: `NCF_APPROVAL` is on, and there is nobody to ask.
        InputError: the version is not a candidate that was refitted; or the person who is asked does not answer.
        SupersededError: another version was made to serve before this one was published.
    """
    _refuse_without_approval(settings, ask)
    model = registry.model_version(settings, version)
    decision = registry.gate_decision(settings, version)
    if model.state != "candidate" or model.url is None or decision is None:
        raise InputError(
            f"v{version} does not wait for approval: only a candidate that the gate let through and that was refitted "
            f"can be resumed. See `ncf-pipeline models show v{version}`."
        )
    return _serve(settings, version, decision.reasons, ask)


def _refuse_without_approval(settings: Settings, ask: Ask | None) -> None:
    if settings.approval and ask is None:
        raise SettingsError(
            "NCF_APPROVAL is on, so a person must approve the version, but nobody can be asked here. Nothing was "
            "trained: name who approves, or turn NCF_APPROVAL off."
        )


def _serve(settings: Settings, version: int, reasons: Sequence[str], ask: Ask | None) -> Outcome:
    """Publishes a version that passed the gate, unless a person or the registry objects."""
    answer = ask(version, reasons) if ask is not None else None
    if answer is not None and not answer.approved:
        reject(settings, version, answer)
        log_decision(settings, version)
        return Outcome(version, None)
    if not register(settings, version, answer):
        return Outcome(version, None)
    return Outcome(version, publish(settings, version))


def snapshot(settings: Settings, cutoff: datetime | None = None, *, not_after: datetime | None = None) -> str:
    """Freezes the interactions before the cutoff, and asks the rules of `expectations/interactions.json` about them.

    Args:
        settings: of this run.
        cutoff: first instant excluded; just after the newest invoice line if None.
        not_after: the latest cutoff that None may stand for: a run that stands for a past day must not
            know what came after it.

    Returns:
        The snapshot's id.

    Raises:
        InputError: there are no purchases before the cutoff.
        QualityError: they broke a critical rule.
    """
    if cutoff is None and not_after is not None:
        cutoff = min(not_after, newest_cutoff(settings))
    snapshot_id = take_snapshot(settings, cutoff)
    check_snapshot(settings, read_snapshot(settings, snapshot_id))
    return snapshot_id


def backtest(settings: Settings, snapshot_id: str, *, run_key: str, requested_by: str) -> int:
    """Trains on what was bought before the holdout, and scores candidate, incumbent and baselines on it.

    A try that was killed while it trained goes on after the last epoch that it finished.

    Args:
        settings: `holdout_days`, `k`, `seed` and `device` count.
        snapshot_id: what to learn from.
        run_key: names the run, so that a second try continues the same version.
        requested_by: a person, or what triggered the run; kept with the version.

    Returns:
        The candidate's version.

    Raises:
        TrainingError: there is too little to learn from.
        ArtifactError: the snapshot is damaged.
    """
    frozen = read_snapshot(settings, snapshot_id)
    holdout_start = frozen.cutoff - timedelta(days=settings.holdout_days)
    recipe = Recipe(seed=settings.seed)
    version = registry.open_version(
        settings,
        run_key=run_key,
        snapshot_id=snapshot_id,
        cutoff=frozen.cutoff,
        holdout_start=holdout_start,
        config={
            "holdout_days": settings.holdout_days,
            "k": settings.k,
            "top_n": settings.top_n,
            "recipe": asdict(recipe),
        },
        requested_by=requested_by,
    )
    truth = truth_for(frozen, holdout_start)
    missing = missing_gpu(settings)
    checkpoints = _checkpoints(settings, frozen, holdout_start, recipe)
    candidate, lists = train_and_recommend(
        frozen,
        recipe,
        truth,
        k=settings.k,
        device=settings.device,
        checkpoints=checkpoints,
        budget_seconds=60 * settings.train_budget_minutes,
    )
    incumbent, alone = _incumbent(settings, version, holdout_start)
    if incumbent is not None:
        lists[INCUMBENT] = recommend_holdout(incumbent, frozen.interactions, truth, max(settings.k, NDCG_DEPTH))
    scores = score(lists, truth, k=settings.k)
    facts = training_facts(
        candidate, frozen.interactions, incumbent_lines=incumbent.lines if incumbent is not None else None
    )
    registry.record_evaluation(settings, version, scores)
    _save(
        settings,
        candidate,
        artifacts.version_url(settings.artifacts, version, backtest=True),
        lineage=_lineage(settings, frozen, version, holdout_start, scores, facts) | {NOT_COMPARED: alone},
        card=model_card.render(
            version=version, snapshot=frozen, model=candidate, scores=scores, decision=None, warning=missing
        ),
        figures=model_card.drawn(candidate, scores, registry.recent_retrains(settings, version)),
    )
    checkpoints.clear()
    for line in _report(scores):
        logger.info(line)
    return version


def refit(settings: Settings, version: int) -> bool:
    """Trains the same recipe on everything before the cutoff, keeps the model, and checks it.

    Nothing is left to evaluate it on, so it must recommend much of what the evaluated model does.

    Returns:
        Whether it may serve; if not, the version is held and the reason is stored and logged.
    """
    entry = registry.model_version(settings, version)
    frozen = read_snapshot(settings, entry.snapshot_id)
    evaluated = artifacts.load_model(artifacts.version_url(settings.artifacts, version, backtest=True))
    missing = missing_gpu(settings)
    checkpoints = _checkpoints(settings, frozen, frozen.cutoff, evaluated.recipe, evaluated.epochs)
    model = train(
        frozen.interactions,
        frozen.cutoff,
        evaluated.recipe,
        device=settings.device,
        epochs=evaluated.epochs,
        on_epoch=_log_epoch,
        checkpoints=checkpoints,
        budget_seconds=60 * settings.train_budget_minutes,
    )
    scores = registry.evaluation(settings, version)
    facts = training_facts(model, frozen.interactions, incumbent_lines=None)
    objections = object_to_refit(settings, model, facts, evaluated, frozen.interactions, k=int(entry.config["k"]))
    if objections:
        registry.hold(settings, version, objections)
    url = artifacts.version_url(settings.artifacts, version)
    _save(
        settings,
        model,
        url,
        lineage=_lineage(settings, frozen, version, entry.holdout_start, scores, facts),
        card=model_card.render(
            version=version,
            snapshot=frozen,
            model=model,
            scores=scores,
            decision=registry.gate_decision(settings, version),
            warning=missing,
        ),
        figures=model_card.drawn(model, scores, registry.recent_retrains(settings, version)),
    )
    checkpoints.clear()
    registry.record_artifact(settings, version, url)
    logger.info("Refit of v%d on everything before %s is at %s", version, frozen.cutoff, url)
    if objections:
        log_decision(settings, version)
    return not objections


def register(settings: Settings, version: int, approval: Answer | None = None) -> bool:
    """Makes the version the champion, unless who serves by now speaks against it.

    Args:
        settings: of the shop.
        version: a candidate that the gate let through.
        approval: a person's yes, if one was asked.

    Returns:
        Whether it serves. If not, the version is held, and the reason is stored and logged.
    """
    entry = registry.model_version(settings, version)
    reason = f"the gate let it through; {approval}" if approval else "the gate let it through"
    if registry.promote(settings, version, actor=entry.requested_by, reason=reason):
        log_decision(settings, version)
        return False
    logger.info("v%d is the champion: %s.", version, reason)
    return True


def reject(settings: Settings, version: int, answer: Answer) -> None:
    """Holds a version that the gate let through, because a person said no, or nobody said yes in time."""
    registry.hold(settings, version, [str(answer)], actor=answer.by)


def publish(settings: Settings, version: int) -> int:
    """Writes the version's lists to the list store: as of its own cutoff, or of now where later lists are live.

    Returns:
        The publication's number.

    Raises:
        SupersededError: another version serves by now, such as by a rollback. The lists before still serve.
        ChangedMeanwhileError, ArtifactError, QualityError, ListStoreError: see `serving.publish.publish_lists`.
    """
    entry = registry.model_version(settings, version)
    with kept_out(settings):
        frozen = read_snapshot(settings, entry.snapshot_id)
        newest = max((earlier.as_of for earlier in registry.publications(settings)), default=frozen.cutoff)
        if newest > frozen.cutoff:
            logger.info("Lists as of %s were live already, so v%d scores the newest purchases.", newest, version)
            frozen = read_snapshot(settings, take_snapshot(settings, None))
        return publish_lists(settings, entry, frozen, top_n=int(entry.config["top_n"]))


def truth_for(frozen: Snapshot, holdout_start: datetime) -> Holdout:
    """The truth from the holdout's start to the snapshot's cutoff.

    Raises:
        TrainingError: no customer who was known before bought anything in it.
    """
    truth = truth_of(frozen.interactions, holdout_start, frozen.cutoff)
    if not truth.known_customers:
        raise TrainingError(
            f"No customer known before {holdout_start} bought anything from then until {frozen.cutoff}: "
            "choose a later cutoff or a longer holdout, or load more invoices."
        )
    return truth


def train_and_recommend(
    frozen: Snapshot,
    recipe: Recipe,
    truth: Holdout,
    *,
    k: int,
    device: str,
    checkpoints: Checkpoints | None = None,
    budget_seconds: float | None = None,
) -> tuple[TrainedModel, dict[str, pd.DataFrame]]:
    """Trains a candidate on what came before the holdout; its lists and the baselines', by name.

    Raises:
        TrainingError: there is too little to learn from.
    """
    candidate = train(
        frozen.interactions,
        truth.start,
        recipe,
        device=device,
        on_epoch=_log_epoch,
        checkpoints=checkpoints,
        budget_seconds=budget_seconds,
    )
    depth = max(k, NDCG_DEPTH)
    lists = {CANDIDATE: recommend_holdout(candidate, frozen.interactions, truth, depth)}
    for name, baseline in BASELINES.items():
        lists[name] = baseline(frozen.interactions, truth.start, depth, truth.known_customers)
    return candidate, lists


def recommend_holdout(model: TrainedModel, interactions: pd.DataFrame, truth: Holdout, depth: int) -> pd.DataFrame:
    """A model's lists for the holdout's known customers, as it would have served them at its start."""
    return customer_lists(model, interactions, truth.start, depth, customers=list(truth.known_customers))


def _checkpoints(
    settings: Settings, frozen: Snapshot, cutoff: datetime, recipe: Recipe, epochs: int | None = None
) -> CheckpointFile:
    key = checkpoint_key(frozen.sha256, cutoff, recipe, settings.device, epochs)
    return CheckpointFile(settings.checkpoints_path, key)


def _save(
    settings: Settings,
    model: TrainedModel,
    url: str,
    *,
    lineage: dict[str, Any],
    card: str,
    figures: dict[str, bytes],
) -> None:
    """Keeps a model without customers who were erased while it was trained."""
    with kept_out(settings) as erased:
        known = model.without_customers(erased.gone(model.customers, model.cutoff))
        artifacts.save_model(known, url, lineage=lineage, card=card, figures=figures)


def _incumbent(settings: Settings, version: int, holdout_start: datetime) -> tuple[TrainedModel | None, str | None]:
    """Whom to compare with; where there is one that cannot score any more, why.

    Such a one must not keep the shop from ever having a better model: the candidate is measured by the baselines
    alone, and whoever reads the decision is told. A store that does not answer is no reason to go without.
    """
    entry = registry.incumbent(settings, holdout_start=holdout_start, before_version=version)
    if entry is None or entry.url is None:
        return None, None
    try:
        return artifacts.load_model(entry.url), None
    except (DamagedModelError, OutdatedModelError) as error:
        told = f"NO COMPARISON with the incumbent, {entry.name}, only with the baselines: {error}"
        logger.warning(told)
        return None, told


def missing_gpu(settings: Settings) -> str | None:
    """What to tell where training runs without the GPU that its queue promised; it is logged too. None if all is well.

    Raises:
        TrainingError: the settings name a device that is not here.
    """
    if not settings.gpu_promised or place(settings.device).device.type == "cuda":
        return None
    missing = (
        "NO GPU: NCF_GPU_PROMISED is set, but training runs on the CPU, and may take many times as long. "
        "Check the driver with `nvidia-smi`, the container's device reservation, and that torch is a CUDA build."
    )
    logger.warning(missing)
    return missing


def _lineage(
    settings: Settings,
    frozen: Snapshot,
    version: int,
    holdout_start: datetime,
    scores: Sequence[Scores],
    facts: TrainingFacts,
) -> dict[str, Any]:
    return {
        "version": version,
        "trained_on": place(settings.device).device.type,
        "snapshot_id": frozen.snapshot_id,
        "snapshot_sha256": frozen.sha256,
        "batches": frozen.batches,
        "code": provenance.code(),
        "cutoff": frozen.cutoff.isoformat(),
        "holdout_start": holdout_start.isoformat(),
        TRAINING: facts.as_dict(),
        "metrics": [entry.as_dict() for entry in scores if entry.recommender == CANDIDATE and entry.cohort == EVERYONE],
    }


def _log_epoch(report: EpochReport) -> None:
    logger.info(model_card.epoch_line(report))


def _report(scores: Sequence[Scores]) -> list[str]:
    return [
        f"{entry.question:>8} {entry.recommender:<20} P@{entry.k} {entry.precision_at_k:.4f}  "
        f"R@{entry.k} {entry.recall_at_k:.4f}  NDCG@{NDCG_DEPTH} {entry.ndcg_at_10:.4f}  "
        f"coverage {entry.catalog_coverage:.1%}  over {entry.customers} customers"
        for entry in scores
        if entry.cohort == EVERYONE
    ]
