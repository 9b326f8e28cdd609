"""The chances of the products on a customer's list. Pure."""

from collections.abc import Sequence

import numpy as np

from ncf_pipeline.model.chances import SHARE, Chances, facts_of_customers, log_shares
from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import ShopState
from ncf_pipeline.model.lists.scoring import ScoreArray

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

    def of(
        self, customer: int, stock_codes: Sequence[str], product: IntArray, scores: ScoreArray
    ) -> list[float | None]:
        """The chances of a customer's list.

        Args:
            customer: customer_index.
            stock_codes: of the list.
            product: (n,) product_index of each of the customer's candidates, ascending.
            scores: (n,) of `for_you`.

        Returns:
            One for each stock code; None for a product that the model did not score, such as a pinned one.
        """
        index = np.array([self._index.get(code, -1) for code in stock_codes], np.int64)
        place = np.minimum(np.searchsorted(product, index), max(len(product) - 1, 0))
        is_scored = product[place] == index if len(product) else np.zeros(len(index), np.bool_)
        facts = np.tile(self.facts[customer], (int(is_scored.sum()), 1))
        facts[:, SHARE] = log_shares(scores)[place[is_scored]]
        chances = iter(self.chances.of(facts).tolist())
        return [round(next(chances), DIGITS) if scored else None for scored in is_scored]
