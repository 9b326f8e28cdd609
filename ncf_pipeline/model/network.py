"""NeuMF with the context of a purchase: He et al. 2017, "Neural Collaborative Filtering", section 3.4, plus time.

Shapes: B queries (a customer at an instant), R candidates of all of them one after the other,
H products in all their histories, F features, D embedding width.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

FOR_YOU_HEAD, DISCOVER_HEAD = 0, 1


@dataclass(frozen=True)
class Batch:
    """What the network reads. Row 0 of every embedding is for customers and products it does not know.

    Attributes:
        customer: (B,) embedding rows.
        history: (H,) embedding rows of bought products, customer after customer.
        history_start: (B,) where each customer's history begins.
        history_weight: (H,) decayed purchase rates, of length 1 for each customer.
        product: (R,) embedding rows of the candidates.
        query: (R,) which of the B queries a candidate is of, ascending.
        features: (R, F), see `features.FEATURES`.
    """

    customer: Tensor
    history: Tensor
    history_start: Tensor
    history_weight: Tensor
    product: Tensor
    query: Tensor
    features: Tensor


class PurchaseNCF(nn.Module):
    """Scores candidates: GMF + MLP over [customer, product, context], plus a linear part on the context.

    The customer vector is an embedding of the id plus the weighted sum of embeddings of what they
    bought (SVD++, Koren 2008; FISM, Kabbur et al. 2013), so a customer who came after training has
    one too. Two heads: what is bought next, and what is bought next of what is new to the customer.
    """

    feature_mean: Tensor
    feature_scale: Tensor

    def __init__(
        self, customers: int, products: int, features: int, *, dim: int, hidden: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.customer = nn.Embedding(customers + 1, dim)
        self.product = nn.Embedding(products + 1, dim)
        self.bought = nn.EmbeddingBag(products + 1, dim, mode="sum")
        for table in (self.customer, self.product, self.bought):
            nn.init.normal_(table.weight, std=0.05)
        # The MLP's first layer, in four parts: what depends on the customer alone is computed B times, not R times.
        self.from_customer = nn.Linear(dim, hidden[0])
        self.from_product = nn.Linear(dim, hidden[0], bias=False)
        self.from_both = nn.Linear(dim, hidden[0], bias=False)
        self.from_context = nn.Linear(features, hidden[0], bias=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden))
        self.gmf = nn.Linear(dim, 2, bias=False)
        self.mlp = nn.Linear(hidden[-1], 2, bias=False)
        self.linear = nn.Linear(features, 2)
        nn.init.zeros_(self.linear.weight)
        # Standardisation from the training queries, kept with the weights.
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))

    def forward(self, batch: Batch) -> Tensor:
        """Scores (R, 2): columns `FOR_YOU_HEAD`, `DISCOVER_HEAD`; comparable within a customer."""
        context = (batch.features.float() - self.feature_mean) * self.feature_scale  # (R, F)
        history = self.bought(batch.history, batch.history_start, per_sample_weights=batch.history_weight)  # (B, D)
        customer = self._drop(self.customer(self._hide(batch.customer)) + history)  # (B, D)
        product = self._drop(self.product(self._hide(batch.product)))  # (R, D)
        # F.embedding rather than indexing: its gradient is summed in a fixed order on the CPU.
        both = F.embedding(batch.query, customer) * product  # (R, D)
        hidden = (
            F.embedding(batch.query, self.from_customer(customer))
            + self.from_product(product)
            + self.from_both(both)
            + self.from_context(context)
        )  # (R, hidden[0])
        for layer in self.layers:
            hidden = layer(F.relu(hidden))
        scores: Tensor = self.gmf(both) + self.mlp(F.relu(hidden)) + self.linear(context)  # (R, 2)
        return scores

    def _hide(self, rows: Tensor) -> Tensor:
        """In training, some ids are unknown: so row 0 is learned, and nothing rests on an id alone."""
        return (
            torch.where(torch.rand(rows.shape, device=rows.device) < self.dropout, 0, rows) if self.training else rows
        )

    def _drop(self, vectors: Tensor) -> Tensor:
        return F.dropout(vectors, self.dropout, self.training)


def listwise_loss(
    scores: Tensor, query: Tensor, place: Tensor, positive: Tensor, among: Tensor, weight: Tensor
) -> Tensor:
    """Softmax cross-entropy of each query's positives among its candidates, summed over queries.

    A query's n positives together count sqrt(n) at most: a wholesaler's 100 say more than one, but not 100 times.

    Args:
        scores: (R,) of one head.
        query: (R,) which query a candidate is of.
        place: (R,) its place among the query's candidates.
        positive: (R,) whether it was bought.
        among: (R,) whether it takes part.
        weight: (B,) of each query.
    """
    padded = scores.new_full((len(weight), int(place.max()) + 1), -torch.inf)  # (B, L)
    padded = padded.index_put((query, place), scores.masked_fill(~among, -torch.inf))
    total = torch.logsumexp(padded, dim=1)  # (B,)
    hit = positive & among
    count = torch.bincount(query[hit], minlength=len(weight)).clamp(min=1)  # (B,)
    each = weight / count.sqrt()  # (B,)
    found = torch.bincount(query[hit], minlength=len(weight)) > 0
    return (each * count * total)[found].sum() - (each[query[hit]] * scores[hit]).sum()
