"""What a shop knew at an instant, and the context of (customer, product) that follows from it. Pure.

`ShopState` holds one instant's tables; `contexts` turns some customers into candidates with one row of
features each. Everything derives from events before the instant that are not returned by then, so a
training query of last month and tonight's lists are built by the same code.

Sources of the features: order rates since the first purchase and orders since the last one are the
staples of next-basket models; decayed frequencies and neighbours from Hu et al. 2020, "Modeling
Personalized Item Frequency Information for Next-basket Recommendation" (TIFU-KNN); EASE from Steck 2019.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ncf_pipeline.model.copurchase import Weights, copurchase_weights, scores_from, strongest
from ncf_pipeline.model.events import DAY, Events, FloatArray, IntArray
from ncf_pipeline.model.recipe import Recipe

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

PAIR = (
    "times_bought",
    "rate",
    "rate_since_first",
    "decayed_30",
    "decayed_90",
    "decayed_rate_90",
    "decayed_rate_30",
    "days_since_bought",
    "invoices_since_bought",
    "in_last_invoice",
    "share_of_most_bought",
    "rank_in_history",
    "days_since_first_bought",
    "gap_ratio",
    "pieces",
    "bought_before",
)
PRODUCT = (
    "rebuy_share",
    "buyer_share",
    "sales_7",
    "sales_28",
    "sales_90",
    "trend",
    "log_price",
    "product_age",
    "days_since_sold",
    "guest_share",
)
CUSTOMER = (
    "invoices",
    "days_since_invoice",
    "distinct_products",
    "repeat_share",
    "tenure",
    "days_per_invoice",
    "basket_size",
)
CROSS = (
    "copurchase",
    "copurchase_decayed",
    "copurchase_relative",
    "basket_copurchase",
    "neighbours",
    "neighbours_recent",
    "price_gap",
    "new_since_visit",
    "country_share",
)
FEATURES = PAIR + PRODUCT + CUSTOMER + CROSS
"""Names of the columns of `Contexts.features`, in order."""


@dataclass(frozen=True)
class Contexts:
    """Candidates of some customers at one instant, customer after customer; R candidates in all.

    Attributes:
        customer: (B,) index into the events' customers.
        start: (B + 1,) candidates of the b-th customer are rows start[b] to start[b + 1].
        product: (R,) index into the events' products, ascending within a customer.
        features: (R, F) float16, columns as in `FEATURES`.
        bought: (R,) whether the customer has bought it and not returned it.
        seen: (R,) whether the customer ever bought it, returned or not.
    """

    customer: IntArray
    start: IntArray
    product: IntArray
    features: npt.NDArray[np.float16]
    bought: Mask
    seen: Mask


@dataclass(frozen=True)
class Pairs:
    """Customers' histories at an instant, one row for each (customer, product), in that order; N rows.

    Attributes:
        start: (C + 1,) rows of customer c are start[c] to start[c + 1].
        product: (N,) index into the events' products.
        times: (N,) invoices with the product that are not returned; 0 where all are.
        decayed: (N, 2) the same, each counted 2^(-age/30 days) and 2^(-age/90 days).
        first, last: (N,) microseconds.
        invoices_since_first, invoices_since_last: (N,) of the customer, the one itself included in the first.
        pieces: (N,) total quantity.
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


HALF_LIVES = (30.0, 90.0)


class ShopState:
    """Everything the shop knew at one instant.

    Args:
        events: from `encode`; those from `at` on are ignored.
        at: microseconds since 1970; first instant excluded.
        recipe: for the co-purchase weights and the candidates.
    """

    def __init__(self, events: Events, at: int, recipe: Recipe) -> None:
        self.events, self.at, self.recipe = events, at, recipe
        before = events.time < at
        self.alive = before & (events.returned >= at)
        self.seen_mask = before & (events.customer >= 0)
        self.shape = (len(events.customers), len(events.products))
        self._count_invoices()
        self.pairs = self._count_pairs()
        self.known_products = np.bincount(events.product[self.alive], minlength=self.shape[1]) > 0

    # -- tables -----------------------------------------------------------------------------

    def _count_invoices(self) -> None:
        """Invoices of each customer, and each one's ordinal among them."""
        events = self.events
        mine = np.flatnonzero(self.alive & (events.customer >= 0))
        invoice, first = np.unique(events.invoice[mine], return_index=True)  # ascending in time
        owner, when = events.customer[mine[first]], events.time[mine[first]]
        customers = self.shape[0]
        self.invoices = np.bincount(owner, minlength=customers).astype(float)
        order = np.argsort(owner, kind="stable")
        begin = np.concatenate([[0], np.cumsum(self.invoices)]).astype(np.int64)
        ordinal = np.empty(len(owner), np.int64)
        ordinal[order] = np.arange(len(owner)) - begin[owner[order]]
        self.ordinal_of_invoice = np.zeros(int(events.invoice.max(initial=-1)) + 1, np.int64)
        self.ordinal_of_invoice[invoice] = ordinal
        self.first_visit, self.last_visit = np.zeros(customers, np.int64), np.zeros(customers, np.int64)
        self.first_visit[owner[::-1]] = when[::-1]
        self.last_visit[owner] = when
        age = (self.at - when) / DAY
        self.decayed_invoices = np.stack(
            [np.bincount(owner, 2.0 ** (-age / half_life), minlength=customers) for half_life in HALF_LIVES], axis=1
        )
        self.known_customers = np.flatnonzero(self.invoices > 0)

    def _count_pairs(self) -> Pairs:
        events = self.events
        rows = np.flatnonzero(self.seen_mask)
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
        # Events are in order of time: of several assignments to one place, the last one stays.
        first[pair_kept[::-1]], last[pair_kept] = time[::-1], time
        first_ordinal[pair_kept[::-1]], last_ordinal[pair_kept] = ordinal[::-1], ordinal
        invoices = self.invoices[owner]
        return Pairs(
            start=np.searchsorted(owner, np.arange(self.shape[0] + 1)),
            product=product,
            times=np.bincount(pair_kept, minlength=count).astype(float),
            decayed=np.stack(
                [np.bincount(pair_kept, 2.0 ** (-age / half_life), minlength=count) for half_life in HALF_LIVES],
                axis=1,
            ),
            first=first,
            last=last,
            invoices_since_first=invoices - first_ordinal,
            invoices_since_last=invoices - 1 - last_ordinal,
            pieces=np.bincount(pair_kept, events.quantity[rows][kept], minlength=count).astype(float),
        )

    def ever_bought(self, customer: IntArray, product: IntArray) -> Mask:
        """(N,) whether each customer bought each product before, returned or not."""
        code = self.owner * self.shape[1] + self.pairs.product
        known: Mask = np.isin(customer * self.shape[1] + product, code)
        return known

    def products_seen_by(self, customer: int) -> IntArray:
        """Indices of the products that a customer ever bought, returned or not."""
        return self.pairs.product[self.pairs.start[customer] : self.pairs.start[customer + 1]]

    @cached_property
    def owner(self) -> IntArray:
        """(N,) the customer of each pair."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.pairs.start))

    def _history(self, values: FloatArray) -> sp.csr_array:
        """Customers by products, with these values of pairs; returned ones left out."""
        pairs = self.pairs
        # Copied: eliminate_zeros works in place.
        table = sp.csr_array((values.astype(np.float32), pairs.product, pairs.start), shape=self.shape, copy=True)
        table.eliminate_zeros()
        return table

    @cached_property
    def bought(self) -> sp.csr_array:
        """(C, P) 1 where a customer bought a product."""
        return self._history((self.pairs.times > 0).astype(float))

    @cached_property
    def decayed(self) -> sp.csr_array:
        """(C, P) decayed frequency as a rate over the customer's decayed invoices (half-life 90 days)."""
        rate = self.pairs.decayed[:, 1] / np.maximum(self.decayed_invoices[self.owner, 1], 1e-9)
        return self._history(rate)

    @cached_property
    def recent(self) -> sp.csr_array:
        """(C, P) 1 where a customer bought a product within the last horizon."""
        since = self.at - self.recipe.horizon_days * DAY
        return self._history(((self.pairs.times > 0) & (self.pairs.last >= since)).astype(float))

    @cached_property
    def last_basket(self) -> sp.csr_array:
        """(C, P) 1 where a product is on the customer's last invoice."""
        return self._history(((self.pairs.times > 0) & (self.pairs.invoices_since_last == 0)).astype(float))

    @cached_property
    def copurchase(self) -> Weights:
        """(P, P) from customers' whole histories."""
        return copurchase_weights(self.bought[self.known_customers], self.recipe)

    @cached_property
    def product_table(self) -> Float32:
        """(P, len(PRODUCT)) features of products."""
        events, alive, (_, products) = self.events, self.alive, self.shape
        product, age = events.product[alive], (self.at - events.time[alive]) / DAY
        sales = {days: np.bincount(product[age <= days], minlength=products) for days in (7, 28, 90)}
        total = np.maximum(np.bincount(product, minlength=products), 1)
        first, last = np.full(products, self.at), np.zeros(products, np.int64)
        first[product[::-1]], last[product] = events.time[alive][::-1], events.time[alive]
        price = np.ones(products)
        price[product] = events.price[alive]
        pair_product = self.pairs.product
        buyers = np.bincount(pair_product[self.pairs.times > 0], minlength=products)
        again = np.bincount(pair_product[self.pairs.times > 1], minlength=products)
        overall = again.sum() / max(buyers.sum(), 1)
        recent = np.bincount(self.recent.indices, minlength=products)
        active = max(int((np.diff(self.recent.indptr) > 0).sum()), 1)
        guests = np.bincount(product[events.customer[alive] < 0], minlength=products)
        weekly_28, weekly_90 = sales[28] / 4, sales[90] * 7 / 90
        columns = (
            (again + 10 * overall) / (buyers + 10),
            np.log1p(100 * recent / active),
            np.log1p(sales[7]),
            np.log1p(sales[28]),
            np.log1p(sales[90]),
            np.log((weekly_28 + 0.5) / (weekly_90 + 0.5)),
            np.log1p(price),
            np.log1p((self.at - first) / DAY),
            np.log1p(np.minimum((self.at - last) / DAY, 365)),
            guests / total,
        )
        return np.stack(columns, axis=1).astype(np.float32)

    @cached_property
    def customer_table(self) -> Float32:
        """(C, len(CUSTOMER)) features of customers."""
        pairs, invoices = self.pairs, np.maximum(self.invoices, 1)
        distinct = np.bincount(self.owner[pairs.times > 0], minlength=self.shape[0])
        lines = np.bincount(self.owner, pairs.times, minlength=self.shape[0])
        tenure = (self.at - self.first_visit) / DAY
        columns = (
            np.log1p(self.invoices),
            np.log1p((self.at - self.last_visit) / DAY),
            np.log1p(distinct),
            1 - distinct / np.maximum(lines, 1),
            np.log1p(tenure),
            np.log1p(tenure / invoices),
            np.log1p(lines / invoices),
        )
        return np.stack(columns, axis=1).astype(np.float32)

    @cached_property
    def ranking(self) -> IntArray:
        """Products by their buyers in the last horizon, then by sales of all time; ties by stock code."""
        recent = np.bincount(self.recent.indices, minlength=self.shape[1])
        ever = np.bincount(self.events.product[self.alive], minlength=self.shape[1])
        order = np.lexsort((np.arange(self.shape[1]), -ever, -recent))
        return order[self.known_products[order]]

    @cached_property
    def _neighbour_pool(self) -> tuple[sp.csr_array, sp.csr_array, IntArray]:
        """Unit decayed histories of the pool (as columns), its histories and recent baskets, and who they are."""
        known = self.known_customers
        pool = np.sort(known[np.argsort(-self.last_visit[known], kind="stable")][: self.recipe.neighbour_pool])
        unit = unit_rows(self.decayed[pool])
        values = sp.csr_array(sp.hstack([self.decayed[pool], self.recent[pool]], format="csr"))
        return sp.csr_array(unit.T.tocsr()), values, pool

    @cached_property
    def _country_share(self) -> Float32:
        """(countries, P) share of a country's active customers who bought it lately, shrunk to the whole shop's."""
        country, countries = self.events.country, len(self.events.countries)
        customers = self.shape[0]
        member = sp.csr_array(
            (np.ones(customers, np.float32), (country, np.arange(customers))), shape=(countries, customers)
        )
        buyers = (member @ self.recent).toarray()
        active = np.bincount(country[np.diff(self.recent.indptr) > 0], minlength=countries)
        overall = buyers.sum(axis=0) / max(active.sum(), 1)
        share = (buyers + 20 * overall) / (active[:, None] + 20)
        result: Float32 = np.log((share + 1e-3) / (overall + 1e-3)).astype(np.float32)
        return result

    # -- contexts of customers --------------------------------------------------------------

    def contexts(self, customers: IntArray) -> Iterator[Contexts]:
        """Candidates with features, for customers in chunks of bounded memory.

        Args:
            customers: (B,) indices into the events' customers, ascending.
        """
        size = max(1, int(self.recipe.chunk_mb * 2**20 / (4 * max(self.shape[1], 1))))
        for start in range(0, len(customers), size):
            yield self._contexts(customers[start : start + size])

    def _contexts(self, customers: IntArray) -> Contexts:
        pairs, recipe, (_, products) = self.pairs, self.recipe, self.shape
        history, decayed = self.bought[customers], self.decayed[customers]
        copurchase = scores_from(history, self.copurchase)  # (B, P)
        copurchase_decayed = scores_from(decayed, self.copurchase)
        basket = scores_from(self.last_basket[customers], self.copurchase)
        neighbours, neighbours_recent = self._neighbours(customers)
        # Candidates: their own, what everybody buys now, what goes with theirs, what their like buy.
        chosen = np.zeros((len(customers), products), np.bool_)
        chosen[:, self.ranking[: recipe.popular_candidates]] = True
        for table in (copurchase, copurchase_decayed, neighbours_recent):
            _choose_largest(chosen, table, recipe.copurchase_candidates)
        chosen &= self.known_products
        pair_rows, pair_owner = _slices(pairs.start[customers], pairs.start[customers + 1])
        place = np.full(chosen.shape, -1, np.int32)
        place[pair_owner, pairs.product[pair_rows]] = pair_rows
        late = self._bought_last(pair_rows, pair_owner)
        chosen[pair_owner[late], pairs.product[pair_rows[late]]] = True
        owner, product = np.nonzero(chosen)
        pair = place[owner, product].astype(np.int64)
        who = customers[owner]
        best = np.maximum(copurchase.max(axis=1, initial=0), 1e-6)
        own_price = self._own_price[who]
        log_price = self.product_table[product, PRODUCT.index("log_price")]
        first_sold = self.at - np.expm1(self.product_table[product, PRODUCT.index("product_age")]) * DAY
        cross = (
            copurchase[owner, product] * 4,
            copurchase_decayed[owner, product] * 10,
            copurchase[owner, product] / best[owner],
            basket[owner, product] * 4,
            np.log1p(100 * neighbours[owner, product]),
            np.log1p(100 * neighbours_recent[owner, product]),
            log_price - own_price,
            first_sold > self.last_visit[who],
            self._country_share[self.events.country[who], product],
        )
        features = np.concatenate(
            [
                self.pair_features(pair, who),
                self.product_table[product],
                self.customer_table[who],
                np.stack(cross, axis=1),
            ],
            axis=1,
        ).astype(np.float16)
        return Contexts(
            customer=customers,
            start=np.searchsorted(owner, np.arange(len(customers) + 1)),
            product=product.astype(np.int64),
            features=features,
            bought=(pair >= 0) & (pairs.times[pair] > 0) if len(pairs.times) else np.zeros(len(pair), np.bool_),
            seen=pair >= 0,
        )

    def _bought_last(self, pair_rows: IntArray, pair_owner: IntArray) -> Mask:
        """Which pairs are candidates: not returned, and among the customer's last bought."""
        kept = self.pairs.times[pair_rows] > 0
        order = np.lexsort((-self.pairs.last[pair_rows], ~kept, pair_owner))
        rank = np.empty(len(order), np.int64)
        begin = np.searchsorted(pair_owner, pair_owner)
        rank[order] = np.arange(len(order)) - begin[order]
        chosen: Mask = kept & (rank < self.recipe.max_history_candidates)
        return chosen

    @cached_property
    def _own_price(self) -> Float32:
        """(C,) mean log price of what a customer bought."""
        price = self.product_table[:, PRODUCT.index("log_price")]
        count = np.maximum(np.diff(self.bought.indptr), 1)
        mean: Float32 = ((self.bought @ price) / count).astype(np.float32)
        return mean

    def _neighbours(self, customers: IntArray) -> tuple[Float32, Float32]:
        """What similar customers buy: their decayed rates, and the share who bought it lately; (B, P) each."""
        unit, values, pool = self._neighbour_pool
        similarity = sp.csr_array(unit_rows(self.decayed[customers]) @ unit)  # (B, pool)
        row = np.repeat(np.arange(len(customers)), np.diff(similarity.indptr))
        similarity.data[pool[similarity.indices] == customers[row]] = 0.0
        near = strongest(similarity, self.recipe.similar_customers)
        near.data **= 2  # a close neighbour says more than many distant ones
        near.data /= np.maximum(np.asarray(near.sum(axis=1)).ravel(), 1e-9)[
            np.repeat(np.arange(len(customers)), np.diff(near.indptr))
        ]
        table = (near @ values).toarray()
        return table[:, : self.shape[1]], table[:, self.shape[1] :]

    def pair_features(self, pair: IntArray, customer: IntArray) -> Float32:
        """(R, len(PAIR)) features of pairs; `pair` is -1 where the customer never bought the product."""
        if len(self.pairs.times) == 0:
            return np.zeros((len(pair), len(PAIR)), np.float32)
        table = np.zeros((len(pair), len(PAIR)), np.float32)
        found = pair >= 0
        table[found] = self._pair_table[pair[found]]
        # What was never bought is as old as the customer, so that "long ago" and "never" lie near each other.
        never = ~found | (table[:, PAIR.index("bought_before")] == 0)
        table[never, PAIR.index("days_since_bought")] = np.log1p(365.0)
        table[never, PAIR.index("days_since_first_bought")] = np.log1p(365.0)
        table[never, PAIR.index("invoices_since_bought")] = np.log1p(self.invoices[customer[never]])
        table[never, PAIR.index("rank_in_history")] = 1.0
        table[never, PAIR.index("gap_ratio")] = np.log(4.0)
        return table

    @cached_property
    def _pair_table(self) -> Float32:
        """(N, len(PAIR)) features of all pairs."""
        pairs, owner = self.pairs, self.owner
        invoices, decayed_invoices = np.maximum(self.invoices[owner], 1), self.decayed_invoices[owner]
        since, first = (self.at - pairs.last) / DAY, (self.at - pairs.first) / DAY
        kept = pairs.times > 0
        most = np.zeros(self.shape[0])
        np.maximum.at(most, owner, pairs.decayed[:, 1])
        order = np.lexsort((pairs.product, -pairs.last, -pairs.decayed[:, 1], owner))
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order)) - pairs.start[owner[order]]
        size = np.diff(pairs.start)[owner]
        gap = np.where(
            pairs.times > 1, (pairs.last - pairs.first) / DAY / np.maximum(pairs.times - 1, 1), np.maximum(first, 30)
        )
        columns = (
            np.log1p(pairs.times),
            np.sqrt(pairs.times / invoices),
            np.sqrt(pairs.times / np.maximum(pairs.invoices_since_first, 1)),
            np.log1p(pairs.decayed[:, 0]),
            np.log1p(pairs.decayed[:, 1]),
            np.sqrt(pairs.decayed[:, 1] / np.maximum(decayed_invoices[:, 1], 1e-9)),
            np.sqrt(pairs.decayed[:, 0] / np.maximum(decayed_invoices[:, 0], 1e-9)),
            np.log1p(since),
            np.log1p(np.maximum(pairs.invoices_since_last, 0)),
            pairs.invoices_since_last == 0,
            pairs.decayed[:, 1] / np.maximum(most[owner], 1e-9),
            np.log1p(rank) / np.log1p(np.maximum(size, 2)),
            np.log1p(first),
            np.log((since + 3) / (np.maximum(gap, 0) + 3)).clip(-4, 4),
            np.log1p(pairs.pieces),
            kept,
        )
        return np.where(kept[:, None], np.stack(columns, axis=1), 0).astype(np.float32)


def _choose_largest(chosen: Mask, table: Float32, count: int) -> None:
    """Marks each row's largest positive entries that are not marked yet."""
    count = min(count, table.shape[1])
    if count == 0:
        return
    rest = np.where(chosen, 0.0, table)
    top = np.argpartition(-rest, count - 1, axis=1)[:, :count]
    rows = np.arange(len(table))[:, None]
    chosen[rows, top] |= rest[rows, top] > 0


def _slices(start: IntArray, stop: IntArray) -> tuple[IntArray, IntArray]:
    """All indices of several slices, and which slice each is of."""
    length = stop - start
    which = np.repeat(np.arange(len(start)), length)
    offset = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return start[which] + offset, which


def unit_rows(table: sp.csr_array) -> sp.csr_array:
    """Rows scaled to length 1; empty ones stay empty."""
    unit = table.copy()
    norm = np.sqrt(np.asarray(unit.multiply(unit).sum(axis=1)).ravel())
    unit.data /= np.repeat(np.maximum(norm, 1e-12), np.diff(unit.indptr))
    return unit
