"""Why a product is on a customer's list: a code and its evidence, which the purchases prove. Pure.

A network gives no reasons. So a reason is the strongest fact about a customer and a product at the lists' instant,
without returned purchases.
"""

import json
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from ncf_pipeline.columns import (
    BOUGHT,
    CART,
    CARTED,
    EVENT_KINDS,
    GOES_WITH,
    NEW,
    POPULAR,
    POPULAR_WITH,
    TASTE,
    VIEW,
    VIEWED,
    WISH,
    WISHED,
)
from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.copurchase import cosine_neighbours, sparse_parts
from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.state import Mask, ShopState
from ncf_pipeline.model.features.tables import first_and_last_sale

MIN_BASKETS = 3
"""Fewest shared baskets for a product to go with another."""

MIN_LIFT = 1.5
"""Two products must share baskets, or buyers, so many times more than by chance; otherwise both are only popular."""

MIN_BUYERS = 5
"""Fewest customers who bought both products for one to be popular with buyers of the other."""

NEW_DAYS = 56
"""A product is new for so many days after its first sale."""

POPULAR_SHARE = 20
"""One product in so many is popular: the best sellers."""

NEIGHBOURS = 100
"""Most products that a product can go with, or be popular with the buyers of."""

_LOOKED = {VIEW: VIEWED, CART: CARTED, WISH: WISHED}

as_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Reasons:
    """Reasons at an instant. Tables that all customers share are made once.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state = state
        self._interest = state.interest if state.recipe.reads_looks else None
        first, _ = first_and_last_sale(state)
        self._new: Mask = state.known_products & (first >= state.at - NEW_DAYS * DAY)
        self._popular: Mask = np.zeros(state.shape[1], np.bool_)
        self._popular[state.ranking[: max(1, len(state.ranking) // POPULAR_SHARE)]] = True

    def make_shared(self) -> None:
        """Makes the tables that all customers share, and does not wait for the first reason."""
        self.basket_neighbours, self.buyer_neighbours  # noqa: B018 - cached properties

    @cached_property
    def codes(self) -> list[str]:
        """(P,) the stock code of each product as JSON."""
        return [as_json(str(code)) for code in self.state.events.products]

    def of(self, customer: IntArray, product: IntArray, last_resort: str = TASTE) -> list[str]:
        """Returns the strongest reason for each product on a customer's list.

        From the strongest to the weakest:

        - `bought`: on how many invoices the customer bought it, without returned ones.
        - `carted`, `wished`, `viewed`: the customer did so lately, and has not bought it since. Only in the lists of a
          model that reads what customers look at.
        - `goes_with`: a product that the customer has. Both share at least `MIN_BASKETS` baskets, `MIN_LIFT` times more
          than by chance.
        - `popular_with`: a product that the customer has. At least `MIN_BUYERS` customers bought both, `MIN_LIFT` times
          more than by chance.
        - `new`: first sold within `NEW_DAYS`.
        - `popular`: among the recent best sellers.
        - `last_resort`: none of these. With `taste`, only the network chose it; with `best_seller`, it comes next among
          the recent best sellers, with which version 0 fills up its lists.

        Args:
            customer: (R,) customer_index of the events; those of one customer together.
            product: (R,) product_index of the events; -1 for a product that was never sold.
            last_resort: code of the weakest reason.

        Returns:
            R reasons as JSON: a code, and its evidence if it has one: `["bought",3]`, `["goes_with","85123A"]`,
            `["new"]`.
        """
        codes, is_new, is_popular = self.codes, self._new, self._popular
        times, goes_with, popular_with = self._facts(customer, np.maximum(product, 0))
        new, popular, weakest = as_json((NEW,)), as_json((POPULAR,)), as_json((last_resort,))
        looked_at = [as_json((_LOOKED[kind],)) for kind in EVENT_KINDS]
        looked = np.full(len(product), -1)
        if self._interest is not None:
            looked = self._interest.strongest(customer, product)
        reasons: list[str] = []
        facts = zip(
            product.tolist(), times.tolist(), looked.tolist(), goes_with.tolist(), popular_with.tolist(), strict=True
        )
        for index, count, look, companion, liked in facts:
            if index < 0:
                reasons.append(weakest)
            elif count > 0:
                reasons.append(f'["{BOUGHT}",{count:.0f}]')
            elif look >= 0:
                reasons.append(looked_at[look])
            elif companion >= 0:
                reasons.append(f'["{GOES_WITH}",{codes[companion]}]')
            elif liked >= 0:
                reasons.append(f'["{POPULAR_WITH}",{codes[liked]}]')
            elif is_new[index]:
                reasons.append(new)
            else:
                reasons.append(popular if is_popular[index] else weakest)
        return reasons

    def _facts(self, customer: IntArray, product: IntArray) -> tuple[FloatArray, IntArray, IntArray]:
        """(R,) each: invoices with the product, and the strongest neighbours that the customer has, -1 without one."""
        pairs, count = self.state.pairs, len(customer)
        times, goes_with, popular_with = np.empty(count), np.empty(count, np.int64), np.empty(count, np.int64)
        kernels.facts_of_pairs(
            customer, product, pairs.start, pairs.product, pairs.times,
            *sparse_parts(self.basket_neighbours), *sparse_parts(self.buyer_neighbours),
            times, goes_with, popular_with,
        )  # fmt: skip
        return times, goes_with, popular_with

    @cached_property
    def basket_neighbours(self) -> sp.csr_array:
        """(P, P) row p: the products that p goes with, by shrunk cosine over invoices."""
        # Not the weighted baskets of `bought_together`: a reason must hold when invoices are counted.
        events, alive = self.state.events, np.flatnonzero(self.state.alive)
        baskets = sp.csr_array(
            (np.ones(len(alive), np.float32), (events.invoice[alive], events.product[alive])),
            shape=(int(events.invoice.max(initial=-1)) + 1, self.state.shape[1]),
        )
        return cosine_neighbours(baskets, NEIGHBOURS, min_common=MIN_BASKETS, min_lift=MIN_LIFT)

    @cached_property
    def buyer_neighbours(self) -> sp.csr_array:
        """(P, P) row p: the products with whose buyers p is popular, by shrunk cosine over customers."""
        return cosine_neighbours(self.state.bought(), NEIGHBOURS, min_common=MIN_BUYERS, min_lift=MIN_LIFT)
