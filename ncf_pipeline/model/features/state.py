"""What the shop knew at an instant: who had bought what, when, and on how many invoices. Pure."""

import copy
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ncf_pipeline.model.features.events import DAY, Events, FloatArray, IntArray
from ncf_pipeline.model.features.looks import Interest
from ncf_pipeline.model.recipe import Recipe

Mask = npt.NDArray[np.bool_]

HALF_LIVES = (30.0, 90.0)
"""Days: in the two columns of decayed counts, a purchase of that age counts half."""

EVENTS_AT_ONCE = 2_000_000
"""Events whose pairs are counted at once, about: what that takes is ten times what is kept of them."""

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

    Attributes:
        start: (C + 1,) the rows of customer c are start[c] to start[c + 1].
        product: (N,) product_index of the events.
        times: (N,) invoices with the product, without returned ones; 0 if all are returned.
        decayed: (N, 2) the same invoices, each counted 2^(-age / half-life), for both `HALF_LIVES`.
        first, last: (N,) microseconds; the first and the last of these invoices, 0 if there is none.
        invoices_since_first: (N,) the customer's invoices from the first on, that one included.
        invoices_since_last: (N,) the customer's invoices after the last.
        pieces: (N,) total quantity on these invoices.
    """

    start: IntArray
    product: IntArray
    times: FloatArray
    decayed: FloatArray
    first: IntArray
    last: IntArray
    invoices_since_first: FloatArray
    invoices_since_last: FloatArray
    pieces: FloatArray


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
        before = events.time < at
        self.alive = before & (events.returned >= at)  # (E,) bought and not returned
        self.seen_mask = before & self._is_of(customers)  # (E,) bought by a customer, returned or not
        self.shape = (len(events.customers), len(events.products))
        self.country = self._countries()
        self._count_invoices()
        self.pairs = self._count_pairs()
        self.known_products = np.bincount(events.product[self.alive], minlength=self.shape[1]) > 0

    def _is_of(self, customers: IntArray | None) -> Mask:
        """(E,) which events are of some customers, or of any customer."""
        events = self.events
        if customers is None:
            return events.customer >= 0
        wanted = np.zeros(len(events.customers) + 1, np.bool_)  # the last is for -1, a guest
        wanted[customers] = True
        return wanted[events.customer]

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
        invoice, first = np.unique(events.invoice[rows], return_index=True)  # in order of time
        self.visits = Visits(invoice, events.customer[rows[first]], events.time[rows[first]])
        owner, when = self.visits.customer, self.visits.time
        customers = self.shape[0]
        self.invoices = np.bincount(owner, minlength=customers).astype(float)
        self.ordinal_of_invoice = np.zeros(int(events.invoice.max(initial=-1)) + 1, np.int64)
        self.ordinal_of_invoice[invoice] = rank_in_group(owner)
        self.first_visit, self.last_visit = np.zeros(customers, np.int64), np.zeros(customers, np.int64)
        self.first_visit[owner[::-1]] = when[::-1]
        self.last_visit[owner] = when
        age = (self.at - when) / DAY
        self.decayed_invoices = np.stack(
            [np.bincount(owner, 2.0 ** (-age / half_life), minlength=customers) for half_life in HALF_LIVES], axis=1
        )
        self.known_customers = np.flatnonzero(self.invoices > 0)

    def _count_pairs(self) -> Pairs:
        """The history of each customer, product by product; of a large shop some customers at a time."""
        blocks = customers_at_once(self.events.customer, np.flatnonzero(self.seen_mask))
        counted = [self._pairs_of(block) for block in blocks]
        del blocks
        owners = np.concatenate([columns.pop("owner") for columns in counted])
        start = np.searchsorted(owners, np.arange(self.shape[0] + 1))
        del owners
        names = list(counted[0])
        return Pairs(
            start=start, **{name: np.concatenate([columns.pop(name) for columns in counted]) for name in names}
        )

    def _pairs_of(self, rows: IntArray) -> dict[str, npt.NDArray[Any]]:
        """The columns of `Pairs` and the `owner` of each pair, from all events of some customers.

        Args:
            rows: of the events, each customer's in order of time.
        """
        events = self.events
        code = events.customer[rows] * self.shape[1] + events.product[rows]
        pair_code, pair = np.unique(code, return_inverse=True)
        owner, product = np.divmod(pair_code, self.shape[1])
        kept = self.alive[rows]
        time, pair_kept = events.time[rows][kept], pair[kept]
        ordinal = self.ordinal_of_invoice[events.invoice[rows][kept]]
        age = (self.at - time) / DAY
        count = len(pair_code)
        first, last = np.zeros(count, np.int64), np.zeros(count, np.int64)
        first_ordinal, last_ordinal = np.zeros(count, np.int64), np.zeros(count, np.int64)
        # Events are in order of time. If several are assigned to one place, the last one stays.
        first[pair_kept[::-1]], last[pair_kept] = time[::-1], time
        first_ordinal[pair_kept[::-1]], last_ordinal[pair_kept] = ordinal[::-1], ordinal
        invoices = self.invoices[owner]
        return {
            "owner": owner,
            "product": product,
            "times": np.bincount(pair_kept, minlength=count).astype(float),
            "decayed": np.stack(
                [np.bincount(pair_kept, 2.0 ** (-age / half_life), minlength=count) for half_life in HALF_LIVES],
                axis=1,
            ),
            "first": first,
            "last": last,
            "invoices_since_first": invoices - first_ordinal,
            "invoices_since_last": invoices - 1 - last_ordinal,
            "pieces": np.bincount(pair_kept, events.quantity[rows][kept], minlength=count).astype(float),
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
        known: Mask = self._pair_of(customer, product) >= 0
        return known

    def last_bought(self, customer: IntArray, product: IntArray) -> IntArray:
        """When customers last bought products before the instant.

        Args:
            customer: (N,) customer_index.
            product: (N,) product_index.

        Returns:
            (N,) microseconds; 0 for what a customer never bought, or returned in full.
        """
        pair = self._pair_of(customer, product)
        last = np.zeros(len(pair), np.int64)
        last[pair >= 0] = self.pairs.last[pair[pair >= 0]]
        return last

    def _pair_of(self, customer: IntArray, product: IntArray) -> IntArray:
        """(N,) the row of each customer and product in `pairs`; -1 if the customer never bought it."""
        code = self.owner * self.shape[1] + self.pairs.product  # ascending
        if not len(code):
            return np.full(len(customer), -1, np.int64)
        wanted = customer * self.shape[1] + product
        place = np.minimum(np.searchsorted(code, wanted), len(code) - 1)
        return np.where(code[place] == wanted, place, -1)

    def products_seen_by(self, customer: int) -> IntArray:
        """The product_index of each product that a customer (by customer_index) ever bought, returned or not."""
        return self.pairs.product[self.pairs.start[customer] : self.pairs.start[customer + 1]]

    @cached_property
    def owner(self) -> IntArray:
        """(N,) the customer_index of each pair."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.pairs.start))

    @cached_property
    def is_bought(self) -> Mask:
        """(N,) whether the pair is not returned in full."""
        bought: Mask = self.pairs.times > 0
        return bought

    @cached_property
    def rate(self) -> npt.NDArray[np.float32]:
        """(N,) decayed count over the customer's decayed invoices (half-life 90 days)."""
        rate = self.pairs.decayed[:, 1] / np.maximum(self.decayed_invoices[self.owner, 1], 1e-9)
        return np.asarray(rate, np.float32)

    @cached_property
    def unit_rate(self) -> npt.NDArray[np.float32]:
        """(N,) `rate`, scaled so that each customer's row has length 1."""
        squares = np.bincount(self.owner, np.square(self.rate), minlength=self.shape[0])
        length = np.maximum(np.sqrt(squares), 1e-12).astype(np.float32)
        return np.asarray(self.rate / length[self.owner], np.float32)

    @cached_property
    def is_recent(self) -> Mask:
        """(N,) whether it was bought within the last `horizon_days`."""
        since = self.at - self.recipe.horizon_days * DAY
        recent: Mask = self.is_bought & (self.pairs.last >= since)
        return recent

    @cached_property
    def in_last_basket(self) -> Mask:
        """(N,) whether it is on the customer's last invoice."""
        last: Mask = self.is_bought & (self.pairs.invoices_since_last == 0)
        return last

    def _history(self, values: npt.NDArray[Any]) -> sp.csr_array:
        """(C, P) with these values of pairs; zeros are left out, and so are returned pairs."""
        pairs = self.pairs
        # A copy, because eliminate_zeros works in place.
        table = sp.csr_array((values.astype(np.float32), pairs.product, pairs.start), shape=self.shape, copy=True)
        table.eliminate_zeros()
        return table

    @cached_property
    def bought(self) -> sp.csr_array:
        """(C, P) 1 if the customer bought the product."""
        return self._history(self.is_bought)

    @cached_property
    def decayed(self) -> sp.csr_array:
        """(C, P) decayed count over the customer's decayed invoices (half-life 90 days)."""
        return self._history(self.rate)

    @cached_property
    def recent(self) -> sp.csr_array:
        """(C, P) 1 if the customer bought the product within the last `horizon_days`."""
        return self._history(self.is_recent)

    @cached_property
    def last_basket(self) -> sp.csr_array:
        """(C, P) 1 if the product is on the customer's last invoice."""
        return self._history(self.in_last_basket)

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


def customers_at_once(customer: IntArray, rows: IntArray) -> list[IntArray]:
    """Rows of some customers at a time, all of one customer's together: in one block, or of `EVENTS_AT_ONCE` each.

    Args:
        customer: (E,) customer_index of each event.
        rows: of the events, in order of time.

    Returns:
        The rows of each block, each customer's in order of time; later blocks have later customers.
    """
    if len(rows) <= EVENTS_AT_ONCE:
        return [rows]
    rows = rows[np.argsort(customer[rows], kind="stable")]
    owner = customer[rows]
    wanted = np.arange(EVENTS_AT_ONCE, len(rows), EVENTS_AT_ONCE)
    return np.split(rows, np.unique(np.searchsorted(owner, owner[wanted])))


def rank_in_group(group: IntArray, *keys: npt.NDArray[Any]) -> IntArray:
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
