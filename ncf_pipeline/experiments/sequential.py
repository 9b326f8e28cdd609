"""The always-valid interval: it covers the truth at all looks together, however often and for however long one looks.

If one looks every week, the usual 95% intervals miss the truth at some look in far more than one of twenty experiments.
The always-valid interval is wider, by just enough: the chance that it misses the truth at any look, ever, is 5%.

The mixture sequential probability ratio test (mSPRT) treats the estimate as a Brownian motion with drift, indexed by
information (one over the squared standard error), as sums over many customers are: the covariance of two looks is the
variance of the later one. For the same customers week after week this holds if their behaviour is stable;
`make bench-uplift` checks it on a shop. Mixing the likelihood ratio over a normal prior N(0, tau²) of the effect
yields a martingale, and inverting Ville's inequality yields the interval.

Sources: Robbins 1970, "Statistical methods related to the law of the iterated logarithm"; Johari, Koomen, Pekelis &
Walsh 2022, "Always Valid Inference", Operations Research 70:3; Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024,
"Time-uniform central limit theory and asymptotic confidence sequences", Annals of Statistics 52:6, section 2, and its
appendix on tuning for tau.
"""

import numpy as np
from scipy.special import lambertw

ALPHA = 0.05
"""The chance that an interval misses the truth."""


def best_ratio(alpha: float = ALPHA) -> float:
    """The product of information and tau² at which the interval is tightest.

    It minimises `margin`: -W(-alpha² / e) - 1, where W is the lower branch of Lambert's function.
    """
    return float(-lambertw(-(alpha**2) * np.exp(-1), k=-1).real - 1)


def margin(standard_error: float, tau: float, *, alpha: float = ALPHA) -> float:
    """Half the width of the interval in standard errors; for an interval for one look it is 1.96.

    Args:
        standard_error: of the estimate at this look, above 0.
        tau: standard deviation of the mixing prior, chosen before the first look.
        alpha: the chance that the interval ever misses the truth.

    >>> round(margin(1.0, best_ratio() ** 0.5), 2)
    3.04
    """
    ratio = (tau / standard_error) ** 2
    return float(np.sqrt((1 + 1 / ratio) * (np.log1p(ratio) - 2 * np.log(alpha))))


def smallest_margin(alpha: float = ALPHA) -> float:
    """The smallest margin that any tau gives."""
    return margin(1.0, best_ratio(alpha) ** 0.5, alpha=alpha)
