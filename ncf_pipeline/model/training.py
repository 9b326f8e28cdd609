"""Trains on many past instants, each predicting what its customers bought in the weeks after it.

The number of epochs is chosen on an inner holdout, the last horizon before the cutoff: a first network
is trained without it. The model itself is then trained anew for that many epochs on everything, the
last horizon included, since what was bought last says most about what is bought next.
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
from ncf_pipeline.model.batches import Batches
from ncf_pipeline.model.device import place
from ncf_pipeline.model.features.events import DAY, Events, encode, microseconds
from ncf_pipeline.model.features.queries import Chunk, instants, queries_at
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.features.taste import Taste
from ncf_pipeline.model.fitting import Fit, Progress, inner_precision, warm_start
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import FIT, SELECT, EpochReport, TrainedModel, new_network

MIN_QUERIES = 20
"""Queries with a purchase below which nothing can be learned that best sellers do not know."""

PATIENCE = 1
"""Epochs without a better inner holdout after which the search for the number of epochs stops."""

DEFAULT_EPOCHS = 2
"""Where the history is too short for an inner holdout."""

THREADS = 2

OnEpoch = Callable[[EpochReport], None]


class Checkpoints(Protocol):
    """Where a training that is stopped leaves what it has done."""

    def load(self) -> Progress | None:
        """The last that was saved; None where there is none that can be read."""

    def save(self, progress: Progress) -> None:
        """Keeps it in place of the one before."""


def train(
    interactions: pd.DataFrame,
    cutoff: datetime,
    recipe: Recipe,
    *,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    epochs: int | None = None,
    checkpoints: Checkpoints | None = None,
    budget_seconds: float | None = None,
) -> TrainedModel:
    """Trains a model on what was known at the cutoff.

    Args:
        interactions: columns of `columns.Interactions`; what lies at or after the cutoff is ignored, returns too.
        cutoff: first instant excluded.
        recipe: every hyper-parameter.
        device: `auto`, `cpu` or `cuda`.
        on_epoch: called after each epoch.
        epochs: train for so many, instead of choosing the number on an inner holdout; a refit takes the backtest's.
        checkpoints: where to keep each epoch, and to go on from: of a training with these very interactions,
            cutoff, recipe, device and epochs. Whoever gave them clears them, once the model is kept.
        budget_seconds: of epochs, those of earlier tries included. Once they are spent, no other epoch begins, and the
            history says that training was cut short. One epoch is always done: without it there is no model.

    Returns:
        The model. On the CPU, the same interactions, recipe and number of threads give the same weights.

    Raises:
        TrainingError: there is too little to learn from, the loss is not finite, or there is no such device.
        ValueError: `epochs` is below 1: a network without an epoch is not a model.
    """
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs is {epochs}: train for at least 1")
    placement = place(device)
    events = encode(interactions, cutoff)
    until = microseconds(cutoff)
    chunks = _all_queries(events, until, recipe)
    customers, products = np.arange(len(events.customers)) + 1, np.arange(len(events.products)) + 1

    def batches(part: Sequence[Chunk]) -> Batches:
        return Batches(part, customers, products, placement)

    everything = batches(chunks)
    if len(everything) < MIN_QUERIES:
        days = recipe.min_history_days + recipe.horizon_days
        raise TrainingError(
            f"Too little to learn from before {cutoff:%Y-%m-%d}: {len(everything)} times did a known customer buy "
            f"again, and at least {MIN_QUERIES} are needed, from {days} days of invoices or more. Load more invoices."
        )

    def start(queries: Batches, at: int) -> Fit:
        torch.manual_seed(recipe.seed)
        network = new_network(len(customers), len(products), recipe)
        warm_start(network, Taste(ShopState(events, at, recipe)).by_customers, recipe)
        return Fit(network, queries, at, recipe)

    course = _Course(checkpoints, on_epoch, budget_seconds)
    if epochs is None and not course.has_begun(FIT):
        inner = until - recipe.horizon_days * DAY
        held = batches([chunk for chunk in chunks if chunk.at == inner])
        past = batches([chunk for chunk in chunks if chunk.end <= inner])
        if len(past) and len(held):
            _select(start(past, inner), held, recipe, course)
    epochs = epochs or course.best_epoch() or DEFAULT_EPOCHS
    fit = course.resume(FIT, start(everything, until))
    while fit.epoch < epochs and not (fit.epoch and course.is_out_of_time()):
        started = time.perf_counter()
        loss = fit.run_epoch()
        seconds = fit.seconds_since(started)
        course.add(
            EpochReport(stage=FIT, epoch=fit.epoch, of=epochs, loss=loss, for_you=None, discover=None, seconds=seconds),
            fit,
        )
    return TrainedModel(
        recipe=recipe,
        cutoff=cutoff,
        customers=[int(customer) for customer in events.customers],
        products=[str(product) for product in events.products],
        network=fit.averaged.cpu().eval(),
        epochs=fit.epoch,
        history=course.history,
        lines=int((interactions[Interactions.PURCHASED_AT] < cutoff).sum()),
    )


class _Course:
    """What a training has come to: a report of each epoch, kept with what is needed to go on after it."""

    def __init__(self, checkpoints: Checkpoints | None, on_epoch: OnEpoch | None, seconds: float | None) -> None:
        self.checkpoints, self.on_epoch, self.seconds = checkpoints, on_epoch, seconds
        self.earlier = checkpoints.load() if checkpoints is not None else None
        reports = self.earlier.facts["history"] if self.earlier is not None else []
        self.history = [EpochReport(**report) for report in reports]

    def has_begun(self, stage: str) -> bool:
        """Whether an epoch of that stage is done."""
        return any(report.stage == stage for report in self.history)

    def resume(self, stage: str, fit: Fit) -> Fit:
        """The fit, put where an earlier process left that stage."""
        if self.earlier is not None and self.earlier.facts["history"][-1]["stage"] == stage:
            fit.restore(self.earlier)
        return fit

    def add(self, report: EpochReport, fit: Fit) -> None:
        """Keeps an epoch, and tells of it."""
        self.history.append(report)
        if self.checkpoints is not None:
            done = fit.progress()
            history = [asdict(each) for each in self.history]
            self.checkpoints.save(Progress(done.tensors, done.facts | {"history": history}))
        if self.on_epoch is not None:
            self.on_epoch(report)

    def is_out_of_time(self) -> bool:
        """Whether another epoch that was to come must not begin; if so, the last one's report says it from now on."""
        if self.seconds is None or sum(report.seconds for report in self.history) < self.seconds:
            return False
        self.history[-1] = replace(self.history[-1], out_of_time=True)
        return True

    def best_epoch(self) -> int | None:
        """After which epoch the last horizon was predicted best, the earliest if several; None if none was tried."""
        tried = [report for report in self.history if report.stage == SELECT]
        return max(tried, key=lambda report: (report.inner_value(), -report.epoch)).epoch if tried else None


def _select(fit: Fit, held: Batches, recipe: Recipe, course: _Course) -> None:
    """Trains a network that has not seen the last horizon, until it no longer predicts that horizon better."""
    course.resume(SELECT, fit)
    while fit.epoch < recipe.max_epochs and fit.epoch - (course.best_epoch() or 0) < PATIENCE:
        if fit.epoch and course.is_out_of_time():
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
        course.add(report, fit)


def _all_queries(events: Events, until: int, recipe: Recipe) -> list[Chunk]:
    """Queries of every instant, newest first, two instants at a time: NumPy and SciPy let threads run."""
    found = instants(events, until, recipe)
    with ThreadPoolExecutor(THREADS) as threads:
        at_each = threads.map(lambda instant: queries_at(events, instant[0], instant[1], recipe), found)
        return [chunk for chunks in at_each for chunk in chunks]
