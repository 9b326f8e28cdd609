"""Scores by a trained model, over the candidates and features of `model.features.contexts`. Pure."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from ncf_pipeline.columns import TASTE
from ncf_pipeline.model.batches import prefetched
from ncf_pipeline.model.boosting import with_trees
from ncf_pipeline.model.features.contexts import ContextMaker, Contexts
from ncf_pipeline.model.features.events import IntArray, rows_of
from ncf_pipeline.model.features.state import Mask, ShopState, unit_rows
from ncf_pipeline.model.lists.scoring import Candidates
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD, Batch, PurchaseNCF
from ncf_pipeline.model.trained import TrainedModel

ROWS_AT_ONCE = 16_384
"""Candidates that the network scores at once: few enough for its layers' outputs to stay in the processor's cache."""


class NetworkScorer:
    """A `Scorer` by a model. Tables that all customers share are made once, when first needed.

    Args:
        model: from `train`.
        state: of the shop at the instant.
    """

    is_certain = True
    last_resort = TASTE

    def __init__(self, model: TrainedModel, state: ShopState) -> None:
        self.model, self.state = model, state
        self._customer_rows = rows_of(model.customers, state.events.customers.tolist())
        self._product_rows = rows_of(model.products, state.events.products.tolist())
        self._contexts: ContextMaker | None = None

    def candidates(self, customers: IntArray) -> Iterator[Candidates]:
        """See `Scorer`."""
        if self._contexts is None:
            self._contexts = ContextMaker(self.state)
        for contexts in prefetched(self._contexts.contexts(customers)):
            history = unit_rows(self.state.decayed[contexts.customer])
            scores: npt.NDArray[np.floating[Any]] = score_contexts(
                self.model.network, contexts, history, self._customer_rows, self._product_rows
            )
            if self.model.trees is not None:
                scores = with_trees(scores, self.model.trees, contexts, self.model.recipe)
            yield Candidates(
                customer=contexts.customer,
                start=contexts.start,
                product=contexts.product,
                for_you=scores[:, FOR_YOU_HEAD],
                discover=scores[:, DISCOVER_HEAD],
                bought=contexts.bought,
                seen=contexts.seen,
            )

    def similar(self, shown: Mask, count: int) -> dict[int, list[int]]:
        """See `Scorer`. Compares the embeddings, so products that came after training have no entry."""
        return _similar(self.model, self._product_rows, self.state.known_products, shown, count)


@torch.no_grad()
def score_contexts(
    network: PurchaseNCF, contexts: Contexts, history: sp.csr_array, customer_rows: IntArray, product_rows: IntArray
) -> npt.NDArray[np.float32]:
    """Scores all candidates of some customers by a network, a few customers at a time.

    Args:
        network: in evaluation mode, on the CPU.
        contexts: of B customers, with R candidates.
        history: (B, P) decayed purchase rates, rows of length 1.
        customer_rows: (C,) embedding row of each customer of the events, 0 for unknown ones.
        product_rows: (P,) embedding row of each product of the events, 0 for unknown ones.

    Returns:
        (R, 2), columns `network.FOR_YOU_HEAD` and `network.DISCOVER_HEAD`.
    """
    scores = [np.zeros((0, 2), np.float32)]
    for part in _parts(contexts.start, ROWS_AT_ONCE):
        start = contexts.start[part.start : part.stop + 1]
        rows, theirs = slice(int(start[0]), int(start[-1])), history[part]
        batch = Batch(
            customer=torch.from_numpy(customer_rows[contexts.customer[part]]),
            history=torch.from_numpy(product_rows[theirs.indices]),
            history_start=torch.from_numpy(theirs.indptr[:-1].astype(np.int64)),
            history_weight=torch.from_numpy(theirs.data),
            product=torch.from_numpy(product_rows[contexts.product[rows]]),
            query=torch.from_numpy(np.repeat(np.arange(len(start) - 1), np.diff(start))),
            features=torch.from_numpy(contexts.features[rows]),
        )
        scores.append(network(batch).numpy())
    return np.concatenate(scores)


def _parts(start: IntArray, rows: int) -> Iterator[slice]:
    """Slices of customers with at most so many candidates each, or a single customer."""
    begin = 0
    while begin < len(start) - 1:
        end = max(begin + 1, int(np.searchsorted(start, start[begin] + rows, side="right")) - 1)
        yield slice(begin, end)
        begin = end


@torch.no_grad()
def _similar(model: TrainedModel, product_rows: IntArray, known: Mask, shown: Mask, count: int) -> dict[int, list[int]]:
    """Nearest products among trained ones, by cosine of both embeddings: `product` and `bought`, less their means."""
    network = model.network
    trained = np.flatnonzero(known & (product_rows > 0))
    block = model.recipe.rows_at_once(len(trained))
    rows = torch.from_numpy(product_rows[trained])
    parts = (network.product.weight[rows], network.bought.weight[rows])
    vectors = torch.nn.functional.normalize(
        torch.cat([part - part.mean(dim=0) for part in parts], dim=1), dim=1
    )  # (T, 2D)
    count = min(count, len(trained) - 1)
    hidden = torch.from_numpy(~shown[trained])
    nearest: dict[int, list[int]] = {}
    for begin in range(0, len(trained), block):
        cosine = vectors[begin : begin + block] @ vectors.T  # (block, T)
        cosine[torch.arange(len(cosine)), torch.arange(begin, begin + len(cosine))] = -torch.inf
        cosine[:, hidden] = -torch.inf
        least = cosine.topk(count, dim=1).values[:, -1:] if count else cosine.new_full((len(cosine), 1), torch.inf)
        row, other = (part.numpy() for part in torch.nonzero((cosine >= least) & (cosine > -torch.inf), as_tuple=True))
        order = np.lexsort((other, -cosine[row, other].numpy(), row))  # ties by stock code
        start = np.searchsorted(row, np.arange(len(cosine)))
        for index, at in enumerate(start):
            nearest[int(trained[begin + index])] = [int(product) for product in trained[other[order[at : at + count]]]]
    return nearest
