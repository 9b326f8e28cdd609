"""The chances of the products on a customer's list. Pure."""

from collections.abc import Sequence

import numpy as np

from ncf_pipeline.model.boosting import log_softmax
from ncf_pipeline.model.chances import SHARE, Chances, facts_of_customers
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.scoring import Candidates

DIGITS = 4
"""Decimals of a published chance: finer than anybody can tell apart, and short in Redis."""


class ListedChances:
    """Looks chances up for lists that rules and variety have arranged.

    Args:
        chances: of the model whose scores make the lists.
        state: of the shop at the instant.
    """

    def __init__(self, chances: Chances, state: ShopState) -> None:
        self.chances = chances
        self.facts = facts_of_customers(state)
        self._index = {str(code): index for index, code in enumerate(state.events.products)}

    def of(self, lists: Sequence[Sequence[str]], scored: Candidates) -> list[list[float | None]]:
        """The chances of customers' lists.

        Args:
            lists: (B,) the stock codes of each customer's list.
            scored: the candidates of the same B customers.

        Returns:
            A list for each, with a chance for each stock code; None for a product that the model did not score, such as
            a pinned one.
        """
        products = len(self._index)
        length = np.array([len(codes) for codes in lists], np.int64)
        owner = np.repeat(np.arange(len(lists)), length)
        index = np.array([self._index.get(code, -1) for codes in lists for code in codes], np.int64)
        candidate = np.repeat(np.arange(len(lists)), np.diff(scored.start)) * products + scored.product  # ascending
        wanted = owner * products + index
        place = np.minimum(np.searchsorted(candidate, wanted), max(len(candidate) - 1, 0))
        is_scored = (index >= 0) & (candidate[place] == wanted) if len(candidate) else np.zeros(len(index), np.bool_)
        facts = self.facts[scored.customer[owner[is_scored]]]
        shares = log_softmax(scored.for_you.astype(np.float64), scored.start, np.ones(len(candidate), np.bool_))
        facts[:, SHARE] = shares[place[is_scored]]
        chances = iter(self.chances.of(facts).tolist())
        of_all = iter([round(next(chances), DIGITS) if known else None for known in is_scored.tolist()])
        return [[next(of_all) for _ in codes] for codes in lists]
