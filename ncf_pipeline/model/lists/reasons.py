"""Why a product is on a customer's list: a code and its evidence, each a fact that the purchases show. Pure.

The network gives no reasons, and nothing here asks it: of what is true of a customer and a product, the strongest is
told. What is told holds at the lists' instant, returns taken off.
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
"""Baskets that two products must share before one is said to go with the other."""

MIN_LIFT = 1.5
"""How much more often than by chance two products share a basket, or buyers: below it, both are merely popular."""

MIN_BUYERS = 5
"""Customers who must have bought both products before one is said to be popular with buyers of the other."""

NEW_DAYS = 56
"""Days after its first sale for which a product is new."""

POPULAR_SHARE = 20
"""The best-selling one in so many products is popular."""

NEIGHBOURS = 100
"""Products that a product is said to go with, or to be popular with the buyers of, at most."""

PAIRS_AT_ONCE = 16_384

Reason = tuple[str] | tuple[str, int | str]


class Reasons:
    """Reasons at an instant; what does not depend on the customers asked for is made once."""

    def __init__(self, state: ShopState) -> None:
        self.state = state
        self._pair = state.owner * state.shape[1] + state.pairs.product  # ascending
        first, _ = first_and_last_sale(state)
        self._new: Mask = state.known_products & (first >= state.at - NEW_DAYS * DAY)
        self._popular: Mask = np.zeros(state.shape[1], np.bool_)
        self._popular[state.ranking[: max(1, len(state.ranking) // POPULAR_SHARE)]] = True

    def of(self, customer: IntArray, product: IntArray) -> list[Reason]:
        """The strongest reason for each product on a customer's list.

        In this order: `bought`, on how many invoices, those that came back taken off; `goes_with` a product that
        the customer has, with which it shares `MIN_BASKETS` baskets or more, `MIN_LIFT` times more than by chance;
        `popular_with` buyers of such a product, `MIN_BUYERS` or more of whom bought both, likewise; `new`: first
        sold within `NEW_DAYS`; `popular`: among the best sellers of late; `taste`: none of these, the network alone.

        Args:
            customer: (R,) indices into the events' customers.
            product: (R,) indices into the events' products; -1 for one that was never sold.
        """
        reasons: list[Reason] = []
        for begin in range(0, len(customer), PAIRS_AT_ONCE):
            part = slice(begin, begin + PAIRS_AT_ONCE)
            reasons += self._of_some(customer[part], product[part])
        return reasons

    def _of_some(self, customer: IntArray, product: IntArray) -> list[Reason]:
        codes = self.state.events.products
        unsold, product = product < 0, np.maximum(product, 0)
        times = self._times(customer, product)
        beside = self._strongest_owned(self._basket_neighbours, customer, product)
        liked = self._strongest_owned(self._buyer_neighbours, customer, product)
        reasons: list[Reason] = []
        for count, first, second, index, nothing in zip(times, beside, liked, product, unsold, strict=True):
            if nothing:
                reasons.append((TASTE,))
            elif count > 0:
                reasons.append((BOUGHT, int(count)))
            elif first >= 0:
                reasons.append((GOES_WITH, str(codes[first])))
            elif second >= 0:
                reasons.append((POPULAR_WITH, str(codes[second])))
            elif self._new[index]:
                reasons.append((NEW,))
            else:
                reasons.append((POPULAR,) if self._popular[index] else (TASTE,))
        return reasons

    def _times(self, customer: IntArray, product: IntArray) -> npt.NDArray[np.float64]:
        if not len(self._pair):
            return np.zeros(len(customer))
        wanted = customer * self.state.shape[1] + product
        place = np.minimum(np.searchsorted(self._pair, wanted), len(self._pair) - 1)
        return np.where(self._pair[place] == wanted, self.state.pairs.times[place], 0.0)

    def _strongest_owned(self, neighbours: sp.csr_array, customer: IntArray, product: IntArray) -> IntArray:
        """(R,) of each product's neighbours that the customer has, the strongest; -1 where there is none."""
        shared = neighbours[product].multiply(self.state.bought[customer]).tocoo()
        strongest = np.full(len(product), -1, np.int64)
        order = np.lexsort((shared.col, -shared.data, shared.row))
        rows, first = np.unique(shared.row[order], return_index=True)
        strongest[rows] = shared.col[order][first]
        return strongest

    @cached_property
    def _basket_neighbours(self) -> sp.csr_array:
        # Not the weighted baskets of `bought_together`: whoever counts invoices must find what is told.
        events, alive = self.state.events, np.flatnonzero(self.state.alive)
        baskets = sp.csr_array(
            (np.ones(len(alive), np.float32), (events.invoice[alive], events.product[alive])),
            shape=(int(events.invoice.max(initial=-1)) + 1, self.state.shape[1]),
        )
        return cosine_neighbours(baskets, NEIGHBOURS, min_common=MIN_BASKETS, min_lift=MIN_LIFT)

    @cached_property
    def _buyer_neighbours(self) -> sp.csr_array:
        return cosine_neighbours(self.state.bought, NEIGHBOURS, min_common=MIN_BUYERS, min_lift=MIN_LIFT)
