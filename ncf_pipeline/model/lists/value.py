"""An order by expected revenue: the chance of a purchase times what the customer would spend on it. Pure."""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.features.events import FloatArray, IntArray
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.scoring import ScoreArray

_OF_PRODUCT, _OF_CUSTOMER, _OF_PAIR = 5.0, 5.0, 2.0
"""Purchases that the shop's usual quantity, a product's, and a customer's of other products count as."""


class ExpectedSpend:
    """What a customer would spend on a product, if they bought it: its newest price times a usual quantity.

    The logarithm of the quantity is a sum of what is usual for the product, for the customer, and for this customer
    with this product. Each is a mean that is shrunk towards none, because a few purchases say little. Logarithms,
    because one order of 80,995 pieces must not decide what is usual.

    Args:
        state: of the shop at the instant; returned purchases do not count.
    """

    def __init__(self, state: ShopState) -> None:
        self.state = state
        events, products = state.events, state.shape[1]
        rows = np.flatnonzero(state.alive)
        product = events.product[rows]
        pieces = np.log(np.maximum(events.quantity[rows], 1e-6))
        usual = float(pieces.mean()) if len(rows) else 0.0
        self._of_product: FloatArray = usual + _shrunk(product, pieces - usual, products, _OF_PRODUCT)
        self._price: FloatArray = np.ones(products)
        self._price[product] = np.maximum(events.price[rows], 1e-6)  # in order of time: the newest stays
        own = events.customer[rows] >= 0
        self._rows, self._residual = rows[own], pieces[own] - self._of_product[product[own]]

    @cached_property
    def _of_customer(self) -> FloatArray:
        return _shrunk(self.state.events.customer[self._rows], self._residual, self.state.shape[0], _OF_CUSTOMER)

    @cached_property
    def _of_pair(self) -> FloatArray:
        """(N,) for the rows of `state.pairs`."""
        events = self.state.events
        customer, product = events.customer[self._rows], events.product[self._rows]
        pair = self.state.pair_of(customer.astype(np.int64), product.astype(np.int64))
        return _shrunk(pair, self._residual - self._of_customer[customer], len(self.state.pairs.product), _OF_PAIR)

    def log_of(self, customer: IntArray, product: IntArray) -> FloatArray:
        """The logarithm of the expected spend, in the shop's currency.

        Args:
            customer: (R,) customer_index of the events.
            product: (R,) product_index of the events.

        Returns:
            (R,).
        """
        spend: FloatArray = np.log(self._price[product]) + self._of_product[product] + self._of_customer[customer]
        pair = self.state.pair_of(customer, product)
        spend[pair >= 0] += self._of_pair[pair[pair >= 0]]
        return spend


def log_chance(scores: ScoreArray, *, is_certain: bool) -> npt.NDArray[np.float64]:
    """The logarithm of a customer's chances to buy the candidates, up to a constant that changes no order.

    A network is trained with a softmax over the candidates, so its scores are such logarithms. Version 0 has only
    ranks, from 0 down: the chance at rank r is taken as 1 / (1 + r). Neither is calibrated; both keep the order.

    Args:
        scores: (R,) of one customer.
        is_certain: of the scorer; see `Scorer`.

    >>> log_chance(np.array([0.0, -1.0, -3.0]), is_certain=False).tolist() == (-np.log([1, 2, 4])).tolist()
    True
    """
    values = scores.astype(np.float64)
    return values if is_certain else -np.log1p(-values)


def _shrunk(group: npt.NDArray[np.integer[Any]], values: FloatArray, groups: int, strength: float) -> FloatArray:
    """(groups,) the mean of each group, as if it had `strength` more values of 0."""
    total = np.bincount(group, values, minlength=groups)
    mean: FloatArray = total / (np.bincount(group, minlength=groups) + strength)
    return mean
