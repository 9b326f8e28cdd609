"""Scores customers at the start of a holdout, and looks up what they bought in it. Pure."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.chances import DEPTH, FACTS, SHARE, Pairs, facts_of_customers, log_shares
from ncf_pipeline.model.features.events import FloatArray, IntArray
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.scoring import Candidates, Scorer


def best_pairs(
    scorer: Scorer, state: ShopState, customers: IntArray, bought: Mapping[str, frozenset[str]], *, depth: int = DEPTH
) -> Pairs:
    """Scores customers and looks up what they bought afterwards.

    Args:
        scorer: at the first instant of the holdout.
        state: of the shop at that instant.
        customers: (B,) customer_index of each, ascending.
        bought: the stock codes that each customer bought in the holdout; a customer who is left out bought nothing.
        depth: most pairs of a customer, the best first.
    """
    facts = facts_of_customers(state)
    names, ids = state.events.products, state.events.customers
    parts = [
        _pairs_of(chunk, place, facts[customer], names, bought.get(ids[customer], frozenset()), depth)
        for chunk in scorer.candidates(customers)
        for place, customer in enumerate(chunk.customer)
    ]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Pairs(nothing, nothing, nothing, np.zeros((0, len(FACTS))), nothing.astype(np.bool_))
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pairs.__annotations__))


def _pairs_of(
    chunk: Candidates,
    place: int,
    facts: FloatArray,
    names: npt.NDArray[np.str_],
    bought: frozenset[str],
    depth: int,
) -> Pairs:
    part = slice(chunk.start[place], chunk.start[place + 1])
    product, scores = chunk.product[part], chunk.for_you[part]
    best = np.lexsort((product, -scores))[:depth]
    table = np.tile(facts, (len(best), 1))
    table[:, SHARE] = log_shares(scores)[best]
    return Pairs(
        customer=np.full(len(best), chunk.customer[place]),
        product=product[best],
        rank=np.arange(len(best)),
        facts=table,
        bought=np.array([str(name) in bought for name in names[product[best]]], np.bool_),
    )
