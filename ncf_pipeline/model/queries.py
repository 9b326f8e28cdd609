"""Training queries: a customer at a past instant, the candidates then, and what they bought in the horizon after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

from ncf_pipeline.model.device import Placement
from ncf_pipeline.model.events import DAY, Events, FloatArray, IntArray
from ncf_pipeline.model.features import Contexts, Mask, ShopState, unit_rows
from ncf_pipeline.model.network import Batch
from ncf_pipeline.model.recipe import Recipe


@dataclass(frozen=True)
class Chunk:
    """Candidates of some customers at one instant, what they had bought, and which they went on to buy."""

    at: int
    contexts: Contexts
    history: sp.csr_array  # (B, P) decayed rates, rows of length 1
    positive: Mask  # (R,)
    bought_next: IntArray  # (B,) distinct products bought in the horizon
    new_next: IntArray  # (B,) those of them that were new

    def queries_with_positives(self) -> int:
        """How many of its queries have something to learn from."""
        found = np.concatenate([[0], np.cumsum(self.positive)])
        return int((found[self.contexts.start[1:]] > found[self.contexts.start[:-1]]).sum())


@dataclass(frozen=True)
class TrainingBatch:
    """A batch with its answers; shapes as in `network.listwise_loss`."""

    inputs: Batch
    place: Tensor
    positive: Tensor
    new: Tensor
    weight: Tensor


def instants(events: Events, until: int, recipe: Recipe) -> list[int]:
    """Past instants to learn from, newest first: each has its whole horizon before `until`."""
    if len(events) == 0:
        return []
    first = int(events.time[0]) + recipe.min_history_days * DAY
    newest = until - recipe.horizon_days * DAY
    step = recipe.step_days * DAY
    return [at for at in range(newest, newest - recipe.max_instants * step, -step) if at >= first]


def queries_at(events: Events, at: int, recipe: Recipe) -> list[Chunk]:
    """Queries of one instant: every customer known then who bought something in the horizon."""
    end = at + recipe.horizon_days * DAY
    state = ShopState(events, at, recipe)
    counts = (events.time >= at) & (events.time < end) & (events.returned >= end) & (events.customer >= 0)
    _, products = state.shape
    bought = np.unique(events.customer[counts] * products + events.product[counts])
    customers = np.intersect1d(np.unique(bought // products), state.known_customers)
    chunks = []
    for contexts in state.contexts(customers):
        owner = np.repeat(contexts.customer, np.diff(contexts.start))
        mine = bought[np.isin(bought // products, contexts.customer)]
        seen = contexts.customer.searchsorted(mine // products)
        ever = state.ever_bought(mine // products, mine % products)
        chunks.append(
            Chunk(
                at=at,
                contexts=contexts,
                history=unit_rows(state.decayed[contexts.customer]),
                positive=np.isin(owner * products + contexts.product, mine, assume_unique=True),
                bought_next=np.bincount(seen, minlength=len(contexts.customer)),
                new_next=np.bincount(seen[~ever], minlength=len(contexts.customer)),
            )
        )
    return chunks


class Batches:
    """Chunks as batches of tensors.

    Args:
        chunks: the queries.
        customer_rows: (C,) embedding row of each customer of the events, 0 for unknown ones.
        product_rows: (P,) likewise.
        placement: where the tensors go.
    """

    def __init__(
        self, chunks: Sequence[Chunk], customer_rows: IntArray, product_rows: IntArray, placement: Placement
    ) -> None:
        self.chunks, self.placement = chunks, placement
        self.customer_rows, self.product_rows = customer_rows, product_rows
        sizes = [len(chunk.contexts.customer) for chunk in chunks]
        which = np.repeat(np.arange(len(sizes)), sizes)
        row = np.concatenate([np.arange(size) for size in sizes]) if sizes else which
        self.queries: IntArray = np.stack([which, row], axis=1)  # (Q, 2) chunk, and customer in it

    def __len__(self) -> int:
        return len(self.queries)

    def in_order(self, order: IntArray, size: int, weights: FloatArray) -> Iterator[TrainingBatch]:
        """Batches of `size` queries in the given order, with a weight for each query."""
        for begin in range(0, len(order), size):
            chosen = order[begin : begin + size]
            yield self._batch(self.queries[chosen], weights[chosen])

    def _batch(self, queries: IntArray, weights: FloatArray) -> TrainingBatch:
        parts = [(self.chunks[which], row) for which, row in queries]
        rows = [slice(chunk.contexts.start[row], chunk.contexts.start[row + 1]) for chunk, row in parts]
        lengths = np.array([part.stop - part.start for part in rows])
        histories = [slice(chunk.history.indptr[row], chunk.history.indptr[row + 1]) for chunk, row in parts]
        sizes = np.array([part.stop - part.start for part in histories])
        pieces = list(zip(parts, rows, histories, strict=True))

        def of(get: "npt.NDArray[np.generic] | list[npt.NDArray[np.generic]]") -> Tensor:
            return self._tensor(np.concatenate(get))

        return TrainingBatch(
            inputs=Batch(
                customer=self._tensor(
                    self.customer_rows[np.array([chunk.contexts.customer[row] for chunk, row in parts])]
                ),
                history=of([self.product_rows[chunk.history.indices[part]] for (chunk, _), _, part in pieces]),
                history_start=self._tensor(np.cumsum(sizes) - sizes),
                history_weight=of([chunk.history.data[part] for (chunk, _), _, part in pieces]),
                product=of([self.product_rows[chunk.contexts.product[part]] for (chunk, _), part, _ in pieces]),
                query=self._tensor(np.repeat(np.arange(len(queries)), lengths)),
                features=of([chunk.contexts.features[part] for (chunk, _), part, _ in pieces]),
            ),
            place=self._tensor(np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)),
            positive=of([chunk.positive[part] for (chunk, _), part, _ in pieces]),
            new=of([~chunk.contexts.seen[part] for (chunk, _), part, _ in pieces]),
            weight=self._tensor(weights.astype(np.float32)),
        )

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.placement.pinned:
            tensor = tensor.pin_memory()
        return tensor.to(self.placement.device, non_blocking=True)
