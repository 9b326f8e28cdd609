"""How regularly customers and products come back: rhythms, streaks, quantities, prices and families of products. Pure.

A pair is a customer and a product that the customer bought. Rates of few purchases are shrunk towards those of the
product or of the whole shop, because one purchase says little.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.state import ShopState

HABITS = (
    "due",
    "due_product",
    "stock_due",
    "gap_spread",
    "in_last_3",
    "in_last_5",
    "streak",
    "times_28",
    "times_91",
    "last_quantity",
    "last_quantity_relative",
    "price_change",
)
"""Names of a pair's columns."""

SEGMENTS = 9
"""Segments of customers: three sizes of an invoice, by three numbers of invoices."""

YEAR = 365.0

Column = tuple[str, npt.NDArray[Any]]


class Habits:
    """Columns of features for pairs, products and customers at an instant.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state = state
        events = state.events
        # The purchases of known customers, pair by pair, in order of time.
        rows = np.flatnonzero(state.alive & (events.customer >= 0))
        code = events.customer[rows] * state.shape[1] + events.product[rows]
        order = np.argsort(code, kind="stable")
        self.rows, code = rows[order], code[order]
        known = state.owner * state.shape[1] + state.pairs.product
        self.pair = np.searchsorted(known, code)
        self.count = len(known)
        self.is_last = np.ones(len(code), np.bool_)
        self.is_last[:-1] = code[1:] != code[:-1]
        self.age = (state.at - events.time[self.rows]) / DAY
        # Days until the next purchase of the same pair; of the last one, until the instant.
        self.until_next = self.age.copy()
        self.until_next[:-1] -= np.where(self.is_last[:-1], 0.0, self.age[1:])

    @cached_property
    def usual_gap(self) -> FloatArray:
        """(P,) days between two purchases of a product by the same customer, shrunk towards the whole shop's."""
        product = self.state.events.product[self.rows]
        inner = ~self.is_last
        overall = self.until_next[inner].sum() / inner.sum() if inner.any() else YEAR / 4
        products = self.state.shape[1]
        days = np.bincount(product[inner], self.until_next[inner], minlength=products)
        gap: FloatArray = (days + 5 * overall) / (np.bincount(product[inner], minlength=products) + 5)
        return gap

    def pair_columns(self) -> Iterator[Column]:
        """(N,) for each name of `HABITS`, for the rows of `state.pairs`."""
        state, pairs, events = self.state, self.state.pairs, self.state.events
        pair, last, rows = self.pair, self.is_last, self.rows
        gaps = np.maximum(pairs.times - 1, 0)
        between = (pairs.last - pairs.first) / DAY
        since = np.where(pairs.times > 0, (state.at - pairs.last) / DAY, YEAR)
        usual = self.usual_gap[pairs.product]
        expected = (between + 2 * usual) / (gaps + 2)
        quantity, price = np.ones(self.count), np.ones(self.count)
        quantity[pair[last]] = np.maximum(events.quantity[rows[last]], 1)
        price[pair[last]] = events.price[rows[last]]
        now = np.ones(state.shape[1])
        now[events.product[state.alive]] = events.price[state.alive]
        mean = np.maximum(pairs.pieces, 1) / np.maximum(pairs.times, 1)
        # A customer who bought twice the usual quantity comes back later.
        lasts = expected * np.clip(quantity / mean, 0.25, 4)
        squares = np.bincount(pair[~last], np.square(self.until_next[~last]), minlength=self.count)
        spread = np.sqrt(np.maximum(squares / np.maximum(gaps, 1) - np.square(between / np.maximum(gaps, 1)), 0))
        invoices = state.invoices[state.owner]
        from_end = invoices[pair] - 1 - state.ordinal_of_invoice[events.invoice[rows]]  # 0: the last invoice
        place = pairs.times[pair] - 1 - (np.arange(len(pair)) - np.searchsorted(pair, pair))  # 0: the last purchase
        yield "due", np.log((since + 3) / (expected + 3)).clip(-4, 4)
        yield "due_product", np.log((since + 3) / (usual + 3)).clip(-4, 4)
        yield "stock_due", np.log((since + 3) / (lasts + 3)).clip(-4, 4)
        yield "gap_spread", np.where(gaps > 1, spread / (expected + 3), 1.0).clip(0, 4)
        for count in (3, 5):
            inside = np.bincount(pair[from_end < count], minlength=self.count)
            yield f"in_last_{count}", inside / np.clip(invoices, 1, count)
        yield "streak", np.log1p(np.bincount(pair[from_end == place], minlength=self.count))
        for days in (28, 91):
            yield f"times_{days}", np.log1p(np.bincount(pair[self.age <= days], minlength=self.count))
        yield "last_quantity", np.log1p(quantity)
        yield "last_quantity_relative", np.log(quantity / mean).clip(-4, 4)
        yield "price_change", np.log((now[pairs.product] + 0.1) / (np.maximum(price, 0) + 0.1)).clip(-4, 4)

    def product_columns(self) -> Iterator[Column]:
        """(P,) for each column of a product's habits."""
        state, events, products = self.state, self.state.events, self.state.shape[1]
        product, age = events.product[self.rows], self.age
        old = age >= 28  # the 28 days after it are over
        again = old & ~self.is_last & (self.until_next <= 28)
        rate = again.sum() / max(old.sum(), 1)
        alive = np.flatnonzero(state.alive)
        before = events.time < state.at
        ever = np.bincount(events.product[before], minlength=products)
        sold = np.bincount(events.product[alive], minlength=products)
        overall = 1 - sold.sum() / max(ever.sum(), 1)
        of, since = events.product[alive], (state.at - events.time[alive]) / DAY
        recent = since <= 28
        pieces = np.bincount(of, events.quantity[alive], minlength=products)
        sales = {days: np.bincount(of[since <= days], minlength=products) for days in (14, 28)}
        is_first = np.ones(len(product), np.bool_)
        is_first[1:] = self.is_last[:-1]
        buyers = np.bincount(product[age <= 28], minlength=products)
        first = np.bincount(product[(age <= 28) & is_first], minlength=products)
        paid = [
            np.bincount(of[part], events.price[alive][part], minlength=products)
            / np.maximum(np.bincount(of[part], minlength=products), 1)
            for part in (recent, ~recent)
        ]
        both = (np.bincount(of[recent], minlength=products) > 0) & (np.bincount(of[~recent], minlength=products) > 0)
        yield "usual_gap", np.log1p(self.usual_gap)
        yield (
            "rebuy_28",
            np.sqrt(
                (np.bincount(product[again], minlength=products) + 10 * rate)
                / (np.bincount(product[old], minlength=products) + 10)
            ),
        )
        yield "returned_share", np.sqrt((ever - sold + 20 * overall) / (ever + 20))
        yield "pieces_per_line", np.log1p(pieces / np.maximum(sold, 1))
        yield "sales_14_trend", np.log((sales[14] / 2 + 0.5) / (sales[28] / 4 + 0.5))
        yield "first_time_share", (first + 5) / (buyers + 10)
        yield "price_trend", np.where(both, np.log((paid[0] + 0.1) / (paid[1] + 0.1)), 0.0).clip(-4, 4)

    @cached_property
    def _visits(self) -> tuple[IntArray, IntArray, IntArray, IntArray]:
        """The invoices of known customers in order of time: their numbers, owners, times (all (V,)), and (E',) rows."""
        events = self.state.events
        rows = np.flatnonzero(self.state.alive & (events.customer >= 0))
        invoice, first = np.unique(events.invoice[rows], return_index=True)
        return invoice, events.customer[rows[first]], events.time[rows[first]], rows

    def customer_columns(self) -> Iterator[Column]:
        """(C,) for each column of a customer's habits."""
        state, events, customers = self.state, self.state.events, self.state.shape[0]
        invoice, owner, time, rows = self._visits
        order = np.argsort(owner, kind="stable")
        same = np.diff(owner[order]) == 0
        gap = np.diff(time[order])[same] / DAY
        of = owner[order][1:][same]
        mean = (np.bincount(of, gap, minlength=customers) + 60.0) / (np.bincount(of, minlength=customers) + 1)
        since = (state.at - state.last_visit) / DAY
        last_gap = np.full(customers, YEAR)
        last_gap[of] = gap  # in order of time: the last one stays
        size = np.bincount(np.searchsorted(invoice, events.invoice[rows]), minlength=len(invoice))
        last_size = np.zeros(customers)
        last_size[owner] = size
        pairs, lines = state.pairs, np.maximum(np.bincount(events.customer[rows], minlength=customers), 1)
        newest = (pairs.times > 0) & (pairs.invoices_since_last == 0)
        in_last = np.bincount(state.owner[newest], minlength=customers)
        new = np.bincount(state.owner[newest & (pairs.times == 1)], minlength=customers)
        pieces = np.bincount(events.customer[rows], events.quantity[rows], minlength=customers)
        value = np.maximum(events.quantity[rows] * events.price[rows], 0)
        spent = np.bincount(events.customer[rows], value, minlength=customers)
        sold = np.log1p(np.bincount(events.product[state.alive], minlength=state.shape[1]))
        popular = np.bincount(events.customer[rows], sold[events.product[rows]], minlength=customers) / lines
        yield "visit_due", np.log((since + 3) / (mean + 3)).clip(-4, 4)
        yield "last_gap", np.log1p(last_gap)
        yield "last_basket_size", np.log1p(last_size)
        yield "last_new_share", new / np.maximum(in_last, 1)
        yield "customer_pieces", np.log1p(np.maximum(pieces, 0) / lines)
        yield "spend", np.log1p(spent / np.maximum(state.invoices, 1))
        yield "usual_popularity", popular

    @cached_property
    def segment(self) -> IntArray:
        """(C,) 0 to SEGMENTS - 1: the third of a customer's mean invoice size, and of the number of invoices."""
        state, known = self.state, self.state.known_customers
        lines = np.bincount(state.owner, state.pairs.times, minlength=state.shape[0])
        segment = np.zeros(state.shape[0], np.int64)
        for values in (lines / np.maximum(state.invoices, 1), state.invoices):
            bounds = np.quantile(values[known], [1 / 3, 2 / 3]) if len(known) else np.zeros(2)
            segment = 3 * segment + np.searchsorted(bounds, values)
        return segment

    def families(self) -> "Families":
        """The families of the shop's products."""
        return Families.of(self.state)


@dataclass(frozen=True)
class Families:
    """Products whose codes differ in their last letters only (85123A, 85123B), and who bought which family when.

    Attributes:
        family: (P,) number of each product's family.
        size: (P,) how many known products are in it.
        code: (M,) customer * families + family, ascending, of those that a customer bought.
        times: (M,) purchases.
        last: (M,) days since the last one.
    """

    family: IntArray
    size: IntArray
    code: IntArray
    times: FloatArray
    last: FloatArray

    @classmethod
    def of(cls, state: ShopState) -> "Families":
        """Finds them by the codes of the products."""
        stems = [re.sub(r"(?<=\d)[A-Za-z]{1,2}$", "", str(code)) for code in state.events.products]
        _, family = np.unique(stems, return_inverse=True) if stems else ([], np.zeros(0, np.int64))
        family = family.astype(np.int64)
        families = int(family.max(initial=-1)) + 1
        size = np.bincount(family[state.known_products], minlength=families)
        pairs = state.pairs
        kept = pairs.times > 0
        code, place = np.unique(state.owner[kept] * families + family[pairs.product[kept]], return_inverse=True)
        last = np.zeros(len(code))
        np.maximum.at(last, place, pairs.last[kept].astype(np.float64))
        return cls(
            family=family,
            size=size[family],
            code=code,
            times=np.bincount(place, pairs.times[kept], minlength=len(code)),
            last=(state.at - last) / DAY,
        )

    def columns(self, customer: IntArray, product: IntArray, own: FloatArray) -> Iterator[Column]:
        """(R,) columns for pairs.

        Args:
            customer: (R,) customer_index.
            product: (R,) product_index.
            own: (R,) how often the customer bought the product itself.
        """
        families = int(self.family.max(initial=-1)) + 1
        wanted = customer * families + self.family[product]
        place = np.minimum(np.searchsorted(self.code, wanted), max(len(self.code) - 1, 0))
        known = self.code[place] == wanted if len(self.code) else np.zeros(len(wanted), np.bool_)
        times, last = np.zeros(len(wanted)), np.full(len(wanted), YEAR)
        times[known], last[known] = self.times[place[known]], np.minimum(self.last[place[known]], YEAR)
        others = np.maximum(times - own, 0)
        yield "family_times", np.log1p(others)
        yield "days_since_family", np.log1p(np.where(known, last, YEAR))
        yield "family_size", np.log1p(self.size[product] - 1.0)
