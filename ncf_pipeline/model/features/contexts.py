"""The candidates of customers at an instant, each with a row of features. Pure.

Everything here comes from events before the instant, without returns known by then. So the same code makes a training
query of last month and tonight's lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.families import Families
from ncf_pipeline.model.features.habits import SEGMENTS, purchases_of, segments
from ncf_pipeline.model.features.state import Mask, ShopState, rank_in_group
from ncf_pipeline.model.features.tables import (
    CROSS,
    CUSTOMER,
    PAIR,
    PRODUCT,
    TASTE,
    Float32,
    customer_table,
    feature_rows,
    filled_table,
    first_and_last_sale,
    group_table,
    never_bought,
    pair_table,
    product_table,
    usual_price,
)
from ncf_pipeline.model.features.taste import Taste

CANDIDATE_TASTES = ("copurchase", "copurchase_decayed", "neighbours_recent", "followed_new")
"""Taste scores whose best products become candidates."""


@dataclass(frozen=True)
class Contexts:
    """The R candidates of B customers at one instant, one customer after the other.

    Attributes:
        customer: (B,) customer_index of the events.
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
        product: (R,) product_index of the events, ascending within a customer.
        features: (R, F) float16, columns as in `features.tables.FEATURES`.
        bought: (R,) whether the customer bought it and has not returned it.
        seen: (R,) whether the customer ever bought it, returned or not.
    """

    customer: IntArray
    start: IntArray
    product: IntArray
    features: npt.NDArray[np.float16]
    bought: Mask
    seen: Mask


class ContextMaker:
    """Makes contexts at one instant. Tables that all customers share are made once.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state, self.taste = state, Taste(state)
        purchases = purchases_of(state)
        of_products = product_table(state, purchases)
        # Half as wide, because each is read for every candidate, and features are float16 in the end.
        self.pair_table = pair_table(state, purchases).astype(np.float16)
        self.never_bought = never_bought(state).astype(np.float16)
        self.product_table = of_products.astype(np.float16)
        self.customer_table = customer_table(state).astype(np.float16)
        rows = state.recipe.rows_at_once(state.shape[1])
        self.country_table, self.country_row = group_table(state, state.country, len(state.events.countries), rows)
        self.segment = segments(state)
        self.segment_table, self.segment_row = group_table(state, self.segment, SEGMENTS, SEGMENTS)
        self.families = Families(state)
        self.log_price = of_products[:, PRODUCT.index("log_price")]
        self.usual_price = usual_price(state, self.log_price)
        self.first_sold, _ = first_and_last_sale(state)

    def contexts(self, customers: IntArray) -> Iterator[Contexts]:
        """Candidates with features, in chunks of customers that bound the memory.

        Args:
            customers: (B,) customer_index of each customer, ascending.
        """
        size = self.state.recipe.rows_at_once(self.taste.columns)
        for start in range(0, len(customers), size):
            yield self._contexts(customers[start : start + size])

    def _contexts(self, customers: IntArray) -> Contexts:
        """B customers, R candidates; `owner` is a customer's place in the chunk, `who` their customer_index."""
        state, pairs = self.state, self.state.pairs
        tastes = self.taste.scores(customers)  # each (B, P)
        pair_of = np.full((len(customers), state.shape[1]), -1, np.int32)  # (B, P) row of the pair, -1 where none
        pair, owner = _slices(pairs.start[customers], pairs.start[customers + 1])
        pair_of[owner, pairs.product[pair]] = pair
        chosen = self._candidates(tastes, pair, owner, len(customers))  # (B, P)
        owner, product = np.nonzero(chosen)  # (R,) each
        pair, who = pair_of[owner, product].astype(np.int64), customers[owner]
        seen = pair >= 0
        of_pairs = self.never_bought[who]  # (R, len(PAIR))
        of_pairs[seen] = self.pair_table[pair[seen]]
        times = np.zeros(len(pair))
        times[seen] = pairs.times[pair[seen]]
        copurchase = tastes["copurchase"]
        highest = np.maximum(copurchase.max(axis=1, initial=0), 1e-6)  # (B,)
        cross = (
            ("copurchase_relative", copurchase[owner, product] / highest[owner]),
            ("price_gap", self.log_price[product] - self.usual_price[who]),
            ("new_since_visit", self.first_sold[product] > state.last_visit[who]),
            ("country_share", self.country_table[self.country_row[state.country[who]], product]),
            ("segment_share", self.segment_table[self.segment_row[self.segment[who]], product]),
            *self.families.columns(customers, owner, product, times),
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
            bought=times > 0,
            seen=seen,
        )

    def _candidates(self, tastes: dict[str, Float32], pair: IntArray, owner: IntArray, customers: int) -> Mask:
        """(B, P) which products to score: current best sellers, the best by taste, and each customer's own."""
        state, recipe = self.state, self.state.recipe
        chosen = np.zeros((customers, state.shape[1]), np.bool_)
        chosen[:, state.ranking[: recipe.popular_candidates]] = True
        for name in CANDIDATE_TASTES:
            _choose_largest(chosen, tastes[name], recipe.taste_candidates)
        chosen &= state.known_products
        own = self._bought_last(pair, owner)
        chosen[owner[own], state.pairs.product[pair[own]]] = True
        return chosen

    def _bought_last(self, pair: IntArray, owner: IntArray) -> Mask:
        """Which pairs are candidates: those not returned, the customer's `max_history_candidates` bought last."""
        pairs = self.state.pairs
        kept = pairs.times[pair] > 0
        rank = rank_in_group(owner, ~kept, -pairs.last[pair])
        chosen: Mask = kept & (rank < self.state.recipe.max_history_candidates)
        return chosen


def _choose_largest(chosen: Mask, table: Float32, count: int) -> None:
    """Marks up to `count` entries of each row: the largest positive ones that are not marked yet."""
    count = min(count, table.shape[1])
    if count == 0:
        return
    rest = np.where(chosen, 0.0, table)
    top = np.argpartition(-rest, count - 1, axis=1)[:, :count]
    rows = np.arange(len(table))[:, None]
    chosen[rows, top] |= rest[rows, top] > 0


def _slices(start: IntArray, stop: IntArray) -> tuple[IntArray, IntArray]:
    """All indices of several slices, and the slice of each.

    >>> [part.tolist() for part in _slices(np.array([4, 0]), np.array([6, 3]))]
    [[4, 5, 0, 1, 2], [0, 0, 1, 1, 1]]
    """
    length = stop - start
    slice_of = np.repeat(np.arange(len(start)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return start[slice_of] + offset, slice_of
