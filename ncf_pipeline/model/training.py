"""Trains on many past instants, each predicting what its customers bought in the weeks after it.

The number of epochs is chosen on an inner holdout, the last horizon before the cutoff: a first network
is trained without it. The model itself is then trained anew for that many epochs on everything, the
last horizon included, since what was bought last says most about what is bought next.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.device import Placement, place
from ncf_pipeline.model.events import DAY, FloatArray, encode, microseconds
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, PurchaseNCF, listwise_loss
from ncf_pipeline.model.queries import Batches, Chunk, TrainingBatch, instants, queries_at
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import EpochReport, TrainedModel, new_network

MIN_QUERIES = 20
"""Queries with a purchase below which nothing can be learned that best sellers do not know."""

DEPTH = 5
PATIENCE = 1
"""Epochs without a better inner holdout after which the search for the number of epochs stops."""

DEFAULT_EPOCHS = 2
"""Where the history is too short for an inner holdout."""

OnEpoch = Callable[[EpochReport], None]


def train(
    interactions: pd.DataFrame,
    cutoff: datetime,
    recipe: Recipe,
    *,
    device: str = "auto",
    on_epoch: OnEpoch | None = None,
    epochs: int | None = None,
) -> TrainedModel:
    """Trains a model on what was known at the cutoff.

    Args:
        interactions: columns of `columns.Interactions`; what lies at or after the cutoff is ignored, returns too.
        cutoff: first instant excluded.
        recipe: every hyper-parameter.
        device: `auto`, `cpu` or `cuda`.
        on_epoch: called after each epoch.
        epochs: train for so many, instead of choosing the number on an inner holdout; a refit takes the backtest's.

    Returns:
        The model. On the CPU, the same interactions, recipe and number of threads give the same weights.

    Raises:
        TrainingError: there is too little to learn from, the loss is not finite, or there is no such device.
    """
    placement = place(device)
    events = encode(interactions, cutoff)
    until = microseconds(cutoff)
    chunks = [chunk for at in instants(events, until, recipe) for chunk in queries_at(events, at, recipe)]
    positives = sum(chunk.queries_with_positives() for chunk in chunks)
    if positives < MIN_QUERIES:
        days = recipe.min_history_days + recipe.horizon_days
        raise TrainingError(
            f"Too little to learn from before {cutoff:%Y-%m-%d}: {positives} times did a known customer buy again, and "
            f"at least {MIN_QUERIES} are needed, from {days} days of invoices or more. Load more invoices."
        )
    customers, products = np.arange(len(events.customers)) + 1, np.arange(len(events.products)) + 1
    history: list[EpochReport] = []

    def report(entry: EpochReport) -> None:
        history.append(entry)
        if on_epoch is not None:
            on_epoch(entry)

    def batches(part: Sequence[Chunk]) -> Batches:
        return Batches(part, customers, products, placement)

    def start() -> PurchaseNCF:
        torch.manual_seed(recipe.seed)
        return new_network(len(customers), len(products), recipe)

    if epochs is None:
        epochs = _choose_epochs(start(), batches, chunks, until, recipe, placement, report)
    network = start()
    for epoch in _epochs(network, batches(chunks), until, recipe, placement, epochs):
        report(EpochReport("fit", epoch.number, epochs, epoch.loss, None, None, epoch.seconds))
        network = epoch.averaged
    return TrainedModel(
        recipe=recipe,
        cutoff=cutoff,
        customers=[int(customer) for customer in events.customers],
        products=[str(product) for product in events.products],
        network=network.cpu().eval(),
        epochs=epochs,
        history=history,
    )


@dataclass(frozen=True)
class _Epoch:
    number: int
    loss: float
    averaged: PurchaseNCF
    seconds: float


def _choose_epochs(
    network: PurchaseNCF,
    batches: Callable[[Sequence[Chunk]], Batches],
    chunks: Sequence[Chunk],
    until: int,
    recipe: Recipe,
    placement: Placement,
    report: OnEpoch,
) -> int:
    """The number of epochs after which a network that has not seen the last horizon predicts it best."""
    inner = until - recipe.horizon_days * DAY
    held = [chunk for chunk in chunks if chunk.at == inner]
    past = [chunk for chunk in chunks if chunk.at + recipe.horizon_days * DAY <= inner]
    if not any(chunk.queries_with_positives() for chunk in past) or not held:
        return DEFAULT_EPOCHS
    holdout = batches(held)
    best, best_value = 1, -1.0
    for epoch in _epochs(network, batches(past), inner, recipe, placement, recipe.max_epochs):
        for_you, discover = inner_precision(epoch.averaged, holdout, placement)
        report(EpochReport("select", epoch.number, recipe.max_epochs, epoch.loss, for_you, discover, epoch.seconds))
        if for_you + discover > best_value:
            best, best_value = epoch.number, for_you + discover
        if epoch.number - best >= PATIENCE:
            break
    return best


def _epochs(
    network: PurchaseNCF, batches: Batches, until: int, recipe: Recipe, placement: Placement, epochs: int
) -> Iterator[_Epoch]:
    """Trains a network, epoch by epoch; each gives the moving average of the weights so far.

    The learning rate stays as it is after the warm-up and the average does the cooling (Izmailov et al.
    2018, "Averaging Weights Leads to Wider Optima"), so an epoch is the same whatever number follow it.
    """
    _standardise(network, batches)
    network = network.to(placement.device).train()
    averaged = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(_parameter_groups(network, recipe), lr=recipe.learning_rate, fused=placement.fused)
    at = np.array([batches.chunks[which].at for which, _ in batches.queries], np.float64)
    weights: FloatArray = np.exp(-(until - at) / DAY / recipe.recency_days)
    weights /= weights.mean()
    shuffle = np.random.default_rng(recipe.seed)
    step = 0
    for number in range(1, epochs + 1):
        started, losses = time.perf_counter(), 0.0
        for batch in batches.in_order(shuffle.permutation(len(batches)), recipe.batch_customers, weights):
            step += 1
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * min(1.0, step / recipe.warmup_steps)
            with placement.autocast():
                scores = network(batch.inputs).float()  # (R, 2)
            loss = _loss(scores, batch, recipe)
            optimizer.zero_grad(set_to_none=True)
            (loss / len(batch.weight)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses += float(loss.detach())
            _average(averaged, network, min(recipe.average_decay, step / (step + 10)))
        mean = losses / len(batches)
        if not np.isfinite(mean):
            raise TrainingError(f"The loss is {mean} in epoch {number}. Lower the recipe's learning_rate.")
        yield _Epoch(number, mean, averaged, time.perf_counter() - started)


def _loss(scores: Tensor, batch: TrainingBatch, recipe: Recipe) -> Tensor:
    """Both questions: among all candidates, and among those new to the customer."""
    everything = torch.ones_like(batch.new)
    query = batch.inputs.query
    for_you = listwise_loss(scores[:, FOR_YOU_HEAD], query, batch.place, batch.positive, everything, batch.weight)
    discover = listwise_loss(scores[:, DISCOVER_HEAD], query, batch.place, batch.positive, batch.new, batch.weight)
    return for_you + recipe.discover_weight * discover


@torch.no_grad()
def inner_precision(network: PurchaseNCF, batches: Batches, placement: Placement) -> tuple[float, float]:
    """Precision@5 of `for_you` over all queries, and of `discover` over those with a new product."""
    hits = np.zeros(2)
    order = np.arange(len(batches))
    for batch in batches.in_order(order, 256, np.ones(len(order))):
        with placement.autocast():
            scores = network(batch.inputs).float()
        for head, among in ((FOR_YOU_HEAD, torch.ones_like(batch.new)), (DISCOVER_HEAD, batch.new)):
            padded = scores.new_full((len(batch.weight), int(batch.place.max()) + DEPTH), -torch.inf)
            truth = torch.zeros_like(padded)
            padded[batch.inputs.query, batch.place] = scores[:, head].masked_fill(~among, -torch.inf)
            truth[batch.inputs.query, batch.place] = (batch.positive & among).float()
            hits[head] += float(truth.gather(1, padded.topk(DEPTH, dim=1).indices).sum())
    with_new = sum(int((chunk.new_next > 0).sum()) for chunk in batches.chunks)
    return float(hits[FOR_YOU_HEAD]) / DEPTH / max(len(order), 1), float(hits[DISCOVER_HEAD]) / DEPTH / max(with_new, 1)


def _standardise(network: PurchaseNCF, batches: Batches) -> None:
    """Sets the network's feature mean and scale from the training queries."""
    count = sum(len(chunk.positive) for chunk in batches.chunks)
    total = sum(chunk.contexts.features.sum(axis=0, dtype=np.float64) for chunk in batches.chunks)
    mean = np.asarray(total) / max(count, 1)
    squares = sum(
        np.square(chunk.contexts.features.astype(np.float32) - mean.astype(np.float32)).sum(axis=0, dtype=np.float64)
        for chunk in batches.chunks
    )
    deviation = np.sqrt(np.asarray(squares) / max(count, 1))
    # A feature that never varies says nothing, now or later.
    scale = np.where(deviation > 1e-3, 1 / np.maximum(deviation, 1e-3), 0.0)
    network.feature_mean.copy_(torch.from_numpy(mean.astype(np.float32)))
    network.feature_scale.copy_(torch.from_numpy(scale.astype(np.float32)))


def _parameter_groups(network: PurchaseNCF, recipe: Recipe) -> list[dict[str, object]]:
    """Biases are not decayed; they have no size to be kept small."""
    named = list(network.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(averaged: PurchaseNCF, network: PurchaseNCF, decay: float) -> None:
    for kept, new in zip(averaged.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)
