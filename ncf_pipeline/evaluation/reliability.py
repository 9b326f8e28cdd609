"""Whether chances are true: of what was given a chance of 20%, about 20% happened.

The Brier score is the mean squared difference between chance and outcome (Brier 1950, "Verification of forecasts
expressed in terms of probability"). Alone it says little, so it stands beside that of climatology: the same chance, the
share that was observed, for all. The skill is 1 - score / score of climatology.

A customer who does not come back buys nothing of a whole list. So outcomes of one customer are not independent, and
intervals are over customers.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.evaluation.bootstrap import CONFIDENCE

BINS = 10
"""Bins of equal size: tenths of all pairs, by their chance."""


@dataclass(frozen=True)
class Bin:
    """Pairs of similar chances.

    Attributes:
        pairs: pairs of customer and product.
        predicted: mean chance.
        observed: share that was bought.
        low: lower end of the 95% interval of `observed`.
        high: upper end.
    """

    pairs: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class Reliability:
    """The chances of some pairs beside what was bought.

    Attributes:
        customers: number of customers, whether or not they bought anything.
        pairs: pairs of customer and product.
        predicted: mean chance.
        observed: share that was bought.
        brier: Brier score.
        climatology: Brier score of the share that was bought, as the chance of every pair.
        bins: by chance, ascending; fewer than `BINS` if there are fewer pairs.
    """

    customers: int
    pairs: int
    predicted: float
    observed: float
    brier: float
    climatology: float
    bins: tuple[Bin, ...]

    @property
    def skill(self) -> float:
        """1 - Brier score / that of climatology: 1 if all is foreseen, 0 if no more than the share is."""
        return 1 - self.brier / self.climatology if self.climatology > 0 else 0.0

    def as_dict(self) -> dict[str, Any]:
        """As a manifest stores it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Reliability":
        """What `as_dict` made."""
        return cls(**{**stored, "bins": tuple(Bin(**each) for each in stored["bins"])})


def reliability(
    chance: npt.ArrayLike, happened: npt.ArrayLike, customer: npt.ArrayLike, *, bins: int = BINS
) -> Reliability | None:
    """Compares chances with outcomes.

    Args:
        chance: (N,) in [0, 1].
        happened: (N,) whether it was bought.
        customer: (N,) a number of the customer of each pair.
        bins: most bins.

    Returns:
        None without pairs.

    >>> reliability([0.2, 0.2], [0, 1], [7, 8]).brier
    0.34
    """
    p, y = np.asarray(chance, np.float64), np.asarray(happened, np.float64)
    who = np.asarray(customer)
    if len(p) == 0:
        return None
    observed = float(y.mean())
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    return Reliability(
        customers=len(np.unique(who)),
        pairs=len(p),
        predicted=float(p.mean()),
        observed=observed,
        brier=float(np.square(p - y).mean()),
        climatology=observed * (1 - observed),
        bins=tuple(_bin(p[part], y[part], who[part]) for part in parts),
    )


def _bin(p: npt.NDArray[np.float64], y: npt.NDArray[np.float64], who: npt.NDArray[Any]) -> Bin:
    low, high = share_interval(y, who)
    return Bin(len(p), float(p.mean()), float(y.mean()), low, high)


def share_interval(happened: npt.ArrayLike, customer: npt.ArrayLike) -> tuple[float, float]:
    """The 95% interval of a share, over customers, each with any number of outcomes.

    It is Wilson's interval (Wilson 1927, "Probable inference") for as many independent outcomes as tell as much. That
    number follows from the variance between customers (Kish 1965, "Survey sampling", the design effect). So it stays
    in [0, 1], and is not empty where nothing happened.

    Args:
        happened: (N,) 0 or 1; at least one.
        customer: (N,) a number of the customer of each.

    >>> [round(end, 3) for end in share_interval([0, 1, 0, 0], [1, 2, 3, 4])]
    [0.046, 0.699]
    """
    y = np.asarray(happened, np.float64)
    _, place = np.unique(np.asarray(customer), return_inverse=True)
    share = float(y.mean())
    of_customers = np.bincount(place, y - share)  # sums of residuals
    customers = len(of_customers)
    between = float(np.square(of_customers).sum()) / len(y) ** 2 * customers / max(customers - 1, 1)
    alone = share * (1 - share) / len(y)
    # Where all outcomes are alike they show no variance: then each customer counts once.
    number = len(y) * min(1.0, alone / between) if between > 0 else float(customers)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    middle = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * sqrt(share * (1 - share) / number + z * z / (4 * number * number))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))  # rounding, at 0 and at 1
