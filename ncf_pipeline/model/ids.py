"""Tests whether a model's customer and product ids belong to its embeddings."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ncf_pipeline.model.batches import Batches, TrainingBatch
from ncf_pipeline.model.device import place
from ncf_pipeline.model.features.events import encode, microseconds, rows_of
from ncf_pipeline.model.features.looks import looks_for
from ncf_pipeline.model.features.queries import Chunk, chunks_at, customers_to_learn_from, instants
from ncf_pipeline.model.network import FOR_YOU_HEAD, Batch
from ncf_pipeline.model.trained import TrainedModel

ORDERS = 20
"""Random orders of the ids, to compare the model's own order with."""

HORIZONS = 3
"""Newest horizons that give the queries: in a small shop, the newest alone has too few."""

MAX_QUERIES = 500
"""More queries only take more time."""

_QUERIES_AT_ONCE = 16


@dataclass(frozen=True)
class IdsWorth:
    """How much better a model predicts with its ids in their order than in random orders.

    Attributes:
        customers_in_place: whether its customers are those of the interactions, in the order of training.
        products_in_place: whether its products are those of the interactions, in the order of training.
        queries: number of queries that the losses are means of.
        customers: (mean loss over random orders of the customers - loss) / standard deviation over these orders.
        products: the same number for random orders of the products.
    """

    customers_in_place: bool
    products_in_place: bool
    queries: int
    customers: float
    products: float


@torch.no_grad()
def worth_of_ids(model: TrainedModel, interactions: pd.DataFrame, looks: pd.DataFrame | None = None) -> IdsWorth:
    """A permutation test (Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", chapter 3).

    The model predicts the last horizons before its cutoff, on which it was trained. What it learned about a customer or
    a product comes from such horizons, so every other order of the ids must raise the loss. If the vocabularies do not
    belong to the embeddings, their order is as good as random. Lists can hide such a mistake: most of a score comes
    from features, which do not depend on embeddings.

    On Online Retail until 2011-05-30 and 2011-07-25, without the holdout: 6.7 and 19.3 standard deviations for
    customers, 34.1 and 38.3 for products; with a permuted vocabulary, -1.4 to 0.0.
    On a synthetic shop of 150 customers, four seeds, one or two epochs: 4.2 to 11.6 standard deviations for customers,
    15.6 to 18.3 for products; with a permuted vocabulary, -0.2 to 2.4. On one of 60 customers, with a single epoch: 5.3
    to 6.3 for products, but 0.9 to 3.0 for customers, because the model learns so little about each. One random order
    in 44 is above 2.

    Args:
        model: from `train`.
        interactions: those that it was trained on; later ones are ignored.
        looks: columns of `columns.Looks`, likewise; only a model that reads them needs any.

    Returns:
        Both numbers, over at most `MAX_QUERIES` queries; 0 if there are no queries.
    """
    events = encode(interactions, model.cutoff, looks_for(model.recipe, looks))
    until = microseconds(model.cutoff)
    horizon = model.recipe.horizon_days
    learned = customers_to_learn_from(events, until, model.recipe)
    full = [instant for instant in instants(events, until, model.recipe) if instant.horizon_days == horizon]
    every = (
        chunk for instant in full[:HORIZONS] for chunk in chunks_at(events, instant.at, horizon, model.recipe, learned)
    )
    queries = Batches(
        _first_ones(every),
        rows_of(model.customers, events.customers.tolist()),
        rows_of(model.products, events.products.tolist()),
        place("cpu"),
    )
    queries.queries = queries.queries[:MAX_QUERIES]
    customers_in_place = model.customers == events.customers[learned].tolist()
    products_in_place = model.products == events.products.tolist()
    if not len(queries):
        return IdsWorth(customers_in_place, products_in_place, queries=0, customers=0.0, products=0.0)
    batches = list(queries.in_order(_QUERIES_AT_ONCE))
    own = _loss(model, batches, lambda inputs: inputs)
    random = np.random.default_rng(model.recipe.seed)

    def worth(rows: int, in_order: Callable[[Tensor, Batch], Batch]) -> float:
        # Row 0, of unknown ids, stays in its place.
        orders = [torch.from_numpy(np.concatenate([[0], random.permutation(rows) + 1])) for _ in range(ORDERS)]
        losses = [_loss(model, batches, partial(in_order, order)) for order in orders]
        return float((np.mean(losses) - own) / max(np.std(losses, ddof=1), np.finfo(np.float64).tiny))

    return IdsWorth(
        customers_in_place,
        products_in_place,
        queries=len(queries),
        customers=worth(len(model.customers), lambda order, inputs: replace(inputs, customer=order[inputs.customer])),
        products=worth(
            len(model.products),
            lambda order, inputs: replace(inputs, product=order[inputs.product], history=order[inputs.history]),
        ),
    )


def _first_ones(chunks: Iterable[Chunk]) -> list[Chunk]:
    """The first chunks that hold `MAX_QUERIES` queries with an answer, or all. No further one is made."""
    kept, queries = [], 0
    for chunk in chunks:
        kept.append(chunk)
        queries += len(chunk.answered())
        if queries >= MAX_QUERIES:
            break
    return kept


def _loss(model: TrainedModel, batches: list[TrainingBatch], changed: Callable[[Batch], Batch]) -> float:
    """Mean over queries of the mean -log softmax of their positives, by `for_you`; every query has a positive."""
    return float(np.concatenate([_losses(model, batch, changed(batch.inputs)) for batch in batches]).mean())


def _losses(model: TrainedModel, batch: TrainingBatch, inputs: Batch) -> npt.NDArray[np.float64]:
    """The loss of each query of a batch: (B,)."""
    query, queries = inputs.query, len(batch.weight)
    scores = model.network(inputs).double()[:, FOR_YOU_HEAD]  # (R,)
    padded = scores.new_full((queries, int(batch.place.max()) + 1), -torch.inf)  # (B, L)
    total = torch.logsumexp(padded.index_put((query, batch.place), scores), dim=1)  # (B,)
    bought = batch.positive.double()  # (R,)
    of_bought = torch.zeros_like(total).index_add(0, query, scores * bought)  # (B,)
    count = torch.zeros_like(total).index_add(0, query, bought)  # (B,)
    losses: npt.NDArray[np.float64] = (total - of_bought / count).numpy()
    return losses
