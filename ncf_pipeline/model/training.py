"""Trains on many past instants: at each, the network predicts what customers bought in the weeks after it.

An inner holdout, the last horizon before the cutoff, chooses the number of epochs: a first network is trained without
it. Then the model is trained from the start on everything, for that many epochs. It includes the last horizon, because
the latest purchases say most about the next ones. The trees beside the network come last, from the same queries.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import datetime
from typing import Protocol

import numpy as np
import pandas as pd
import torch

from ncf_pipeline.columns import Interactions
from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.batches import Batches, Resident
from ncf_pipeline.model.boosting import has_trees, import_lightgbm, train_trees
from ncf_pipeline.model.device import Policy, place
from ncf_pipeline.model.features.events import DAY, Events, encode, microseconds
from ncf_pipeline.model.features.looks import looks_for
from ncf_pipeline.model.features.queries import Chunk, customers_to_learn_from, instants, queries_at
from ncf_pipeline.model.features.state import Mask, ShopState
from ncf_pipeline.model.features.taste import Taste
from ncf_pipeline.model.fitting import Fit, Progress, inner_precision, warm_start
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import FIT, SELECT, EpochReport, TrainedModel, new_network

MIN_QUERIES = 20
"""Fewest queries with a purchase. With fewer, a model learns nothing that best sellers do not show."""

PATIENCE = 1
"""The search for the number of epochs stops after so many epochs without a better inner holdout."""

DEFAULT_EPOCHS = 2
"""Number of epochs if the history is too short for an inner holdout."""

THREADS = 2, 4
"""Fewest and most instants whose queries are made at the same time: half as many as torch has threads. Each needs
memory for its tables."""

OnEpoch = Callable[[EpochReport], None]


class Checkpoints(Protocol):
    """Where a training keeps its progress, so that another process can resume it."""

    def load(self) -> Progress | None:
        """Returns the last saved progress, or None if none can be read."""

    def save(self, progress: Progress) -> None:
        """Replaces the saved progress."""


def train(
    interactions: pd.DataFrame,
    cutoff: datetime,
    recipe: Recipe,
    *,
    looks: pd.DataFrame | None = None,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    epochs: int | None = None,
    checkpoints: Checkpoints | None = None,
    budget_seconds: float | None = None,
    policy: Policy | None = None,
) -> TrainedModel:
    """Trains a model on what was known at the cutoff.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after the cutoff are ignored.
        cutoff: first instant excluded.
        recipe: every hyper-parameter.
        looks: columns of `columns.Looks`, for a recipe that reads them; those at or after the cutoff are ignored.
        device: `auto`, `cpu` or `cuda`.
        on_epoch: called after each epoch.
        epochs: number of epochs; an inner holdout chooses it if None. A refit takes the backtest's.
        checkpoints: keep the progress after each epoch. If they hold progress, training resumes from it; it must be of
            a training with the same interactions, cutoff, recipe, device and epochs. The caller clears them once it
            has stored the model.
        budget_seconds: time for epochs, including those of earlier processes. Once it is spent, no epoch begins, and
            the last report has `out_of_time`. One epoch is always done: without it there is no model.
        policy: the device's options; the defaults of `device.POLICIES` if None.

    Returns:
        The model. On the CPU, the same interactions, recipe and number of threads give the same weights and trees. If
        several processes train together, the model of the first one alone has trees.

    Raises:
        TrainingError: there is too little to learn from, the loss is not finite, or the device is not available.
        SettingsError: the recipe has trees, and LightGBM cannot be imported.
        ValueError: `epochs` is below 1: a network without an epoch is not a model.
    """
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs is {epochs}: train for at least 1")
    placement = place(device, policy)
    if has_trees(recipe):
        import_lightgbm()  # what is missing is told before minutes of training
    events = encode(interactions, cutoff, looks_for(recipe, looks))
    until = microseconds(cutoff)
    learned = customers_to_learn_from(events, until, recipe)
    chunks = all_queries(events, until, recipe, learned)
    # A customer who teaches nothing has no embedding: the row for unknown ones is better than an untrained one.
    customers, products = np.where(learned, np.cumsum(learned), 0), np.arange(len(events.products)) + 1

    resident = Resident.if_it_fits(chunks, products, placement)

    def batches(part: Sequence[Chunk]) -> Batches:
        return Batches(part, customers, products, placement, resident)

    everything = batches(chunks)
    if len(everything) < MIN_QUERIES:
        days = recipe.min_history_days + recipe.horizon_days
        raise TrainingError(
            f"Too little to learn from before {cutoff:%Y-%m-%d}: known customers bought again {len(everything)} times. "
            f"Training needs at least {MIN_QUERIES} times, from {days} days of invoices or more. Load more invoices."
        )

    def untrained(queries: Batches, at: int) -> Fit:
        torch.manual_seed(recipe.seed)
        network = new_network(int(learned.sum()), len(products), recipe)
        warm_start(network, Taste(ShopState(events, at, recipe)).by_customers, recipe)
        return Fit(network, queries, at, recipe)

    run = _TrainingRun(checkpoints, on_epoch, budget_seconds)
    if epochs is None and not run.has_begun(FIT):
        inner = until - recipe.horizon_days * DAY
        held = batches([chunk for chunk in chunks if chunk.at == inner])
        past = batches([chunk for chunk in chunks if chunk.end <= inner])
        if len(past) and len(held):
            _select(untrained(past, inner), held, recipe, run)
    epochs = epochs or run.best_epoch() or DEFAULT_EPOCHS
    fit = run.resume(FIT, untrained(everything, until))
    while fit.epoch < epochs and not (fit.epoch and run.is_out_of_time()):
        started = time.perf_counter()
        loss = fit.run_epoch()
        seconds = fit.seconds_since(started)
        run.add(
            EpochReport(stage=FIT, epoch=fit.epoch, of=epochs, loss=loss, for_you=None, discover=None, seconds=seconds),
            fit,
        )
    # A checkpoint knows nothing of trees: after a kill, they are trained again, and become the same.
    trees = train_trees(chunks, until, recipe) if placement.rank == 0 else None
    return TrainedModel(
        recipe=recipe,
        cutoff=cutoff,
        customers=events.customers[learned].tolist(),
        products=[str(product) for product in events.products],
        network=fit.averaged.cpu().eval(),
        epochs=fit.epoch,
        history=run.history,
        lines=int((interactions[Interactions.PURCHASED_AT] < cutoff).sum()),
        trees=trees,
    )


class _TrainingRun:
    """The course of one training: a report of each epoch, the checkpoints, and the time budget."""

    def __init__(self, checkpoints: Checkpoints | None, on_epoch: OnEpoch | None, seconds: float | None) -> None:
        self.checkpoints, self.on_epoch, self.seconds = checkpoints, on_epoch, seconds
        self.earlier = checkpoints.load() if checkpoints is not None else None
        reports = self.earlier.facts["history"] if self.earlier is not None else []
        self.history = [EpochReport(**report) for report in reports]

    def has_begun(self, stage: str) -> bool:
        """Whether an epoch of that stage was finished."""
        return any(report.stage == stage for report in self.history)

    def resume(self, stage: str, fit: Fit) -> Fit:
        """Returns the fit, restored if an earlier process stopped in that stage."""
        if self.earlier is not None and self.earlier.facts["history"][-1]["stage"] == stage:
            fit.restore(self.earlier)
        return fit

    def add(self, report: EpochReport, fit: Fit) -> None:
        """Records a finished epoch: in the history, in the checkpoint, and to the caller."""
        self.history.append(report)
        if self.checkpoints is not None:
            progress = fit.progress()
            history = [asdict(each) for each in self.history]
            self.checkpoints.save(replace(progress, facts=progress.facts | {"history": history}))
        if self.on_epoch is not None:
            self.on_epoch(report)

    def is_out_of_time(self) -> bool:
        """Whether the budget is spent, so that no epoch may begin. If so, marks the last report `out_of_time`."""
        if self.seconds is None or sum(report.seconds for report in self.history) < self.seconds:
            return False
        self.history[-1] = replace(self.history[-1], out_of_time=True)
        return True

    def best_epoch(self) -> int | None:
        """Returns the epoch that predicted the inner holdout best, the earliest if tied; None if none was tried."""
        tried = [report for report in self.history if report.stage == SELECT]
        return max(tried, key=lambda report: (report.inner_value(), -report.epoch)).epoch if tried else None


def _select(fit: Fit, held: Batches, recipe: Recipe, run: _TrainingRun) -> None:
    """Trains a network without the inner holdout, until another epoch no longer predicts that holdout better."""
    run.resume(SELECT, fit)
    while fit.epoch < recipe.max_epochs and fit.epoch - (run.best_epoch() or 0) < PATIENCE:
        if fit.epoch and run.is_out_of_time():
            return
        started = time.perf_counter()
        loss = fit.run_epoch()
        for_you, discover = inner_precision(fit.averaged, held)
        report = EpochReport(
            stage=SELECT,
            epoch=fit.epoch,
            of=recipe.max_epochs,
            loss=loss,
            for_you=for_you,
            discover=discover,
            seconds=fit.seconds_since(started),
        )
        run.add(report, fit)


def all_queries(events: Events, until: int, recipe: Recipe, among: Mask | None = None) -> list[Chunk]:
    """Queries of every instant, newest first. NumPy and SciPy release the interpreter's lock, so threads help.

    Args:
        events: all of the shop.
        until: microseconds; the cutoff.
        recipe: every hyper-parameter.
        among: (C,) which customers are asked about; all if None.
    """
    fewest, most = THREADS
    with ThreadPoolExecutor(min(max(fewest, torch.get_num_threads() // 2), most)) as threads:
        of_instants = threads.map(
            lambda instant: queries_at(events, instant.at, instant.horizon_days, recipe, among),
            instants(events, until, recipe),
        )
        return [chunk for chunks in of_instants for chunk in chunks]
