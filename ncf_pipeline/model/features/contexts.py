"""Candidates of customers at an instant, with one row of features each. Pure.

Everything derives from events before the instant that are not returned by then, so a training query of
last month and tonight's lists are built by the same code.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Mask, ShopState, rank_in_group
from ncf_pipeline.model.features.tables import (
    CROSS,
    CUSTOMER,
    PAIR,
    PRODUCT,
    TASTE,
    Float32,
    country_table,
    customer_table,
    feature_rows,
    filled_table,
    first_and_last_sale,
    never_bought,
    pair_table,
    product_table,
    usual_price,
)
from ncf_pipeline.model.features.taste import Taste

CANDIDATE_TASTES = ("copurchase", "copurchase_decayed", "neighbours_recent", "followed_new")
"""Scores whose largest products become candidates."""


@dataclass(frozen=True)
class Contexts:
    """Candidates of some customers at one instant, customer after customer; R candidates in all.

    Attributes:
        customer: (B,) index into the events' customers.
        start: (B + 1,) candidates of the b-th customer are rows start[b] to start[b + 1].
        product: (R,) index into the events' products, ascending within a customer.
        features: (R, F) float16, columns as in `features.FEATURES`.
        bought: (R,) whether the customer has bought it and not returned it.
        seen: (R,) whether the customer ever bought it, returned or not.
    """

    customer: IntArray
    start: IntArray
    product: IntArray
    features: npt.NDArray[np.float16]
    bought: Mask
    seen: Mask


class ContextMaker:
    """Makes contexts at one instant; what does not depend on the customers asked for is made once."""

    def __init__(self, state: ShopState) -> None:
        self.state, self.taste = state, Taste(state)
        self.pair_table, self.never_bought = pair_table(state), never_bought(state)
        self.product_table, self.customer_table = product_table(state), customer_table(state)
        self.country_table, self.country_row = country_table(state)
        self.log_price = self.product_table[:, PRODUCT.index("log_price")]
        self.usual_price = usual_price(state, self.log_price)
        self.first_sold, _ = first_and_last_sale(state)

    def contexts(self, customers: IntArray) -> Iterator[Contexts]:
        """Candidates with features, for customers in chunks of bounded memory.

        Args:
            customers: (B,) indices into the events' customers, ascending.
        """
        size = self.state.recipe.rows_at_once(self.taste.columns)
        for start in range(0, len(customers), size):
            yield self._contexts(customers[start : start + size])

    def _contexts(self, customers: IntArray) -> Contexts:
        state, pairs = self.state, self.state.pairs
        tastes = self.taste.scores(customers)
        pair_of = np.full((len(customers), state.shape[1]), -1, np.int32)  # (B, P) row of the pair, -1 where none
        pair, owner = _slices(pairs.start[customers], pairs.start[customers + 1])
        pair_of[owner, pairs.product[pair]] = pair
        chosen = self._candidates(tastes, pair, owner, len(customers))
        owner, product = np.nonzero(chosen)
        pair, who = pair_of[owner, product].astype(np.int64), customers[owner]
        seen = pair >= 0
        of_pairs = self.never_bought[who]
        of_pairs[seen] = self.pair_table[pair[seen]]
        bought = np.zeros(len(pair), np.bool_)
        bought[seen] = pairs.times[pair[seen]] > 0
        copurchase = tastes["copurchase"]
        highest = np.maximum(copurchase.max(axis=1, initial=0), 1e-6)
        cross = (
            ("copurchase_relative", copurchase[owner, product] / highest[owner]),
            ("price_gap", self.log_price[product] - self.usual_price[who]),
            ("new_since_visit", self.first_sold[product] > state.last_visit[who]),
            ("country_share", self.country_table[self.country_row[state.events.country[who]], product]),
        )
        features = feature_rows(
            {
                PAIR: of_pairs,
                PRODUCT: self.product_table[product],
                CUSTOMER: self.customer_table[who],
                TASTE: filled_table(
                    TASTE, len(pair), ((name, table[owner, product]) for name, table in tastes.items())
                ),
                CROSS: filled_table(CROSS, len(pair), cross),
            }
        )
        return Contexts(
            customer=customers,
            start=np.searchsorted(owner, np.arange(len(customers) + 1)),
            product=product.astype(np.int64),
            features=features,
            bought=bought,
            seen=seen,
        )

    def _candidates(self, tastes: dict[str, Float32], pair: IntArray, owner: IntArray, customers: int) -> Mask:
        """(B, P) what to score: what everybody buys now, what goes with theirs, what their like buy, and their own."""
        state, recipe = self.state, self.state.recipe
        chosen = np.zeros((customers, state.shape[1]), np.bool_)
        chosen[:, state.ranking[: recipe.popular_candidates]] = True
        for name in CANDIDATE_TASTES:
            _choose_largest(chosen, tastes[name], recipe.taste_candidates)
        chosen &= state.known_products
        late = self._bought_last(pair, owner)
        chosen[owner[late], state.pairs.product[pair[late]]] = True
        return chosen

    def _bought_last(self, pair: IntArray, owner: IntArray) -> Mask:
        """Which pairs are candidates: not returned, and among the customer's last bought."""
        pairs = self.state.pairs
        kept = pairs.times[pair] > 0
        rank = rank_in_group(owner, ~kept, -pairs.last[pair])
        chosen: Mask = kept & (rank < self.state.recipe.max_history_candidates)
        return chosen


def _choose_largest(chosen: Mask, table: Float32, count: int) -> None:
    """Marks each row's largest positive entries that are not marked yet."""
    count = min(count, table.shape[1])
    if count == 0:
        return
    rest = np.where(chosen, 0.0, table)
    top = np.argpartition(-rest, count - 1, axis=1)[:, :count]
    rows = np.arange(len(table))[:, None]
    chosen[rows, top] |= rest[rows, top] > 0


def _slices(start: IntArray, stop: IntArray) -> tuple[IntArray, IntArray]:
    """All indices of several slices, and which slice each is of."""
    length = stop - start
    which = np.repeat(np.arange(len(start)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return start[which] + offset, which
