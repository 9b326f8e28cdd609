"""A sequence model: SASRec, self-attention over a customer's last purchases, with repeats allowed."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Float32, ShopState
from ncf_pipeline.model.peers.ranking import SEED, Scorer, ranked_lists, state_at

DIM = 64
BLOCKS = 2
HEADS = 2
BATCH = 16
LEARNING_RATE = 1e-3


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each with a residual connection (section 3.2)."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.before_attention, self.before_layers = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.query_key_value, self.mix = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.layers = nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Dropout(dropout), nn.Linear(DIM, DIM))
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, L, DIM) to (B, L, DIM); a place sees itself and those before it."""
        batch, length, _ = hidden.shape
        parts = self.query_key_value(self.before_attention(hidden)).view(batch, length, 3, HEADS, DIM // HEADS)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (B, HEADS, L, DIM / HEADS)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.dropout(self.mix(seen.transpose(1, 2).reshape(batch, length, DIM)))
        added: Tensor = hidden + self.dropout(self.layers(self.before_layers(hidden)))
        return added


class SASRec(nn.Module):
    """Kang & McAuley 2018, "Self-Attentive Sequential Recommendation", section 3.

    Args:
        products: number of products.
        length: most purchases of a sequence.
        dropout: share of values that training leaves out.
    """

    def __init__(self, products: int, length: int, dropout: float) -> None:
        super().__init__()
        self.product, self.place = nn.Embedding(products, DIM), nn.Embedding(length, DIM)
        for table in (self.product, self.place):
            nn.init.normal_(table.weight, std=0.05)
        self.blocks = nn.Sequential(*(Block(dropout) for _ in range(BLOCKS)))
        self.dropout, self.norm = nn.Dropout(dropout), nn.LayerNorm(DIM)

    def forward(self, bought: Tensor, sizes: Tensor) -> Tensor:
        """Says at each place of a sequence what comes next.

        Args:
            bought: (B, L) product_index, oldest first; places from a sequence's size on hold anything.
            sizes: (B,) purchases of each sequence, 1 to L.

        Returns:
            (B, L, DIM); its inner product with `product.weight` is the logit of a product.
        """
        # The last purchase always has the last place, as with padding in front. What pads comes after it, so that
        # causal attention alone keeps it out.
        place = torch.arange(bought.shape[1]) + self.place.num_embeddings - sizes[:, None]
        place = place.clamp(max=self.place.num_embeddings - 1)
        next_one: Tensor = self.norm(self.blocks(self.dropout(self.product(bought) + self.place(place))))
        return next_one


def sasrec(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    length: int = 50,
    epochs: int = 12,
    dropout: float = 0.2,
) -> pd.DataFrame:
    """SASRec over purchases in order of time and invoice; the products of one invoice are in another order each epoch.

    It is trained by cross-entropy over all products instead of sampled negatives (Klenitskiy & Vasilev 2023, "Turning
    Dross Into Gold Loss: is BERT4Rec really better than SASRec?"). Products may occur again, in sequences and in lists.

    Args:
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: ids of the customers who get lists.
        length: of a sequence: only a customer's last purchases count.
        epochs: passes over all sequences.
        dropout: share of values that training leaves out.

    Returns:
        Columns of `columns.Lists`.
    """
    state = state_at(interactions, as_of)
    random = np.random.default_rng(SEED)
    histories = _Histories(state, length, random)
    network = _trained(histories, random, state.shape[1], epochs, dropout)
    return ranked_lists(state, _scorer(network, histories), interactions, as_of, top_n, customers)


class _Histories:
    """The purchases of each customer, oldest first, without returned ones.

    Args:
        state: with the purchases.
        length: of a sequence.
        random: draws the order within invoices.
    """

    def __init__(self, state: ShopState, length: int, random: np.random.Generator) -> None:
        self.length, self._random = length, random
        events = state.events
        rows = np.flatnonzero(state.alive & (events.customer >= 0))
        self._customer, self._product, self._invoice = (
            column[rows] for column in (events.customer, events.product, events.invoice)
        )
        self._start = np.concatenate([[0], np.cumsum(np.bincount(self._customer, minlength=state.shape[0]))])
        self.with_two = np.flatnonzero(np.diff(self._start) > 1)
        self.shuffle()

    def shuffle(self) -> None:
        """Draws the order within invoices anew: that of a file says nothing about what comes next."""
        order = np.lexsort((self._random.random(len(self._product)), self._invoice, self._customer))
        self._ordered = self._product[order]

    def of(self, customers: IntArray, extra: int = 0) -> tuple[Tensor, Tensor]:
        """(B, L) product_index, padded with 0 at the end, and (B,) sizes: the last `length + extra` purchases."""
        end = self._start[customers + 1]
        begin = np.maximum(self._start[customers], end - self.length - extra)
        sizes = end - begin
        place = np.arange(sizes.max())
        inside = place < sizes[:, None]
        table = np.where(inside, self._ordered[np.where(inside, begin[:, None] + place, 0)], 0)
        return torch.from_numpy(table.astype(np.int64)), torch.from_numpy(sizes)


def _trained(histories: _Histories, random: np.random.Generator, products: int, epochs: int, dropout: float) -> SASRec:
    """Trains a network to say, at each place of each customer's sequence, which product comes next."""
    torch.manual_seed(SEED)
    network = SASRec(products, histories.length, dropout)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    for _ in range(epochs):
        histories.shuffle()
        for customers in _batches(histories.with_two, random):
            bought, sizes = histories.of(customers, extra=1)
            real = torch.arange(bought.shape[1] - 1) < (sizes - 1)[:, None]  # (B, L) places with a next purchase
            next_one = network(bought[:, :-1], sizes - 1)[real]  # (R, DIM)
            loss = nn.functional.cross_entropy(next_one @ network.product.weight.T, bought[:, 1:][real])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()


def _batches(customers: IntArray, random: np.random.Generator) -> Iterator[IntArray]:
    order = random.permutation(customers)
    for begin in range(0, len(order), BATCH):
        yield order[begin : begin + BATCH]


def _scorer(network: SASRec, histories: _Histories) -> Scorer:
    @torch.no_grad()
    def scores(index: IntArray) -> Float32:
        bought, sizes = histories.of(index)
        last = network(bought, sizes)[torch.arange(len(index)), sizes - 1]  # (B, DIM)
        table: Float32 = (last @ network.product.weight.T).numpy()
        return table

    return scores
