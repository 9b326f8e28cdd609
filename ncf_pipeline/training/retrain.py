"""The stages of a retrain, and `run`, their order.

Snapshot → backtest → gate → refit → register → prepare → score → publish.

Beside them, `live_performance` measures the lists that are live. The tasks of the DAG `retrain_recommender` are these
stages, one to one. A test compares their order with that of `run`.

Each stage takes and returns references (a snapshot id, a version), ends with a transaction or a rename, and can be
killed and run again. The holdout, k and the recipe are stored with the version at the start, so that all later stages
use the same.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from ncf_pipeline.columns import Looks
from ncf_pipeline.errors import ErasedMeanwhileError, InputError, SettingsError, TrainingError
from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.gate import TrainingFacts, objections_to_refit, objections_to_training
from ncf_pipeline.evaluation.scores import (
    BEST_RECENT,
    CANDIDATE,
    EVERYONE,
    INCUMBENT,
    KNOWN,
    NDCG_DEPTH,
    NETWORK_ALONE,
    PLAIN,
    VERSION_0,
    Holdout,
    Scores,
    score,
    truth_of,
)
from ncf_pipeline.live.performance import live_performance
from ncf_pipeline.model.device import place
from ncf_pipeline.model.lists.fallbacks import fallback_lists
from ncf_pipeline.model.lists.style import PLAIN as PLAIN_STYLE
from ncf_pipeline.model.lists.style import Style
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import EpochReport, TrainedModel
from ncf_pipeline.model.training import Checkpoints
from ncf_pipeline.privacy import kept_out, refuse_if_erased_since
from ncf_pipeline.quality.snapshots import check_snapshot
from ncf_pipeline.registry import artifacts
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.manifests import KnownManifests
from ncf_pipeline.registry.snapshots import (
    AnySnapshot,
    Snapshot,
    newest_cutoff,
    open_snapshot,
    read_or_open,
    read_snapshot,
    take_snapshot,
)
from ncf_pipeline.registry.versions import ModelVersion
from ncf_pipeline.serving.merchandising import style_of
from ncf_pipeline.serving.publish import (
    MAX_TRIES,
    draft_of,
    publish_draft,
    publish_lists,
    refuse_unless_champion,
    shared_parts,
)
from ncf_pipeline.serving.scoring import score_shards
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage import provenance
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training import model_card
from ncf_pipeline.training.approval import Answer, Ask
from ncf_pipeline.training.chances import CHANCES, ChancesTest, as_served, with_chances
from ncf_pipeline.training.checkpoints import CheckpointFile, checkpoint_key
from ncf_pipeline.training.decision import (
    NOT_COMPARED,
    TRAINING,
    gate,
    has_served,
    log_decision,
    not_compared,
    thresholds,
    training_facts,
)
from ncf_pipeline.training.distributed import train
from ncf_pipeline.training.earlier_versions import best_recent, load_incumbent
from ncf_pipeline.training.refit_check import REFIT, RefitAgreement, of_two_seeds, shared_by
from ncf_pipeline.training.style_price import STYLE, StyleFacts, facts_of, recommend_holdout

__all__ = [
    "backtest",
    "finish",
    "gate",
    "live_performance",
    "log_decision",
    "not_compared",
    "prepare",
    "publish",
    "refit",
    "register",
    "reject",
    "run",
    "score_shards",
    "snapshot",
]

logger = logging.getLogger(__name__)

MIN_LOOKS = 100
"""Fewest looks before the holdout for a model that reads them."""


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

    Each stage is a task of the DAG `retrain_recommender`, and has the same name there. One more task, `held`,
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
    parts = prepare(settings, version)
    score_shards(settings, parts)
    return Outcome(version, publish(settings, version, parts))


def snapshot(settings: Settings, cutoff: datetime | None = None, *, not_after: datetime | None = None) -> str:
    """Takes a snapshot of the interactions before the cutoff, and checks it by `expectations/interactions.json`.

    Args:
        settings: of the shop.
        cutoff: first instant excluded; None for just after the newest invoice line.
        not_after: the latest cutoff that None may stand for. A run for a past day must not see later purchases.

    Returns:
        The snapshot's id.

    Raises:
        InputError: there are no purchases before the cutoff.
        QualityError: they break a critical rule.
    """
    if cutoff is None and not_after is not None:
        cutoff = min(not_after, newest_cutoff(settings))
    snapshot_id = take_snapshot(settings, cutoff)
    with kept_out(settings):
        check_snapshot(settings, open_snapshot(settings, snapshot_id))
    return snapshot_id


def backtest(settings: Settings, snapshot_id: str, *, run_key: str, requested_by: str) -> int:
    """Trains a candidate on the purchases before the holdout, and scores it beside others.

    The others are the incumbent, the best recent version and the baselines.

    If training is killed, the next try continues after the last epoch that was completed. If the run of a version that
    has served is repeated, nothing is trained: the version stays as it is.

    Args:
        settings: `holdout_days`, `k`, `top_n`, `seed`, `trees` and `device` are used.
        snapshot_id: of the snapshot to train on.
        run_key: identifies the run, so that another try continues the same version.
        requested_by: a person, or what triggered the run; stored with the version.

    Returns:
        The candidate's version.

    Raises:
        TrainingError: there are too few interactions to train on or to evaluate on.
        ArtifactError: the snapshot is missing or damaged.
    """
    data = read_sample(settings, snapshot_id)
    holdout_start = data.cutoff - timedelta(days=settings.holdout_days)
    recipe = recipe_of(settings, data.looks, holdout_start)
    version = registry.open_version(
        settings,
        run_key=run_key,
        snapshot_id=snapshot_id,
        cutoff=data.cutoff,
        holdout_start=holdout_start,
        config={
            "holdout_days": settings.holdout_days,
            "k": settings.k,
            "top_n": settings.top_n,
            "recipe": recipe.as_dict(),
        },
        requested_by=requested_by,
    )
    if has_served(settings, version):
        return version
    truth = truth_for(data, holdout_start)
    missing = missing_gpu(settings)
    checkpoints = _checkpoints(settings, data, holdout_start, recipe)
    depth, style = depth_of(settings), style_of(settings)
    candidate, lists = train_and_recommend(
        data,
        recipe,
        truth,
        depth=depth,
        device=settings.device,
        checkpoints=checkpoints,
        budget_seconds=60 * settings.train_budget_minutes,
        style=style,
    )
    candidate, tested = with_chances(candidate, data.interactions, truth, top_n=settings.top_n, looks=data.looks)

    def recommend(model: TrainedModel) -> pd.DataFrame:
        return recommend_holdout(model, data.interactions, truth, depth, style, looks=data.looks)

    entry = registry.model_version(settings, version)
    incumbent, model, alone_because = load_incumbent(settings, entry)
    incumbent_lines = None
    if model is not None:
        lists[INCUMBENT], incumbent_lines = recommend(model), model.lines
        served = as_served(model, data.interactions, truth, top_n=settings.top_n, looks=data.looks)
        tested = replace(tested, incumbent=served)
        del model
    others = best_recent(
        settings,
        entry,
        truth,
        recommend,
        k=settings.k,
        incumbent=incumbent,
        incumbent_lists=lists.get(INCUMBENT),
    )
    if others.best:
        lists[BEST_RECENT] = others.lists
    fallbacks = fallback_lists(data.interactions, truth.start, depth)
    scores = others.of_interest(score(lists, truth, k=settings.k, fallbacks=fallbacks))
    facts = training_facts(
        candidate, data.interactions, incumbent_lines=incumbent_lines, looks=data.looks, whole=data.whole
    )
    in_style = facts_of(style, candidate, data.interactions, truth, lists, depth=depth, k=settings.k, looks=data.looks)
    registry.record_evaluation(settings, version, scores)
    _save(
        KnownManifests(settings, version, is_backtest=True),
        candidate,
        artifacts.version_url(settings.artifacts, version, backtest=True),
        lineage=_lineage(settings.device, data, version, holdout_start, scores, facts)
        | {NOT_COMPARED: alone_because, BEST_RECENT: others.as_dict(), CHANCES: tested.as_dict()}
        | ({STYLE: in_style.as_dict()} if in_style is not None else {}),
        card=model_card.render(
            version=version,
            snapshot=data,
            model=candidate,
            scores=scores,
            decision=None,
            warning=missing,
            style=in_style,
            chances=tested,
        ),
        figures=model_card.drawn(candidate, scores, registry.recent_retrains(settings, version), tested),
    )
    checkpoints.clear()
    for line in _in_lines(scores):
        logger.info(line)
    return version


def refit(settings: Settings, version: int) -> bool:
    """Trains the same recipe on everything before the cutoff, and stores and checks the model.

    No holdout is left to evaluate it on. So it must recommend much of what the evaluated model recommends: see
    `training.refit_check`. If that needs a second seed and the process is killed, the next try continues there.

    Returns:
        Whether it may serve. If not, the version is held, and the reason is stored and logged.

    Raises:
        InputError: there is no such version.
        TrainingError: training failed.
        ArtifactError: the snapshot or the evaluated model is missing or damaged.
    """
    if has_served(settings, version):
        return True
    entry = registry.model_version(settings, version)
    data = read_sample(settings, entry.snapshot_id)
    backtest_url = artifacts.version_url(settings.artifacts, version, backtest=True)
    known = KnownManifests(settings, version, is_backtest=True)
    evaluated = artifacts.load_model(backtest_url, known=known)
    of_backtest = artifacts.read_manifest(backtest_url, known=known)
    in_style, tested = of_backtest.get(STYLE), ChancesTest.from_dict(of_backtest.get(CHANCES))
    missing = missing_gpu(settings)
    checkpoints = _checkpoints(settings, data, data.cutoff, evaluated.recipe, evaluated.epochs)
    model = train(
        data.interactions,
        data.cutoff,
        evaluated.recipe,
        looks=data.looks,
        device=settings.device,
        epochs=evaluated.epochs,
        on_epoch=_log_epoch,
        checkpoints=checkpoints,
        budget_seconds=60 * settings.train_budget_minutes,
    )
    model = replace(model, chances=evaluated.chances, lines=data.whole(model.lines or 0))
    scores = registry.evaluation(settings, version)
    facts = training_facts(model, data.interactions, incumbent_lines=None, looks=data.looks, whole=data.whole)
    bounds, k = thresholds(settings), int(entry.config["k"])
    objections = objections_to_training(facts, bounds, whose="the refit")
    shared, seeds = shared_by(model, evaluated, data.interactions, data.cutoff, k=k, looks=data.looks), None
    logger.info("The refit and the evaluated model share %.1f%% of their recommendations.", 100 * shared)
    second = replace(evaluated.recipe, seed=evaluated.recipe.seed + 1)
    checkpoints_of_second = _checkpoints(settings, data, evaluated.cutoff, second, evaluated.epochs)
    if not objections and objections_to_refit(shared, None, bounds):

        def train_second() -> TrainedModel:
            return train(
                data.interactions,
                evaluated.cutoff,
                second,
                looks=data.looks,
                device=settings.device,
                epochs=evaluated.epochs,
                on_epoch=_log_epoch,
                checkpoints=checkpoints_of_second,
            )

        seeds = of_two_seeds(
            settings, version, evaluated, data.interactions, data.cutoff, train_second, k=k, looks=data.looks
        )
    objections += objections_to_refit(shared, seeds.shared if seeds is not None else None, bounds)
    agreement = RefitAgreement(shared, k, seeds)
    if objections:
        registry.hold(settings, version, objections)
    url = artifacts.version_url(settings.artifacts, version)
    _save(
        KnownManifests(settings, version),
        model,
        url,
        lineage=_lineage(settings.device, data, version, entry.holdout_start, scores, facts)
        | {REFIT: agreement.as_dict(), CHANCES: tested.as_dict() if tested is not None else None},
        card=model_card.render(
            version=version,
            snapshot=data,
            model=model,
            scores=scores,
            decision=registry.gate_decision(settings, version),
            warning=missing,
            agreement=agreement,
            style=StyleFacts.from_dict(in_style) if in_style is not None else None,
            chances=tested,
        ),
        figures=model_card.drawn(model, scores, registry.recent_retrains(settings, version), tested),
    )
    checkpoints.clear()
    checkpoints_of_second.clear()
    registry.record_artifact(settings, version, url)
    logger.info("Refit of v%d on everything before %s is at %s", version, data.cutoff, url)
    if objections:
        log_decision(settings, version)
    return not objections


def register(settings: Settings, version: int, approval: Answer | None = None) -> bool:
    """Makes the version the champion, unless a newer champion serves by now.

    Args:
        settings: of the shop.
        version: a candidate that the gate let through.
        approval: a person's yes, if one was asked.

    Returns:
        Whether it serves. If not, the version is held, and the reason is stored and logged.

    Raises:
        InputError: there is no such version, the gate holds it, or it has no artifact.
    """
    entry = registry.model_version(settings, version)
    reason = f"the gate let it through; {approval}" if approval else "the gate let it through"
    if objections := registry.promote(settings, version, actor=entry.requested_by, reason=reason):
        if entry.promoted_at is None:
            log_decision(settings, version)
        else:
            logger.info("v%d has served before and is not made the champion again: %s", version, " ".join(objections))
        return False
    logger.info("v%d is the champion: %s.", version, reason)
    return True


def reject(settings: Settings, version: int, answer: Answer) -> None:
    """Holds a version that the gate let through: a person said no, or nobody answered in time."""
    registry.hold(settings, version, [str(answer)], actor=answer.by)


def prepare(settings: Settings, version: int) -> list[str]:
    """Opens a draft of the version's lists: as of its cutoff, or as of now if later lists have been live.

    Returns:
        The URLs of the parts that `score_shards` makes, one for each shard.

    Raises:
        InputError: there is no such version.
        SupersededError: another version serves by now, such as after a rollback. What serves stays live.
        ArtifactError: the snapshot is missing or damaged.
    """
    entry = registry.model_version(settings, version)
    refuse_unless_champion(settings, version)
    with kept_out(settings) as erased:
        data = _purchases(settings, entry)
        scoring = draft_of(settings, entry, data, top_n=_top_n(entry), erased=erased)
        return shared_parts(settings, scoring, erased)


def publish(settings: Settings, version: int, parts: Sequence[str] = ()) -> int:
    """Publishes the version's lists, from the parts of `prepare`.

    If these may no longer be published, because somebody was erased, later lists have been live or the rules changed,
    all lists are made again here: as of the version's cutoff, or as of now if later lists have been live.

    Args:
        settings: of the shop.
        version: the champion.
        parts: from `prepare`; each was scored. None: all lists are made here.

    Returns:
        The publication's number.

    Raises:
        InputError: there is no such version.
        SupersededError: another version serves by now, such as after a rollback. What serves stays live.
        ChangedMeanwhileError, ArtifactError, QualityError, ListStoreError: see `serving.publish.publish_lists`.
    """
    entry = registry.model_version(settings, version)
    if parts:
        try:
            number = publish_draft(settings, parts)
        except ErasedMeanwhileError as error:
            logger.info("%s All lists are made again.", error)
            number = None
        if number is not None:
            return number
        refuse_unless_champion(settings, version)
    with kept_out(settings) as erased:
        data = _purchases(settings, entry)
        return publish_lists(settings, entry, data, top_n=_top_n(entry), erased=erased)


def _purchases(settings: Settings, entry: ModelVersion) -> AnySnapshot:
    """The version's own snapshot; the newest purchases if later lists have been live."""
    data = read_or_open(settings, entry.snapshot_id)
    newest = max((earlier.as_of for earlier in registry.publications(settings)), default=data.cutoff)
    if newest <= data.cutoff:
        return data
    logger.info("Lists as of %s have been live, so %s scores the newest purchases.", newest, entry.name)
    return read_or_open(settings, take_snapshot(settings, None))


def _top_n(entry: ModelVersion) -> int:
    return int(entry.config["top_n"])


def truth_for(snapshot: Snapshot, holdout_start: datetime) -> Holdout:
    """Finds what customers bought from the holdout's start to the snapshot's cutoff.

    Raises:
        TrainingError: no known customer bought anything in the holdout.
    """
    truth = truth_of(snapshot.interactions, holdout_start, snapshot.cutoff)
    if not truth.known_customers:
        raise TrainingError(
            f"No customer known before {holdout_start} bought anything from then until {snapshot.cutoff}: "
            "choose a later cutoff or a longer holdout, or load more invoices."
        )
    return truth


def recipe_of(settings: Settings, looks: pd.DataFrame, holdout_start: datetime) -> Recipe:
    """The recipe of a retrain: the defaults, with the seed, and without trees if `trees` is off.

    It reads what customers look at if there are at least `MIN_LOOKS` looks to learn from.

    Args:
        settings: `seed` and `trees` are used.
        looks: of the snapshot, in the columns of `columns.Looks`.
        holdout_start: those from this instant on do not count.
    """
    recipe = Recipe(seed=settings.seed)
    if int((looks[Looks.LOOKED_AT] < holdout_start).sum()) >= MIN_LOOKS:
        recipe = recipe.with_looks()
    return recipe if settings.trees else recipe.network_alone()


def train_and_recommend(
    snapshot: Snapshot,
    recipe: Recipe,
    truth: Holdout,
    *,
    depth: int,
    device: str,
    checkpoints: Checkpoints | None = None,
    budget_seconds: float | None = None,
    style: Style = PLAIN_STYLE,
) -> tuple[TrainedModel, dict[str, pd.DataFrame]]:
    """Trains a candidate on the purchases before the holdout, and recommends with it, the baselines and version 0.

    If it has trees, also with its network alone: what they are worth in this shop is seen in every evaluation.

    Args:
        snapshot: to train on.
        recipe: of the candidate.
        truth: the holdout; lists are made for its known customers.
        depth: length of a list.
        device: `auto`, `cpu` or `cuda`.
        checkpoints: where training continues from if it was killed.
        budget_seconds: seconds of training after which no other epoch begins; None for no limit.
        style: of the candidate's lists and of version 0's, because these are served so. The baselines have none. If it
            is not plain, the candidate's plain lists are there as well.

    Returns:
        The candidate, and the lists by the recommender's name, in the columns of `columns.Lists`.

    Raises:
        TrainingError: there are too few interactions to train on.
    """
    candidate = train(
        snapshot.interactions,
        truth.start,
        recipe,
        looks=snapshot.looks,
        device=device,
        on_epoch=_log_epoch,
        checkpoints=checkpoints,
        budget_seconds=budget_seconds,
    )
    if snapshot.share < 1:
        candidate = replace(candidate, lines=snapshot.whole(candidate.lines or 0))

    def recommend(model: TrainedModel, style: Style) -> pd.DataFrame:
        return recommend_holdout(model, snapshot.interactions, truth, depth, style, looks=snapshot.looks)

    lists = {CANDIDATE: recommend(candidate, style)}
    if candidate.trees is not None:
        lists[NETWORK_ALONE] = recommend(candidate.network_alone(), style)
    if not style.is_plain:
        lists[PLAIN] = recommend(candidate, PLAIN_STYLE)
    for name, baseline in BASELINES.items():
        lists[name] = baseline(snapshot.interactions, truth.start, depth, truth.known_customers)
    lists[VERSION_0] = recommend_holdout(None, snapshot.interactions, truth, depth, style)
    return candidate, lists


def read_sample(settings: Settings, snapshot_id: str) -> Snapshot:
    """Reads what a model is trained and evaluated on: a snapshot, or of a large shop a sample of its customers.

    Args:
        settings: `train_lines` is used.
        snapshot_id: of the snapshot.

    Raises:
        ArtifactError: the snapshot is missing or damaged.
    """
    data = read_snapshot(settings, snapshot_id, most_lines=settings.train_lines)
    if data.share < 1:
        logger.info(
            "%s has %s purchases: a sample of the customers, with %s of them, stands for all (NCF_TRAIN_LINES).",
            snapshot_id,
            f"{data.whole(len(data.interactions)):,}",
            f"{len(data.interactions):,}",
        )
    return data


def depth_of(settings: Settings) -> int:
    """Length of the lists that an evaluation scores: enough for all metrics, and never more than shoppers see.

    If `k` is above `top_n`, the places from `top_n` on are empty, as they are in the shop, and Precision@k counts them.
    """
    return min(settings.top_n, max(settings.k, NDCG_DEPTH))


def _checkpoints(
    settings: Settings, snapshot: Snapshot, cutoff: datetime, recipe: Recipe, epochs: int | None = None
) -> CheckpointFile:
    content = snapshot.sha256 if snapshot.share == 1 else f"{snapshot.sha256} {snapshot.share}"
    key = checkpoint_key(content, cutoff, recipe, settings.device, epochs)
    return CheckpointFile(settings.checkpoints_path, key)


def _save(
    known: KnownManifests,
    model: TrainedModel,
    url: str,
    *,
    lineage: dict[str, Any],
    card: str,
    figures: dict[str, bytes],
) -> None:
    """Stores a model, without customers who were erased during training."""
    for number in range(MAX_TRIES):
        with kept_out(known.settings) as erased:
            kept = model.without_customers(erased.gone(model.customers, model.cutoff))
            artifacts.save_model(kept, url, lineage=lineage, card=card, figures=figures, known=known)
            try:
                with transaction(known.settings) as connection:
                    refuse_if_erased_since(connection, known.settings, erased)
            except ErasedMeanwhileError as error:  # the lock was lost, and an erasure did not wait
                logger.info("%s The model is written again without the customer.", error)
                continue
            if number > 0:
                artifacts.remove_files(url, keep=artifacts.files_of(url))
            return
    raise ErasedMeanwhileError(f"{url} was not written: during each of {MAX_TRIES} tries a customer was erased.")


def missing_gpu(settings: Settings) -> str | None:
    """Warns if training runs without the GPU that the worker's queue promises.

    Returns:
        The warning, which is also logged; None if there is nothing to warn of.

    Raises:
        TrainingError: this machine does not have the device that the settings name.
    """
    if not settings.gpu_promised or place(settings.device).device.type == "cuda":
        return None
    missing = (
        "NO GPU: NCF_GPU_PROMISED is set, but training runs on the CPU and may take many times as long. "
        "Check the driver with `nvidia-smi`, the container's device reservation, and that torch is a CUDA build."
    )
    logger.warning(missing)
    return missing


def _lineage(
    device: str,
    snapshot: Snapshot,
    version: int,
    holdout_start: datetime,
    scores: Sequence[Scores],
    facts: TrainingFacts,
) -> dict[str, Any]:
    return {
        "version": version,
        "trained_on": place(device).device.type,
        "snapshot_id": snapshot.snapshot_id,
        "snapshot_sha256": snapshot.sha256,
        "batches": snapshot.batches,
        "code": provenance.code(),
        "cutoff": snapshot.cutoff.isoformat(),
        "holdout_start": holdout_start.isoformat(),
        TRAINING: facts.as_dict(),
        "metrics": [each.as_dict() for each in scores if each.recommender == CANDIDATE and each.cohort == EVERYONE],
    }


def _log_epoch(report: EpochReport) -> None:
    logger.info(model_card.epoch_line(report))


def _in_lines(scores: Sequence[Scores]) -> list[str]:
    return [
        f"{each.question:>8} {each.recommender:<20} P@{each.k} {each.precision_at_k:.4f}  "
        f"R@{each.k} {each.recall_at_k:.4f}  NDCG@{NDCG_DEPTH} {each.ndcg_at_10:.4f}  "
        f"coverage {each.catalog_coverage:.1%}  over {each.customers} customers ({each.cohort})"
        for each in scores
        if each.cohort in (EVERYONE, KNOWN)
    ]
