"""The training loop: epochs over queries, a moving average of the weights, and how good it is."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.batches import Batches, TrainingBatch
from ncf_pipeline.model.copurchase import Weights, low_rank
from ncf_pipeline.model.events import DAY, FloatArray
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, PurchaseNCF, listwise_loss
from ncf_pipeline.model.recipe import Recipe

DEPTH = 5
"""Places of a list that count when the number of epochs is chosen."""


@dataclass(frozen=True)
class Epoch:
    """One pass: its number from 1, the mean loss of its queries, the averaged weights after it, and its wall time."""

    number: int
    loss: float
    averaged: PurchaseNCF
    seconds: float


def run_epochs(network: PurchaseNCF, batches: Batches, until: int, recipe: Recipe, epochs: int) -> Iterator[Epoch]:
    """Trains a network, epoch by epoch; each gives the moving average of the weights so far.

    The learning rate stays as it is after the warm-up and the average does the cooling (Izmailov et al.
    2018, "Averaging Weights Leads to Wider Optima"), so an epoch is the same whatever number follow it.
    """
    placement = batches.placement
    _standardise(network, batches)
    network = network.to(placement.device).train()
    averaged = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(_parameter_groups(network, recipe), lr=recipe.learning_rate, fused=placement.fused)
    weights: FloatArray = np.exp(-(until - batches.instants()) / DAY / recipe.recency_days)
    weights /= weights.mean()
    random = np.random.default_rng(recipe.seed)
    step = 0
    for number in range(1, epochs + 1):
        started, losses = time.perf_counter(), 0.0
        for batch in _one_epoch(batches, weights, recipe, random):
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
        mean = losses / (len(batches) * _passes(batches, recipe))
        if not np.isfinite(mean):
            raise TrainingError(f"The loss is {mean} in epoch {number}. Lower the recipe's learning_rate.")
        yield Epoch(number, mean, averaged, time.perf_counter() - started)


def _passes(batches: Batches, recipe: Recipe) -> int:
    steps = -(-len(batches) // recipe.batch_customers)
    return -(-recipe.min_steps // max(steps, 1))


def _one_epoch(
    batches: Batches, weights: FloatArray, recipe: Recipe, random: np.random.Generator
) -> Iterator[TrainingBatch]:
    for _ in range(_passes(batches, recipe)):
        yield from batches.shuffled(recipe.batch_customers, weights, recipe.negative_share, random)


def _loss(scores: Tensor, batch: TrainingBatch, recipe: Recipe) -> Tensor:
    """Both questions: among all candidates, and among those new to the customer."""
    scores = scores + batch.correction[:, None]
    everything = torch.ones_like(batch.new)
    query = batch.inputs.query
    for_you = listwise_loss(scores[:, FOR_YOU_HEAD], query, batch.place, batch.positive, everything, batch.weight)
    discover = listwise_loss(scores[:, DISCOVER_HEAD], query, batch.place, batch.positive, batch.new, batch.weight)
    return for_you + recipe.discover_weight * discover


@torch.no_grad()
def inner_precision(network: PurchaseNCF, batches: Batches) -> tuple[float, float]:
    """Precision@5 of `for_you` over all queries, and of `discover` over those with a new product."""
    hits = np.zeros(2)
    for batch in batches.in_order(256):
        with batches.placement.autocast():
            scores = network(batch.inputs).float()
        for head, among in ((FOR_YOU_HEAD, torch.ones_like(batch.new)), (DISCOVER_HEAD, batch.new)):
            padded = scores.new_full((len(batch.weight), int(batch.place.max()) + DEPTH), -torch.inf)
            truth = torch.zeros_like(padded)
            padded[batch.inputs.query, batch.place] = scores[:, head].masked_fill(~among, -torch.inf)
            truth[batch.inputs.query, batch.place] = (batch.positive & among).float()
            hits[head] += float(truth.gather(1, padded.topk(DEPTH, dim=1).indices).sum())
    with_new = sum(int((chunk.new_next > 0).sum()) for chunk in batches.chunks)
    return float(hits[FOR_YOU_HEAD]) / DEPTH / max(len(batches), 1), float(hits[DISCOVER_HEAD]) / DEPTH / max(
        with_new, 1
    )


@torch.no_grad()
def warm_start(network: PurchaseNCF, weights: Weights, recipe: Recipe) -> None:
    """Lets GMF begin as the best approximation of the co-purchase weights that its width allows.

    He et al. 2017, section 3.4.1, start NeuMF from a trained GMF for the same reason: from random
    embeddings, the MLP learns to do without them before they mean anything.

    Args:
        network: with an embedding row for each product, in the order of the weights, from row 1 on.
        weights: (P, P), from before all that the network is to predict.
        recipe: `embedding_scale`, `seed`.
    """
    tables: tuple[Tensor, Tensor] = (network.bought.weight, network.product.weight)
    for table, factors in zip(tables, low_rank(weights, recipe.embedding_dim, recipe.seed), strict=True):
        spread = float(factors.std())
        if spread > 0:
            table[1:] = torch.from_numpy(factors * (recipe.embedding_scale / spread))
    torch.nn.init.constant_(network.gmf.weight, recipe.embedding_dim**-0.5)


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
