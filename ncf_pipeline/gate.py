"""The gate: may a candidate serve? One pure rule; a decision carries its reasons and its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.evaluation import CANDIDATE, EVERYONE, INCUMBENT, QUESTIONS, Scores

MUST_BEAT: dict[str, tuple[str, ...]] = {
    FOR_YOU: ("best_sellers", "recent_best_sellers", "personal_frequency"),
    # Personal frequency knows nothing new: its `discover` is that of recent best sellers.
    DISCOVER: ("best_sellers", "recent_best_sellers"),
}


@dataclass(frozen=True)
class Thresholds:
    """What the rule compares with. Precisions are absolute, in [0, 1].

    Attributes:
        baseline_margin: by how much the lower end of the candidate's lead over a baseline must exceed 0.
        incumbent_tolerance: how far below the incumbent the lower end of the difference may lie.
        cohort_tolerance: how far below the incumbent a cohort may fall, where that is not by chance.
        min_customers: in the holdout, below which intervals are too wide to tell.
        when_too_few: what happens then: `hold`, or `go` by the plain means.
        min_catalog_coverage: share of the catalogue that must be exceeded by what is recommended.
        min_full_lists: share of known customers who must have a full list.
        max_overlap: mean share of products that two customers' lists may have in common.
        min_refit_agreement: mean share of a customer's first K that refit and evaluated model must both
            recommend. Two seeds of one recipe share about twice as much; a broken refit next to nothing.
    """

    baseline_margin: float = 0.0
    incumbent_tolerance: float = 0.02
    cohort_tolerance: float = 0.03
    min_customers: int = 50
    when_too_few: Literal["hold", "go"] = "hold"
    min_catalog_coverage: float = 0.05
    min_full_lists: float = 0.95
    max_overlap: float = 0.5
    min_refit_agreement: float = 0.4


@dataclass(frozen=True)
class GateDecision:
    """The outcome, why, and every number it rests on."""

    promote: bool
    reasons: tuple[str, ...]
    thresholds: Thresholds
    scores: tuple[Scores, ...] = field(repr=False)


def decide(scores: Sequence[Scores], thresholds: Thresholds) -> GateDecision:
    """Promote only if no rule objects.

    For `for_you`, and again for `discover`:

    1. Every number of the candidate is finite.
    2. The candidate beats every baseline of `MUST_BEAT`: the lower end of the 95% interval of the paired
       difference in Precision@K is above the margin.
    3. It is not worse than the incumbent, where there is one: the lower end of the same interval is not
       below minus the tolerance, so that shoppers, not the candidate, have the benefit of the doubt.
    4. No cohort is worse than with the incumbent by more than its tolerance and more than chance explains.

    And for `for_you`:

    5. More than the given share of the catalogue is recommended to somebody.
    6. Enough customers have a full list.
    7. Lists are not the same for everyone.

    With fewer holdout customers than `min_customers` an interval tells nothing. Then the gate holds, or
    (`when_too_few="go"`) compares the plain means instead of the intervals' ends.

    Args:
        scores: of the candidate, the baselines and, where there is one, the incumbent, by cohort.
        thresholds: what to compare with.

    Returns:
        The decision; `reasons` says what was found, for a yes as for a no.
    """
    objections: list[str] = []
    in_favour: list[str] = []
    for question in QUESTIONS:
        of_question = [score for score in scores if score.question == question]
        of = {score.recommender: score for score in of_question if score.cohort == EVERYONE}
        candidate = of.get(CANDIDATE)
        if candidate is None:
            objections.append(f"the candidate was not evaluated on {question}")
        elif candidate.customers == 0:
            # A shop where nobody bought anything new has no `discover` figure; that is no fault of the model.
            if question == FOR_YOU:
                objections.append("no customer bought anything in the holdout, so nothing can be told")
        else:
            told, objected = _compare(candidate, of, thresholds)
            in_favour += told
            objections += objected + _cohorts_suffer(of_question, thresholds)
            if question == FOR_YOU:
                objections += _guard_rails(candidate, thresholds)
                in_favour.append(
                    f"{candidate.catalog_coverage:.1%} of the catalogue is recommended, "
                    f"two customers' lists share {candidate.overlap:.1%}"
                )
    return GateDecision(not objections, tuple(objections or in_favour), thresholds, tuple(scores))


def objections_to_refit(shared: float, thresholds: Thresholds) -> list[str]:
    """What speaks against serving the refit of a candidate that was let through; nothing, normally.

    The refit is what serves, and no holdout is left to evaluate it on. But on the same customers at the
    same instant it must recommend much of what the evaluated model recommends.

    Args:
        shared: from `evaluation.agreement` of refit and backtest.
        thresholds: `min_refit_agreement` counts.
    """
    if shared >= thresholds.min_refit_agreement:
        return []
    return [
        f"the refit shares only {shared:.1%} of its recommendations with the model that was evaluated; "
        f"{thresholds.min_refit_agreement:.0%} are asked"
    ]


def _compare(candidate: Scores, of: dict[str, Scores], thresholds: Thresholds) -> tuple[list[str], list[str]]:
    """What speaks for the candidate and what against it, in one question."""
    told: list[str] = []
    objections = _not_finite(candidate)
    too_few = candidate.customers < thresholds.min_customers
    if too_few:
        line = (
            f"{candidate.question}: only {candidate.customers} customers in the holdout, "
            f"{thresholds.min_customers} are needed to tell"
        )
        if thresholds.when_too_few == "hold":
            return told, [*objections, line]
        told.append(f"{line}, so the plain means decide, as set")
    for name in MUST_BEAT[candidate.question]:
        if name not in of:
            objections.append(f"{candidate.question}: {_words(name)} were not evaluated, so nothing can be compared")
            continue
        lead = of[name].ahead if too_few else of[name].ahead_low
        # Written so that NaN objects: a comparison with NaN is never true.
        beats = lead is not None and lead > thresholds.baseline_margin
        verb = "beats" if beats else "does not clearly beat"
        line = f"{_precision(candidate)} {verb} {_words(name)} ({of[name].precision_at_k:.4f}){_lead(of[name])}"
        (told if beats else objections).append(line)
    if INCUMBENT in of:
        incumbent = of[INCUMBENT]
        lead = incumbent.ahead if too_few else incumbent.ahead_low
        holds = lead is not None and lead >= -thresholds.incumbent_tolerance
        verb = "is not worse than" if holds else "may be worse than"
        line = (
            f"{_precision(candidate)} {verb} the incumbent ({incumbent.precision_at_k:.4f}){_lead(incumbent)} "
            f"by more than {thresholds.incumbent_tolerance:g}"
        )
        (told if holds else objections).append(line)
    elif candidate.question == FOR_YOU:
        told.append("there is no incumbent that has not seen the holdout, so the baselines decide alone")
    return told, objections


def _not_finite(candidate: Scores) -> list[str]:
    return [
        f"{name} of {candidate.question} is {value}: not a number"
        for name, value in candidate.as_dict().items()
        if isinstance(value, float) and not isfinite(value)
    ]


def _cohorts_suffer(of_question: Sequence[Scores], thresholds: Thresholds) -> list[str]:
    objections = []
    for score in of_question:
        if score.recommender != INCUMBENT or score.cohort == EVERYONE or score.customers < thresholds.min_customers:
            continue
        if score.ahead is None or score.ahead_high is None:
            continue
        # Cohorts are small and several: only what is both large and not by chance counts.
        if score.ahead < -thresholds.cohort_tolerance and score.ahead_high < 0:
            objections.append(
                f"{score.question}: customers of cohort {score.cohort} lose {-score.ahead:.4f} against the incumbent, "
                f"more than {thresholds.cohort_tolerance:g}"
            )
    return objections


def _guard_rails(candidate: Scores, thresholds: Thresholds) -> list[str]:
    objections = []
    if not candidate.catalog_coverage > thresholds.min_catalog_coverage:
        objections.append(
            f"only {candidate.catalog_coverage:.1%} of the catalogue is recommended; "
            f"more than {thresholds.min_catalog_coverage:.0%} is asked"
        )
    if not candidate.full_lists >= thresholds.min_full_lists:
        objections.append(
            f"only {candidate.full_lists:.1%} of known customers have {candidate.k} products; "
            f"{thresholds.min_full_lists:.0%} are asked"
        )
    if not candidate.overlap <= thresholds.max_overlap:
        objections.append(
            f"two customers' lists share {candidate.overlap:.1%} of their products; "
            f"at most {thresholds.max_overlap:.0%} is allowed, since one list for everyone is no recommendation"
        )
    return objections


def _precision(score: Scores) -> str:
    return f"{score.question}: Precision@{score.k} {score.precision_at_k:.4f}"


def _lead(other: Scores) -> str:
    if other.ahead is None or other.ahead_low is None or other.ahead_high is None:
        return ""
    return f", {other.ahead:+.4f} [{other.ahead_low:+.4f}, {other.ahead_high:+.4f}]"


def _words(name: str) -> str:
    return name.replace("_", " ")
