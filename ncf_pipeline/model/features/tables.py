"""The features of pairs, products and customers at an instant, as tables. Pure.

Order rates since the first purchase and orders since the last one are the staples of next-basket models;
decayed frequencies as in Hu et al. 2020, "Modeling Personalized Item Frequency Information for Next-basket
Recommendation" (TIFU-KNN). Counts and days are log(1 + x), rates are square roots, so that all have a similar spread.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from ncf_pipeline.model.features.events import DAY, IntArray
from ncf_pipeline.model.features.state import ShopState

Float32 = npt.NDArray[np.float32]

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
TASTE = (
    "copurchase",
    "copurchase_decayed",
    "copurchase_last",
    "basket_last",
    "basket_decayed",
    "neighbours",
    "neighbours_recent",
    "followed_new",
    "followed_all",
    "words",
)
CROSS = ("copurchase_relative", "price_gap", "new_since_visit", "country_share")
FEATURES = PAIR + PRODUCT + CUSTOMER + TASTE + CROSS
"""Names of the columns of `Contexts.features`, in order."""

YEAR = 365.0
"""Days: what never happened counts as this long ago."""


def pair_table(state: ShopState) -> Float32:
    """(N, len(PAIR)) of all pairs of `state.pairs`; those returned in full are as never bought."""
    pairs = state.pairs
    table = np.empty((len(pairs.product), len(PAIR)), np.float32)
    # One after the other: as float64 side by side they would be the largest thing that there is.
    for place, values in enumerate(_pair_columns(state)):
        table[:, place] = values
    returned = pairs.times == 0
    table[returned] = never_bought(state)[state.owner[returned]]
    return table


def _pair_columns(state: ShopState) -> Iterator[npt.NDArray[Any]]:
    pairs, owner = state.pairs, state.owner
    invoices, decayed_invoices = np.maximum(state.invoices[owner], 1), state.decayed_invoices[owner]
    since, first = (state.at - pairs.last) / DAY, (state.at - pairs.first) / DAY
    most = np.zeros(state.shape[0])
    np.maximum.at(most, owner, pairs.decayed[:, 1])
    order = np.lexsort((pairs.product, -pairs.last, -pairs.decayed[:, 1], owner))
    rank = np.empty(len(order))
    rank[order] = np.arange(len(order)) - pairs.start[owner[order]]
    size = np.diff(pairs.start)[owner]
    # Days from one purchase to the next; after a single one, nobody knows: at least a month.
    between = (pairs.last - pairs.first) / DAY / np.maximum(pairs.times - 1, 1)
    gap = np.where(pairs.times > 1, between, np.maximum(first, 30))
    yield np.log1p(pairs.times)
    yield np.sqrt(pairs.times / invoices)
    yield np.sqrt(pairs.times / np.maximum(pairs.invoices_since_first, 1))
    yield np.log1p(pairs.decayed[:, 0])
    yield np.log1p(pairs.decayed[:, 1])
    yield np.sqrt(pairs.decayed[:, 1] / np.maximum(decayed_invoices[:, 1], 1e-9))
    yield np.sqrt(pairs.decayed[:, 0] / np.maximum(decayed_invoices[:, 0], 1e-9))
    yield np.log1p(since)
    yield np.log1p(np.maximum(pairs.invoices_since_last, 0))
    yield pairs.invoices_since_last == 0
    yield pairs.decayed[:, 1] / np.maximum(most[owner], 1e-9)
    yield np.log1p(rank) / np.log1p(np.maximum(size, 2))
    yield np.log1p(first)
    yield np.log((since + 3) / (np.maximum(gap, 0) + 3)).clip(-4, 4)
    yield np.log1p(pairs.pieces)
    yield np.ones(len(rank))


def never_bought(state: ShopState) -> Float32:
    """(C, len(PAIR)) for products that a customer never bought; near those that were bought long ago."""
    table = np.zeros((state.shape[0], len(PAIR)), np.float32)
    table[:, PAIR.index("days_since_bought")] = np.log1p(YEAR)
    table[:, PAIR.index("days_since_first_bought")] = np.log1p(YEAR)
    table[:, PAIR.index("invoices_since_bought")] = np.log1p(state.invoices)
    table[:, PAIR.index("rank_in_history")] = 1.0
    table[:, PAIR.index("gap_ratio")] = np.log(4.0)
    return table


def product_table(state: ShopState) -> Float32:
    """(P, len(PRODUCT)) of all products; sales count invoices, guests' too."""
    events, alive, (_, products) = state.events, state.alive, state.shape
    product, age = events.product[alive], (state.at - events.time[alive]) / DAY
    sales = {days: np.bincount(product[age <= days], minlength=products) for days in (7, 28, 90)}
    total = np.maximum(np.bincount(product, minlength=products), 1)
    _, last = first_and_last_sale(state)
    price = np.ones(products)
    price[product] = events.price[alive]  # in order of time: the last one stays
    bought, times = state.pairs.product, state.pairs.times
    buyers = np.bincount(bought[times > 0], minlength=products)
    again = np.bincount(bought[times > 1], minlength=products)
    overall = again.sum() / max(buyers.sum(), 1)
    recent = np.bincount(state.recent.indices, minlength=products)
    active = max(int((np.diff(state.recent.indptr) > 0).sum()), 1)
    guests = np.bincount(product[events.customer[alive] < 0], minlength=products)
    first, _ = first_and_last_sale(state)
    columns = (
        (again + 10 * overall) / (buyers + 10),
        np.log1p(100 * recent / active),
        np.log1p(sales[7]),
        np.log1p(sales[28]),
        np.log1p(sales[90]),
        np.log((sales[28] / 4 + 0.5) / (sales[90] * 7 / 90 + 0.5)),
        np.log1p(price),
        np.log1p((state.at - first) / DAY),
        np.log1p(np.minimum((state.at - last) / DAY, YEAR)),
        guests / total,
    )
    return np.stack(columns, axis=1).astype(np.float32)


def first_and_last_sale(state: ShopState) -> tuple[IntArray, IntArray]:
    """(P,) microseconds each; the instant itself and 0 for a product that was never sold."""
    product, time = state.events.product[state.alive], state.events.time[state.alive]
    first, last = np.full(state.shape[1], state.at, np.int64), np.zeros(state.shape[1], np.int64)
    first[product[::-1]], last[product] = time[::-1], time
    return first, last


def customer_table(state: ShopState) -> Float32:
    """(C, len(CUSTOMER)) of all customers."""
    pairs, invoices, customers = state.pairs, np.maximum(state.invoices, 1), state.shape[0]
    distinct = np.bincount(state.owner[pairs.times > 0], minlength=customers)
    lines = np.bincount(state.owner, pairs.times, minlength=customers)
    tenure = (state.at - state.first_visit) / DAY
    columns = (
        np.log1p(state.invoices),
        np.log1p((state.at - state.last_visit) / DAY),
        np.log1p(distinct),
        1 - distinct / np.maximum(lines, 1),
        np.log1p(tenure),
        np.log1p(tenure / invoices),
        np.log1p(lines / invoices),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def country_table(state: ShopState) -> tuple[Float32, IntArray]:
    """Log of the share of a country's active customers who bought it lately, over the whole shop's: (rows, P).

    And (countries,) the row of each country. Where not every country has one within `chunk_mb`, those with the
    most active customers do, and the last row says of all others that they are as the whole shop.
    """
    country, countries, customers = state.events.country, len(state.events.countries), state.shape[0]
    active = np.bincount(country[np.diff(state.recent.indptr) > 0], minlength=countries)
    largest = np.argsort(-active, kind="stable")[: state.recipe.rows_at_once(state.shape[1])]
    row_of = np.full(countries, len(largest), np.int64)
    row_of[largest] = np.arange(len(largest))
    member = sp.csr_array(
        (np.ones(customers, np.float32), (row_of[country], np.arange(customers))), shape=(len(largest) + 1, customers)
    )
    buyers = (member @ state.recent).toarray()  # (rows, P)
    overall = buyers.sum(axis=0) / max(active.sum(), 1)
    # A country with few customers is mostly taken to be as the others: 20 of theirs are added to its own.
    share = (buyers[:-1] + 20 * overall) / (active[largest, None] + 20)
    relative = np.zeros(buyers.shape, np.float32)
    relative[:-1] = np.log((share + 1e-3) / (overall + 1e-3))
    return relative, row_of


def usual_price(state: ShopState, log_price: Float32) -> Float32:
    """(C,) mean log price of what a customer bought."""
    count = np.maximum(np.diff(state.bought.indptr), 1)
    mean: Float32 = ((state.bought @ log_price) / count).astype(np.float32)
    return mean
