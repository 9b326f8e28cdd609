"""Training queries: a customer at a past instant, the candidates, and which of them the customer bought next."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from ncf_pipeline.model.features.contexts import ContextMaker, Contexts
from ncf_pipeline.model.features.events import DAY, Events, IntArray, pair_codes
from ncf_pipeline.model.features.state import Mask, ShopState, unit_rows
from ncf_pipeline.model.recipe import Recipe


class Instant(NamedTuple):
    """A past instant to learn from: microseconds since 1970, and the days after it that give the answers."""

    at: int
    horizon_days: int


@dataclass(frozen=True)
class Chunk:
    """Queries of some customers at one instant: their history, their candidates, and the answers.

    Attributes:
        at: the instant, in microseconds.
        end: first instant after the horizon, in microseconds.
        contexts: of B customers, with R candidates.
        history: (B, P) decayed rates, rows of length 1.
        positive: (R,) whether the candidate was bought in the horizon and not returned in it.
    """

    at: int
    end: int
    contexts: Contexts
    history: sp.csr_array
    positive: Mask

    def answered(self) -> IntArray:
        """Indices of the customers who bought one of their candidates; the others teach nothing."""
        positives_before = np.concatenate([[0], np.cumsum(self.positive)])  # (R + 1,)
        start = self.contexts.start
        return np.flatnonzero(positives_before[start[1:]] > positives_before[start[:-1]])


def instants(events: Events, until: int, recipe: Recipe) -> list[Instant]:
    """Past instants to learn from, newest first. The horizon of each ends at `until` or before.

    Args:
        events: all of the shop.
        until: microseconds; the cutoff.
        recipe: `horizon_days`, `short_horizon_days`, `step_days`, `min_history_days`, `max_instants`.
    """
    return instants_since(int(events.time[0]), until, recipe) if len(events) else []


def instants_since(begin: int, until: int, recipe: Recipe) -> list[Instant]:
    """The same, of a shop whose first event is at `begin`, in microseconds."""
    first = begin + recipe.min_history_days * DAY
    newest = until - recipe.horizon_days * DAY
    step = recipe.step_days * DAY
    past = [Instant(at, recipe.horizon_days) for at in range(newest, newest - recipe.max_instants * step, -step)]
    if recipe.short_horizon_days:
        past.insert(0, Instant(until - recipe.short_horizon_days * DAY, recipe.short_horizon_days))
    return [instant for instant in past if instant.at >= first]


def customers_to_learn_from(events: Events, until: int, recipe: Recipe) -> Mask:
    """The customers whose queries a training learns from: all, or a sample if the queries were more than `max_queries`.

    A customer is in it with all of their queries. The shop's state at an instant is that of all customers in any case.

    Args:
        events: all of the shop.
        until: microseconds; the cutoff.
        recipe: `max_queries`, `seed`, and what `instants` uses.

    Returns:
        (C,) by customer_index. The same events and recipe give the same sample.
    """
    count, customers = count_queries(events, until, recipe), len(events.customers)
    if count <= recipe.max_queries:
        return np.ones(customers, np.bool_)
    sample: Mask = np.random.default_rng([recipe.seed, count]).random(customers) < recipe.max_queries / count
    return sample


def count_queries(events: Events, until: int, recipe: Recipe) -> int:
    """About how many queries a training on everybody learns from: customers who were new in a horizon count, too.

    Args:
        events: all of the shop.
        until: microseconds; the cutoff.
        recipe: what `instants` uses.
    """
    return sum(
        len(np.unique(events.customer[_answers(events, instant.at, instant.horizon_days)]))
        for instant in instants(events, until, recipe)
    )


def _answers(events: Events, at: int, days: int) -> Mask:
    """Which events answer queries of an instant: bought in the horizon by somebody known, and not returned in it."""
    end = at + days * DAY
    answers: Mask = events.alive(end) & (events.time >= at) & (events.customer >= 0)
    return answers


def queries_at(events: Events, at: int, days: int, recipe: Recipe, among: Mask | None = None) -> list[Chunk]:
    """Queries of one instant: one for each known customer who bought something in the horizon.

    See `chunks_at`, which makes them one by one.
    """
    return list(chunks_at(events, at, days, recipe, among))


def chunks_at(events: Events, at: int, days: int, recipe: Recipe, among: Mask | None = None) -> Iterator[Chunk]:
    """Queries of one instant, chunk by chunk: who needs only the first ones does not wait for the others.

    Args:
        events: all that the answers may show; nothing from the cutoff on.
        at: the instant, in microseconds.
        days: of the horizon.
        recipe: every hyper-parameter.
        among: (C,) which customers are asked about; all if None.

    Yields:
        Chunks of bounded memory, by customer.
    """
    end = at + days * DAY
    state = ShopState(events, at, recipe)
    answers = _answers(events, at, days)
    _, products = state.shape
    bought = np.unique(pair_codes(events.customer[answers], events.product[answers], products))
    customers = np.intersect1d(np.unique(bought // products), state.known_customers)
    if among is not None:
        customers = customers[among[customers]]
    for contexts in ContextMaker(state).contexts(customers):
        owner = np.repeat(contexts.customer, np.diff(contexts.start))
        yield Chunk(
            at=at,
            end=end,
            contexts=contexts,
            history=unit_rows(state.decayed(contexts.customer)),
            positive=np.isin(pair_codes(owner, contexts.product, products), bought, assume_unique=True),
        )
