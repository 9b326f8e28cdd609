"""NeuMF (He et al. 2017, "Neural Collaborative Filtering", section 3.4) with the context of a purchase.

Shapes: B queries (a customer at an instant), R candidates of all queries, one query after the other, H products in all
their histories, F features, D embedding width, L candidates of the longest query.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (its usual name)

FOR_YOU_HEAD, DISCOVER_HEAD = 0, 1


@dataclass(frozen=True)
class Batch:
    """What the network reads. Row 0 of every embedding is for customers and products that it does not know.

    Attributes:
        customer: (B,) embedding rows.
        history: (H,) embedding rows of bought products, one customer after the other.
        history_start: (B,) first place of each customer's history.
        history_weight: (H,) decayed purchase rates; those of one customer have length 1.
        product: (R,) embedding rows of the candidates.
        query: (R,) the query of each candidate, 0 to B - 1, ascending.
        features: (R, F), columns as in `features.tables.FEATURES`.
    """

    customer: Tensor
    history: Tensor
    history_start: Tensor
    history_weight: Tensor
    product: Tensor
    query: Tensor
    features: Tensor


@dataclass(frozen=True)
class Answers:
    """Which candidates were bought, as indices. So the device need not count them, and the CPU need not wait for it.

    Attributes:
        rows: (N,) the candidates that were bought, ascending; 0 to R - 1.
        query: (N,) the query of each.
        answered: (A,) the queries with at least one, ascending.
        count: (B,) how many each query has.
    """

    rows: Tensor
    query: Tensor
    answered: Tensor
    count: Tensor


class PurchaseNCF(nn.Module):
    """Scores candidates: GMF + MLP over [customer, product, context], plus a linear part on the context.

    The customer vector is the embedding of the id plus the weighted sum of the embeddings of what the customer bought
    (SVD++, Koren 2008; FISM, Kabbur et al. 2013). So customers who came after training have one too. There are two
    heads: one scores all products, the other only those that are new to the customer.

    Args:
        customers: known customers; the embedding has one row more.
        products: known products; the embeddings have one row more.
        features: F, columns of `Batch.features`.
        dim: D, width of the embeddings.
        hidden: widths of the MLP's layers.
        dropout: share of embedding entries that are dropped, and of ids that are hidden, in training.
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
        # The MLP's first layer, in four parts: the part of the customer is computed B times, not R times.
        self.from_customer = nn.Linear(dim, hidden[0])
        self.from_product = nn.Linear(dim, hidden[0], bias=False)
        self.from_both = nn.Linear(dim, hidden[0], bias=False)
        self.from_context = nn.Linear(features, hidden[0], bias=False)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(hidden))
        self.gmf = nn.Linear(dim, 2, bias=False)
        self.mlp = nn.Linear(hidden[-1], 2, bias=False)
        self.linear = nn.Linear(features, 2)
        nn.init.zeros_(self.linear.weight)
        # Mean and 1 / standard deviation of the features in the training queries, saved with the weights.
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.ones(features))

    def forward(self, batch: Batch) -> Tensor:
        """Scores the candidates; scores are comparable within a query.

        Returns:
            (R, 2), columns `FOR_YOU_HEAD` and `DISCOVER_HEAD`.
        """
        context = (batch.features.float() - self.feature_mean) * self.feature_scale  # (R, F)
        history = self.bought(batch.history, batch.history_start, per_sample_weights=batch.history_weight)  # (B, D)
        customer = self._drop(self.customer(self._hide(batch.customer)) + history)  # (B, D)
        product = self._drop(self.product(self._hide(batch.product)))  # (R, D)
        # F.embedding instead of indexing: on the CPU, its gradient is summed in a fixed order.
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
        """In training, hides some ids: this trains row 0, and no score depends on an id alone."""
        return (
            torch.where(torch.rand(rows.shape, device=rows.device) < self.dropout, 0, rows) if self.training else rows
        )

    def _drop(self, vectors: Tensor) -> Tensor:
        return F.dropout(vectors, self.dropout, self.training)


def listwise_loss(
    scores: Tensor,
    query: Tensor,
    place: Tensor,
    longest: int,
    weight: Tensor,
    bought: Answers,
    among: Tensor | None = None,
) -> Tensor:
    """Softmax cross-entropy of each query's positives among its candidates, summed over queries.

    The n positives of a query together weigh sqrt(n): a wholesaler's 100 purchases count more than one, but not 100
    times as much.

    Args:
        scores: (R,) of one head.
        query: (R,) the query of each candidate, 0 to B - 1.
        place: (R,) the candidate's place among those of its query, from 0.
        longest: L, the number of candidates of the longest query.
        weight: (B,) of each query.
        bought: the positives, all of which take part.
        among: (R,) whether a candidate takes part; all do if None.

    Returns:
        A scalar. Queries without a positive that takes part add nothing.
    """
    padded = scores.new_full((len(weight), longest), -torch.inf)  # (B, L)
    taking_part = scores if among is None else scores.masked_fill(~among, -torch.inf)
    total = torch.logsumexp(padded.index_put((query, place), taking_part), dim=1)  # (B,)
    each = weight / bought.count.clamp(min=1).sqrt()  # (B,)
    of_queries = (each * bought.count * total)[bought.answered]
    return of_queries.sum() - (each[bought.query] * scores[bought.rows]).sum()
