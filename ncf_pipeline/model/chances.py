"""From scores to the chance that a customer buys a product within the next weeks. Pure.

The scores of one customer are trained by a softmax, from customers who bought something. So their softmax says which
products a purchase will be of, and nothing of whether the customer comes back at all. Both are in the chance: a
logistic regression on the logarithm of that share and on how often, how much and how lately the customer bought (Platt
1999, "Probabilistic outputs for support vector machines", with covariates; Platt's targets keep it finite if nobody, or
everybody, bought). It is fitted on a holdout that the model has not seen, over known customers whether or not they
bought anything in it.

The share counts piece by piece, between its quantiles, because nothing says that log odds grow with it in a straight
line. No slope is negative, and all else is the same for all products of a customer. So chances of one customer have the
order of the scores, whatever was learned.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.state import Mask, ShopState

DEPTH = 10
"""Best candidates of each customer that chances are fitted on: as many as a list shows by default. With more of them,
chances of those that it shows came out 5% too high."""

CUSTOMERS = 2000
"""Most customers that chances are fitted and tested on; a random sample if there are more."""

RIDGE = 1.0
"""Penalty on the squares of weights of standardised facts, in units of the log-likelihood."""

FACTS = (
    "log_share",  # of the customer's softmax
    "log_invoices",
    "log_days_since",  # the last invoice
    "log_days_known",  # since the first invoice
    "log_invoices_30",  # invoices, each counted 2^(-age / 30 days)
    "log_invoices_90",
    "log_basket",  # products on an invoice, on average
    "gaps_since",  # days since the last invoice in usual gaps, at most 5
    "is_first",  # one invoice: there is no gap yet
)
"""What a chance depends on. The first is of the pair, all others of the customer."""

SHARE = FACTS.index("log_share")

PIECES = 5
"""Pieces of the share, with as many pairs in each."""


@dataclass(frozen=True)
class Chances:
    """A fitted map from scores to chances.

    Attributes:
        facts: `FACTS` of the version that fitted it.
        knots: the ends between the `PIECES` of the share, ascending; the first and the last piece have no other end.
        weights: of the standardised terms: the pieces of the share, whose weights are not negative, then the other
            facts.
        intercept: log odds of a pair with average terms.
        mean: of each term, where it was fitted.
        deviation: standard deviation of each; 1 where it does not vary.
        low: lowest value of each fact; lower ones count as this one, so that nothing is extrapolated. The share has no
            such end.
        high: highest value of each.
        customers: number of customers that it was fitted on.
        pairs: pairs of customer and product.
        bought: how many of them were bought.
        days: within which a chance is a chance.
    """

    facts: tuple[str, ...]
    knots: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    customers: int
    pairs: int
    bought: int
    days: int

    def of(self, facts: FloatArray) -> FloatArray:
        """Chances of pairs.

        Args:
            facts: (N, F) with the columns `FACTS`.

        Returns:
            (N,) in (0, 1).
        """
        low, high = np.array(self.low), np.array(self.high)
        low[SHARE], high[SHARE] = -np.inf, np.inf
        terms = _terms(np.clip(facts, low, high), np.array(self.knots))
        standard = (terms - np.array(self.mean)) / np.array(self.deviation)
        chances: FloatArray = expit(self.intercept + standard @ np.array(self.weights))
        return chances

    def as_dict(self) -> dict[str, Any]:
        """As a model's config stores it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Chances | None":
        """What `as_dict` made; None if it depends on other facts than this version computes."""
        values: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in stored.items()
        }
        chances = cls(**values)
        return chances if chances.facts == FACTS else None


@dataclass(frozen=True)
class Pairs:
    """The N best pairs of customer and product, customer by customer, and what became of them.

    Attributes:
        customer: (N,) customer_index of the events.
        product: (N,) product_index of the events.
        rank: (N,) place among the customer's candidates, from 0.
        facts: (N, F) with the columns `FACTS`.
        bought: (N,) whether the customer bought the product in the holdout.
    """

    customer: IntArray
    product: IntArray
    rank: IntArray
    facts: FloatArray
    bought: Mask

    def where(self, chosen: Mask) -> "Pairs":
        """Some of the pairs.

        Args:
            chosen: (N,).
        """
        return Pairs(
            self.customer[chosen], self.product[chosen], self.rank[chosen], self.facts[chosen], self.bought[chosen]
        )


def facts_of_customers(state: ShopState) -> FloatArray:
    """(C, F) the facts of each customer; the column of the share is 0, and so are customers without an invoice."""
    invoices = np.maximum(state.invoices, 1)
    since = np.maximum(state.at - state.last_visit, 0) / DAY
    known = np.maximum(state.at - state.first_visit, 0) / DAY
    lines = np.bincount(state.owner, state.pairs.times, minlength=state.shape[0])
    gap = known / invoices
    table = np.zeros((state.shape[0], len(FACTS)))
    for name, values in {
        "log_invoices": np.log(invoices),
        "log_days_since": np.log1p(since),
        "log_days_known": np.log1p(known),
        "log_invoices_30": np.log1p(state.decayed_invoices[:, 0]),
        "log_invoices_90": np.log1p(state.decayed_invoices[:, 1]),
        "log_basket": np.log(np.maximum(lines / invoices, 1)),
        "gaps_since": np.minimum(since / np.maximum(gap, 1), 5),
        "is_first": state.invoices == 1,
    }.items():
        table[:, FACTS.index(name)] = values
    table[state.invoices == 0] = 0.0
    return table


def log_shares(scores: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """(n,) the logarithm of the softmax over the scores of one customer's candidates."""
    values = scores.astype(np.float64)
    shares: FloatArray = values - logsumexp(values) if len(values) else values
    return shares


def sampled(customers: IntArray, most: int = CUSTOMERS, *, seed: int = 0) -> IntArray:
    """A random sample of customers, ascending; all if there are no more than `most`."""
    if len(customers) <= most:
        return customers
    return np.sort(np.random.default_rng(seed).choice(customers, most, replace=False))


def fit_chances(pairs: Pairs, days: int) -> Chances | None:
    """Fits the map.

    Args:
        pairs: of a holdout that the scores' model has not seen.
        days: of the holdout.

    Returns:
        None without pairs.
    """
    if len(pairs.bought) == 0:
        return None
    knots = np.quantile(pairs.facts[:, SHARE], np.arange(1, PIECES) / PIECES)
    terms = _terms(pairs.facts, knots)
    mean, deviation = terms.mean(axis=0), terms.std(axis=0)
    deviation = np.where(deviation > 1e-9, deviation, 1.0)
    standard = (terms - mean) / deviation
    bought, count = int(pairs.bought.sum()), len(pairs.bought)
    target = np.where(pairs.bought, (bought + 1) / (bought + 2), 1 / (count - bought + 2))

    def loss(values: FloatArray) -> tuple[float, FloatArray]:
        """Negative log-likelihood with its penalty, a pair's mean, and its gradient; the intercept comes first."""
        odds = values[0] + standard @ values[1:]
        unlikely = -(target * log_expit(odds) + (1 - target) * log_expit(-odds)).sum()
        missed = expit(odds) - target
        gradient = np.concatenate([[missed.sum()], missed @ standard + RIDGE * values[1:]])
        return float(unlikely + RIDGE / 2 * np.square(values[1:]).sum()) / count, gradient / count

    share = float(target.mean())
    start = np.zeros(1 + terms.shape[1])
    start[0] = np.log(share / (1 - share))
    bounds = [(None, None), *[(0.0, None)] * PIECES, *[(None, None)] * (terms.shape[1] - PIECES)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "gtol": 1e-8})
    return Chances(
        facts=FACTS,
        knots=tuple(knots.tolist()),
        weights=tuple(found.x[1:].tolist()),
        intercept=float(found.x[0]),
        mean=tuple(mean.tolist()),
        deviation=tuple(deviation.tolist()),
        low=tuple(pairs.facts.min(axis=0).tolist()),
        high=tuple(pairs.facts.max(axis=0).tolist()),
        customers=len(np.unique(pairs.customer)),
        pairs=count,
        bought=bought,
        days=days,
    )


def _terms(facts: FloatArray, knots: FloatArray) -> FloatArray:
    """(N, PIECES + F - 1) what log odds are linear in: how far the share reaches in each piece, and the other facts."""
    share = facts[:, SHARE, None]
    low, high = np.append(-np.inf, knots), np.append(knots, np.inf)
    reached = np.clip(share, low, high) - np.append(knots[:1], knots)
    return np.concatenate([reached, np.delete(facts, SHARE, axis=1)], axis=1)


def out_of_fold(pairs: Pairs, days: int, *, folds: int = 5) -> FloatArray:
    """Chances from maps that were fitted on other customers.

    Args:
        pairs: of a holdout.
        days: of the holdout.
        folds: parts of the customers; each part gets its chances from the map of all others.

    Returns:
        (N,); NaN if there are too few customers for two parts.
    """
    chances = np.full(len(pairs.bought), np.nan)
    for inside in _folds(pairs.customer, folds):
        fitted = fit_chances(pairs.where(~inside), days)
        if fitted is not None:
            chances[inside] = fitted.of(pairs.facts[inside])
    return chances


def _folds(customer: IntArray, folds: int) -> Iterator[Mask]:
    _, place = np.unique(customer, return_inverse=True)
    for fold in range(folds):
        yield place % folds == fold
