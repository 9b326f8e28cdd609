"""What scores products for customers, so that lists can be made: the same for a network and for the baselines. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Mask

ScoreArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Candidates:
    """The R scored candidates of B customers, one customer after the other.

    Attributes:
        customer: (B,) customer_index of the events.
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
        product: (R,) product_index of the events, ascending within a customer.
        for_you: (R,) higher if the customer will rather buy it next. Comparable within a customer only.
        discover: (R,) the same among products new to the customer; counts where `seen` is False.
        bought: (R,) whether the customer bought it and has not returned it.
        seen: (R,) whether the customer ever bought it, returned or not.
    """

    customer: IntArray
    start: IntArray
    product: IntArray
    for_you: ScoreArray
    discover: ScoreArray
    bought: Mask
    seen: Mask


class Scorer(Protocol):
    """Scores the products of a shop at an instant. `ListMaker` does the rest.

    Attributes:
        is_certain: whether a softmax over a customer's `for_you` scores says how sure the scorer is.
        last_resort: the reason of a product that no fact about the customer explains, a code of `columns`.
    """

    is_certain: bool
    last_resort: str

    def candidates(self, customers: IntArray) -> Iterator[Candidates]:
        """Candidates with their scores, in chunks of customers that bound the memory.

        A customer's candidates and scores do not depend on who else is asked for.

        Args:
            customers: (B,) customer_index of each customer, ascending.
        """
        ...

    def similar(self, shown: Mask, count: int) -> dict[int, list[int]]:
        """The most similar products of each product that the scorer can compare.

        Args:
            shown: (P,) which products may be on a list.
            count: most products for each.

        Returns:
            By product_index, product indices, most similar first, ties by product_index. Products without an entry
            take what is bought together with them.
        """
        ...
