"""What the shop knew at an instant: who had bought what, when, and on how many invoices. Pure."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.events import DAY, Events, FloatArray, Int32Array, IntArray
from ncf_pipeline.model.features.looks import Interest
from ncf_pipeline.model.recipe import Recipe

Mask = npt.NDArray[np.bool_]

Float32 = npt.NDArray[np.float32]

HALF_LIVES = (30.0, 90.0)
"""Days: in the two decayed counts, a purchase of that age counts half."""

EVENTS_AT_ONCE = 1_000_000
"""Events from which something is made at once, about: what that takes is many times what is kept of them."""

YEAR = 365.0
"""Days: what never happened counts as so long ago."""

Column = tuple[str, npt.NDArray[Any]]
"""A feature's name and its values, one for each row of a table."""


@dataclass(frozen=True)
class Visits:
    """The V invoices of known customers at an instant, in order of time. Without invoices that are returned in full.

    Attributes:
        invoice: (V,) number of the invoice, as in the events.
        customer: (V,) customer_index.
        time: (V,) microseconds.
    """

    invoice: IntArray
    customer: IntArray
    time: IntArray


@dataclass(frozen=True)
class Pairs:
    """Customers' histories at an instant: N rows, one for each (customer, product), in that order.

    There are tens of millions in a large shop. So here is only what lists need; `tables.pair_table` has the rest.

    Attributes:
        start: (C + 1,) the rows of customer c are start[c] to start[c + 1].
        product: (N,) product_index of the events.
        times: (N,) invoices with the product, without returned ones; 0 if all are returned.
        decayed: (N,) the same invoices, each counted 2^(-age / half-life), with the second of `HALF_LIVES`.
        last: (N,) microseconds; the last of these invoices, 0 if there is none.
        in_last_basket: (N,) whether it is on the customer's last invoice.
        rate: (N,) `decayed` over the customer's decayed invoices.
        unit_rate: (N,) `rate`, scaled so that each customer's row has length 1.
    """

    start: IntArray
    product: Int32Array
    times: Int32Array
    decayed: FloatArray
    last: IntArray
    in_last_basket: Mask
    rate: Float32
    unit_rate: Float32


class ShopState:
    """Everything the shop knew at an instant, of C customers and P products.

    Args:
        events: from `encode`; events and returns from `at` on are ignored.
        at: microseconds since 1970; first instant excluded.
        recipe: its `horizon_days` define what is recent.
        customers: customer_index of those whose histories are wanted; None: of all. Nobody else has pairs.
    """

    def __init__(self, events: Events, at: int, recipe: Recipe, customers: IntArray | None = None) -> None:
        self.events, self.at, self.recipe = events, at, recipe
        self.alive = events.alive(at)  # (E,) bought and not returned
        self.shape = (len(events.customers), len(events.products))
        self.country = self._countries()
        self._count_invoices()
        self._by_pair, self._by_pair_start = self._in_order_of_pairs(customers)
        self.pairs = self._count_pairs()
        self.known_products = np.bincount(events.product[self.alive], minlength=self.shape[1]) > 0

    def _countries(self) -> IntArray:
        """(C,) index into `events.countries`: the country of each customer's last invoice; 0 without an invoice."""
        events = self.events
        known = events.resident_since < self.at
        country = np.zeros(self.shape[0], np.int64)
        country[events.resident[known]] = events.resident_in[known]  # in order of time: the last one stays
        return country

    def _count_invoices(self) -> None:
        """The number of invoices of each customer, and the place of each invoice among them."""
        events = self.events
        rows = np.flatnonzero(self.alive & (events.customer >= 0))
        first = np.full(int(events.invoice.max(initial=-1)) + 1, -1, np.int64)
        first[events.invoice[rows][::-1]] = rows[::-1]  # the last that is assigned stays: the invoice's first event
        del rows
        invoice = np.flatnonzero(first >= 0)  # in order of time
        first = first[invoice]
        self.visits = Visits(invoice, events.customer[first].astype(np.int64), events.time[first])
        owner, when = self.visits.customer, self.visits.time
        customers = self.shape[0]
        self.invoices = np.bincount(owner, minlength=customers).astype(float)
        self.ordinal_of_invoice = np.zeros(int(events.invoice.max(initial=-1)) + 1, np.int32)
        self.ordinal_of_invoice[invoice] = rank_in_group(owner)
        self.first_visit, self.last_visit = np.zeros(customers, np.int64), np.zeros(customers, np.int64)
        self.first_visit[owner[::-1]] = when[::-1]
        self.last_visit[owner] = when
        age = (self.at - when) / DAY
        self.decayed_invoices = np.stack(
            [np.bincount(owner, 2.0 ** (-age / half_life), minlength=customers) for half_life in HALF_LIVES], axis=1
        )
        self.known_customers = np.flatnonzero(self.invoices > 0)

    def _in_order_of_pairs(self, customers: IntArray | None) -> tuple[Int32Array, IntArray]:
        """Rows of the events of some customers before the instant, by customer, product and time, returned or not.

        Returns:
            (n,) rows, and (C + 1,) where those of each customer begin.
        """
        events, (count, products) = self.events, self.shape
        wanted = np.zeros(count + 1, np.bool_)  # the last is for -1, a guest
        wanted[slice(-1) if customers is None else customers] = True
        rows = np.flatnonzero(wanted[events.customer] & (events.time < self.at)).astype(np.int32)
        rows = rows[order_of_groups(events.product[rows], products)]
        rows = rows[order_of_groups(events.customer[rows], count)]
        return rows, np.concatenate([[0], np.cumsum(np.bincount(events.customer[rows], minlength=count))])

    def parts(self) -> Iterator[tuple[int, int]]:
        """The first and the last customer, excluded, of each part of the customers: `EVENTS_AT_ONCE` events, about."""
        start = self._by_pair_start
        bounds = np.searchsorted(start, np.arange(EVENTS_AT_ONCE, start[-1], EVENTS_AT_ONCE))
        edges = np.unique([0, *bounds])
        yield from pairwise([*edges[edges < max(self.shape[0], 1)].tolist(), self.shape[0]])

    def purchases(self, begin: int, end: int) -> tuple[Int32Array, IntArray]:
        """The purchases of customers `begin` to `end`, without returned ones, by pair, each pair's in order of time.

        Returns:
            (K,) each: the row of the events; and the row of `pairs`, from 0 for the first pair of these customers.
        """
        rows, is_first = self._events_of(begin, end)
        pair, kept = np.cumsum(is_first) - 1, self.alive[rows]
        return rows[kept], pair[kept]

    def rows_of(self, customers: IntArray) -> Int32Array:
        """(K,) rows of the events: the purchases of these customers, in the order of `purchases`."""
        start = self._by_pair_start
        rows = self._by_pair[slices(start[customers], start[customers + 1])[0]]
        return rows[self.alive[rows]]

    def _events_of(self, begin: int, end: int) -> tuple[Int32Array, Mask]:
        """(n,) each: the events of customers `begin` to `end`, by pair and time, and whether each is its pair's first.

        What was returned counts as well.
        """
        start = self._by_pair_start[begin : end + 1]
        rows = self._by_pair[start[0] : start[-1]]
        is_first = np.ones(len(rows) + 1, np.bool_)  # the last is where further customers would begin
        is_first[1:-1] = np.diff(self.events.product[rows]) != 0
        is_first[start - start[0]] = True
        return rows, is_first[:-1]

    def _count_pairs(self) -> Pairs:
        """The history of each customer, product by product; of a large shop some customers at a time."""
        counted = [self._pairs_of(*part) for part in self.parts()]
        size = np.concatenate([columns.pop("size") for columns in counted])
        names = list(counted[0])
        return Pairs(
            start=np.concatenate([[0], np.cumsum(size)]),
            **{name: np.concatenate([columns.pop(name) for columns in counted]) for name in names},
        )

    def _pairs_of(self, begin: int, end: int) -> dict[str, npt.NDArray[Any]]:
        """The columns of `Pairs` of customers `begin` to `end`, and the `size` of each one's history."""
        events, (rows, is_first) = self.events, self._events_of(begin, end)
        owner, product = events.customer[rows[is_first]], events.product[rows[is_first]]
        count = len(product)
        pair, kept = np.cumsum(is_first) - 1, self.alive[rows]
        rows, pair = rows[kept], pair[kept]
        time, ordinal = events.time[rows], self.ordinal_of_invoice[events.invoice[rows]]
        last, last_ordinal = np.zeros(count, np.int64), np.full(count, -1, np.int64)
        last[pair], last_ordinal[pair] = time, ordinal  # in order of time: the last one stays
        decayed = np.bincount(pair, 2.0 ** (-((self.at - time) / DAY) / HALF_LIVES[1]), minlength=count)
        rate = (decayed / np.maximum(self.decayed_invoices[owner, 1], 1e-9)).astype(np.float32)
        squares = np.bincount(owner - begin, np.square(rate), minlength=end - begin)
        length = np.maximum(np.sqrt(squares), 1e-12).astype(np.float32)
        return {
            "size": np.bincount(owner - begin, minlength=end - begin),
            "product": product,
            "times": np.bincount(pair, minlength=count).astype(np.int32),
            "decayed": decayed,
            "last": last,
            "in_last_basket": (last_ordinal >= 0) & (last_ordinal == self.invoices[owner] - 1),
            "rate": rate,
            "unit_rate": np.asarray(rate / length[owner - begin], np.float32),
        }

    def part(self, begin: int, end: int) -> "ShopState":
        """This state, in which only customers `begin` to `end` have pairs."""
        pairs, part = self.pairs, copy.copy(self)
        for name, value in vars(ShopState).items():
            if isinstance(value, cached_property):
                vars(part).pop(name, None)
        inside = slice(int(pairs.start[begin]), int(pairs.start[end]))
        columns = {each.name: getattr(pairs, each.name)[inside] for each in fields(Pairs) if each.name != "start"}
        part.pairs = Pairs(start=np.clip(pairs.start, inside.start, inside.stop) - inside.start, **columns)
        return part

    def ever_bought(self, customer: IntArray, product: IntArray) -> Mask:
        """Whether customers bought products before the instant, returned or not.

        Args:
            customer: (N,) customer_index.
            product: (N,) product_index.

        Returns:
            (N,) for each pair.
        """
        known: Mask = self.pair_of(customer, product) >= 0
        return known

    def last_bought(self, customer: IntArray, product: IntArray) -> IntArray:
        """When customers last bought products before the instant.

        Args:
            customer: (N,) customer_index.
            product: (N,) product_index.

        Returns:
            (N,) microseconds; 0 for what a customer never bought, or returned in full.
        """
        pair = self.pair_of(customer, product)
        last = np.zeros(len(pair), np.int64)
        last[pair >= 0] = self.pairs.last[pair[pair >= 0]]
        return last

    def pair_of(self, customer: IntArray, product: IntArray) -> IntArray:
        """(N,) the row of each customer and product in `pairs`; -1 if the customer never bought it."""
        pairs, pair = self.pairs, np.empty(len(customer), np.int64)
        kernels.last_places(customer, product, pairs.start, pairs.product, pair)
        found = pair >= 0
        found[found] = pairs.product[pair[found]] == product[found]
        return np.where(found, pair, -1)

    def products_seen_by(self, customer: int) -> Int32Array:
        """The product_index of each product that a customer (by customer_index) ever bought, returned or not."""
        return self.pairs.product[self.pairs.start[customer] : self.pairs.start[customer + 1]]

    @property
    def owner(self) -> IntArray:
        """(N,) the customer_index of each pair; made anew each time, as it would take much room."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.pairs.start))

    @cached_property
    def is_bought(self) -> Mask:
        """(N,) whether the pair is not returned in full."""
        bought: Mask = self.pairs.times > 0
        return bought

    @cached_property
    def is_recent(self) -> Mask:
        """(N,) whether it was bought within the last `horizon_days`."""
        since = self.at - self.recipe.horizon_days * DAY
        recent: Mask = self.is_bought & (self.pairs.last >= since)
        return recent

    def history(self, values: npt.NDArray[Any], customers: IntArray | None = None) -> sp.csr_array:
        """What customers bought, as a table. Zeros are left out.

        Args:
            values: (N,) of the pairs.
            customers: (B,) customer_index of each row; None: all customers.

        Returns:
            (B, P), or (C, P).
        """
        pairs = self.pairs
        start, product = pairs.start, pairs.product
        if customers is not None:
            pair, _ = slices(start[customers], start[customers + 1])
            values, product = values[pair], product[pair]
            start = np.concatenate([[0], np.cumsum(start[customers + 1] - start[customers])])
        kept = np.flatnonzero(values)
        table = (values[kept].astype(np.float32), product[kept], np.searchsorted(kept, start))
        return sp.csr_array(table, shape=(len(start) - 1, self.shape[1]))

    def bought(self, customers: IntArray | None = None) -> sp.csr_array:
        """(B, P) 1 if the customer bought the product: see `history`."""
        return self.history(self.is_bought, customers)

    def decayed(self, customers: IntArray | None = None) -> sp.csr_array:
        """(B, P) decayed count over the customer's decayed invoices (half-life 90 days): see `history`."""
        return self.history(self.pairs.rate, customers)

    @cached_property
    def recent(self) -> sp.csr_array:
        """(C, P) 1 if the customer bought the product within the last `horizon_days`."""
        return self.history(self.is_recent)

    def last_basket(self, customers: IntArray | None = None) -> sp.csr_array:
        """(B, P) 1 if the product is on the customer's last invoice: see `history`."""
        return self.history(self.pairs.in_last_basket, customers)

    @cached_property
    def baskets(self) -> sp.csr_array:
        """(invoices, P) w if an invoice of weight w² holds the product; invoices of guests included.

        An order of hundreds of products says little about any two of them. So the weight of an invoice above the median
        size is median / size.
        """
        alive = np.flatnonzero(self.alive)
        invoices = int(self.events.invoice.max(initial=-1)) + 1
        table = sp.csr_array(
            (np.ones(len(alive), np.float32), (self.events.invoice[alive], self.events.product[alive])),
            shape=(invoices, self.shape[1]),
        )
        size = np.diff(table.indptr)
        usual = np.median(size[size > 0]) if len(alive) else 1.0
        table.data *= np.repeat(np.sqrt(np.minimum(1.0, usual / np.maximum(size, 1))), size).astype(np.float32)
        return table

    @cached_property
    def interest(self) -> Interest:
        """What customers viewed, put into a basket or wished; for a recipe that reads looks."""
        known = self.invoices > 0
        return Interest(self.events.looks, self.at, self.recipe, known, self.known_products, self.last_bought)

    @cached_property
    def ranking(self) -> IntArray:
        """Known products, best first: by buyers in the last `horizon_days`, then by all sales; ties by stock code."""
        recent = np.bincount(self.recent.indices, minlength=self.shape[1])
        ever = np.bincount(self.events.product[self.alive], minlength=self.shape[1])
        order = np.lexsort((np.arange(self.shape[1]), -ever, -recent))
        return order[self.known_products[order]]


def order_of_groups(group: Int32Array, groups: int) -> Int32Array:
    """What `np.argsort` returns, stable, in linear time: for many elements, and numbers of groups from 0 to `groups`.

    >>> order_of_groups(np.array([2, 0, 2, 1], np.int32), 3).tolist()
    [1, 3, 0, 2]
    """
    each = np.arange(len(group) + 1, dtype=np.int32)
    table = sp.csr_array((np.zeros(len(group), np.int8), group, each), shape=(len(group), groups))
    return np.asarray(table.tocsc().indices, np.int32)


def slices(start: IntArray, stop: IntArray) -> tuple[IntArray, IntArray]:
    """All indices of several slices, and the slice of each.

    >>> [part.tolist() for part in slices(np.array([4, 0]), np.array([6, 3]))]
    [[4, 5, 0, 1, 2], [0, 0, 1, 1, 1]]
    """
    length = stop - start
    slice_of = np.repeat(np.arange(len(start)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return start[slice_of] + offset, slice_of


def rank_in_group(group: npt.NDArray[np.integer[Any]], *keys: npt.NDArray[Any]) -> IntArray:
    """The rank of each element in its group, from 0.

    Args:
        group: (N,) the group of each element.
        keys: (N,) each; a group is ordered by the first key, then by the next. Ties keep their order.

    Returns:
        (N,) ranks.

    >>> rank_in_group(np.array([7, 3, 7, 7]), np.array([5, 9, 2, 5])).tolist()
    [1, 0, 0, 2]
    """
    order = np.lexsort((*reversed(keys), group))
    in_order = group[order]
    rank = np.zeros(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(in_order, in_order)
    return rank


def unit_rows(table: sp.csr_array) -> sp.csr_array:
    """Rows scaled to length 1; empty rows stay empty.

    >>> unit_rows(sp.csr_array([[3.0, 4.0], [0.0, 0.0]])).toarray().tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    unit = table.copy()
    norm = np.sqrt(np.asarray(unit.multiply(unit).sum(axis=1)).ravel())
    unit.data /= np.repeat(np.maximum(norm, 1e-12), np.diff(unit.indptr))
    return unit
