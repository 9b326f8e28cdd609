"""How sure a model is of its lists. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.events import IntArray

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

    def add(self, scores: npt.NDArray[np.floating[Any]], start: IntArray, top_n: int) -> None:
        """Counts customers; not those without candidates, or with a score that is not finite.

        Args:
            scores: (R,) of all candidates.
            start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
            top_n: length of the list.
        """
        shares = np.empty(len(start) - 1)
        kernels.best_shares(start, scores.astype(np.float64), top_n, shares)
        counted = shares[np.isfinite(shares)]
        self.counts += np.bincount(np.minimum((counted * BINS).astype(np.int64), BINS - 1), minlength=BINS)
