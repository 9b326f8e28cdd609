"""Queries as batches of tensors, with negatives sampled anew each time."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ncf_pipeline.model.device import Placement
from ncf_pipeline.model.features.events import FloatArray, IntArray
from ncf_pipeline.model.features.queries import Chunk
from ncf_pipeline.model.network import Batch

Item = TypeVar("Item")


@dataclass(frozen=True)
class TrainingBatch:
    """What the network reads, and the answers; B queries, R candidates.

    Attributes:
        inputs: for the network.
        place: (R,) a candidate's place among those of its query.
        positive: (R,) whether it was bought in the horizon.
        new: (R,) whether the customer had never bought it.
        correction: (R,) what the loss adds to its score: -log of the chance that it was sampled.
        weight: (B,) of each query.
        queries: of the whole batch over the processes that share it; the mean of their gradients is the batch's.
    """

    inputs: Batch
    place: Tensor
    positive: Tensor
    new: Tensor
    correction: Tensor
    weight: Tensor
    queries: float


class Batches:
    """Queries of several chunks, as far as they have an answer.

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
        rows = [chunk.answered() for chunk in chunks]
        which = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        row = np.concatenate(rows) if rows else which
        self.queries: IntArray = np.stack([which, row], axis=1)  # (Q, 2) chunk, and customer in it

    def __len__(self) -> int:
        return len(self.queries)

    def instants(self) -> IntArray:
        """(Q,) microseconds: the instant of each query."""
        at = np.array([chunk.at for chunk in self.chunks], np.int64)
        return at[self.queries[:, 0]]

    def shuffled(
        self, size: int, weights: FloatArray, negative_share: float, random: np.random.Generator
    ) -> Iterator[TrainingBatch]:
        """All queries once, in random order, with some of their candidates.

        Bought and once-bought candidates are always in; of the others a share. Its inverse chance is added
        to a sampled one's score, so that the softmax expects what it would be over all (logQ correction,
        Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations").

        Processes that train together are given the same `random`; each gets its part of every batch.

        Args:
            size: queries in a batch.
            weights: (Q,) of each query.
            negative_share: in (0, 1].
            random: for the order and the sample.
        """
        rank, world = self.placement.rank, self.placement.world
        order = random.permutation(len(self))
        for begin in range(0, len(order), size):
            chosen, sampling = order[begin : begin + size], random
            if world > 1:
                if len(chosen) < world:
                    return  # too few for everybody to have one; the next pass mixes them anew
                sampling = np.random.default_rng([int(random.integers(2**32)), rank])
                chosen = chosen[rank::world]
            batch = self._batch(self.queries[chosen], weights[chosen], negative_share, sampling)
            yield batch if world == 1 else replace(batch, queries=len(order[begin : begin + size]) / world)

    def in_order(self, size: int) -> Iterator[TrainingBatch]:
        """All queries once, as they are, with all of their candidates."""
        for begin in range(0, len(self), size):
            queries = self.queries[begin : begin + size]
            yield self._batch(queries, np.ones(len(queries)), 1.0, None)

    def _batch(
        self, queries: IntArray, weights: FloatArray, negative_share: float, random: np.random.Generator | None
    ) -> TrainingBatch:
        chunks = [self.chunks[which] for which, _ in queries]
        candidates = [_part(chunk.contexts.start, row) for chunk, (_, row) in zip(chunks, queries, strict=True)]
        bought = [_part(chunk.history.indptr, row) for chunk, (_, row) in zip(chunks, queries, strict=True)]
        of_candidates, of_bought = (list(zip(chunks, parts, strict=True)) for parts in (candidates, bought))
        positive = np.concatenate([chunk.positive[part] for chunk, part in of_candidates])
        seen = np.concatenate([chunk.contexts.seen[part] for chunk, part in of_candidates])
        product = np.concatenate([chunk.contexts.product[part] for chunk, part in of_candidates])
        features = np.concatenate([chunk.contexts.features[part] for chunk, part in of_candidates])
        query = np.repeat(np.arange(len(queries)), [part.stop - part.start for part in candidates])
        correction = np.zeros(len(query), np.float32)
        if random is not None and negative_share < 1:
            always = positive | seen
            correction[~always] = -np.log(negative_share)
            kept = np.flatnonzero(always | (random.random(len(always)) < negative_share))
            positive, seen, product, features = positive[kept], seen[kept], product[kept], features[kept]
            query, correction = query[kept], correction[kept]
        first = np.searchsorted(query, query)
        length = np.array([part.stop - part.start for part in bought])
        history = np.concatenate([chunk.history.indices[part] for chunk, part in of_bought])
        customer = np.array([chunk.contexts.customer[row] for chunk, (_, row) in zip(chunks, queries, strict=True)])
        return TrainingBatch(
            inputs=Batch(
                customer=self._tensor(self.customer_rows[customer]),
                history=self._tensor(self.product_rows[history]),
                history_start=self._tensor(np.cumsum(length) - length),
                history_weight=self._tensor(np.concatenate([chunk.history.data[part] for chunk, part in of_bought])),
                product=self._tensor(self.product_rows[product]),
                query=self._tensor(query),
                features=self._tensor(features),
            ),
            place=self._tensor(np.arange(len(query)) - first),
            positive=self._tensor(positive),
            new=self._tensor(~seen),
            correction=self._tensor(correction),
            weight=self._tensor(weights.astype(np.float32)),
            queries=len(queries),
        )

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if self.placement.pinned:
            tensor = tensor.pin_memory()
        return tensor.to(self.placement.device, non_blocking=True)


def one_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, with the next one made in a thread while this one is used."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _part(start: npt.NDArray[np.integer], row: int) -> slice:
    return slice(int(start[row]), int(start[row + 1]))
