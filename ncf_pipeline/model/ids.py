"""Whether a model knows single customers and products by the rows that were trained for them."""

from collections.abc import Callable
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
from ncf_pipeline.model.features.queries import instants, queries_at
from ncf_pipeline.model.network import FOR_YOU_HEAD, Batch
from ncf_pipeline.model.trained import TrainedModel

ORDERS = 20
"""Random orders that the model's own is compared with."""

HORIZONS = 3
"""That are asked about, newest first: a small shop's newest alone has too few queries to tell."""

MAX_QUERIES = 500
"""Enough to tell; the rest would take time alone."""

_QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class IdsWorth:
    """How much better a model answers with its ids in their order than in random ones.

    Attributes:
        customers_in_place: whether its customers are those of the interactions, in the order that training has them in.
        products_in_place: likewise its products.
        queries: over how many.
        customers: (mean loss in random orders of the customers - loss) / standard deviation over these orders.
        products: likewise of the products.
    """

    customers_in_place: bool
    products_in_place: bool
    queries: int
    customers: float
    products: float


@torch.no_grad()
def worth_of_ids(model: TrainedModel, interactions: pd.DataFrame) -> IdsWorth:
    """A permutation test (Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", chapter 3).

    The model is asked about the last horizons before its cutoff, whose answers it was trained on. What it learned of a
    customer or a product, it learned from such answers, so any other order of the ids must make them harder to tell. If
    the vocabularies do not belong to the embeddings, their order is a random one too. Lists may hide such a mistake:
    most of what they say comes from features, which know no rows.

    On Online Retail until 2011-05-30 and 07-25, less the holdout: 6.7 and 19.3 standard deviations for customers, 34.1
    and 38.3 for products; with their vocabulary permuted, -1.4 to 0.0.
    On a synthetic shop of 150 customers, four seeds, one or two epochs: 4.2 to 11.6 standard deviations for customers,
    15.6 to 18.3 for products; with their vocabulary permuted, -0.2 to 2.4. On one of 60 customers, in a single epoch:
    5.3 to 6.3 for products, but 0.9 to 3.0 for customers, of whom so little may be learned. One random order in 44 is
    above 2.

    Args:
        model: from `train`.
        interactions: what it was trained on, and what came later.

    Returns:
        Over the first `MAX_QUERIES` queries; 0 where there are none.
    """
    events, until = encode(interactions, model.cutoff), microseconds(model.cutoff)
    whole = [at for at, days in instants(events, until, model.recipe) if days == model.recipe.horizon_days]
    asked = Batches(
        [chunk for at in whole[:HORIZONS] for chunk in queries_at(events, at, model.recipe.horizon_days, model.recipe)],
        rows_of(model.customers, events.customers.tolist()),
        rows_of(model.products, events.products.tolist()),
        place("cpu"),
    )
    asked.queries = asked.queries[:MAX_QUERIES]
    in_place = (model.customers == events.customers.tolist(), model.products == events.products.tolist())
    if not len(asked):
        return IdsWorth(*in_place, 0, 0.0, 0.0)
    batches = list(asked.in_order(_QUERIES_AT_ONCE))
    own = _loss(model, batches, lambda inputs: inputs)
    random = np.random.default_rng(model.recipe.seed)

    def worth(rows: int, in_order: Callable[[Tensor, Batch], Batch]) -> float:
        orders = [torch.from_numpy(np.concatenate([[0], random.permutation(rows) + 1])) for _ in range(ORDERS)]
        losses = [_loss(model, batches, partial(in_order, order)) for order in orders]
        return float((np.mean(losses) - own) / max(np.std(losses, ddof=1), np.finfo(np.float64).tiny))

    return IdsWorth(
        *in_place,
        queries=len(asked),
        customers=worth(len(model.customers), lambda order, inputs: replace(inputs, customer=order[inputs.customer])),
        products=worth(
            len(model.products),
            lambda order, inputs: replace(inputs, product=order[inputs.product], history=order[inputs.history]),
        ),
    )


def _loss(model: TrainedModel, batches: list[TrainingBatch], changed: Callable[[Batch], Batch]) -> float:
    """Mean over queries of -log softmax of `for_you`, over each one's positives; every query has one."""
    return float(np.concatenate([_losses(model, batch, changed(batch.inputs)) for batch in batches]).mean())


def _losses(model: TrainedModel, batch: TrainingBatch, inputs: Batch) -> npt.NDArray[np.float64]:
    query, queries = inputs.query, len(batch.weight)
    scores = model.network(inputs).double()[:, FOR_YOU_HEAD]  # (R,)
    padded = scores.new_full((queries, int(batch.place.max()) + 1), -torch.inf)  # (B, L)
    total = torch.logsumexp(padded.index_put((query, batch.place), scores), dim=1)  # (B,)
    bought = batch.positive.double()
    of_bought = torch.zeros_like(total).index_add(0, query, scores * bought)
    count = torch.zeros_like(total).index_add(0, query, bought)
    losses: npt.NDArray[np.float64] = (total - of_bought / count).numpy()
    return losses
