"""The training loop, which can stop and go on: epochs, a moving average of the weights, and how good it is."""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.batches import Batches, TrainingBatch, one_ahead
from ncf_pipeline.model.features.copurchase import Weights, low_rank
from ncf_pipeline.model.features.events import DAY, FloatArray
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, Batch, PurchaseNCF, listwise_loss
from ncf_pipeline.model.recipe import Recipe

logger = logging.getLogger(__name__)

DEPTH = 5
"""Places of a list that count when the number of epochs is chosen."""


LONG_STEPS = 5_000
"""Steps from which on a training is long enough to pay for `torch.compile`."""


@dataclass(frozen=True)
class Progress:
    """Training between two epochs, in parts that safetensors and JSON can hold.

    Attributes:
        tensors: weights, their average, the optimizer's moments and the random state, by name.
        facts: epochs and steps done, and the state of the sampling; JSON-able.
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Fit:
    """A network in training, epoch by epoch; `averaged`, the moving average of its weights, is the result.

    The learning rate stays as it is after the warm-up and the average does the cooling (Izmailov et al.
    2018, "Averaging Weights Leads to Wider Optima"), so an epoch is the same whatever number follow it.

    Where several processes train together, each has its part of every batch, and all have the same weights after it
    (Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training").

    Args:
        network: untrained, on the CPU.
        batches: the training queries.
        until: microseconds; queries count less the longer before it they are.
        recipe: every hyper-parameter.
    """

    def __init__(self, network: PurchaseNCF, batches: Batches, until: int, recipe: Recipe) -> None:
        self.batches, self.recipe = batches, recipe
        placement = batches.placement
        _standardise(network, batches)
        self.network = network.to(placement.device).train()
        self.averaged = copy.deepcopy(self.network).eval()
        self.compiled = placement.compiled and self._steps() >= LONG_STEPS
        self.forward = self._forward()
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(network, recipe), lr=recipe.learning_rate, fused=placement.fused
        )
        self.weights: FloatArray = np.exp(-(until - batches.instants()) / DAY / recipe.recency_days)
        self.weights /= self.weights.mean()
        self.random = np.random.default_rng(recipe.seed)
        self.epoch = self.step = 0
        if placement.world > 1:
            # Dropout of one process is not that of another.
            torch.manual_seed(recipe.seed + placement.rank)

    def _steps(self) -> int:
        """About how many there are to come."""
        return -(-len(self.batches) // self.recipe.batch_customers) * self.recipe.max_epochs

    def _forward(self) -> Callable[[Batch], Tensor]:
        """The network as it is called in training: by itself, compiled, or with gradients shared between processes."""
        placement = self.batches.placement
        if placement.world > 1:
            devices = [placement.device] if placement.device.type == "cuda" else None
            return DistributedDataParallel(self.network, device_ids=devices)
        if self.compiled:
            return cast("Callable[[Batch], Tensor]", torch.compile(self.network, dynamic=True))
        return self.network

    def run_epoch(self) -> float:
        """One pass over the queries, several where they are few.

        Returns:
            The mean loss of a query.

        Raises:
            TrainingError: it is not finite.
        """
        recipe, batches, losses = self.recipe, self.batches, 0.0
        passes = _passes(batches, recipe)
        self.epoch += 1
        for _ in range(passes):
            coming = batches.shuffled(recipe.batch_customers, self.weights, recipe.negative_share, self.random)
            for batch in one_ahead(coming) if batches.placement.pinned else coming:
                losses += self._one_step(batch)
        mean = self._over_processes(losses) / (len(batches) * passes)
        if not np.isfinite(mean):
            raise TrainingError(f"The loss is {mean} in epoch {self.epoch}. Lower the recipe's learning_rate.")
        return mean

    def _one_step(self, batch: TrainingBatch) -> float:
        recipe = self.recipe
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, self.step / recipe.warmup_steps)
        with self.batches.placement.autocast():
            scores = self._scores(batch.inputs).float()  # (R, 2)
        loss = _loss(scores, batch, recipe)
        self.optimizer.zero_grad(set_to_none=True)
        (loss / batch.queries).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        _average(self.averaged, self.network, min(recipe.average_decay, self.step / (self.step + 10)))
        return float(loss.detach())

    def _scores(self, inputs: Batch) -> Tensor:
        """What the network says; without compilation from now on, if that fails: it only saves time."""
        try:
            return self.forward(inputs)
        except RuntimeError as error:
            if not self.compiled:
                raise
            logger.warning("torch.compile failed, training goes on without: %s", str(error).splitlines()[0])
            self.forward, self.compiled = self.network, False
            return self._scores(inputs)

    def seconds_since(self, started: float) -> float:
        """The mean of those that train together, so that all of them stop after the same epoch.

        Args:
            started: of this process's `time.perf_counter`.
        """
        return self._over_processes(time.perf_counter() - started) / self.batches.placement.world

    def _over_processes(self, value: float) -> float:
        """The sum of each one's."""
        if self.batches.placement.world == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total)

    def progress(self) -> Progress:
        """All that the rest of the training depends on, the random states included; all processes ask together."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        tensors |= {f"random.cpu{rank}": state for rank, state in enumerate(self._of_processes(torch.get_rng_state()))}
        if self.batches.placement.device.type == "cuda":
            states = self._of_processes(torch.cuda.get_rng_state())
            tensors |= {f"random.cuda{rank}": state for rank, state in enumerate(states)}
        return Progress(
            {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()},
            {"epoch": self.epoch, "step": self.step, "sampling": self.random.bit_generator.state},
        )

    def _of_processes(self, tensor: Tensor) -> list[Tensor]:
        """Each one's, in order of rank."""
        world = self.batches.placement.world
        if world == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(world)]
        distributed.all_gather(found, tensor)
        return found

    def restore(self, progress: Progress) -> None:
        """Goes on from there, as if training had never stopped: on as many devices alike, to the same bits."""
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "averaged": {}, "optimizer": {}, "random": {}}
        for name, tensor in progress.tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        self.network.load_state_dict(parts["network"])
        self.averaged.load_state_dict(parts["averaged"])
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in parts["optimizer"].items():
            index, _, rest = name.partition(".")
            moments.setdefault(int(index), {})[rest] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        rank = self.batches.placement.rank
        torch.set_rng_state(parts["random"][f"cpu{rank}"])
        if f"cuda{rank}" in parts["random"]:
            torch.cuda.set_rng_state(parts["random"][f"cuda{rank}"])
        self.epoch, self.step = int(progress.facts["epoch"]), int(progress.facts["step"])
        self.random.bit_generator.state = progress.facts["sampling"]


def _passes(batches: Batches, recipe: Recipe) -> int:
    steps = -(-len(batches) // recipe.batch_customers)
    return -(-recipe.min_steps // max(steps, 1))


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
    """Mean Precision@5 of `for_you` and of `discover` among the candidates of queries that have an answer to each."""
    hits, asked = np.zeros(2), np.zeros(2)
    for batch in batches.in_order(256):
        query, place = batch.inputs.query, batch.place
        with batches.placement.autocast():
            scores = network(batch.inputs).float()
        for head, among in ((FOR_YOU_HEAD, torch.ones_like(batch.new)), (DISCOVER_HEAD, batch.new)):
            padded = scores.new_full((len(batch.weight), int(place.max()) + DEPTH), -torch.inf)  # (B, L)
            truth = torch.zeros_like(padded)
            padded[query, place] = scores[:, head].masked_fill(~among, -torch.inf)
            truth[query, place] = (batch.positive & among).float()
            hits[head] += float(truth.gather(1, padded.topk(DEPTH, dim=1).indices).sum())
            asked[head] += float((truth.sum(dim=1) > 0).sum())
    for_you, discover = hits / DEPTH / np.maximum(asked, 1)
    return float(for_you), float(discover)


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
