"""Queries as batches of tensors. Each pass samples other negatives."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ncf_pipeline.model.device import Placement
from ncf_pipeline.model.features.events import FloatArray, IntArray
from ncf_pipeline.model.features.queries import Chunk
from ncf_pipeline.model.features.state import Mask
from ncf_pipeline.model.network import Answers, Batch

Item = TypeVar("Item")
Result = TypeVar("Result")

TOGETHER = 16
"""Batches that are made and sent at once if the queries live on the device: one copy instead of many small ones."""

MOMENTS_AT_ONCE = 1 << 20
"""Candidates whose features are squared at once on the device."""


@dataclass(frozen=True)
class TrainingBatch:
    """What the network reads, and the answers; B queries, R candidates.

    Attributes:
        inputs: for the network.
        place: (R,) the candidate's place among those of its query, from 0.
        longest: the number of candidates of the longest query.
        positive: (R,) whether it was bought in the horizon.
        new: (R,) whether the customer had never bought it.
        bought: the positive candidates.
        bought_new: the positive candidates that are new to the customer.
        correction: (R,) -log of the chance that the candidate was sampled; the loss adds it to the score.
        weight: (B,) of each query.
        queries: B; if several processes share the batch, all their queries over the number of processes, so that the
            mean of their gradients is the gradient of the batch.
    """

    inputs: Batch
    place: Tensor
    longest: int
    positive: Tensor
    new: Tensor
    bought: Answers
    bought_new: Answers
    correction: Tensor
    weight: Tensor
    queries: float


class Resident:
    """Candidates and features of all chunks in the device's memory.

    Args:
        chunks: of queries.
        product_rows: (P,) embedding row of each product of the events.
        placement: the device.
    """

    def __init__(self, chunks: Sequence[Chunk], product_rows: IntArray, placement: Placement) -> None:
        rows = [len(chunk.positive) for chunk in chunks]
        self.first_row = dict(zip(map(id, chunks), np.cumsum(rows) - rows, strict=True))
        columns = chunks[0].contexts.features.shape[1] if chunks else 0
        self.features = torch.empty((sum(rows), columns), dtype=torch.float16, device=placement.device)
        self.product = torch.empty(sum(rows), dtype=torch.int64, device=placement.device)
        for chunk in chunks:
            first = self.first_row[id(chunk)]
            self.features_of(chunk).copy_(torch.from_numpy(chunk.contexts.features[:]))
            self.product[first : first + len(chunk.positive)].copy_(
                torch.from_numpy(product_rows[chunk.contexts.product])
            )

    def features_of(self, chunk: Chunk) -> Tensor:
        """The features of a chunk's candidates: (R, F)."""
        first = self.first_row[id(chunk)]
        return self.features[first : first + len(chunk.positive)]

    @staticmethod
    def if_it_fits(chunks: Sequence[Chunk], product_rows: IntArray, placement: Placement) -> "Resident | None":
        """Copies the chunks to the device, if its policy and its free memory allow; None if not."""
        # Two bytes for each feature, and eight for the product.
        size = sum(2 * np.prod(chunk.contexts.features.shape) + 8 * len(chunk.contexts.product) for chunk in chunks)
        return Resident(chunks, product_rows, placement) if placement.holds(size / 2**20) else None


class Batches:
    """The Q queries of several chunks that have an answer.

    Args:
        chunks: of queries.
        customer_rows: (C,) embedding row of each customer of the events, 0 for unknown ones.
        product_rows: (P,) embedding row of each product of the events, 0 for unknown ones.
        placement: where the tensors go.
        resident: these chunks, and perhaps others, on the device; None if they stay in the host's memory. The batches
            are the same.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        customer_rows: IntArray,
        product_rows: IntArray,
        placement: Placement,
        resident: Resident | None = None,
    ) -> None:
        self.chunks, self.placement, self.resident = chunks, placement, resident
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
        if world == 1:
            together = size * (TOGETHER if self.resident is not None else 1)
            for begin in range(0, len(order), together):
                chosen = order[begin : begin + together]
                yield from self._made(self.queries[chosen], weights[chosen], size, negative_share, random)
            return
        for begin in range(0, len(order), size):
            chosen = order[begin : begin + size]
            if len(chosen) < world:
                return  # fewer queries than processes; the next pass shuffles them again
            sampling = np.random.default_rng([int(random.integers(2**32)), rank])
            ours = chosen[rank::world]
            shared = len(chosen) / world
            yield from self._made(
                self.queries[ours], weights[ours], len(ours), negative_share, sampling, counted=shared
            )

    def in_order(self, size: int) -> Iterator[TrainingBatch]:
        """All queries once, in their order, with all of their candidates; every weight is 1."""
        for begin in range(0, len(self), size):
            queries = self.queries[begin : begin + size]
            yield from self._made(queries, np.ones(len(queries)), size, 1.0, None)

    def moments(self) -> tuple[FloatArray, FloatArray]:
        """The mean and the standard deviation of each feature over all candidates: (F,) each."""
        count = max(sum(len(chunk.positive) for chunk in self.chunks), 1)
        if self.resident is not None:
            parts = [
                part for chunk in self.chunks for part in torch.split(self.resident.features_of(chunk), MOMENTS_AT_ONCE)
            ]
            total = sum(part.sum(dim=0, dtype=torch.float64) for part in parts) / count
            squares = sum((part.double() - total).square().sum(dim=0) for part in parts) / count
            return torch.as_tensor(total).cpu().numpy(), torch.as_tensor(squares).sqrt().cpu().numpy()
        columns = self.chunks[0].contexts.features.shape[1] if self.chunks else 0
        mean, variance = np.zeros(columns), np.zeros(columns)
        for chunk in self.chunks:
            mean += chunk.contexts.features[:].sum(axis=0, dtype=np.float64) / count
        for chunk in self.chunks:
            distance = chunk.contexts.features[:].astype(np.float32) - mean.astype(np.float32)
            variance += np.square(distance).sum(axis=0, dtype=np.float64) / count
        return mean, np.sqrt(variance)

    def _made(
        self,
        queries: IntArray,
        weights: FloatArray,
        size: int,
        negative_share: float,
        random: np.random.Generator | None,
        *,
        counted: float | None = None,
    ) -> Iterator[TrainingBatch]:
        """Makes the batches of some queries, `size` queries each; `counted` replaces their number in a batch."""
        chunks = [self.chunks[chunk_index] for chunk_index, _ in queries]
        candidates = [_part(chunk.contexts.start, row) for chunk, (_, row) in zip(chunks, queries, strict=True)]
        bought = [_part(chunk.history.indptr, row) for chunk, (_, row) in zip(chunks, queries, strict=True)]
        of_candidates, of_bought = (list(zip(chunks, parts, strict=True)) for parts in (candidates, bought))
        positive = np.concatenate([chunk.positive[part] for chunk, part in of_candidates])
        seen = np.concatenate([chunk.contexts.seen[part] for chunk, part in of_candidates])
        query = np.repeat(np.arange(len(queries)), [part.stop - part.start for part in candidates])
        correction, kept = np.zeros(len(query), np.float32), None
        if random is not None and negative_share < 1:
            always = positive | seen
            correction[~always] = -np.log(negative_share)
            kept = np.flatnonzero(always | (random.random(len(always)) < negative_share))
            positive, seen, query, correction = positive[kept], seen[kept], query[kept], correction[kept]
        product, features = self._of_candidates(of_candidates, kept)
        length = np.array([part.stop - part.start for part in bought])
        history = np.concatenate([chunk.history.indices[part] for chunk, part in of_bought])
        customer = np.array([chunk.contexts.customer[row] for chunk, (_, row) in zip(chunks, queries, strict=True)])
        place = np.arange(len(query)) - np.searchsorted(query, query)
        # The batches, as slices of queries, candidates and histories. Within a batch, numbers begin at 0.
        first = np.arange(0, len(queries), size)
        last = np.minimum(first + size, len(queries))
        row_first, row_last = np.searchsorted(query, first), np.searchsorted(query, last)
        history_start = np.cumsum(length) - length
        customer_rows, weight = self._tensor(self.customer_rows[customer]), self._tensor(weights.astype(np.float32))
        history_rows = self._tensor(self.product_rows[history])
        history_weight = self._tensor(np.concatenate([chunk.history.data[part] for chunk, part in of_bought]))
        starts = self._tensor(history_start - np.repeat(history_start[first], last - first))
        history_end = np.append(history_start, len(history))
        in_batch = self._tensor(query % size)
        places, positives, new = self._tensor(place), self._tensor(positive), self._tensor(~seen)
        corrections = self._tensor(correction)
        answers = [self._answers(query, hit, first, last, row_first, size) for hit in (positive, positive & ~seen)]
        longest = [int(place[a:b].max(initial=-1)) + 1 for a, b in zip(row_first, row_last, strict=True)]
        for number, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
            rows = slice(int(row_first[number]), int(row_last[number]))
            theirs = slice(int(history_end[begin]), int(history_end[end]))
            yield TrainingBatch(
                inputs=Batch(
                    customer=customer_rows[begin:end],
                    history=history_rows[theirs],
                    history_start=starts[begin:end],
                    history_weight=history_weight[theirs],
                    product=product[rows],
                    query=in_batch[rows],
                    features=features[rows],
                ),
                place=places[rows],
                longest=longest[number],
                positive=positives[rows],
                new=new[rows],
                bought=answers[0][number],
                bought_new=answers[1][number],
                correction=corrections[rows],
                weight=weight[begin:end],
                queries=counted if counted is not None else end - begin,
            )

    def _of_candidates(
        self, of_candidates: Sequence[tuple[Chunk, slice]], kept: IntArray | None
    ) -> tuple[Tensor, Tensor]:
        """Embedding rows (R,) and features (R, F) of the kept candidates, on the device."""
        if self.resident is None:
            product = np.concatenate([chunk.contexts.product[part] for chunk, part in of_candidates])
            features = np.concatenate([chunk.contexts.features[part] for chunk, part in of_candidates])
            if kept is not None:
                product, features = product[kept], features[kept]
            return self._tensor(self.product_rows[product]), self._tensor(features)
        begin = np.array([self.resident.first_row[id(chunk)] + part.start for chunk, part in of_candidates])
        length = np.array([part.stop - part.start for _, part in of_candidates])
        row = np.arange(length.sum()) + np.repeat(begin - (np.cumsum(length) - length), length)
        rows = self._tensor(row if kept is None else row[kept])
        return self.resident.product[rows], self.resident.features[rows]

    def _answers(
        self, query: IntArray, hit: Mask, first: IntArray, last: IntArray, row_first: IntArray, size: int
    ) -> list[Answers]:
        """The answers of each batch: `hit` of the candidates, which belong to these queries."""
        rows = np.flatnonzero(hit)
        of = query[rows]
        count = np.bincount(of, minlength=int(last[-1]) if len(last) else 0)
        answered = np.flatnonzero(count)
        bounds = [np.append(np.searchsorted(ordered, first), len(ordered)) for ordered in (of, answered)]
        local = self._tensor(rows - row_first[of // size])
        queries, counts, with_answer = self._tensor(of % size), self._tensor(count), self._tensor(answered % size)
        return [
            Answers(
                rows=local[slice(*bounds[0][number : number + 2])],
                query=queries[slice(*bounds[0][number : number + 2])],
                answered=with_answer[slice(*bounds[1][number : number + 2])],
                count=counts[first[number] : last[number]],
            )
            for number in range(len(first))
        ]

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if not self.placement.pinned:
            return tensor.to(self.placement.device)
        with self.placement.selected():  # the thread that makes batches has a current device of its own
            return tensor.pin_memory().to(self.placement.device, non_blocking=True)


def spread(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Applies a function to each item, in as many threads as torch has, and yields the results in order.

    The calling thread does the first item alone, so what all items share is made once, and by all of torch's threads.
    In the others, torch has a single thread each. At most one result for each thread waits to be used.

    Args:
        function: safe to be called by several threads once it was called.
        items: any number.
    """
    if not items:
        return
    yield function(items[0])
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            waiting: deque[Future[Result]] = deque()
            for item in items[1:]:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            torch.set_num_threads(threads)  # threads that start later take the last number that was set anywhere


def _part(start: npt.NDArray[np.integer], row: int) -> slice:
    return slice(int(start[row]), int(start[row + 1]))
