"""Makes lists from tables of scores, in the same way for every peer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Lists
from ncf_pipeline.evaluation.baselines import recent_best_sellers
from ncf_pipeline.model import libraries
from ncf_pipeline.model.features.contexts import Contexts
from ncf_pipeline.model.features.events import Events, IntArray, encode, microseconds
from ncf_pipeline.model.features.state import Float32, ShopState
from ncf_pipeline.model.recipe import Recipe

SEED = 0
CHUNK_CUSTOMERS = 512

Scorer = Callable[[IntArray], Float32]
"""Takes the customer_index (B,) of customers, returns their scores (B, P) of all products."""

Row = tuple[str, str, str, list[str]]
"""Values of `columns.Lists.ALL`."""


def library(name: str) -> ModuleType:
    """Imports a library that a peer needs; errors are those of `libraries.library`."""
    return libraries.library(name, without="evaluate without peers: --no-peers")


def state_at(interactions: pd.DataFrame, as_of: datetime) -> ShopState:
    """The state of the shop at `as_of`, with the default recipe; nothing from `as_of` on is known."""
    return ShopState(encode(interactions, as_of), microseconds(as_of), Recipe())


def ranked_lists(
    state: ShopState,
    scores: Scorer,
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    discover_scores: Scorer | None = None,
) -> pd.DataFrame:
    """Makes `for_you` and `discover` by score, ties by recent best sellers; unknown customers get best sellers.

    Args:
        state: from `state_at`.
        scores: of all products, higher is better.
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: ids of the customers who get lists.
        discover_scores: for `discover`, if it is ranked otherwise.

    Returns:
        Columns of `columns.Lists`.
    """
    events = state.events
    wanted = events.index_of(customers)
    is_known = np.isin(wanted, state.known_customers)
    index = wanted[is_known]
    place = np.full(state.shape[1], state.shape[1])
    place[state.ranking] = np.arange(len(state.ranking))
    rows = []
    for begin in range(0, len(index), CHUNK_CUSTOMERS):
        chunk = index[begin : begin + CHUNK_CUSTOMERS]
        table = np.where(state.known_products, scores(chunk), -np.inf)
        other = np.where(state.known_products, discover_scores(chunk), -np.inf) if discover_scores else table
        for customer, row, other_row in zip(chunk, table, other, strict=True):
            order, other_order = (np.lexsort((place, -each))[: len(state.ranking)] for each in (row, other_row))
            new = other_order[~np.isin(other_order, state.products_seen_by(int(customer)))]
            for name, codes in ((FOR_YOU, order), (DISCOVER, new)):
                stock_codes = [str(events.products[product]) for product in codes[:top_n]]
                rows.append(("customer", events.customers[customer], name, stock_codes))
    ranked = pd.DataFrame(rows, columns=list(Lists.ALL))
    unknown = [customer for customer, known in zip(customers, is_known, strict=True) if not known]
    return pd.concat([ranked, recent_best_sellers(interactions, as_of, top_n, unknown)], ignore_index=True)


def best_candidates(
    events: Events, contexts: Contexts, scores: Mapping[str, npt.NDArray[np.floating[Any]]], top_n: int
) -> Iterator[Row]:
    """Makes `for_you` of all candidates and `discover` of those new to the customer, ties by stock code.

    Args:
        events: of the shop.
        contexts: of B customers, with R candidates.
        scores: (R,) for each of the two lists; higher is better.
        top_n: length of a list.

    Yields:
        A row for each customer and list.
    """
    for place, customer in enumerate(contexts.customer):
        part = slice(contexts.start[place], contexts.start[place + 1])
        product, new = contexts.product[part], ~contexts.seen[part]
        for name, among in ((FOR_YOU, np.ones_like(new)), (DISCOVER, new)):
            order = np.lexsort((product[among], -scores[name][part][among]))[:top_n]
            codes = [str(events.products[index]) for index in product[among][order]]
            yield "customer", events.customers[customer], name, codes
