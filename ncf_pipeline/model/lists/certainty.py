"""How sure a model is of its lists. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 20


class Certainty:
    """Counts customers by the share of the model's softmax on the best `top_n` of their candidates.

    Raw scores cannot be compared: adding a number to all scores of a customer changes nothing in the softmax that they
    are trained with (`network.listwise_loss`). Shares can be compared, between two times and between two models.

    Attributes:
        counts: (BINS,) number of customers with a share in each twentieth of [0, 1].
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, scores: npt.NDArray[np.floating[Any]], top_n: int) -> None:
        """Counts one customer; nothing if there are no candidates or a score is not finite.

        Args:
            scores: (R,) of all candidates.
            top_n: length of the list.
        """
        if len(scores) == 0 or not np.isfinite(scores).all():
            return
        chances = np.exp(scores.astype(np.float64) - scores.max())
        share = np.sort(chances)[-top_n:].sum() / chances.sum()
        self.counts[min(int(share * BINS), BINS - 1)] += 1
