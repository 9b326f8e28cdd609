"""How regularly customers come back, and to which products: gaps, streaks, quantities, prices. Pure.

Whether a purchase is due depends on the time since the last one and on the gap to be expected. One purchase says little
about a customer's gap, so it is shrunk towards the product's, and that towards the shop's (Bhagat et al. 2018, "Buy It
Again: Modeling Repeat Purchase Recommendations"). Shares of a customer's last invoices are those of UP-CF@r (Faggioli
et al. 2020, "Recency Aware Collaborative Filtering for Next Basket Recommendation").

A pair is a customer and a product that the customer bought. Returned purchases do not count, except where it says so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ncf_pipeline.model.features.events import DAY, FloatArray, Int32Array, IntArray
from ncf_pipeline.model.features.state import YEAR, Column, Mask, ShopState

SEGMENTS = 9
"""Segments of customers: thirds by the size of their invoices, times thirds by how many they have."""


@dataclass(frozen=True)
class Purchases:
    """The K purchases of some customers before an instant, pair by pair, each in order of time, and their N pairs.

    Attributes:
        row: (K,) row of the events.
        pair: (K,) number of the pair, from 0 for these customers' first one in `state.pairs`.
        number: (K,) place among the purchases of its pair, from 0.
        is_first, is_last: (K,) whether it is the pair's first one, and its last one.
        age: (K,) days before the instant.
        until_next: (K,) days until the pair's next purchase; from the last one, until the instant.
        first: (N,) microseconds; the pair's first purchase, 0 if there is none.
        pieces: (N,) total quantity of the pair's purchases.
    """

    row: Int32Array
    pair: IntArray
    number: IntArray
    is_first: Mask
    is_last: Mask
    age: FloatArray
    until_next: FloatArray
    first: IntArray
    pieces: FloatArray


def purchases_of(state: ShopState, begin: int, end: int) -> Purchases:
    """The purchases of customers `begin` to `end` before the state's instant."""
    row, pair = state.purchases(begin, end)
    pairs = int(state.pairs.start[end] - state.pairs.start[begin])
    time = state.events.time[row]
    is_first = np.ones(len(row), np.bool_)
    is_first[1:] = pair[1:] != pair[:-1]
    is_last = np.ones(len(row), np.bool_)
    is_last[:-1] = is_first[1:]
    age = (state.at - time) / DAY
    until_next = age.copy()
    until_next[:-1] -= np.where(is_last[:-1], 0.0, age[1:])
    first = np.zeros(pairs, np.int64)
    first[pair[is_first]] = time[is_first]
    return Purchases(
        row=row,
        pair=pair,
        number=np.arange(len(row)) - np.flatnonzero(is_first)[np.cumsum(is_first) - 1],
        is_first=is_first,
        is_last=is_last,
        age=age,
        until_next=until_next,
        first=first,
        pieces=np.bincount(pair, state.events.quantity[row], minlength=pairs).astype(float),
    )


@dataclass(frozen=True)
class Repeats:
    """What the purchases of all known customers before an instant say about each of P products.

    Attributes:
        usual_gap: (P,) days between two purchases of a product by the same customer. Five gaps of the whole shop are
            added to each product's own.
        last_price: (P,) price of each product's last sale, in the shop's currency; 1 for one that was never sold.
        over: (P,) purchases that are at least 28 days old; and
        repeated: (P,) those of them that the same customer repeated within 28 days.
        recent: (P,) purchases of the last 28 days; and
        recent_first: (P,) those of them that are their pair's first.
    """

    usual_gap: FloatArray
    last_price: FloatArray
    over: IntArray
    repeated: IntArray
    recent: IntArray
    recent_first: IntArray


def repeats_of(state: ShopState) -> Repeats:
    """Counts what is repeated, for some customers at a time."""
    products = state.shape[1]
    counts = np.zeros((4, products), np.int64)
    gaps, of_products = [np.zeros(0)], [np.zeros(0, np.int32)]
    for part in state.parts():
        purchases = purchases_of(state, *part)
        product, age, inner = state.events.product[purchases.row], purchases.age, ~purchases.is_last
        gaps.append(purchases.until_next[inner])
        of_products.append(product[inner])
        over, recent = age >= 28, age <= 28  # the 28 days after it are over
        chosen = (over, over & inner & (purchases.until_next <= 28), recent, recent & purchases.is_first)
        counts += [np.bincount(product[each], minlength=products) for each in chosen]
    gap, product = np.concatenate(gaps), np.concatenate(of_products)
    overall = gap.sum() / len(gap) if len(gap) else YEAR / 4
    gaps_of = np.bincount(product, minlength=products)
    usual_gap = (np.bincount(product, gap, minlength=products) + 5 * overall) / (gaps_of + 5)
    return Repeats(usual_gap, _last_price(state), *counts)


def pair_habits(state: ShopState, purchases: Purchases, repeats: Repeats) -> Iterator[Column]:
    """(N,) for each row of `state.pairs`, which are those of the purchases.

    Pairs that are returned in full have values without a meaning.

    - `due`: log(days since the last purchase / expected gap), both plus three days. The expected gap is the mean of the
      customer's own and of two usual gaps of the product. Above 0 the purchase is due.
    - `due_by_product`: the same, with the product's usual gap.
    - `due_by_quantity`: the same; after twice the customer's mean quantity, the expected gap is twice as long.
    - `gap_spread`: standard deviation of the customer's gaps over the expected gap; 1 if there are not two gaps.
    """
    pairs, count = state.pairs, len(state.pairs.product)
    gaps = np.maximum(pairs.times - 1, 0)
    between = (pairs.last - purchases.first) / DAY
    since = np.where(pairs.times > 0, (state.at - pairs.last) / DAY, YEAR)
    usual = repeats.usual_gap[pairs.product]
    expected = (between + 2 * usual) / (gaps + 2)
    quantity, relative = _last_quantity(state, purchases)
    inner = ~purchases.is_last
    squares = np.bincount(purchases.pair[inner], np.square(purchases.until_next[inner]), minlength=count)
    mean = between / np.maximum(gaps, 1)
    spread = np.sqrt(np.maximum(squares / np.maximum(gaps, 1) - np.square(mean), 0))
    yield "due", _against(since, expected)
    yield "due_by_product", _against(since, usual)
    yield "due_by_quantity", _against(since, expected * np.clip(relative, 0.25, 4))
    yield "gap_spread", np.where(gaps > 1, spread / (expected + 3), 1.0).clip(0, 4)
    yield from _last_invoices(state, purchases)
    yield "last_quantity", np.log1p(quantity)
    yield "last_quantity_relative", np.log(relative).clip(-4, 4)
    yield "price_change", _price_change(state, purchases, repeats)


def _against(days: FloatArray, expected: FloatArray) -> FloatArray:
    """log((days + 3) / (expected + 3)): with three days more, short gaps differ little."""
    ratio: FloatArray = np.log((days + 3) / (expected + 3)).clip(-4, 4)
    return ratio


def _last_quantity(state: ShopState, purchases: Purchases) -> tuple[FloatArray, FloatArray]:
    """(N,) each: pieces on the pair's last invoice, which may be fractions, and these over the pair's mean."""
    last, pairs = purchases.is_last, state.pairs
    quantity = np.ones(len(pairs.product))
    quantity[purchases.pair[last]] = state.events.quantity[purchases.row[last]]
    mean = np.where(pairs.times > 0, purchases.pieces, 1.0) / np.maximum(pairs.times, 1)
    return quantity, quantity / mean


def _last_invoices(state: ShopState, purchases: Purchases) -> Iterator[Column]:
    """(N,) each: how a pair's purchases lie among the customer's last invoices, and in the last weeks.

    - `in_last_3`, `in_last_5`: share of the customer's last invoices that have the product.
    - `streak`: log(1 + invoices with the product, without one in between, up to the last one).
    - `times_28`, `times_91`: log(1 + purchases within so many days).
    """
    pair, count = purchases.pair, len(state.pairs.product)
    invoices = state.invoices[state.owner]
    # 0 is the customer's last invoice, and the pair's last purchase.
    invoice_from_end = invoices[pair] - 1 - state.ordinal_of_invoice[state.events.invoice[purchases.row]]
    purchase_from_end = state.pairs.times[pair] - 1 - purchases.number
    for size in (3, 5):
        inside = np.bincount(pair[invoice_from_end < size], minlength=count)
        yield f"in_last_{size}", inside / np.clip(invoices, 1, size)
    yield "streak", np.log1p(np.bincount(pair[invoice_from_end == purchase_from_end], minlength=count))
    for days in (28, 91):
        yield f"times_{days}", np.log1p(np.bincount(pair[purchases.age <= days], minlength=count))


def _price_change(state: ShopState, purchases: Purchases, repeats: Repeats) -> FloatArray:
    """(N,) log(price of the product's last sale / price that the customer last paid)."""
    last = purchases.is_last
    paid = np.ones(len(state.pairs.product))
    paid[purchases.pair[last]] = state.events.price[purchases.row[last]]
    change: FloatArray = np.log((repeats.last_price[state.pairs.product] + 0.1) / (paid + 0.1))
    return change.clip(-4, 4)


def _last_price(state: ShopState) -> FloatArray:
    price = np.ones(state.shape[1])
    price[state.events.product[state.alive]] = state.events.price[state.alive]  # in order of time: the last one stays
    return price


def product_habits(state: ShopState, repeats: Repeats) -> Iterator[Column]:
    """(P,) each.

    - `usual_gap`: log(1 + days), see `Repeats`.
    - `rebuy_28`: square root of the share of purchases that the same customer repeats within 28 days, of those that are
      older; ten of the whole shop are added.
    - `first_time_share`: share of first purchases among those of known customers within 28 days; ten are added, half
      of them first ones.
    """
    rate = repeats.repeated.sum() / max(repeats.over.sum(), 1)
    yield "usual_gap", np.log1p(repeats.usual_gap)
    yield "rebuy_28", np.sqrt((repeats.repeated + 10 * rate) / (repeats.over + 10))
    yield "first_time_share", (repeats.recent_first + 5) / (repeats.recent + 10)
    yield from _product_lines(state)


def _product_lines(state: ShopState) -> Iterator[Column]:
    """(P,) each, from all invoices, those of guests included.

    - `returned_share`: square root of the share of purchases that were returned; twenty of the whole shop are added.
    - `pieces_per_line`: log(1 + mean pieces of a purchase).
    - `price_trend`: log(mean price within 28 days / mean price before); 0 without a purchase in both.
    """
    events, products, alive = state.events, state.shape[1], np.flatnonzero(state.alive)
    product, price, recent = events.product[alive], events.price[alive], (state.at - events.time[alive]) / DAY <= 28
    ever = np.bincount(events.product[events.time < state.at], minlength=products)
    sold = np.bincount(product, minlength=products)
    returned = 1 - sold.sum() / max(ever.sum(), 1)
    pieces = np.bincount(product, events.quantity[alive], minlength=products)
    count, mean = [], []
    for part in (recent, ~recent):
        count.append(np.bincount(product[part], minlength=products))
        mean.append(np.bincount(product[part], price[part], minlength=products) / np.maximum(count[-1], 1))
    both = (count[0] > 0) & (count[1] > 0)
    yield "returned_share", np.sqrt((ever - sold + 20 * returned) / (ever + 20))
    yield "pieces_per_line", np.log1p(pieces / np.maximum(sold, 1))
    yield "price_trend", np.where(both, np.log((mean[0] + 0.1) / (mean[1] + 0.1)), 0.0).clip(-4, 4)


def customer_habits(state: ShopState) -> Iterator[Column]:
    """(C,) each.

    - `visit_due`: log(days since the last invoice / mean gap between invoices), both plus three days. One gap of 60
      days is added to the customer's own. Above 0 a visit is due.
    - `last_gap`: log(1 + days between the last two invoices); of one invoice, those of a year.
    - `last_basket_size`: log(1 + products on the last invoice).
    - `last_new_share`: share of these that the customer had not bought before.
    """
    visits, customers = state.visits, state.shape[0]
    order = np.argsort(visits.customer, kind="stable")
    customer, time = visits.customer[order], visits.time[order]
    next_one = customer[1:] == customer[:-1]
    returning, gap = customer[1:][next_one], np.diff(time)[next_one] / DAY
    mean = (np.bincount(returning, gap, minlength=customers) + 60.0) / (np.bincount(returning, minlength=customers) + 1)
    last_gap = np.full(customers, YEAR)
    last_gap[returning] = gap  # in order of time: the last one stays
    pairs = state.pairs
    owner, in_last = state.owner, pairs.in_last_basket
    size = np.bincount(owner[in_last], minlength=customers)
    new = np.bincount(owner[in_last & (pairs.times == 1)], minlength=customers)
    yield "visit_due", _against((state.at - state.last_visit) / DAY, mean)
    yield "last_gap", np.log1p(last_gap)
    yield "last_basket_size", np.log1p(size)
    yield "last_new_share", new / np.maximum(size, 1)
    yield from _customer_lines(state)


def _customer_lines(state: ShopState) -> Iterator[Column]:
    """(C,) each.

    - `customer_pieces`: log(1 + mean pieces of a purchase).
    - `spend`: log(1 + mean value of an invoice), in the shop's currency.
    - `usual_popularity`: mean of log(1 + invoices with the product) over the customer's purchases.
    """
    events, customers = state.events, state.shape[0]
    rows = np.flatnonzero(state.alive & (events.customer >= 0))
    customer, product, quantity = events.customer[rows], events.product[rows], events.quantity[rows]
    lines = np.maximum(np.bincount(customer, minlength=customers), 1)
    pieces = np.bincount(customer, quantity, minlength=customers)
    spent = np.bincount(customer, quantity * events.price[rows], minlength=customers)
    sold = np.log1p(np.bincount(events.product[state.alive], minlength=state.shape[1]))
    yield "customer_pieces", np.log1p(pieces / lines)
    yield "spend", np.log1p(spent / np.maximum(state.invoices, 1))
    yield "usual_popularity", np.bincount(customer, sold[product], minlength=customers) / lines


def segments(state: ShopState) -> IntArray:
    """(C,) each customer's segment, 0 to SEGMENTS - 1: 3 * third by mean invoice size + third by number of invoices.

    The bounds are those of the known customers; equal customers are in the same third.
    """
    known = state.known_customers
    lines = np.bincount(state.owner, state.pairs.times, minlength=state.shape[0])
    segment = np.zeros(state.shape[0], np.int64)
    for values in (lines / np.maximum(state.invoices, 1), state.invoices):
        bounds = np.quantile(values[known], [1 / 3, 2 / 3]) if len(known) else np.zeros(2)
        segment = 3 * segment + np.searchsorted(bounds, values)
    return segment
