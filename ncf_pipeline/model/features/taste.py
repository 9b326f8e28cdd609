"""Which products a customer may like, and how much: candidates with scores, from the customer's history. Pure.

There are four sources: co-purchases (EASE, over customers and over baskets), similar customers (TIFU-KNN, Hu et al.
2020), followers (what customers with a similar history bought next), and words of descriptions. A score is computed
only where a history leads: see `kernels.candidates`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.copurchase import Weights, copurchase_weights, scores_from, sparse_parts
from ncf_pipeline.model.features.events import DAY, IntArray, pair_codes
from ncf_pipeline.model.features.state import Column, Float32, Mask, ShopState, rank_in_group, slices, unit_rows
from ncf_pipeline.model.features.words import alike, word_table

CANDIDATE_SCORES = 4
"""Scores whose best products become candidates: see `kernels.candidates`."""

READY_MB = 64
"""MiB for the rows that customers' weights of followers are sums of: see `_Followers`."""

SHORT_BELOW = 8
"""A history is short if so many times the rows that it adds up are fewer than the followers."""

LONG_AT_ONCE = 16
"""Customers with long histories whose weights are multiplied at once: always so many, because then they do not depend
on who else is asked for."""

_SCALES = {
    "copurchase": (kernels.COPURCHASE, 4),
    "copurchase_decayed": (kernels.COPURCHASE_DECAYED, 10),
    "copurchase_last": (kernels.COPURCHASE_LAST, 4),
    "basket_last": (kernels.BASKET_LAST, 4),
    "basket_decayed": (kernels.BASKET_DECAYED, 10),
    "followed_new": (kernels.FOLLOWED_NEW, 10),
    "followed_all": (kernels.FOLLOWED_ALL, 10),
}
_LOG_SCALES = {
    "neighbours": (kernels.NEIGHBOURS, 100),
    "neighbours_recent": (kernels.NEIGHBOURS_RECENT, 100),
    "words": (kernels.WORDS, 10),
}
"""By feature, its score, and x: x times the score, or log(1 + x times the score), makes the spread of all similar."""


@dataclass(frozen=True)
class TasteCandidates:
    """The R candidates of B customers, one customer after the other.

    Attributes:
        owner: (R,) the place of each candidate's customer among those asked for.
        product: (R,) product_index, ascending within a customer.
        pair: (R,) row of `state.pairs`; -1 where the customer never bought the product.
        scores: (R, SOURCES) see `kernels.candidates`.
        highest: (B,) the customer's highest score by co-purchases, at least 0.
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
    """

    owner: IntArray
    product: IntArray
    pair: IntArray
    scores: Float32
    highest: Float32
    start: IntArray

    def columns(self) -> Iterator[Column]:
        """The features of `tables.TASTE`, (R,) each."""
        for name, (source, scale) in _SCALES.items():
            yield name, scale * self.scores[:, source]
        for name, (source, scale) in _LOG_SCALES.items():
            yield name, np.log1p(scale * self.scores[:, source])

    def share_of_highest(self) -> Float32:
        """(R,) the score by co-purchases over the customer's highest one."""
        return np.asarray(self.scores[:, kernels.COPURCHASE] / np.maximum(self.highest, 1e-7)[self.owner], np.float32)


Table = tuple[npt.NDArray[Any], ...]
"""Start, columns and values of a sparse table, in the types that `kernels` knows."""


@dataclass(frozen=True)
class _Followers:
    """What followed which history, from n customers at the beginning of past horizons.

    Attributes:
        before: (P, n) their histories, columns of length 1.
        inverse: (n, n) of the kernel of these, with the ridge.
        ready: (Q, n) rows of `before @ inverse`, of the products that most of them had.
        ready_place: (P,) the row of each product in `ready`, -1 for others.
        cost: (P,) how many rows of length n are added for each product of a history.
        products: (U,) product_index of all that they bought in the horizon, ascending.
        place: (P,) the place of each product in `products`, -1 for others.
        new: (U, n) what each bought of products that were new to them; and all that each bought.
        every: (U, n)
        mean_new, mean_every: (U,) the means over the n.
    """

    before: sp.csr_array
    inverse: Float32
    ready: Float32
    ready_place: IntArray
    cost: IntArray
    products: IntArray
    place: IntArray
    new: Table
    every: Table
    mean_new: Float32
    mean_every: Float32


class Taste:
    """The four sources at one instant. Each is made when first needed.

    Args:
        state: of the shop at the instant.
    """

    def __init__(self, state: ShopState) -> None:
        self.state, self.recipe = state, state.recipe

    def candidates(self, customers: IntArray) -> TasteCandidates:
        """Current best sellers, the best by taste, and each customer's own products, with scores.

        A customer's own are those bought last; and, if the recipe reads looks, those looked at and not bought since.

        Args:
            customers: (B,) customer_index of each customer.
        """
        state, recipe, pairs = self.state, self.recipe, self.state.pairs
        own_start = np.cumsum([0, *(pairs.start[customers + 1] - pairs.start[customers])])
        own = self._bought_last(customers)
        popular = state.ranking[: recipe.popular_candidates]
        most = len(customers) * (len(popular) + CANDIDATE_SCORES * recipe.taste_candidates) + int(own.sum())
        looked, looked_start = self._looked(customers)
        most += len(looked)
        product, pair = np.empty(most, np.int64), np.empty(most, np.int64)
        scores = np.empty((most, kernels.SOURCES), np.float32)
        highest, end = np.zeros(len(customers), np.float32), np.zeros(len(customers), np.int64)
        followers, weights = self._followers, self._follower_weights(customers)
        followed = np.empty((len(customers), len(followers.products)), np.float32)
        kernels.followed_new(*followers.new, followers.mean_new, np.ascontiguousarray(weights.T), followed)
        kernels.candidates(
            customers, pairs.start, pairs.product, state.is_bought, pairs.rate, pairs.unit_rate, pairs.in_last_basket,
            own, own_start,
            self._is_dense, self._copurchases(customers), *self._sparse_weights,
            *self._pool, recipe.similar_customers,
            followed, followers.products, followers.place, *followers.every, followers.mean_every, weights,
            popular, state.known_products, recipe.taste_candidates, looked, looked_start,
            product, pair, scores, highest, end,
        )  # fmt: skip
        start = np.concatenate([[0], end])
        return TasteCandidates(
            owner=np.repeat(np.arange(len(customers)), np.diff(start)),
            product=product[: start[-1]],
            pair=pair[: start[-1]],
            scores=scores[: start[-1]],
            highest=highest,
            start=start,
        )

    def _looked(self, customers: IntArray) -> tuple[IntArray, IntArray]:
        """What the customers looked at and have not bought since, and where each one's begin; nothing without looks."""
        if not self.recipe.reads_looks:
            return np.zeros(0, np.int64), np.zeros(len(customers) + 1, np.int64)
        return self.state.interest.candidates(customers, self.recipe.look_candidates)

    def _bought_last(self, customers: IntArray) -> Mask:
        """Which of the customers' pairs are candidates: not returned, the `max_history_candidates` bought last."""
        pairs = self.state.pairs
        pair, owner = slices(pairs.start[customers], pairs.start[customers + 1])
        kept = pairs.times[pair] > 0
        rank = rank_in_group(owner, ~kept, -pairs.last[pair])
        chosen: Mask = kept & (rank < self.recipe.max_history_candidates)
        return chosen

    @property
    def _is_dense(self) -> bool:
        return isinstance(self.by_customers, np.ndarray)

    @cached_property
    def _sparse_weights(self) -> tuple[npt.NDArray[Any], ...]:
        """Start, columns and values of the weights by customers, by baskets and by words; empty for dense ones."""
        return tuple(chain.from_iterable(map(sparse_parts, (self.by_customers, self.by_baskets, self.by_words))))

    def _copurchases(self, customers: IntArray) -> Float32:
        """(5, B, P) scores by dense weights, in the order of `tables.TASTE`; (5, 0, 0) if the weights are sparse."""
        state, by_customers, by_baskets = self.state, self.by_customers, self.by_baskets
        if not (isinstance(by_customers, np.ndarray) and isinstance(by_baskets, np.ndarray)):
            return np.zeros((kernels.BASKET_DECAYED + 1, 0, 0), np.float32)
        bought, decayed, last = (table(customers) for table in (state.bought, state.decayed, state.last_basket))
        of_customers = [scores_from(history, by_customers) for history in (bought, decayed, last)]
        return np.stack([*of_customers, *(scores_from(history, by_baskets) for history in (last, decayed))])

    @cached_property
    def by_customers(self) -> Weights:
        """(P, P) co-purchase weights from customers' whole histories."""
        return copurchase_weights(self.state.bought(), self.recipe)

    @cached_property
    def by_baskets(self) -> Weights:
        """(P, P) co-purchase weights from single invoices, guests' included."""
        return copurchase_weights(self.state.baskets, self.recipe)

    @cached_property
    def by_words(self) -> sp.csr_array:
        """(P, P) cosine of descriptions, sparse."""
        return alike(word_table(self.state), self.recipe.copurchase_neighbours)

    @cached_property
    def _pool(self) -> tuple[npt.NDArray[Any], ...]:
        """Possible neighbours, and their histories, by product and by neighbour: see `kernels.candidates`."""
        state, known = self.state, self.state.known_customers
        newest = known[np.argsort(-state.last_visit[known], kind="stable")]
        pool = np.sort(newest[: self.recipe.neighbour_pool])
        by_product = sparse_parts(sp.csr_array(unit_rows(state.decayed(pool)).T.tocsr()))
        pair, owner = slices(state.pairs.start[pool], state.pairs.start[pool + 1])
        bought = state.is_bought[pair]
        pair, owner = pair[bought], owner[bought]
        start = np.searchsorted(owner, np.arange(len(pool) + 1))
        product, rate = state.pairs.product[pair], state.pairs.rate[pair]
        return pool, *by_product, start, product, rate, state.is_recent[pair].astype(np.float32)

    @cached_property
    def _followers(self) -> _Followers:
        """Of the past horizons; without any, none of n = 0 customers."""
        state, recipe, events = self.state, self.recipe, self.state.events
        products = state.shape[1]
        horizon = recipe.horizon_days * DAY
        begins = [state.at - window * horizon for window in range(1, recipe.follower_windows + 1)]
        everybody = [self._buyers_of(begin, begin + horizon) for begin in begins]
        count = sum(map(len, everybody))
        kept = np.arange(count)
        if count > recipe.follower_pool:
            kept = np.linspace(0, count - 1, recipe.follower_pool).astype(np.int64)
        ends = np.searchsorted(kept, np.cumsum([0, *map(len, everybody)]))
        histories, followed = [sp.csr_array(np.zeros((0, products), np.float32))], []
        for window, (begin, buyers) in enumerate(zip(begins, everybody, strict=True)):
            who = buyers[kept[ends[window] : ends[window + 1]] - sum(map(len, everybody[:window]))]
            if not len(who):
                continue
            earlier = ShopState(events, begin, recipe, who)
            inside = self._is_bought(begin, begin + horizon)
            inside &= np.isin(events.customer, who)
            pair = np.unique(pair_codes(events.customer[inside], events.product[inside], products))
            row, product = np.searchsorted(who, pair // products), pair % products
            new = ~earlier.ever_bought(who[row], product)
            shape = (len(who), products)
            followed.append(sp.hstack([_shares(row[new], product[new], shape), _shares(row, product, shape)]))
            histories.append(unit_rows(earlier.decayed(who)))
        before = sp.csr_array(sp.vstack(histories, format="csr"))  # (n, P)
        after = sp.csr_array(
            sp.vstack([sp.csr_array(np.zeros((0, 2 * products), np.float32)), *followed], format="csr")
        )
        kernel = torch.from_numpy((before @ before.T).toarray())  # (n, n)
        kernel.diagonal().add_(recipe.follower_ridge)
        bought = np.unique(after.indices[after.indices >= products]) - products  # (U,) what is new is among them
        place = np.full(products, -1, np.int64)
        place[bought] = np.arange(len(bought))
        after = sp.csr_array(after.T.tocsr())
        newly, every = sp.csr_array(after[bought]), sp.csr_array(after[products + bought])  # (U, n) each
        mean_new, mean_every = (
            (np.asarray(table.sum(axis=1)).ravel() / max(before.shape[0], 1)).astype(np.float32)
            for table in (newly, every)
        )
        inverse: Float32 = torch.cholesky_inverse(torch.linalg.cholesky(kernel)).contiguous().numpy()
        by_product = sp.csr_array(before.T.tocsr())  # (P, n)
        having = np.diff(by_product.indptr)
        most = np.argsort(-having, kind="stable")[: READY_MB * 2**20 // (4 * max(len(inverse), 1))]
        most = most[having[most] > 1]
        ready_place = np.full(products, -1, np.int64)
        ready_place[most] = np.arange(len(most))
        return _Followers(
            before=by_product,
            inverse=inverse,
            ready=np.asarray(by_product[most] @ inverse, np.float32),
            ready_place=ready_place,
            cost=np.where(ready_place >= 0, 1, having),
            products=bought.astype(np.int64),
            place=place,
            new=sparse_parts(newly),
            every=sparse_parts(every),
            mean_new=mean_new,
            mean_every=mean_every,
        )

    def _buyers_of(self, begin: int, end: int) -> IntArray:
        """The customer_index, ascending, of those who bought something in `[begin, end)` and were known before."""
        events, customers = self.state.events, self.state.shape[0] + 1  # the last is for -1, a guest
        known, bought = np.zeros(customers, np.bool_), np.zeros(customers, np.bool_)
        known[events.customer[events.alive(begin)]] = True
        bought[events.customer[self._is_bought(begin, end)]] = True
        return np.flatnonzero((known & bought)[:-1])

    def _is_bought(self, begin: int, end: int) -> Mask:
        """(E,) which events customers have bought in `[begin, end)`, and not returned by now."""
        state, events = self.state, self.state.events
        bought: Mask = state.alive & (events.customer >= 0) & (events.time >= begin) & (events.time < end)
        return bought

    def _follower_weights(self, customers: IntArray) -> Float32:
        """(B, n) how much each follower counts for customers with their histories.

        Ridge regression of what customers bought in past horizons on their history before, in its dual form: it has
        weights for customers, so no table is (P, P). For a short history, a row for each of its products is added; for
        a long one, multiplying all is faster.
        """
        state, followers = self.state, self._followers
        pair, owner = slices(state.pairs.start[customers], state.pairs.start[customers + 1])
        cost = np.bincount(owner, followers.cost[state.pairs.product[pair]], minlength=len(customers))
        is_short = cost * SHORT_BELOW < len(followers.inverse)
        weights = np.zeros((len(customers), len(followers.inverse)), np.float32)
        kernels.follower_weights(
            customers, state.pairs.start, state.pairs.product, state.is_bought, state.pairs.unit_rate,
            *sparse_parts(followers.before), followers.ready, followers.ready_place, followers.inverse, is_short,
            weights,
        )  # fmt: skip
        long = np.flatnonzero(~is_short)
        inverse = torch.from_numpy(followers.inverse)
        for begin in range(0, len(long), LONG_AT_ONCE):
            part = long[begin : begin + LONG_AT_ONCE]
            likeness = torch.zeros((LONG_AT_ONCE, len(inverse)))
            likeness[: len(part)] = torch.from_numpy(
                (unit_rows(state.decayed(customers[part])) @ followers.before).toarray()
            )
            weights[part] = (likeness @ inverse).numpy()[: len(part)]
        return weights


def _shares(row: IntArray, product: IntArray, shape: tuple[int, int]) -> sp.csr_array:
    """A table with 1/sqrt(n) for each of a row's n products, so that a wholesaler's order does not drown others."""
    count = np.bincount(row, minlength=shape[0])
    return sp.csr_array(((1 / np.sqrt(count[row])).astype(np.float32), (row, product)), shape=shape)
