"""Scores without training: version 0, which serves until something better is proven. Pure."""

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ncf_pipeline.columns import BEST_SELLER
from ncf_pipeline.model.features.copurchase import strongest
from ncf_pipeline.model.features.events import FloatArray, IntArray
from ncf_pipeline.model.features.state import Mask, ShopState
from ncf_pipeline.model.lists.reasons import Reasons
from ncf_pipeline.model.lists.scoring import Candidates

DISCOVER_CANDIDATES = 400
"""Most products new to a customer that are scored. After these, lists are filled up with recent best sellers."""


class BaselineScorer:
    """A `Scorer` from counts alone. It needs no minimum of purchases: with too few of them, best sellers remain.

    - `for_you`: the customer's own products by decayed count x sqrt(1 + recent buyers), then those of `discover`. An
      invoice counts 1 + 2^(-age / 90 days): old habits count, and new ones up to twice as much. That is personal
      frequency (Li et al. 2021, "A Next Basket Recommendation Reality Check", P-TopFreq) with what the shop sells now.
    - `discover`: decayed history x shrunk cosine x sqrt(1 + recent buyers), over products that the reasons
      `popular_with` and `goes_with` prove to belong together, so each has its reason. Deshpande & Karypis 2004,
      "Item-Based Top-N Recommendation Algorithms".

    The square root is between ranking by taste alone and multiplying by popularity; docs/adr/0008 has the figures.

    Args:
        state: of the shop at the instant.
        reasons: at the same instant; the tables of neighbours are shared.
    """

    is_certain = False
    last_resort = BEST_SELLER

    def __init__(self, state: ShopState, reasons: Reasons) -> None:
        self.state, self.reasons = state, reasons
        recent = np.bincount(state.recent.indices, minlength=state.shape[1])
        self._lately: FloatArray = np.sqrt(1.0 + recent)  # (P,)
        self._place = np.full(state.shape[1], len(state.ranking))  # (P,) among recent best sellers
        self._place[state.ranking] = np.arange(len(state.ranking))

    def candidates(self, customers: IntArray) -> Iterator[Candidates]:
        """See `Scorer`. Scores are ranks within a customer; ties by recent best sellers, then stock code."""
        size = self.state.recipe.rows_at_once(self.state.shape[1])
        for begin in range(0, len(customers), size):
            yield self._candidates(customers[begin : begin + size])

    def similar(self, shown: Mask, count: int) -> dict[int, list[int]]:  # noqa: ARG002 - those of the protocol
        """Nothing: see `Scorer`. Only a network has embeddings to compare."""
        return {}

    def _candidates(self, customers: IntArray) -> Candidates:
        pairs = self.state.pairs
        length = pairs.start[customers + 1] - pairs.start[customers]
        pair = np.repeat(pairs.start[customers] - np.cumsum(length) + length, length) + np.arange(length.sum())
        pair_owner = np.repeat(np.arange(len(customers)), length)
        kept = pairs.times[pair] > 0
        own, own_owner = pairs.product[pair[kept]], pair_owner[kept]
        seen_by: Mask = np.zeros((len(customers), self.state.shape[1]), np.bool_)  # (B, P)
        seen_by[pair_owner, pairs.product[pair]] = True
        new = self._new(customers, seen_by)
        owner = np.concatenate([own_owner, np.repeat(np.arange(len(customers)), np.diff(new.indptr))])
        product = np.concatenate([own, new.indices])
        bought = np.arange(len(product)) < len(own)
        habit = pairs.times[pair[kept]] + pairs.decayed[pair[kept]]
        strength = np.concatenate([habit * self._lately[own], new.data])
        order = np.lexsort((product, self._place[product], -strength, ~bought, owner))  # own products come first
        score = np.empty(len(order))
        score[order] = -np.arange(len(order))
        order = np.lexsort((product, owner))
        return Candidates(
            customer=customers,
            start=np.searchsorted(owner[order], np.arange(len(customers) + 1)),
            product=product[order].astype(np.int64),
            for_you=score[order],
            discover=score[order],
            bought=bought[order],
            seen=bought[order],
        )

    def _new(self, customers: IntArray, seen_by: Mask) -> sp.csr_array:
        """(B, P) the strongest products that the customers never bought, at most `DISCOVER_CANDIDATES` of each."""
        table = sp.csr_array(self.state.decayed(customers) @ self._speaks_for)
        row = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
        table.data = np.where(seen_by[row, table.indices], 0.0, table.data * self._lately[table.indices])
        return strongest(table, DISCOVER_CANDIDATES)

    @cached_property
    def _speaks_for(self) -> sp.csr_array:
        """(P, P) row q, column p: how much a purchase of q speaks for p.

        Where no customers prove that p belongs to another product, single invoices may, guests' included.
        """
        with_buyers, in_baskets = self.reasons.buyer_neighbours, self.reasons.basket_neighbours
        unproven = sp.diags_array((np.diff(with_buyers.indptr) == 0).astype(np.float32))
        return sp.csr_array((with_buyers + unproven @ in_baskets).T.tocsr())
