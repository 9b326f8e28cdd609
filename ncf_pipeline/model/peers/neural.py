"""Neural collaborative filtering as first published, from ids alone: with and without negatives."""

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Float32, ShopState
from ncf_pipeline.model.peers.ranking import SEED, Scorer, ranked_lists, state_at

DIM = 32
HIDDEN = (64, 32, 16)
EPOCHS = 10
BATCH = 1024
LEARNING_RATE = 1e-3
NEGATIVES = 4
"""Sampled products, not bought, for each bought one; other ones in each epoch."""


class NeuMF(nn.Module):
    """GMF and MLP over ids (He et al. 2017, "Neural Collaborative Filtering", section 3.4).

    Args:
        customers: number of customers.
        products: number of products.
    """

    def __init__(self, customers: int, products: int) -> None:
        super().__init__()
        self.gmf = nn.ModuleList(nn.Embedding(count, DIM) for count in (customers, products))
        self.mlp = nn.ModuleList(nn.Embedding(count, DIM) for count in (customers, products))
        for table in (*self.gmf, *self.mlp):
            nn.init.normal_(table.weight, std=0.05)
        widths = (2 * DIM, *HIDDEN)
        layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(DIM + HIDDEN[-1], 1)

    def forward(self, customer: Tensor, product: Tensor) -> Tensor:
        """Scores pairs of a customer and a product.

        Args:
            customer: (R,) customer_index.
            product: (R,) product_index.

        Returns:
            (R,) logits.
        """
        product_of = self.gmf[0](customer) * self.gmf[1](product)  # (R, DIM)
        hidden = self.layers(torch.cat([self.mlp[0](customer), self.mlp[1](product)], dim=1))  # (R, HIDDEN[-1])
        logits: Tensor = self.out(torch.cat([product_of, hidden], dim=1)).squeeze(1)
        return logits


def neumf(interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    """NeuMF with sampled negatives, as its authors train it."""
    state = state_at(interactions, as_of)
    return ranked_lists(state, _scorer(_trained(state, NEGATIVES), state), interactions, as_of, top_n, customers)


def plain_ncf(interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    """NeuMF without negatives: all that it sees was bought, and only returned products count as not bought.

    It learns to say yes to everything, so its lists are nearly the same for every customer. It is here as a warning.
    """
    state = state_at(interactions, as_of)
    return ranked_lists(state, _scorer(_trained(state, 0), state), interactions, as_of, top_n, customers)


def _trained(state: ShopState, negatives: int) -> NeuMF:
    """Trains a network on who bought what, by binary cross-entropy."""
    torch.manual_seed(SEED)
    random = np.random.default_rng(SEED)
    network = NeuMF(*state.shape)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    owner, product = state.owner, state.pairs.product
    label = (state.pairs.times > 0).astype(np.float32)
    products = np.flatnonzero(state.known_products)
    for _ in range(EPOCHS):
        other = random.choice(products, len(owner) * negatives)
        whose = np.tile(owner, negatives)
        never = ~state.ever_bought(whose, other)
        rows = np.concatenate([owner, whose[never]])
        columns = np.concatenate([product, other[never]])
        answers = np.concatenate([label, np.zeros(int(never.sum()), np.float32)])
        order = random.permutation(len(rows))
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            logits = network(torch.from_numpy(rows[chosen]), torch.from_numpy(columns[chosen]))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(answers[chosen]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return network.eval()


def _scorer(network: NeuMF, state: ShopState) -> Scorer:
    everything = torch.arange(state.shape[1])

    @torch.no_grad()
    def scores(index: IntArray) -> Float32:
        table = [network(torch.full_like(everything, int(customer)), everything) for customer in index]
        stacked: Float32 = torch.stack(table).numpy()
        return stacked

    return scores
