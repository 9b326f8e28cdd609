"""The features of pairs, products and customers at an instant, as tables. Pure.

Rates since the first purchase and invoices since the last one are usual in next-basket models. Decayed frequencies are
as in Hu et al. 2020, "Modeling Personalized Item Frequency Information for Next-basket Recommendation" (TIFU-KNN).
Counts and days are log(1 + x) and rates are square roots, so that all features have a similar spread.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from ncf_pipeline.model.features.events import DAY, IntArray
from ncf_pipeline.model.features.habits import (
    Purchases,
    Repeats,
    customer_habits,
    pair_habits,
    product_habits,
    purchases_of,
)
from ncf_pipeline.model.features.looks import LOOKS
from ncf_pipeline.model.features.state import HALF_LIVES, YEAR, Column, Float32, ShopState, rank_in_group
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.threads import in_order

Float16 = npt.NDArray[np.float16]

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
    "due",
    "due_by_product",
    "due_by_quantity",
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
    "usual_gap",
    "rebuy_28",
    "returned_share",
    "pieces_per_line",
    "sales_14_trend",
    "first_time_share",
    "price_trend",
)
CUSTOMER = (
    "invoices",
    "days_since_invoice",
    "distinct_products",
    "repeat_share",
    "tenure",
    "days_per_invoice",
    "basket_size",
    "visit_due",
    "last_gap",
    "last_basket_size",
    "last_new_share",
    "customer_pieces",
    "spend",
    "usual_popularity",
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
CROSS = (
    "copurchase_relative",
    "price_gap",
    "new_since_visit",
    "country_share",
    "segment_share",
    "family_times",
    "days_since_family",
    "family_size",
)
FEATURES = PAIR + PRODUCT + CUSTOMER + TASTE + CROSS
"""Names of the F columns of `Contexts.features`, in order. A model stores them and fits only these features."""


def feature_names(recipe: Recipe) -> tuple[str, ...]:
    """Names of the F columns for models of a recipe: `FEATURES`, and behind them `LOOKS` if it reads looks."""
    return FEATURES + LOOKS if recipe.reads_looks else FEATURES


def filled_table(names: Sequence[str], rows: int, columns: Iterable[Column]) -> Float32:
    """A table whose columns are filled by name, each exactly once.

    Args:
        names: of the table's columns, in order.
        rows: how many there are.
        columns: in any order, each of `rows` values. They are read one by one, because all of them at once, in
            float64, would take more memory than anything else.

    Returns:
        (rows, len(names)).

    Raises:
        ValueError: a column is missing, unknown or filled twice, or has another length.

    >>> filled_table(("a", "b"), 2, [("b", np.array([3, 4])), ("a", np.array([1, 2]))]).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    table = np.full((rows, len(names)), np.nan, np.float32)
    open_places = {name: place for place, name in enumerate(names)}
    for name, values in columns:
        place = open_places.pop(name, None)
        if place is None:
            raise ValueError(f"the table has no column {name}, or it is filled twice; its columns are {names}")
        if values.shape != (rows,):
            raise ValueError(f"column {name} has shape {values.shape} instead of {(rows,)}")
        table[:, place] = values
    if open_places:
        raise ValueError(f"there are no values for {', '.join(open_places)}")
    return table


def as_float16(table: Float32) -> Float16:
    """The nearest float16 of each value, as NumPy rounds; torch does it by the processor's own instruction."""
    halves: Float16 = torch.from_numpy(table).half().numpy()
    return halves


class Block(NamedTuple):
    """Some columns of R rows.

    Attributes:
        table: (n, W) of which each of the R rows has one.
        row: (R,) which one; None if the table has R rows itself.
        of_products: whether the table is that of all P products, and `row` the product_index. It is the same for all
            customers of an instant, so what is computed from it is worth keeping.
    """

    table: Float16
    row: IntArray | None
    of_products: bool = False


class FeatureRows:
    """The features of R candidates: what several of them share, such as a product's features, is kept once.

    Args:
        blocks: columns of the R rows, side by side.
    """

    def __init__(self, *blocks: Block) -> None:
        self.blocks = blocks
        table, row, _ = blocks[0]
        self.shape = (len(table) if row is None else len(row), sum(block.table.shape[1] for block in blocks))

    @staticmethod
    def of(table: Float16) -> "FeatureRows":
        """The rows of a whole table (R, F)."""
        return FeatureRows(Block(table, None))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | slice | npt.NDArray[Any]) -> Float16:
        """The features of some rows, as an array (n, F); of one row, as an array (F,)."""
        parts = [table[rows] if row is None else table[row[rows]] for table, row, _ in self.blocks]
        return np.concatenate(parts, axis=-1) if len(parts) > 1 else parts[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or np.float16, copy=bool(copy))


def feature_rows(blocks: Mapping[tuple[str, ...], Block]) -> FeatureRows:
    """The features of R candidates, from the columns of each group of features.

    Args:
        blocks: len(names) columns for each group's names: `PAIR`, `PRODUCT`, `CUSTOMER`, `TASTE`, `CROSS`, and
            `LOOKS` if there are any.

    Returns:
        (R, F), columns as in `feature_names`.

    Raises:
        ValueError: a group is missing, out of order, or not as wide as its names.
    """
    names = tuple(chain.from_iterable(blocks))
    if names not in (FEATURES, FEATURES + LOOKS):
        raise ValueError(f"features are not in the order of FEATURES: {names}")
    for group, block in blocks.items():
        if block.table.shape[1] != len(group):
            raise ValueError(f"a table has {block.table.shape[1]} columns for {len(group)} names: {group}")
    return FeatureRows(*blocks.values())


def pair_table(state: ShopState, repeats: Repeats) -> Float16:
    """(N, len(PAIR)): all rows of `state.pairs`. A pair that is returned in full is as if never bought.

    Made for some customers at a time: in float64, the columns take ten times what is kept of them.
    """
    start = state.pairs.start
    table = np.empty((len(state.pairs.product), len(PAIR)), np.float16)
    instead = never_bought(state)

    def made(customers: tuple[int, int]) -> Float16:
        part, purchases = state.part(*customers), purchases_of(state, *customers)
        columns = chain(_pair_columns(part, purchases), pair_habits(part, purchases, repeats))
        values = filled_table(PAIR, len(part.pairs.product), columns)
        returned = part.pairs.times == 0
        values[returned] = instead[part.owner[returned]]
        return values.astype(np.float16)

    parts = list(state.parts())
    for (begin, end), values in zip(parts, in_order(made, parts), strict=True):
        table[start[begin] : start[end]] = values
    return table


def _pair_columns(state: ShopState, purchases: Purchases) -> Iterator[Column]:
    pairs, owner, events = state.pairs, state.owner, state.events
    invoices, decayed_invoices = np.maximum(state.invoices[owner], 1), state.decayed_invoices[owner]
    since, first = (state.at - pairs.last) / DAY, (state.at - purchases.first) / DAY
    decayed_30 = np.bincount(purchases.pair, 2.0 ** (-purchases.age / HALF_LIVES[0]), minlength=len(owner))
    ordinal = state.ordinal_of_invoice[events.invoice[purchases.row]]
    first_ordinal, last_ordinal = np.zeros(len(owner), np.int64), np.zeros(len(owner), np.int64)
    first_ordinal[purchases.pair[purchases.is_first]] = ordinal[purchases.is_first]
    last_ordinal[purchases.pair[purchases.is_last]] = ordinal[purchases.is_last]
    # The customer's invoices from the first of the pair on, that one included, and after the last of the pair.
    since_first, since_last = state.invoices[owner] - first_ordinal, state.invoices[owner] - 1 - last_ordinal
    most = np.zeros(state.shape[0])
    np.maximum.at(most, owner, pairs.decayed)
    rank = rank_in_group(owner, -pairs.decayed, -pairs.last, pairs.product)
    size = np.diff(pairs.start)[owner]
    # Mean days between purchases. After a single one it is unknown: the days since then, at least 30.
    between = (pairs.last - purchases.first) / DAY / np.maximum(pairs.times - 1, 1)
    gap = np.where(pairs.times > 1, between, np.maximum(first, 30))
    yield "times_bought", np.log1p(pairs.times)
    yield "rate", np.sqrt(pairs.times / invoices)
    yield "rate_since_first", np.sqrt(pairs.times / np.maximum(since_first, 1))
    yield "decayed_30", np.log1p(decayed_30)
    yield "decayed_90", np.log1p(pairs.decayed)
    yield "decayed_rate_90", np.sqrt(pairs.decayed / np.maximum(decayed_invoices[:, 1], 1e-9))
    yield "decayed_rate_30", np.sqrt(decayed_30 / np.maximum(decayed_invoices[:, 0], 1e-9))
    yield "days_since_bought", np.log1p(since)
    yield "invoices_since_bought", np.log1p(np.maximum(since_last, 0))
    yield "in_last_invoice", pairs.in_last_basket
    yield "share_of_most_bought", pairs.decayed / np.maximum(most[owner], 1e-9)
    yield "rank_in_history", np.log1p(rank) / np.log1p(np.maximum(size, 2))
    yield "days_since_first_bought", np.log1p(first)
    yield "gap_ratio", np.log((since + 3) / (np.maximum(gap, 0) + 3)).clip(-4, 4)
    yield "pieces", np.log1p(purchases.pieces)
    yield "bought_before", np.ones(len(rank))


def never_bought(state: ShopState) -> Float32:
    """(C, len(PAIR)): for products that a customer never bought, values near those of products bought long ago."""
    table = np.zeros((state.shape[0], len(PAIR)), np.float32)
    table[:, PAIR.index("days_since_bought")] = np.log1p(YEAR)
    table[:, PAIR.index("days_since_first_bought")] = np.log1p(YEAR)
    table[:, PAIR.index("invoices_since_bought")] = np.log1p(state.invoices)
    table[:, PAIR.index("rank_in_history")] = 1.0
    for name in ("gap_ratio", "due", "due_by_product", "due_by_quantity"):
        table[:, PAIR.index(name)] = np.log(4.0)
    return table


def product_table(state: ShopState, repeats: Repeats) -> Float32:
    """(P, len(PRODUCT)): all products. Sales count invoices, those of guests included."""
    events, alive, (_, products) = state.events, state.alive, state.shape
    product, age = events.product[alive], (state.at - events.time[alive]) / DAY
    sales = {days: np.bincount(product[age <= days], minlength=products) for days in (7, 14, 28, 90)}
    total = np.maximum(np.bincount(product, minlength=products), 1)
    _, last = first_and_last_sale(state)
    bought, times = state.pairs.product, state.pairs.times
    buyers = np.bincount(bought[times > 0], minlength=products)
    again = np.bincount(bought[times > 1], minlength=products)
    overall = again.sum() / max(buyers.sum(), 1)
    recent = np.bincount(state.recent.indices, minlength=products)
    active = max(int((np.diff(state.recent.indptr) > 0).sum()), 1)
    guests = np.bincount(product[events.customer[alive] < 0], minlength=products)
    first, _ = first_and_last_sale(state)
    return filled_table(
        PRODUCT,
        products,
        (
            ("rebuy_share", (again + 10 * overall) / (buyers + 10)),
            ("buyer_share", np.log1p(100 * recent / active)),
            ("sales_7", np.log1p(sales[7])),
            ("sales_28", np.log1p(sales[28])),
            ("sales_90", np.log1p(sales[90])),
            ("trend", np.log((sales[28] / 4 + 0.5) / (sales[90] * 7 / 90 + 0.5))),
            ("sales_14_trend", np.log((sales[14] / 2 + 0.5) / (sales[28] / 4 + 0.5))),
            ("log_price", np.log1p(repeats.last_price)),
            ("product_age", np.log1p((state.at - first) / DAY)),
            ("days_since_sold", np.log1p(np.minimum((state.at - last) / DAY, YEAR))),
            ("guest_share", guests / total),
            *product_habits(state, repeats),
        ),
    )


def first_and_last_sale(state: ShopState) -> tuple[IntArray, IntArray]:
    """(P,) each, in microseconds. For a product that was never sold: the state's instant, and 0."""
    product, time = state.events.product[state.alive], state.events.time[state.alive]
    first, last = np.full(state.shape[1], state.at, np.int64), np.zeros(state.shape[1], np.int64)
    first[product[::-1]], last[product] = time[::-1], time
    return first, last


def customer_table(state: ShopState) -> Float32:
    """(C, len(CUSTOMER)): all customers."""
    pairs, invoices, customers = state.pairs, np.maximum(state.invoices, 1), state.shape[0]
    distinct = np.bincount(state.owner[pairs.times > 0], minlength=customers)
    lines = np.bincount(state.owner, pairs.times, minlength=customers)
    tenure = (state.at - state.first_visit) / DAY
    return filled_table(
        CUSTOMER,
        customers,
        (
            ("invoices", np.log1p(state.invoices)),
            ("days_since_invoice", np.log1p((state.at - state.last_visit) / DAY)),
            ("distinct_products", np.log1p(distinct)),
            ("repeat_share", 1 - distinct / np.maximum(lines, 1)),
            ("tenure", np.log1p(tenure)),
            ("days_per_invoice", np.log1p(tenure / invoices)),
            ("basket_size", np.log1p(lines / invoices)),
            *customer_habits(state),
        ),
    )


def group_table(state: ShopState, group: IntArray, groups: int, rows: int) -> tuple[Float32, IntArray]:
    """What a group of customers, such as a country, buys more often than the whole shop.

    The value is log(share of the group's active customers who bought the product lately / the same share of all
    customers). If there are more groups than rows, those with the most active customers get one. The other groups share
    the last row, of zeros: they count as the whole shop.

    Args:
        state: of the shop at the instant.
        group: (C,) number of each customer's group, from 0.
        groups: how many there are.
        rows: most groups with a row of their own.

    Returns:
        (rows + 1, P) or fewer rows, the values; and (groups,) the row of each group.
    """
    customers = state.shape[0]
    active = np.bincount(group[np.diff(state.recent.indptr) > 0], minlength=groups)
    largest = np.argsort(-active, kind="stable")[:rows]
    row_of = np.full(groups, len(largest), np.int64)
    row_of[largest] = np.arange(len(largest))
    member = sp.csr_array(
        (np.ones(customers, np.float32), (row_of[group], np.arange(customers))), shape=(len(largest) + 1, customers)
    )
    buyers = (member @ state.recent).toarray()  # (rows + 1, P)
    overall = buyers.sum(axis=0) / max(active.sum(), 1)
    # A group with few customers is mostly like the whole shop: 20 customers of the whole shop are added to its own.
    share = (buyers[:-1] + 20 * overall) / (active[largest, None] + 20)
    relative = np.zeros(buyers.shape, np.float32)
    relative[:-1] = np.log((share + 1e-3) / (overall + 1e-3))
    return relative, row_of


def usual_price(state: ShopState, log_price: Float32) -> Float32:
    """(C,) mean log price of the products that a customer bought; `log_price` is (P,)."""
    bought = state.bought()
    mean: Float32 = ((bought @ log_price) / np.maximum(np.diff(bought.indptr), 1)).astype(np.float32)
    return mean
