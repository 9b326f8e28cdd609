"""How sure a model is of what it recommends. Pure."""

import numpy as np
import numpy.typing as npt

BINS = 20


class Certainty:
    """Customers by the share of the model's softmax that falls on the best `top_n` of their candidates.

    Raw scores could not be compared: the softmax that they are trained with (`network.listwise_loss`) is the same
    when all scores of a customer grow by one number. Shares can, of one model over time and of two models.

    Attributes:
        counts: (BINS,) customers whose share lies in each twentieth of [0, 1].
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(BINS, np.int64)

    def add(self, scores: npt.NDArray[np.float32], top_n: int) -> None:
        """Counts one customer.

        Args:
            scores: of all their candidates.
            top_n: length of their list.
        """
        if len(scores) == 0 or not np.isfinite(scores).all():
            return
        chances = np.exp(scores.astype(np.float64) - scores.max())
        share = np.sort(chances)[-top_n:].sum() / chances.sum()
        self.counts[min(int(share * BINS), BINS - 1)] += 1
