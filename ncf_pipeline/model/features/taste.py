"""Scores of every product for a customer, from the customer's history. Pure.

There are four sources: co-purchases (EASE, over customers and over baskets), similar customers (TIFU-KNN, Hu et al.
2020), followers (what customers with a similar history bought next), and words of descriptions.
"""

from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch

from ncf_pipeline.model.features.copurchase import Weights, copurchase_weights, scores_from
from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.state import ShopState, unit_rows
from ncf_pipeline.model.features.tables import Float32
from ncf_pipeline.model.features.words import alike, word_table


class Taste:
    """The four sources at one instant. Each is made when first needed.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state, self.recipe = state, state.recipe

    @property
    def columns(self) -> int:
        """Width of the widest table that `scores` makes with a row for each customer: products, or neighbours."""
        neighbours = min(self.recipe.neighbour_pool, len(self.state.known_customers))
        return max(self.state.shape[1], neighbours)

    def scores(self, customers: IntArray) -> dict[str, Float32]:
        """Scores of every product, scaled to a similar spread.

        Args:
            customers: (B,) customer_index of each customer.

        Returns:
            (B, P) for each name in `tables.TASTE`.
        """
        state = self.state
        decayed = state.decayed[customers]
        neighbours, neighbours_recent = self._neighbours(customers)
        followed_new, followed_all = self._followed(customers)
        return {
            "copurchase": 4 * scores_from(state.bought[customers], self.by_customers),
            "copurchase_decayed": 10 * scores_from(decayed, self.by_customers),
            "copurchase_last": 4 * scores_from(state.last_basket[customers], self.by_customers),
            "basket_last": 4 * scores_from(state.last_basket[customers], self.by_baskets),
            "basket_decayed": 10 * scores_from(decayed, self.by_baskets),
            "neighbours": np.log1p(100 * neighbours),
            "neighbours_recent": np.log1p(100 * neighbours_recent),
            "followed_new": 10 * followed_new,
            "followed_all": 10 * followed_all,
            "words": np.log1p(10 * scores_from(unit_rows(decayed), self.by_words)),
        }

    @cached_property
    def by_customers(self) -> Weights:
        """(P, P) co-purchase weights from customers' whole histories."""
        return copurchase_weights(self.state.bought[self.state.known_customers], self.recipe)

    @cached_property
    def by_baskets(self) -> Weights:
        """(P, P) co-purchase weights from single invoices, guests' included."""
        return copurchase_weights(self.state.baskets, self.recipe)

    @cached_property
    def by_words(self) -> sp.csr_array:
        """(P, P) cosine of descriptions, sparse."""
        table, recipe = word_table(self.state), self.recipe
        return alike(table, recipe.copurchase_neighbours, block=recipe.rows_at_once(table.shape[0]))

    @cached_property
    def _pool(self) -> tuple[sp.csr_array, sp.csr_array, IntArray]:
        """Possible neighbours, n of them.

        Returns:
            (P, n) their histories as unit columns, (n, 2P) their decayed rates and recent purchases, and (n,) the
            customer_index of each.
        """
        state, known = self.state, self.state.known_customers
        newest = known[np.argsort(-state.last_visit[known], kind="stable")]
        pool = np.sort(newest[: self.recipe.neighbour_pool])
        values = sp.csr_array(sp.hstack([state.decayed[pool], state.recent[pool]], format="csr"))
        return sp.csr_array(unit_rows(state.decayed[pool]).T.tocsr()), values, pool

    def _neighbours(self, customers: IntArray) -> tuple[Float32, Float32]:
        """Means over similar customers, weighted by squared cosine.

        Returns:
            (B, P) of their decayed rates, and (B, P) of their recent purchases.
        """
        histories, values, pool = self._pool
        similarity = (unit_rows(self.state.decayed[customers]) @ histories).toarray()  # (B, pool)
        similarity[customers[:, None] == pool] = 0.0
        count = min(self.recipe.similar_customers, len(pool))
        near = np.argpartition(-similarity, count - 1, axis=1)[:, :count]  # (B, count)
        weight = np.square(np.take_along_axis(similarity, near, axis=1))
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
        start = np.arange(len(customers) + 1) * count
        table = sp.csr_array((weight.ravel(), near.ravel(), start), shape=similarity.shape)
        means: Float32 = (table @ values).toarray()  # (B, 2P)
        return means[:, : self.state.shape[1]], means[:, self.state.shape[1] :]

    @cached_property
    def _followers(self) -> tuple[sp.csr_array, FloatArray, sp.csr_array, Float32] | None:
        """What followed which history, from n customers at the beginning of past horizons; None if there are none.

        Returns:
            (P, n) their histories; (n, n) the Cholesky factor of the kernel of these; (n, 2P) what they bought in the
            horizon, of products new to them and of all; (2P,) the mean of that.
        """
        state, recipe, events = self.state, self.recipe, self.state.events
        products = state.shape[1]
        histories, followed = [], []
        for window in range(1, recipe.follower_windows + 1):
            begin = state.at - window * recipe.horizon_days * DAY
            earlier = ShopState(events, begin, recipe)
            inside = state.alive & (events.customer >= 0) & (events.time >= begin)
            inside &= events.time < begin + recipe.horizon_days * DAY
            pair = np.unique(events.customer[inside] * products + events.product[inside])
            pair = pair[np.isin(pair // products, earlier.known_customers)]
            if len(pair) == 0:
                continue
            who, row = np.unique(pair // products, return_inverse=True)
            product = pair % products
            new = ~earlier.ever_bought(who[row], product)
            shape = (len(who), products)
            followed.append(sp.hstack([_shares(row[new], product[new], shape), _shares(row, product, shape)]))
            histories.append(unit_rows(earlier.decayed[who]))
        if not histories:
            return None
        before = sp.csr_array(sp.vstack(histories, format="csr"))  # (n, P)
        after = sp.csr_array(sp.vstack(followed, format="csr"))  # (n, 2P)
        if before.shape[0] > recipe.follower_pool:
            kept = np.linspace(0, before.shape[0] - 1, recipe.follower_pool).astype(np.int64)
            before, after = before[kept], after[kept]
        kernel = torch.from_numpy((before @ before.T).toarray())  # (n, n)
        kernel.diagonal().add_(recipe.follower_ridge)
        factor = torch.linalg.cholesky(kernel).numpy()
        mean = np.asarray(after.sum(axis=0)).ravel() / before.shape[0]
        return sp.csr_array(before.T.tocsr()), factor, after, mean.astype(np.float32)

    def _followed(self, customers: IntArray) -> tuple[Float32, Float32]:
        """What followed similar histories, minus what follows any history on average.

        Ridge regression of what customers bought in past horizons on their history before, in its dual form: it has
        weights for customers, so no table is (P, P).

        Returns:
            (B, P) for products new to the followers, and (B, P) for all.
        """
        products = self.state.shape[1]
        if self._followers is None:
            nothing = np.zeros((len(customers), products), np.float32)
            return nothing, nothing
        before, factor, after, mean = self._followers
        likeness = torch.from_numpy((unit_rows(self.state.decayed[customers]) @ before).toarray())  # (B, n)
        weight = torch.cholesky_solve(likeness.T, torch.from_numpy(factor)).T.contiguous().numpy()  # (B, n)
        table: Float32 = (after.T @ weight.T).T - weight.sum(axis=1, keepdims=True) * mean  # (B, 2P)
        return table[:, :products], table[:, products:]


def _shares(row: IntArray, product: IntArray, shape: tuple[int, int]) -> sp.csr_array:
    """A table with 1/sqrt(n) for each of a row's n products, so that a wholesaler's order does not drown others."""
    count = np.bincount(row, minlength=shape[0])
    return sp.csr_array(((1 / np.sqrt(count[row])).astype(np.float32), (row, product)), shape=shape)
