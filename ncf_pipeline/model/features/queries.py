"""Training queries: a customer at a past instant, the candidates then, and what they bought in the horizon after it."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ncf_pipeline.model.features.contexts import ContextMaker, Contexts
from ncf_pipeline.model.features.events import DAY, Events, IntArray
from ncf_pipeline.model.features.state import Mask, ShopState, unit_rows
from ncf_pipeline.model.recipe import Recipe


@dataclass(frozen=True)
class Chunk:
    """Candidates of some customers at one instant, what they had bought, and which they went on to buy.

    Attributes:
        at: microseconds.
        end: microseconds; first instant after the horizon.
        contexts: B customers, R candidates.
        history: (B, P) decayed rates, rows of length 1.
        positive: (R,) whether it was bought in the horizon, and kept.
    """

    at: int
    end: int
    contexts: Contexts
    history: sp.csr_array
    positive: Mask

    def answered(self) -> IntArray:
        """Which of its customers bought one of their candidates; there is nothing to learn from the others."""
        found = np.concatenate([[0], np.cumsum(self.positive)])
        return np.flatnonzero(found[self.contexts.start[1:]] > found[self.contexts.start[:-1]])


def instants(events: Events, until: int, recipe: Recipe) -> list[tuple[int, int]]:
    """Past instants to learn from, newest first, and days of horizon: each has all of it before `until`."""
    if len(events) == 0:
        return []
    first = int(events.time[0]) + recipe.min_history_days * DAY
    newest = until - recipe.horizon_days * DAY
    step = recipe.step_days * DAY
    found = [(at, recipe.horizon_days) for at in range(newest, newest - recipe.max_instants * step, -step)]
    if recipe.short_horizon_days:
        found.insert(0, (until - recipe.short_horizon_days * DAY, recipe.short_horizon_days))
    return [(at, days) for at, days in found if at >= first]


def queries_at(events: Events, at: int, days: int, recipe: Recipe) -> list[Chunk]:
    """Queries of one instant: every customer known then who bought something in the `days` after it."""
    end = at + days * DAY
    state = ShopState(events, at, recipe)
    counts = (events.time >= at) & (events.time < end) & (events.returned >= end) & (events.customer >= 0)
    _, products = state.shape
    bought = np.unique(events.customer[counts] * products + events.product[counts])
    customers = np.intersect1d(np.unique(bought // products), state.known_customers)
    chunks = []
    for contexts in ContextMaker(state).contexts(customers):
        owner = np.repeat(contexts.customer, np.diff(contexts.start))
        chunks.append(
            Chunk(
                at=at,
                end=end,
                contexts=contexts,
                history=unit_rows(state.decayed[contexts.customer]),
                positive=np.isin(owner * products + contexts.product, bought, assume_unique=True),
            )
        )
    return chunks
