"""Why a product is on a customer's list: a code and its evidence, which the purchases prove. Pure.

A network gives no reasons. So a reason is the strongest fact about a customer and a product at the lists' instant,
without returned purchases.
"""

from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ncf_pipeline.columns import BOUGHT, GOES_WITH, NEW, POPULAR, POPULAR_WITH, TASTE
from ncf_pipeline.model.features.copurchase import cosine_neighbours
from ncf_pipeline.model.features.events import DAY, IntArray
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

PAIRS_AT_ONCE = 16_384

Reason = tuple[str] | tuple[str, int | str]
"""A code of `columns`, and its evidence if it has one: `("bought", 3)`, `("goes_with", "85123A")`, `("new",)`."""


class Reasons:
    """Reasons at an instant. Tables that all customers share are made once.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state = state
        self._pair = state.owner * state.shape[1] + state.pairs.product  # ascending
        first, _ = first_and_last_sale(state)
        self._new: Mask = state.known_products & (first >= state.at - NEW_DAYS * DAY)
        self._popular: Mask = np.zeros(state.shape[1], np.bool_)
        self._popular[state.ranking[: max(1, len(state.ranking) // POPULAR_SHARE)]] = True

    def make_shared(self) -> None:
        """Makes the tables that all customers share, and does not wait for the first reason."""
        self.basket_neighbours, self.buyer_neighbours  # noqa: B018 - cached properties

    def of(self, customer: IntArray, product: IntArray, last_resort: str = TASTE) -> list[Reason]:
        """Returns the strongest reason for each product on a customer's list.

        From the strongest to the weakest:

        - `bought`: on how many invoices the customer bought it, without returned ones.
        - `goes_with`: a product that the customer has. Both share at least `MIN_BASKETS` baskets, `MIN_LIFT` times more
          than by chance.
        - `popular_with`: a product that the customer has. At least `MIN_BUYERS` customers bought both, `MIN_LIFT` times
          more than by chance.
        - `new`: first sold within `NEW_DAYS`.
        - `popular`: among the recent best sellers.
        - `last_resort`: none of these. With `taste`, only the network chose it; with `best_seller`, it comes next among
          the recent best sellers, with which version 0 fills up its lists.

        Args:
            customer: (R,) customer_index of the events.
            product: (R,) product_index of the events; -1 for a product that was never sold.
            last_resort: code of the weakest reason.

        Returns:
            R reasons.
        """
        reasons: list[Reason] = []
        for begin in range(0, len(customer), PAIRS_AT_ONCE):
            part = slice(begin, begin + PAIRS_AT_ONCE)
            reasons += self._of_some(customer[part], product[part], last_resort)
        return reasons

    def _of_some(self, customer: IntArray, product: IntArray, last_resort: str) -> list[Reason]:
        codes = self.state.events.products
        unsold, product = product < 0, np.maximum(product, 0)
        times = self._times(customer, product)
        in_baskets = self._strongest_owned(self.basket_neighbours, customer, product)
        with_buyers = self._strongest_owned(self.buyer_neighbours, customer, product)
        reasons: list[Reason] = []
        for never_sold, count, companion, liked, index in zip(
            unsold, times, in_baskets, with_buyers, product, strict=True
        ):
            if never_sold:
                reasons.append((last_resort,))
            elif count > 0:
                reasons.append((BOUGHT, int(count)))
            elif companion >= 0:
                reasons.append((GOES_WITH, str(codes[companion])))
            elif liked >= 0:
                reasons.append((POPULAR_WITH, str(codes[liked])))
            elif self._new[index]:
                reasons.append((NEW,))
            else:
                reasons.append((POPULAR,) if self._popular[index] else (last_resort,))
        return reasons

    def _times(self, customer: IntArray, product: IntArray) -> npt.NDArray[np.float64]:
        """(R,) invoices with the product, without returned ones."""
        if not len(self._pair):
            return np.zeros(len(customer))
        wanted = customer * self.state.shape[1] + product
        place = np.minimum(np.searchsorted(self._pair, wanted), len(self._pair) - 1)
        return np.where(self._pair[place] == wanted, self.state.pairs.times[place], 0.0)

    def _strongest_owned(self, neighbours: sp.csr_array, customer: IntArray, product: IntArray) -> IntArray:
        """(R,) product_index of the product's strongest neighbour that the customer has; -1 if there is none."""
        shared = neighbours[product].multiply(self.state.bought[customer]).tocoo()
        strongest = np.full(len(product), -1, np.int64)
        order = np.lexsort((shared.col, -shared.data, shared.row))
        rows, first = np.unique(shared.row[order], return_index=True)
        strongest[rows] = shared.col[order][first]
        return strongest

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
        return cosine_neighbours(self.state.bought, NEIGHBOURS, min_common=MIN_BUYERS, min_lift=MIN_LIFT)
