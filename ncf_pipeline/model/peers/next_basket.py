"""Next-basket recommenders: what a customer bought, counted with decay, alone or with that of similar customers.

Li et al. 2021, "A Next Basket Recommendation Reality Check", finds that such counts beat the neural models of their
time. The defaults are the best that `make bench-peers` found, for each question.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.state import Float32, ShopState
from ncf_pipeline.model.peers.ranking import ranked_lists, state_at


def decayed_frequency(
    interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str], *, half_life_days: float = 90.0
) -> pd.DataFrame:
    """What the customer bought most often, where a purchase counts half after each `half_life_days`.

    `discover` is recent best sellers: a frequency says nothing about new products.
    """
    state = state_at(interactions, as_of)
    rows = _rows(state)
    age = (state.at - state.events.time[rows]) / DAY
    counts = _table(state, rows, 2.0 ** (-age / half_life_days))

    def scores(index: IntArray) -> Float32:
        table: Float32 = counts[index].toarray()
        return table

    return ranked_lists(state, scores, interactions, as_of, top_n, customers)


def tifu_knn(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    neighbours: int = 300,
    discover_neighbours: int = 30,
    groups: int = 15,
    within: float = 0.9,
    between: float = 0.7,
    own: float = 0.3,
) -> pd.DataFrame:
    """TIFU-KNN: decayed frequencies of the customer, and the mean of those of the nearest customers.

    Hu et al. 2020, "Modeling Personalized Item Frequency Information for Next-basket Recommendation", sections 4.2 to
    4.4. The authors have 7 groups and an own share of 0.7 for the TaFeng data.

    Args:
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: ids of the customers who get lists.
        neighbours: k, nearest customers by Euclidean distance.
        discover_neighbours: k for `discover`.
        groups: m, into which a customer's invoices are divided, by time.
        within: r_b, decay from an invoice to the one before it in its group.
        between: r_g, decay from a group to the one before it.
        own: alpha, the share of the customer's own vector; the rest is the neighbours'.

    Returns:
        Columns of `columns.Lists`.
    """
    state = state_at(interactions, as_of)
    rows = _rows(state)
    customer, ordinal = state.events.customer[rows], state.ordinal_of_invoice[state.events.invoice[rows]]
    size = np.ceil(state.invoices[customer] / groups)
    back = state.invoices[customer] - 1 - ordinal  # invoices after this one
    group, place = np.divmod(back, size)
    used = np.ceil(state.invoices[customer] / size)
    first = state.invoices[customer] - (used - 1) * size  # the oldest group has what is left
    length = np.where(group == used - 1, first, size)
    vectors = _table(state, rows, within**place / length * between**group / used)
    known = state.known_customers
    pool = vectors[known]  # (n, P)
    norms = np.asarray(pool.multiply(pool).sum(axis=1)).ravel()

    def scores(index: IntArray, neighbours: int) -> Float32:
        count = min(neighbours, len(known) - 1)
        mine = vectors[index]
        distance = norms - 2 * (mine @ pool.T).toarray()  # less the customer's own norm, which orders nothing
        distance[index[:, None] == known] = np.inf
        table = own * mine.toarray()
        if count > 0:
            near = np.argpartition(distance, count - 1, axis=1)[:, :count]
            table += (1 - own) * _mean_of(near, np.full(near.shape, 1 / count), pool)
        scored: Float32 = table.astype(np.float32)
        return scored

    for_you, discover = (partial(scores, neighbours=count) for count in (neighbours, discover_neighbours))
    return ranked_lists(state, for_you, interactions, as_of, top_n, customers, discover_scores=discover)


def up_cf(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    recent: int = 20,
    asymmetry: float = 0.5,
    locality: float = 20.0,
    discover_locality: float = 5.0,
) -> pd.DataFrame:
    """UP-CF@r: how often similar customers, and this one above all, bought a product on their last r invoices.

    Faggioli et al. 2020, "Recency Aware Collaborative Filtering for Next Basket Recommendation", sections 3.2 and 3.3.

    Args:
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: ids of the customers who get lists.
        recent: r, last invoices of each customer that count.
        asymmetry: alpha of the asymmetric cosine |A ∩ B| / (|A|^alpha |B|^(1 - alpha)).
        locality: q, the power of the cosine; the higher, the less distant customers count.
        discover_locality: q for `discover`.

    Returns:
        Columns of `columns.Lists`.
    """
    state = state_at(interactions, as_of)
    rows = _rows(state)
    customer, ordinal = state.events.customer[rows], state.ordinal_of_invoice[state.events.invoice[rows]]
    last = np.minimum(state.invoices, recent)
    inside = state.invoices[customer] - ordinal <= recent
    popularity = _table(state, rows[inside], 1 / last[customer[inside]])[state.known_customers]  # (n, P)
    pool = state.bought(state.known_customers)
    size = np.maximum(np.asarray(pool.sum(axis=1)).ravel(), 1.0)

    def scores(index: IntArray, locality: float) -> Float32:
        mine = state.bought(index)
        of_mine = np.maximum(np.asarray(mine.sum(axis=1)).ravel(), 1.0)
        cosine = (mine @ pool.T).toarray() / (of_mine[:, None] ** asymmetry * size ** (1 - asymmetry))
        table: Float32 = (popularity.T @ (cosine**locality).T).T.astype(np.float32)
        return table

    for_you, discover = (partial(scores, locality=power) for power in (locality, discover_locality))
    return ranked_lists(state, for_you, interactions, as_of, top_n, customers, discover_scores=discover)


def _rows(state: ShopState) -> IntArray:
    """Indices of the events that customers made and did not return."""
    return np.flatnonzero(state.alive & (state.events.customer >= 0))


def _table(state: ShopState, rows: IntArray, values: FloatArray) -> sp.csr_array:
    """(C, P) sums of the values of events."""
    where = (state.events.customer[rows], state.events.product[rows])
    return sp.csr_array((values.astype(np.float32), where), shape=state.shape)


def _mean_of(near: IntArray, weights: FloatArray, pool: sp.csr_array) -> Float32:
    """(B, P) weighted sums of rows of the pool; `near` and `weights` are (B, k)."""
    start = np.arange(len(near) + 1) * near.shape[1]
    chosen = sp.csr_array((weights.ravel(), near.ravel(), start), shape=(len(near), pool.shape[0]))
    mean: Float32 = (chosen @ pool).toarray()
    return mean
