"""Scores by a trained model, over the candidates and features of `model.features.contexts`. Pure."""

from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ncf_pipeline.columns import TASTE
from ncf_pipeline.model import kernels
from ncf_pipeline.model.batches import spread
from ncf_pipeline.model.boosting import with_trees
from ncf_pipeline.model.embeddings import similarity_vectors
from ncf_pipeline.model.features.contexts import ContextMaker
from ncf_pipeline.model.features.events import IntArray, rows_of
from ncf_pipeline.model.features.state import Mask, ShopState, unit_rows
from ncf_pipeline.model.lists.scoring import Candidates
from ncf_pipeline.model.network import DISCOVER_HEAD, FOR_YOU_HEAD
from ncf_pipeline.model.network_scores import NetworkScores
from ncf_pipeline.model.trained import TrainedModel


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
        self._product_rows = rows_of(model.products, state.events.products.tolist())
        self._customer_rows = rows_of(model.customers, state.events.customers.tolist())
        self._contexts: ContextMaker | None = None

    def candidates(self, customers: IntArray) -> Iterator[Candidates]:
        """See `Scorer`. Each of torch's threads scores other customers."""
        if self._contexts is None:
            self._contexts = ContextMaker(self.state)
        yield from spread(partial(self._scored, self._contexts), self._contexts.parts(customers))

    @cached_property
    def network(self) -> NetworkScores:
        """The model's network, with what candidates share; each process makes its own."""
        return NetworkScores(self.model.network, self._customer_rows, self._product_rows)

    def _scored(self, maker: ContextMaker, customers: IntArray) -> Candidates:
        contexts = maker.of(customers)
        history = unit_rows(self.state.decayed(contexts.customer))
        scores: npt.NDArray[np.floating[Any]] = self.network.of(contexts, history)
        if self.model.trees is not None:
            scores = with_trees(scores, self.model.trees, contexts, self.model.recipe)
        return Candidates(
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
def _similar(model: TrainedModel, product_rows: IntArray, known: Mask, shown: Mask, count: int) -> dict[int, list[int]]:
    """Nearest products among trained ones, by cosine of both embeddings: `product` and `bought`, less their means."""
    trained = np.flatnonzero(known & (product_rows > 0))
    block = model.recipe.rows_at_once(len(trained))
    vectors = similarity_vectors(model.network, torch.from_numpy(product_rows[trained]))  # (T, 2D)
    hidden, across = ~shown[trained], vectors.T.contiguous()

    def nearest(begin: int) -> dict[int, list[int]]:
        cosine = (vectors[begin : begin + block] @ across).numpy()  # (block, T)
        values, best = np.zeros((len(cosine), count), np.float32), np.zeros((len(cosine), count), np.int64)
        size = np.empty(len(cosine), np.int64)
        kernels.nearest_of_rows(cosine, begin, hidden, values, best, size)
        found = zip(trained[begin : begin + block].tolist(), trained[best], size.tolist(), strict=True)
        return {product: others[:number].tolist() for product, others, number in found}

    of_blocks = spread(nearest, range(0, len(trained), block))
    return {product: others for of_block in of_blocks for product, others in of_block.items()}
