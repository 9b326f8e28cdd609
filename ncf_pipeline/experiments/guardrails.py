"""Guardrails of an experiment: is the share harmed, and do the lists lose to best sellers?

Both questions are asked of the deciding measure and of revenue per customer, because a customer who orders less often
is harmed even if each order is larger. The answer is the nearer end of the always-valid interval, so looking every
week is safe. Per measure, chance alone raises a false alarm in at most 2.5 of 100 experiments (one side of a 95%
interval), so in at most 5 of 100 for both together.

Guardrail metrics: Kohavi, Tang & Xu 2020, "Trustworthy Online Controlled Experiments", chapter 21.
"""

from dataclasses import dataclass

from ncf_pipeline.experiments.analysis import is_long_enough
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.measures import REVENUE_PER_CUSTOMER
from ncf_pipeline.experiments.results import MISMATCH, MeasureResult, Results


@dataclass(frozen=True)
class Shortfall:
    """By which measure a group is worse off, and by how much at least: 0.1 for ten percent."""

    measure: str
    amount: float


def harm_to_share(design: Design, results: Results) -> Shortfall | None:
    """How much worse off the share surely is; None unless that exceeds the design's harm bound."""
    shortfalls = [
        Shortfall(
            result.measure,
            -result.always.high if design.share_is_treated else 1 - 1 / (1 + result.always.low),
        )
        for result in _asked(design, results)
    ]
    worst = max(shortfalls, key=lambda shortfall: shortfall.amount, default=None)
    return worst if worst is not None and worst.amount > design.harm_bound else None


def lists_lose(design: Design, results: Results) -> Shortfall | None:
    """How much less personal lists surely sell than best sellers; None if they do not, or for a challenger."""
    if design.kind != "holdout":
        return None
    shortfalls = [Shortfall(result.measure, -result.always.high) for result in _asked(design, results)]
    worst = max(shortfalls, key=lambda shortfall: shortfall.amount, default=None)
    return worst if worst is not None and worst.amount > 0 else None


def _asked(design: Design, results: Results) -> list[MeasureResult]:
    if not is_long_enough(results.weeks) or results.verdict == MISMATCH:
        return []
    asked = {design.metric, REVENUE_PER_CUSTOMER}
    return [result for result in results.measures if result.measure in asked and result.enough]
