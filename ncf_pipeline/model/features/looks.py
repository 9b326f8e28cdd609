"""What customers viewed, put into a basket or wished before an instant: candidates and features. Pure.

A look counts 2^(-age / half-life). Looks up to the day of the last purchase of the product are over: they led to it,
and invoices need not have a time of day. They count in `viewed`, `carted` and `wished`, and not in `open_looks`,
`in_cart` and `on_wish_list`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline import columns
from ncf_pipeline.columns import CART, EVENT_KINDS, VIEW, WISH
from ncf_pipeline.model.recipe import Recipe

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

DAY = 86_400_000_000  # microseconds

LOOKS = (
    "viewed",
    "carted",
    "wished",
    "open_looks",
    "days_since_look",
    "in_cart",
    "on_wish_list",
    "share_of_looks",
    "customer_looks",
)
"""Names of the features of looks. Only models of shops that tell what customers look at have these columns."""

_KINDS = {VIEW: "viewed", CART: "carted", WISH: "wished"}


def looks_for(recipe: Recipe, looks: pd.DataFrame | None) -> pd.DataFrame | None:
    """The looks that a model of a recipe reads; None for one that reads none.

    Args:
        recipe: of the model.
        looks: columns of `columns.Looks`; None if the caller has none to give.

    Raises:
        ValueError: the recipe reads looks, and there is not even an empty table: without what it learned from, a model
            would score everybody as somebody who never looks at anything.
    """
    if recipe.reads_looks and looks is None:
        raise ValueError("the model reads what customers look at: give it the looks, or an empty table of them")
    return looks if recipe.reads_looks else None


@dataclass(frozen=True)
class Looks:
    """The L looks of known customers at known products before an instant, in order of time.

    Attributes:
        customer: (L,) customer_index of the events.
        product: (L,) product_index of the events.
        kind: (L,) index into `columns.EVENT_KINDS`.
        time: (L,) microseconds since 1970 on the shop's clock.
    """

    customer: IntArray
    product: IntArray
    kind: IntArray
    time: IntArray

    def __len__(self) -> int:
        return len(self.time)


def no_looks() -> Looks:
    """Those of a shop that tells nothing."""
    return Looks(*(np.zeros(0, np.int64) for _ in range(4)))


def encode_looks(
    looks: pd.DataFrame | None,
    until: datetime,
    customers: npt.NDArray[np.object_],
    products: npt.NDArray[np.str_],
) -> Looks:
    """Looks before an instant, with integer ids. Those of others than these customers and products are left out.

    Args:
        looks: columns of `columns.Looks`, rows in any order; None for none.
        until: first instant excluded.
        customers: (C,) customer ids.
        products: (P,) stock codes.
    """
    names = columns.Looks
    if looks is None or looks.empty:
        return no_looks()
    before = looks[looks[names.LOOKED_AT] < until]
    customer = pd.Index(customers, dtype=object).get_indexer(pd.Index(before[names.CUSTOMER_ID], dtype=object))
    product = pd.Index(products.astype(object), dtype=object).get_indexer(
        pd.Index(before[names.STOCK_CODE], dtype=object)
    )
    kind = pd.Index(EVENT_KINDS, dtype=object).get_indexer(pd.Index(before[names.KIND], dtype=object))
    time = before[names.LOOKED_AT].astype("datetime64[us]").to_numpy().astype(np.int64)
    known = np.flatnonzero((customer >= 0) & (product >= 0) & (kind >= 0))
    order = known[np.lexsort((kind[known], product[known], customer[known], time[known]))]
    return Looks(*(each[order].astype(np.int64) for each in (customer, product, kind, time)))


class Interest:
    """What customers looked at lately, at an instant: N pairs of a customer and a product, in that order.

    Args:
        looks: of the shop; those from the instant on are ignored.
        at: the instant, in microseconds.
        recipe: `look_days` and `look_half_life_days`.
        known_customers: (C,) which customers had a purchase by then, and
        known_products: (P,) which products; looks of others, and at others, are left out.
        last_bought: returns when customers (customer_index) last bought products (product_index), in microseconds; 0
            for never.
    """

    def __init__(
        self,
        looks: Looks,
        at: int,
        recipe: Recipe,
        known_customers: npt.NDArray[np.bool_],
        known_products: npt.NDArray[np.bool_],
        last_bought: Callable[[IntArray, IntArray], IntArray],
    ) -> None:
        customers, self.products = len(known_customers), len(known_products)
        rows = np.arange(*np.searchsorted(looks.time, [at - recipe.look_days * DAY, at]))
        rows = rows[known_customers[looks.customer[rows]] & known_products[looks.product[rows]]]
        self.code, pair = np.unique(
            looks.customer[rows] * self.products + looks.product[rows], return_inverse=True
        )  # (N,) ascending
        owner, self.product = np.divmod(self.code, self.products)
        self.start = np.searchsorted(owner, np.arange(customers + 1))
        kind, time, count = looks.kind[rows], looks.time[rows], len(self.code)
        weight = 2.0 ** (-(at - time) / DAY / recipe.look_half_life_days)
        of_kind = np.bincount(pair * len(EVENT_KINDS) + kind, weight, minlength=count * len(EVENT_KINDS))
        self.decayed = of_kind.reshape(count, len(EVENT_KINDS))
        self.last = np.zeros(count, np.int64)
        self.last[pair] = time  # in order of time: the last one stays
        is_open = time // DAY > last_bought(owner, self.product)[pair] // DAY
        self.open = np.bincount(pair, weight * is_open, minlength=count)
        self.is_open = np.zeros((count, len(EVENT_KINDS)), np.bool_)
        self.is_open[pair[is_open], kind[is_open]] = True
        self.of_customer = np.bincount(owner, self.decayed.sum(axis=1), minlength=customers)

    def candidates(self, customers: IntArray, most: int) -> tuple[IntArray, IntArray]:
        """What customers looked at and have not bought since.

        Args:
            customers: (B,) customer_index of each customer.
            most: products for each, those with the most open looks; ties by product_index.

        Returns:
            The product_index of each product, and (B + 1,) where those of each customer begin.
        """
        found: list[IntArray] = []
        for customer in customers.tolist():
            part = slice(self.start[customer], self.start[customer + 1])
            best = np.argsort(-self.open[part], kind="stable")[:most]
            found.append(self.product[part][best[self.open[part][best] > 0]])
        start = np.cumsum([0, *map(len, found)])
        return (np.concatenate(found) if found else np.zeros(0, np.int64)), start

    def place(self, customer: IntArray, product: IntArray) -> IntArray:
        """(R,) the pair of each customer and product; -1 if there is none."""
        if not len(self.code):
            return np.full(len(customer), -1, np.int64)
        wanted = customer * self.products + product
        place = np.minimum(np.searchsorted(self.code, wanted), len(self.code) - 1)
        return np.where(self.code[place] == wanted, place, -1)

    def columns(self, customer: IntArray, product: IntArray, at: int) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The features of `LOOKS`, (R,) each.

        Args:
            customer: (R,) customer_index of each candidate.
            product: (R,) product_index.
            at: the instant, in microseconds.
        """
        place = self.place(customer, product)
        there = np.flatnonzero(place >= 0)
        pair = place[there]

        def of_pairs(values: FloatArray, otherwise: float = 0.0) -> FloatArray:
            column = np.full(len(place), otherwise)
            column[there] = values
            return column

        total = self.of_customer[customer]
        for number, kind in enumerate(EVENT_KINDS):
            yield _KINDS[kind], of_pairs(np.log1p(self.decayed[pair, number]))
        yield "open_looks", of_pairs(np.log1p(self.open[pair]))
        yield "days_since_look", of_pairs(np.log1p((at - self.last[pair]) / DAY), np.log1p(365.0))
        yield "in_cart", of_pairs(self.is_open[pair, EVENT_KINDS.index(CART)].astype(np.float64))
        yield "on_wish_list", of_pairs(self.is_open[pair, EVENT_KINDS.index(WISH)].astype(np.float64))
        share = self.open[pair] / np.maximum(total[there], 1e-9)
        yield "share_of_looks", of_pairs(share)
        yield "customer_looks", np.log1p(total)

    def strongest(self, customer: IntArray, product: IntArray) -> IntArray:
        """The strongest kind of look that was not followed by a purchase: a cart, then a wish, then a view.

        Args:
            customer: (R,) customer_index.
            product: (R,) product_index.

        Returns:
            (R,) index into `columns.EVENT_KINDS`; -1 where there is none.
        """
        place = self.place(customer, product)
        strongest = np.full(len(place), -1, np.int64)
        for kind in (VIEW, WISH, CART):
            number = EVENT_KINDS.index(kind)
            if len(self.code):
                strongest[(place >= 0) & self.is_open[np.maximum(place, 0), number]] = number
        return strongest
