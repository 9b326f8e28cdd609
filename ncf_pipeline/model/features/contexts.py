"""The candidates of customers at an instant, each with a row of features. Pure.

Everything here comes from events before the instant, without returns known by then. So the same code makes a training
query of last month and tonight's lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.families import Families
from ncf_pipeline.model.features.habits import SEGMENTS, repeats_of, segments
from ncf_pipeline.model.features.looks import LOOKS
from ncf_pipeline.model.features.state import Mask, ShopState
from ncf_pipeline.model.features.tables import (
    CROSS,
    CUSTOMER,
    PAIR,
    PRODUCT,
    TASTE,
    Block,
    FeatureRows,
    Float16,
    as_float16,
    customer_table,
    feature_names,
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

MOST_CUSTOMERS = 64
"""Customers of a chunk at most."""


@dataclass(frozen=True)
class Contexts:
    """The R candidates of B customers at one instant, one customer after the other.

    Attributes:
        customer: (B,) customer_index of the events.
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
        product: (R,) product_index of the events, ascending within a customer.
        features: (R, F), columns as in `features.tables.feature_names`.
        bought: (R,) whether the customer bought it and has not returned it.
        seen: (R,) whether the customer ever bought it, returned or not.
    """

    customer: IntArray
    start: IntArray
    product: IntArray
    features: FeatureRows
    bought: Mask
    seen: Mask


class ContextMaker:
    """Makes contexts at one instant. Tables that all customers share are made once.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state, self.taste = state, Taste(state)
        self.repeats = repeats_of(state)
        of_products = product_table(state, self.repeats)
        # Half as wide, because features are float16 in the end.
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

    @cached_property
    def pair_table(self) -> Float16:
        """(N, len(PAIR)) of all customers. The largest of all tables: made after what others need for themselves."""
        return pair_table(self.state, self.repeats)

    def contexts(self, customers: IntArray) -> Iterator[Contexts]:
        """Candidates with features, in chunks of customers that bound the memory.

        Args:
            customers: (B,) customer_index of each customer, ascending.
        """
        for part in self.parts(customers):
            yield self.of(part)

    def parts(self, customers: IntArray) -> list[IntArray]:
        """The customers of each chunk: see `contexts`."""
        recipe = self.state.recipe
        size = min(recipe.rows_at_once(recipe.most_candidates * len(feature_names(recipe))), MOST_CUSTOMERS)
        return [customers[start : start + size] for start in range(0, len(customers), size)]

    def of(self, customers: IntArray) -> Contexts:
        """Candidates with features of the B customers of one chunk: see `parts`."""
        # R candidates; `who` is a candidate's customer_index.
        state = self.state
        candidates = self.taste.candidates(customers)
        owner, product, pair = candidates.owner, candidates.product, candidates.pair  # (R,) each
        who, seen = customers[owner], candidates.pair >= 0
        times = np.zeros(len(pair))
        times[seen] = state.pairs.times[pair[seen]]
        cross = (
            ("copurchase_relative", candidates.share_of_highest()),
            ("price_gap", self.log_price[product] - self.usual_price[who]),
            ("new_since_visit", self.first_sold[product] > state.last_visit[who]),
            ("country_share", self.country_table[self.country_row[state.country[who]], product]),
            ("segment_share", self.segment_table[self.segment_row[self.segment[who]], product]),
            *self.families.columns(customers, owner, product, times),
        )
        bought_before = np.flatnonzero(seen)
        row_of_pair = len(bought_before) + owner  # a customer's products that were never bought have the same features
        row_of_pair[bought_before] = np.arange(len(bought_before))
        of_pairs = np.concatenate([self.pair_table[pair[bought_before]], self.never_bought[customers]])
        taste = as_float16(filled_table(TASTE, len(pair), candidates.columns()))
        blocks = {
            PAIR: Block(of_pairs, row_of_pair.astype(np.int32)),
            PRODUCT: Block(self.product_table, product, of_products=True),
            CUSTOMER: Block(self.customer_table[customers], owner.astype(np.int32)),
            TASTE: Block(taste, None),
            CROSS: Block(as_float16(filled_table(CROSS, len(pair), cross)), None),
        }
        if state.recipe.reads_looks:
            of_looks = state.interest.columns(who, product, state.at)
            blocks[LOOKS] = Block(as_float16(filled_table(LOOKS, len(pair), of_looks)), None)
        return Contexts(
            customer=customers,
            start=candidates.start,
            product=product,
            features=feature_rows(blocks),
            bought=times > 0,
            seen=seen,
        )
