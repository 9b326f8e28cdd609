"""The gate: may a candidate serve? One pure rule; a decision carries its reasons and its numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.evaluation.scores import CANDIDATE, EVERYONE, INCUMBENT, QUESTIONS, Scores

MUST_BEAT: dict[str, tuple[str, ...]] = {
    FOR_YOU: ("best_sellers", "recent_best_sellers", "personal_frequency"),
    # Personal frequency knows nothing new: its `discover` is that of recent best sellers.
    DISCOVER: ("best_sellers", "recent_best_sellers"),
}


@dataclass(frozen=True)
class Thresholds:
    """What the rule compares with. Precisions are absolute, in [0, 1]. The defaults are those of `Settings.gate_*`.

    Attributes:
        baseline_margin: by how much the lower end of the candidate's lead over a baseline must exceed 0.
        incumbent_tolerance: how far below the incumbent the lower end of the difference may lie.
        cohort_tolerance: how far below the incumbent a cohort may fall, where that is not by chance.
        min_customers: in the holdout, below which intervals are too wide to tell.
        when_too_few: what happens then: `hold`, or `go` by the plain means.
        min_catalog_coverage: share of the catalogue that must be exceeded by what is recommended.
        min_full_lists: share of known customers who must have a full list.
        max_overlap: mean share of products that two customers' lists may have in common.
        min_lines: learned from, as a share of the lines that the incumbent learned from.
        min_ids_worth: by how many standard deviations a model must know its products better than in random order.
        min_refit_agreement: mean share of a customer's first K that refit and evaluated model must both recommend.
    """

    baseline_margin: float
    incumbent_tolerance: float
    cohort_tolerance: float
    min_customers: int
    when_too_few: Literal["hold", "go"]
    min_catalog_coverage: float
    min_full_lists: float
    max_overlap: float
    min_lines: float
    min_ids_worth: float
    min_refit_agreement: float


@dataclass(frozen=True)
class TrainingFacts:
    """How a model was trained.

    Attributes:
        losses: of its epochs, in order.
        out_of_time: whether the time for training was spent before it was done.
        finite_weights: whether every weight is a number.
        lines: of interactions that it learned from.
        lines_there: that the snapshot holds from before its cutoff.
        incumbent_lines: that the incumbent learned from; None where there is none.
        customers_in_place: see `model.ids.IdsWorth`, as for the rest.
        products_in_place: likewise.
        queries: on which the next two were measured.
        customers_worth: in standard deviations; told, not judged: little is learned of a customer who buys little.
        products_worth: likewise.
    """

    losses: tuple[float, ...]
    out_of_time: bool
    finite_weights: bool
    lines: int | None
    lines_there: int
    incumbent_lines: int | None
    customers_in_place: bool
    products_in_place: bool
    queries: int
    customers_worth: float
    products_worth: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"losses": list(self.losses)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "TrainingFacts":
        """What `as_dict` gave."""
        return cls(**(facts | {"losses": tuple(facts["losses"])}))


@dataclass(frozen=True)
class GateDecision:
    """The outcome, why, and every number it rests on."""

    promote: bool
    reasons: tuple[str, ...]
    thresholds: Thresholds
    scores: tuple[Scores, ...] = field(repr=False)
    training: TrainingFacts | None = field(default=None, repr=False)


def decide(scores: Sequence[Scores], training: TrainingFacts, thresholds: Thresholds) -> GateDecision:
    """Promote only if no rule objects.

    For `for_you`, and again for `discover`:

    1. Every number of the candidate is finite, in every cohort.
    2. The candidate beats every baseline of `MUST_BEAT`: the lower end of the 95% interval of the paired
       difference in Precision@K is above the margin.
    3. It is not worse than the incumbent, where there is one: the lower end of the same interval is not
       below minus the tolerance, so that shoppers, not the candidate, have the benefit of the doubt.
    4. No cohort is worse than with the incumbent by more than its tolerance and more than chance explains.
    5. More than the given share of the catalogue is recommended to somebody.
    6. Enough customers have a full list.
    7. Lists are not the same for everyone.

    And of how it was trained, since good lists on one holdout can hide it (see `objections_to_training`):

    8. To its end, with losses and weights that are numbers.
    9. On all that the snapshot holds from before the holdout, which is not much less than the incumbent learned from.
    10. It knows its customers and its products: each id by the row that was trained for it.

    With fewer holdout customers than `min_customers` an interval tells nothing. Then the gate holds, or
    (`when_too_few="go"`) compares the plain means instead of the intervals' ends.

    A candidate that is let through is trained again on everything, and that refit is asked
    `objections_to_training` and `objections_to_refit`.

    Args:
        scores: of the candidate, the baselines and, where there is one, the incumbent, by cohort.
        training: of the candidate.
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
        objections += _not_finite(of_question)
        if candidate is None:
            objections.append(f"the candidate was not evaluated on {question}")
        elif candidate.customers == 0:
            # A shop where nobody bought anything new has no `discover` figure; that is no fault of the model.
            if question == FOR_YOU:
                objections.append("no customer bought anything in the holdout, so nothing can be told")
        else:
            told, objected = _compare(candidate, of, thresholds)
            in_favour += told
            objections += objected + _cohorts_suffer(of_question, thresholds) + _guard_rails(candidate, thresholds)
            in_favour.append(
                f"{question}: {candidate.catalog_coverage:.1%} of the catalogue is recommended, "
                f"two customers' lists share {candidate.overlap:.1%}"
            )
    objections += objections_to_training(training, thresholds)
    return GateDecision(not objections, tuple(objections or in_favour), thresholds, tuple(scores), training)


def objections_to_training(facts: TrainingFacts, thresholds: Thresholds, *, whose: str = "the candidate") -> list[str]:
    """What speaks against a model by how it was trained; nothing, normally.

    Args:
        facts: of the candidate, or of its refit.
        thresholds: `min_lines`, `min_ids_worth` and `min_customers` count.
        whose: the model in words.
    """
    objections = []
    if not facts.losses or not all(isfinite(loss) for loss in facts.losses):
        objections.append(f"{whose} was trained with losses that are no numbers, or none: {list(facts.losses)}")
    if not facts.finite_weights:
        objections.append(f"{whose} has weights that are not finite, so its lists mean nothing")
    if facts.out_of_time:
        objections.append(f"{whose} is not trained to the end: the time for it (train_budget_minutes) was spent")
    lines = facts.lines or 0
    if lines < facts.lines_there:
        objections.append(
            f"{whose} learned from {lines:,} of the {facts.lines_there:,} lines that the snapshot holds for it"
        )
    if facts.incumbent_lines is not None and not lines >= thresholds.min_lines * facts.incumbent_lines:
        objections.append(
            f"{whose} learned from {lines:,} lines, the incumbent from {facts.incumbent_lines:,}; "
            f"at least {thresholds.min_lines:.0%} of that is asked: has the database lost some?"
        )
    objections += [
        f"{whose} has its {names} in another order than it was trained with, or others: each is taken for another one"
        for names, in_place in (("customers", facts.customers_in_place), ("products", facts.products_in_place))
        if not in_place
    ]
    if not isfinite(facts.customers_worth) or not isfinite(facts.products_worth):
        objections.append(f"{whose} answers with numbers that are not finite")
    elif facts.queries >= thresholds.min_customers and not facts.products_worth >= thresholds.min_ids_worth:
        objections.append(
            f"{whose} knows its products hardly better than in random order ({facts.products_worth:.1f} standard "
            f"deviations; {thresholds.min_ids_worth:g} are asked): ids and embeddings do not belong together"
        )
    return objections


def objections_to_refit(shared: float, thresholds: Thresholds) -> list[str]:
    """What speaks against serving the refit of a candidate that was let through; nothing, normally.

    The refit is what serves, and no holdout is left to evaluate it on. But on the same customers at the
    same instant it must recommend much of what the evaluated model recommends: about as much as a model of another
    seed would.

    Measured on Online Retail until 2011-05-30, 06-27 and 07-25, and on synthetic shops of 400, 250 and 150 customers,
    with K 5; models that no shop would want once, until 06-27:

    | share of `for_you` that two models have in common | Online Retail | synthetic shops |
    | --- | --- | --- |
    | two seeds of the backtest | 78%, 83%, 83% | 89%, 91%, 86% |
    | backtest and refit | 80%, 83%, 83% | 89%, 89%, 83% |
    | backtest and refit of another seed | 68%, 78%, 81% | 90%, 89%, 85% |
    | backtest and a model of a tenth of the customers | 62% | 72%, 75%, 42% |
    | backtest and a model of a tenth of the lines | 37% | 57%, 1%, 0% |
    | backtest and a model of shuffled labels | 8% | 1%, 9%, 13% |

    What a tenth of the customers has in common with all of them is no less than what some seeds have: such a refit is
    told by the lines that it learned from.

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
    objections: list[str] = []
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


def _not_finite(of_question: Sequence[Scores]) -> list[str]:
    return [
        f"{name} of {score.question}{'' if score.cohort == EVERYONE else f' ({score.cohort})'} is {value}: "
        "not a finite number"
        for score in of_question
        if score.customers > 0  # a mean over nobody is none
        for name, value in _of_the_candidate(score)
        if isinstance(value, float) and not isfinite(value)
    ]


def _of_the_candidate(score: Scores) -> Iterator[tuple[str, Any]]:
    """The candidate's numbers, by name: all of its own, and its lead over others."""
    for name, value in score.as_dict().items():
        if score.recommender == CANDIDATE:
            yield name, value
        elif name.startswith("ahead"):
            yield f"{name} of {_words(score.recommender)}", value


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
            f"{candidate.question}: only {candidate.catalog_coverage:.1%} of the catalogue is recommended; "
            f"more than {thresholds.min_catalog_coverage:.0%} is asked"
        )
    if not candidate.full_lists >= thresholds.min_full_lists:
        objections.append(
            f"{candidate.question}: only {candidate.full_lists:.1%} of known customers have {candidate.k} products; "
            f"{thresholds.min_full_lists:.0%} are asked"
        )
    if not candidate.overlap <= thresholds.max_overlap:
        objections.append(
            f"{candidate.question}: two customers' lists share {candidate.overlap:.1%} of their products; "
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
