"""The gate: may a candidate serve? One pure rule; a decision carries its reasons and its numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from ncf_pipeline.columns import FOR_YOU
from ncf_pipeline.evaluation import Scores

CANDIDATE = "candidate"
INCUMBENT = "incumbent"
MUST_BEAT = ("best_sellers", "recent_best_sellers")


@dataclass(frozen=True)
class Thresholds:
    """What the rule compares with.

    Attributes:
        incumbent_tolerance: how far Precision@K may fall below the incumbent's, absolute.
        min_catalog_coverage: the share of the catalogue that must be exceeded, in [0, 1).
    """

    incumbent_tolerance: float
    min_catalog_coverage: float


@dataclass(frozen=True)
class GateDecision:
    """The outcome, why, and every number it rests on."""

    promote: bool
    reasons: tuple[str, ...]
    thresholds: Thresholds
    scores: tuple[Scores, ...] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON and the database."""
        return asdict(self)


def decide(scores: Sequence[Scores], thresholds: Thresholds) -> GateDecision:
    """Promote only if no rule objects.

    1. Every number of the candidate is finite and its holdout has customers.
    2. Its `for_you` Precision@K is above that of both best-seller baselines.
    3. It is not below the incumbent's by more than the tolerance, where there is an incumbent.
    4. It recommends more than the given share of the catalogue.

    Args:
        scores: of the candidate, the baselines and, where there is one, the incumbent.
        thresholds: what to compare with.

    Returns:
        The decision; `reasons` says what was found, for a yes as for a no.
    """
    of = {score.recommender: score for score in scores if score.question == FOR_YOU}
    candidate = of.get(CANDIDATE)
    if candidate is None:
        objections = ["the candidate was not evaluated"]
    elif candidate.customers == 0:
        objections = ["no customer bought anything in the holdout, so nothing can be told"]
    else:
        objections = [
            *_not_finite([score for score in scores if score.recommender == CANDIDATE]),
            *_does_not_beat_baselines(candidate, of),
            *_worse_than_incumbent(candidate, of.get(INCUMBENT), thresholds.incumbent_tolerance),
            *_covers_too_little(candidate, thresholds.min_catalog_coverage),
        ]
    reasons = objections if objections or candidate is None else _in_favour(candidate, of)
    return GateDecision(not objections, tuple(reasons), thresholds, tuple(scores))


def _not_finite(scores: Sequence[Scores]) -> list[str]:
    return [
        f"{name} of {score.question} is {value}: not a number"
        for score in scores
        # A shop where nobody bought anything new has no `discover` figure; that is no fault of the model.
        if score.customers > 0
        for name, value in score.as_dict().items()
        if isinstance(value, float) and not isfinite(value)
    ]


def _does_not_beat_baselines(candidate: Scores, of: dict[str, Scores]) -> list[str]:
    objections = []
    for name in MUST_BEAT:
        if name not in of:
            objections.append(f"{_words(name)} were not evaluated, so there is nothing to compare with")
        # Written so that NaN objects: a comparison with NaN is never true.
        elif not candidate.precision_at_k > of[name].precision_at_k:
            objections.append(
                f"Precision@{candidate.k} {candidate.precision_at_k:.4f} does not beat "
                f"{_words(name)} ({of[name].precision_at_k:.4f})"
            )
    return objections


def _worse_than_incumbent(candidate: Scores, incumbent: Scores | None, tolerance: float) -> list[str]:
    if incumbent is None or candidate.precision_at_k >= incumbent.precision_at_k - tolerance:
        return []
    return [
        f"Precision@{candidate.k} {candidate.precision_at_k:.4f} is below the incumbent's "
        f"{incumbent.precision_at_k:.4f} by more than {tolerance:g}"
    ]


def _covers_too_little(candidate: Scores, minimum: float) -> list[str]:
    if candidate.catalog_coverage > minimum:
        return []
    return [f"only {candidate.catalog_coverage:.1%} of the catalogue is recommended; more than {minimum:.0%} is asked"]


def _in_favour(candidate: Scores, of: dict[str, Scores]) -> list[str]:
    reasons = [
        f"Precision@{candidate.k} {candidate.precision_at_k:.4f} beats {_words(name)} ({of[name].precision_at_k:.4f})"
        for name in MUST_BEAT
    ]
    if INCUMBENT in of:
        reasons.append(f"not below the incumbent ({of[INCUMBENT].precision_at_k:.4f}) by more than the tolerance")
    else:
        reasons.append("there is no incumbent that has not seen the holdout, so the baselines decide alone")
    reasons.append(f"{candidate.catalog_coverage:.1%} of the catalogue is recommended")
    return reasons


def _words(name: str) -> str:
    return name.replace("_", " ")
