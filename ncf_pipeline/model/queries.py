"""Training queries: a customer at a past instant, the candidates then, and what they bought in the horizon after it."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from ncf_pipeline.model.contexts import ContextMaker, Contexts
from ncf_pipeline.model.events import DAY, Events, IntArray
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.state import Mask, ShopState, unit_rows


@dataclass(frozen=True)
class Chunk:
    """Candidates of some customers at one instant, what they had bought, and which they went on to buy."""

    at: int
    contexts: Contexts
    history: sp.csr_array  # (B, P) decayed rates, rows of length 1
    positive: Mask  # (R,)
    bought_next: IntArray  # (B,) distinct products bought in the horizon
    new_next: IntArray  # (B,) those of them that were new

    def queries_with_positives(self) -> int:
        """How many of its queries have something to learn from."""
        found = np.concatenate([[0], np.cumsum(self.positive)])
        return int((found[self.contexts.start[1:]] > found[self.contexts.start[:-1]]).sum())


def instants(events: Events, until: int, recipe: Recipe) -> list[int]:
    """Past instants to learn from, newest first: each has its whole horizon before `until`."""
    if len(events) == 0:
        return []
    first = int(events.time[0]) + recipe.min_history_days * DAY
    newest = until - recipe.horizon_days * DAY
    step = recipe.step_days * DAY
    return [at for at in range(newest, newest - recipe.max_instants * step, -step) if at >= first]


def queries_at(events: Events, at: int, recipe: Recipe) -> list[Chunk]:
    """Queries of one instant: every customer known then who bought something in the horizon."""
    end = at + recipe.horizon_days * DAY
    state = ShopState(events, at, recipe)
    counts = (events.time >= at) & (events.time < end) & (events.returned >= end) & (events.customer >= 0)
    _, products = state.shape
    bought = np.unique(events.customer[counts] * products + events.product[counts])
    customers = np.intersect1d(np.unique(bought // products), state.known_customers)
    chunks = []
    for contexts in ContextMaker(state).contexts(customers):
        owner = np.repeat(contexts.customer, np.diff(contexts.start))
        mine = bought[np.isin(bought // products, contexts.customer)]
        seen = contexts.customer.searchsorted(mine // products)
        ever = state.ever_bought(mine // products, mine % products)
        chunks.append(
            Chunk(
                at=at,
                contexts=contexts,
                history=unit_rows(state.decayed[contexts.customer]),
                positive=np.isin(owner * products + contexts.product, mine, assume_unique=True),
                bought_next=np.bincount(seen, minlength=len(contexts.customer)),
                new_next=np.bincount(seen[~ever], minlength=len(contexts.customer)),
            )
        )
    return chunks
