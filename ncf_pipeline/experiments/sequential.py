"""An interval that holds at every look together, however often and for however long somebody looks.

With a look each week, one of the usual 95% intervals leaves the truth out far more often than once in twenty
experiments. The interval here is wider by just what it takes: the chance that it ever leaves the truth out, at any look
until the end of time, is 5%.

The estimate at information I (one over its squared standard error) is taken for a Brownian motion with drift, as sums
over many customers are: two looks differ by what the later one knows more, and their covariance is the variance of the
later. That holds for the same customers week after week if what they do lasts; `make bench-uplift` plays it on a shop.
Mixing the likelihood ratio over a normal prior N(0, tau²) of the effect gives a martingale; inverting Ville's
inequality gives the interval. Robbins 1970 ("Statistical methods related to the law of the iterated logarithm");
Johari, Koomen, Pekelis & Walsh 2022 ("Always Valid Inference", Operations Research 70:3, mSPRT); Waudby-Smith, Arbour,
Sinha, Kennedy & Ramdas 2024 ("Time-uniform central limit theory and asymptotic confidence sequences", Annals of
Statistics 52:6, section 2, and for tau its appendix on tuning).
"""

import numpy as np
from scipy.special import lambertw

ALPHA = 0.05
"""The chance of an interval that leaves the truth out."""


def best_ratio(alpha: float = ALPHA) -> float:
    """What information times tau² is where the interval is tightest for that information.

    Minimises `margin`: -W(-alpha² / e) - 1, W the lower branch of Lambert's function.
    """
    return float(-lambertw(-(alpha**2) * np.exp(-1), k=-1).real - 1)


def margin(standard_error: float, tau: float, *, alpha: float = ALPHA) -> float:
    """By how many standard errors the interval reaches to each side; an interval for one look has 1.96.

    Args:
        standard_error: of the estimate at this look, above 0.
        tau: of the mixture, chosen before the first look.
        alpha: the chance that the interval ever leaves the truth out.

    >>> round(margin(1.0, best_ratio() ** 0.5), 2)
    3.04
    """
    ratio = (tau / standard_error) ** 2
    return float(np.sqrt((1 + 1 / ratio) * (np.log1p(ratio) - 2 * np.log(alpha))))


def smallest_margin(alpha: float = ALPHA) -> float:
    """The margin where it is smallest."""
    return margin(1.0, best_ratio(alpha) ** 0.5, alpha=alpha)
