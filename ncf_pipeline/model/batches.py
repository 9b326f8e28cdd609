"""Queries as batches of tensors. Each pass samples other negatives."""

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
        place: (R,) the candidate's place among those of its query, from 0.
        positive: (R,) whether it was bought in the horizon.
        new: (R,) whether the customer had never bought it.
        correction: (R,) -log of the chance that the candidate was sampled; the loss adds it to the score.
        weight: (B,) of each query.
        queries: B; if several processes share the batch, all their queries over the number of processes, so that the
            mean of their gradients is the gradient of the batch.
    """

    inputs: Batch
    place: Tensor
    positive: Tensor
    new: Tensor
    correction: Tensor
    weight: Tensor
    queries: float


class Batches:
    """The Q queries of several chunks that have an answer.

    Args:
        chunks: of queries.
        customer_rows: (C,) embedding row of each customer of the events, 0 for unknown ones.
        product_rows: (P,) embedding row of each product of the events, 0 for unknown ones.
        placement: where the tensors go.
    """

    def __init__(
        self, chunks: Sequence[Chunk], customer_rows: IntArray, product_rows: IntArray, placement: Placement
    ) -> None:
        self.chunks, self.placement = chunks, placement
        self.customer_rows, self.product_rows = customer_rows, product_rows
        rows = [chunk.answered() for chunk in chunks]
        chunk_index = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        row = np.concatenate(rows) if rows else chunk_index
        self.queries: IntArray = np.stack([chunk_index, row], axis=1)  # (Q, 2) chunk, and customer in it

    def __len__(self) -> int:
        return len(self.queries)

    def instants(self) -> IntArray:
        """The instant of each query: (Q,), in microseconds."""
        at = np.array([chunk.at for chunk in self.chunks], np.int64)
        return at[self.queries[:, 0]]

    def shuffled(
        self, size: int, weights: FloatArray, negative_share: float, random: np.random.Generator
    ) -> Iterator[TrainingBatch]:
        """All queries once, in random order, with a sample of their candidates.

        Candidates that the customer buys, or bought before, always take part; of the others, a share does. The log of
        its inverse chance is added to the score of a sampled candidate, so that the expected sum in the softmax is the
        one over all candidates (logQ correction, Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for Large
        Corpus Item Recommendations").

        Processes that train together pass the same `random`; each gets its part of every batch.

        Args:
            size: queries in a batch.
            weights: (Q,) of each query.
            negative_share: of the other candidates, in (0, 1].
            random: for the order and the sample.
        """
        rank, world = self.placement.rank, self.placement.world
        order = random.permutation(len(self))
        for begin in range(0, len(order), size):
            chosen, sampling = order[begin : begin + size], random
            if world > 1:
                if len(chosen) < world:
                    return  # fewer queries than processes; the next pass shuffles them again
                sampling = np.random.default_rng([int(random.integers(2**32)), rank])
                chosen = chosen[rank::world]
            batch = self._batch(self.queries[chosen], weights[chosen], negative_share, sampling)
            yield batch if world == 1 else replace(batch, queries=len(order[begin : begin + size]) / world)

    def in_order(self, size: int) -> Iterator[TrainingBatch]:
        """All queries once, in their order, with all of their candidates; every weight is 1."""
        for begin in range(0, len(self), size):
            queries = self.queries[begin : begin + size]
            yield self._batch(queries, np.ones(len(queries)), 1.0, None)

    def _batch(
        self, queries: IntArray, weights: FloatArray, negative_share: float, random: np.random.Generator | None
    ) -> TrainingBatch:
        chunks = [self.chunks[chunk_index] for chunk_index, _ in queries]
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


def prefetched(items: Iterator[Item]) -> Iterator[Item]:
    """The same items. A thread makes the next one while the caller uses this one."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _part(start: npt.NDArray[np.integer], row: int) -> slice:
    return slice(int(start[row]), int(start[row + 1]))
