"""Trains on many past instants, each predicting what its customers bought in the weeks after it.

The number of epochs is chosen on an inner holdout, the last horizon before the cutoff: a first network
is trained without it. The model itself is then trained anew for that many epochs on everything, the
last horizon included, since what was bought last says most about what is bought next.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import numpy as np
import pandas as pd
import torch

from ncf_pipeline.errors import TrainingError
from ncf_pipeline.model.batches import Batches
from ncf_pipeline.model.device import place
from ncf_pipeline.model.events import DAY, Events, encode, microseconds
from ncf_pipeline.model.fitting import inner_precision, run_epochs, warm_start
from ncf_pipeline.model.network import PurchaseNCF
from ncf_pipeline.model.queries import Chunk, instants, queries_at
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.state import ShopState
from ncf_pipeline.model.taste import Taste
from ncf_pipeline.model.trained import EpochReport, TrainedModel, new_network

MIN_QUERIES = 20
"""Queries with a purchase below which nothing can be learned that best sellers do not know."""

PATIENCE = 1
"""Epochs without a better inner holdout after which the search for the number of epochs stops."""

DEFAULT_EPOCHS = 2
"""Where the history is too short for an inner holdout."""

THREADS = 2

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
    chunks = _all_queries(events, until, recipe)
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

    def start(at: int) -> PurchaseNCF:
        torch.manual_seed(recipe.seed)
        network = new_network(len(customers), len(products), recipe)
        warm_start(network, Taste(ShopState(events, at, recipe)).by_customers, recipe)
        return network

    if epochs is None:
        inner = until - recipe.horizon_days * DAY
        held = batches([chunk for chunk in chunks if chunk.at == inner])
        past = batches([chunk for chunk in chunks if chunk.at + recipe.horizon_days * DAY <= inner])
        epochs = _choose_epochs(start(inner), past, held, inner, recipe, report) if len(past) else DEFAULT_EPOCHS
    network = start(until)
    for epoch in run_epochs(network, batches(chunks), until, recipe, epochs):
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


def _all_queries(events: Events, until: int, recipe: Recipe) -> list[Chunk]:
    """Queries of every instant, newest first, two instants at a time: NumPy and SciPy let threads run."""
    with ThreadPoolExecutor(THREADS) as threads:
        at_each = threads.map(lambda at: queries_at(events, at, recipe), instants(events, until, recipe))
        return [chunk for chunks in at_each for chunk in chunks]


def _choose_epochs(
    network: PurchaseNCF, past: Batches, held: Batches, inner: int, recipe: Recipe, report: OnEpoch
) -> int:
    """The number of epochs after which a network that has not seen the last horizon predicts it best."""
    best, best_value = 1, -1.0
    for epoch in run_epochs(network, past, inner, recipe, recipe.max_epochs):
        for_you, discover = inner_precision(epoch.averaged, held)
        report(EpochReport("select", epoch.number, recipe.max_epochs, epoch.loss, for_you, discover, epoch.seconds))
        if for_you + discover > best_value:
            best, best_value = epoch.number, for_you + discover
        if epoch.number - best >= PATIENCE:
            break
    return best
