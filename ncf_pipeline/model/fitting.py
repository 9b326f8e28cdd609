"""The training loop: epochs that can be interrupted and resumed, and the moving average of the weights."""

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
from ncf_pipeline.model.batches import Batches, TrainingBatch
from ncf_pipeline.model.features.copurchase import Weights, low_rank
from ncf_pipeline.model.features.events import DAY, FloatArray
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, Batch, PurchaseNCF, listwise_loss
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.threads import prefetched

logger = logging.getLogger(__name__)

DEPTH = 5
"""k of the precision that chooses the number of epochs."""


@dataclass(frozen=True)
class Progress:
    """The state of a training between two epochs, in parts that safetensors and JSON can hold.

    Attributes:
        tensors: weights, their average, the optimizer's moments and the random states, by name.
        facts: JSON-able: `epoch` and `step` so far, `sampling` (state of the sampler), and `history` (the report of
            each epoch, added by `training.train`).
    """

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class Fit:
    """A network in training, epoch by epoch. The result is `averaged`, the moving average of its weights.

    After the warm-up, the learning rate stays constant. The average takes the place of a decaying learning rate
    (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima"). So an epoch does not depend on how many follow.

    If several processes train together, each takes its part of every batch. After each step all have the same weights
    (Li et al. 2020, "PyTorch Distributed: Experiences on Accelerating Data Parallel Training").

    Args:
        network: untrained, on the CPU.
        batches: the training queries.
        until: microseconds; the longer before it a query is, the smaller its weight.
        recipe: every hyper-parameter.
    """

    def __init__(self, network: PurchaseNCF, batches: Batches, until: int, recipe: Recipe) -> None:
        self.batches, self.recipe = batches, recipe
        placement = batches.placement
        _standardise(network, batches)
        self.network = network.to(placement.device).train()
        self.averaged = copy.deepcopy(self.network).eval()
        self.compiled = placement.compiles(self._steps())
        self.loss = self._loss_function()
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(network, recipe), lr=recipe.learning_rate, fused=placement.fused
        )
        self.weights: FloatArray = np.exp(-(until - batches.instants()) / DAY / recipe.recency_days)
        self.weights /= self.weights.mean()
        self.random = np.random.default_rng(recipe.seed)
        self.epoch = self.step = 0
        if placement.world > 1:
            # Each process needs its own dropout.
            torch.manual_seed(recipe.seed + placement.rank)

    def _steps(self) -> int:
        """About how many steps the training has at most."""
        return -(-len(self.batches) // self.recipe.batch_customers) * self.recipe.max_epochs

    def _loss_function(self) -> Callable[[TrainingBatch], Tensor]:
        """Returns network and loss in one: compiled if that pays, or with gradients that processes share."""
        placement, recipe = self.batches.placement, self.recipe
        network: Callable[[Batch], Tensor] = self.network
        if placement.world > 1:
            devices = [placement.device] if placement.device.type == "cuda" else None
            network = DistributedDataParallel(self.network, device_ids=devices)

        def loss(batch: TrainingBatch) -> Tensor:
            return _loss(network(batch.inputs).float(), batch, recipe)

        return cast("Callable[[TrainingBatch], Tensor]", torch.compile(loss, dynamic=True)) if self.compiled else loss

    def run_epoch(self) -> float:
        """One pass over the queries, or several if they are few.

        Returns:
            The mean loss of a query.

        Raises:
            TrainingError: the loss is not finite.
        """
        recipe, batches = self.recipe, self.batches
        # Summed where it is computed: to read each step's loss, the CPU would have to wait for the device.
        losses = torch.zeros((), dtype=torch.float64, device=batches.placement.device)
        passes = _passes(batches, recipe)
        self.epoch += 1
        with batches.placement.multiplying():
            for _ in range(passes):
                shuffled = batches.shuffled(recipe.batch_customers, self.weights, recipe.negative_share, self.random)
                for batch in prefetched(shuffled) if batches.placement.pinned else shuffled:
                    losses += self._one_step(batch)
        mean = self._sum_over_processes(float(losses)) / (len(batches) * passes)
        if not np.isfinite(mean):
            raise TrainingError(f"The loss is {mean} in epoch {self.epoch}. Lower the recipe's learning_rate.")
        return mean

    def _one_step(self, batch: TrainingBatch) -> Tensor:
        """Trains on a batch; returns its loss, on the device."""
        recipe = self.recipe
        self.step += 1
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, self.step / recipe.warmup_steps)
        loss = self._with_gradients(batch)
        self.optimizer.step()
        _average(self.averaged, self.network, min(recipe.average_decay, self.step / (self.step + 10)))
        return loss.detach()

    def _with_gradients(self, batch: TrainingBatch) -> Tensor:
        """Computes the loss and its gradients. If compiled code fails, continues without: it only saves time."""
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with self.batches.placement.autocast():
                loss = self.loss(batch)
            (loss / batch.queries).backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            if not self.compiled:
                raise
            logger.warning("torch.compile failed; training continues without it: %s", str(error).splitlines()[0])
            self.compiled = False
            self.loss = self._loss_function()
            return self._with_gradients(batch)
        return loss

    def seconds_since(self, started: float) -> float:
        """Seconds since a start; the mean over processes, so that all of them stop after the same epoch.

        Args:
            started: what `time.perf_counter` returned in this process.
        """
        return self._sum_over_processes(time.perf_counter() - started) / self.batches.placement.world

    def _sum_over_processes(self, value: float) -> float:
        """The sum of a number over the processes that train together."""
        if self.batches.placement.world == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total)

    def progress(self) -> Progress:
        """Returns all that the next epochs depend on, random states included. Every process must call it."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"averaged.{name}": tensor for name, tensor in self.averaged.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
        tensors |= {f"random.cpu{rank}": state for rank, state in enumerate(self._of_processes(torch.get_rng_state()))}
        if self.batches.placement.device.type == "cuda":
            states = self._of_processes(torch.cuda.get_rng_state(self.batches.placement.device))
            tensors |= {f"random.cuda{rank}": state for rank, state in enumerate(states)}
        return Progress(
            {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()},
            {"epoch": self.epoch, "step": self.step, "sampling": self.random.bit_generator.state},
        )

    def _of_processes(self, tensor: Tensor) -> list[Tensor]:
        """The tensor of each process, in order of rank."""
        world = self.batches.placement.world
        if world == 1:
            return [tensor]
        gathered = [torch.zeros_like(tensor) for _ in range(world)]
        distributed.all_gather(gathered, tensor)
        return gathered

    def restore(self, progress: Progress) -> None:
        """Continues from a progress. On the same number and kind of devices, the weights become the same, bit by bit.

        Args:
            progress: from `progress`, of a fit of the same network, queries and recipe.
        """
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
            torch.cuda.set_rng_state(parts["random"][f"cuda{rank}"], self.batches.placement.device)
        self.epoch, self.step = int(progress.facts["epoch"]), int(progress.facts["step"])
        self.random.bit_generator.state = progress.facts["sampling"]


def _passes(batches: Batches, recipe: Recipe) -> int:
    """Passes over the queries in an epoch, so that it has at least `min_steps` batches."""
    steps = -(-len(batches) // recipe.batch_customers)
    return -(-recipe.min_steps // max(steps, 1))


def _loss(scores: Tensor, batch: TrainingBatch, recipe: Recipe) -> Tensor:
    """The loss of `for_you`, among all candidates, plus that of `discover`, among those new to the customer."""
    scores = scores + batch.correction[:, None]  # (R, 2)
    rows = (batch.inputs.query, batch.place, batch.longest, batch.weight)
    for_you = listwise_loss(scores[:, FOR_YOU_HEAD], *rows, batch.bought)
    discover = listwise_loss(scores[:, DISCOVER_HEAD], *rows, batch.bought_new, batch.new)
    return for_you + recipe.discover_weight * discover


@torch.no_grad()
def inner_precision(network: PurchaseNCF, batches: Batches) -> tuple[float, float]:
    """Precision@5 of `for_you` and of `discover`, within candidates.

    Args:
        network: to be scored.
        batches: of the inner holdout.

    Returns:
        The mean of `for_you` and that of `discover`, each over the queries with an answer of that kind.
    """
    hits, asked = (torch.zeros(2, dtype=torch.float64, device=batches.placement.device) for _ in range(2))
    for batch in batches.in_order(256):
        query, place = batch.inputs.query, batch.place
        with batches.placement.autocast():
            scores = network(batch.inputs).float()
        for head, among in ((FOR_YOU_HEAD, torch.ones_like(batch.new)), (DISCOVER_HEAD, batch.new)):
            padded = scores.new_full((len(batch.weight), batch.longest - 1 + DEPTH), -torch.inf)  # (B, L)
            truth = torch.zeros_like(padded)
            padded[query, place] = scores[:, head].masked_fill(~among, -torch.inf)
            truth[query, place] = (batch.positive & among).float()
            hits[head] += truth.gather(1, padded.topk(DEPTH, dim=1).indices).sum()
            asked[head] += (truth.sum(dim=1) > 0).sum()
    for_you, discover = (hits / DEPTH / asked.clamp(min=1)).tolist()
    return for_you, discover


@torch.no_grad()
def warm_start(network: PurchaseNCF, weights: Weights, recipe: Recipe) -> None:
    """Starts GMF as the best approximation of the co-purchase weights that its width allows.

    He et al. 2017, section 3.4.1, start NeuMF from a trained GMF for the same reason: with random embeddings, the MLP
    learns to ignore them before they mean anything.

    Args:
        network: untrained; from row 1 on, it has an embedding for each product in the order of the weights.
        weights: (P, P), from purchases before `until`; never from what the trained network is to predict.
        recipe: `embedding_dim`, `embedding_scale`, `seed`.
    """
    tables: tuple[Tensor, Tensor] = (network.bought.weight, network.product.weight)
    for table, factors in zip(tables, low_rank(weights, recipe.embedding_dim, recipe.seed), strict=True):
        spread = float(factors.std())
        if spread > 0:
            table[1:] = torch.from_numpy(factors * (recipe.embedding_scale / spread))
    torch.nn.init.constant_(network.gmf.weight, recipe.embedding_dim**-0.5)


def _standardise(network: PurchaseNCF, batches: Batches) -> None:
    """Sets the network's mean and scale of each feature, from the training queries."""
    mean, deviation = batches.moments()
    # A feature that never varies is switched off: the network has learned nothing about other values of it.
    scale = np.where(deviation > 1e-3, 1 / np.maximum(deviation, 1e-3), 0.0)
    network.feature_mean.copy_(torch.from_numpy(mean.astype(np.float32)))
    network.feature_scale.copy_(torch.from_numpy(scale.astype(np.float32)))


def _parameter_groups(network: PurchaseNCF, recipe: Recipe) -> list[dict[str, object]]:
    """Two groups: matrices and embeddings with weight decay, biases without."""
    named = list(network.named_parameters())
    return [
        {"params": [p for _, p in named if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for _, p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _average(averaged: PurchaseNCF, network: PurchaseNCF, decay: float) -> None:
    """One step of the moving average: decay * averaged + (1 - decay) * network."""
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
