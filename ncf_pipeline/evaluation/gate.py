"""The gate decides whether a candidate may serve. It is pure: a decision holds its reasons and its numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.evaluation.scores import CANDIDATE, EVERYONE, INCUMBENT, QUESTIONS, Scores

MUST_BEAT: dict[str, tuple[str, ...]] = {
    FOR_YOU: ("best_sellers", "recent_best_sellers", "personal_frequency"),
    # The `discover` list of personal frequency is that of recent best sellers.
    DISCOVER: ("best_sellers", "recent_best_sellers"),
}


@dataclass(frozen=True)
class Thresholds:
    """The limits that the gate applies. Their defaults and bounds are those of `Settings.gate_*`.

    Attributes:
        baseline_margin: Precision@K; the lower end of the candidate's lead over a baseline must be above it.
        incumbent_tolerance: Precision@K; the lower end of the candidate's lead over the incumbent may be this far
            below 0.
        cohort_tolerance: Precision@K that a cohort may lose against the incumbent, unless the loss may be chance.
        min_customers: customers in the holdout, below which intervals are too wide to decide by.
        when_too_few: what to do then: `hold`, or `go` by the means.
        min_catalog_coverage: `catalog_coverage` must be above it.
        min_full_lists: smallest share of known customers with a full list.
        max_overlap: largest mean share of products that two customers' lists may have in common.
        min_lines: smallest share of the incumbent's training lines that the candidate must be trained on.
        min_ids_worth: standard deviations by which a model must rank its products better than with shuffled ids.
        min_refit_agreement: smallest mean share of a customer's first K products that the refit and the evaluated model
            must both recommend.
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
        out_of_time: whether the time for training ran out before the last epoch.
        finite_weights: whether every weight is a finite number.
        lines: interactions that the model was trained on; None if an earlier version of the package trained it.
        lines_there: interactions in the snapshot before the model's cutoff.
        incumbent_lines: interactions that the incumbent was trained on; None without an incumbent.
        customers_in_place: whether each customer_id belongs to its embedding; see `model.ids.IdsWorth`.
        products_in_place: the same for stock codes.
        queries: number of queries that the next two were measured on.
        customers_worth: in standard deviations. Only recorded, not judged: a model learns little about a customer who
            buys little.
        products_worth: in standard deviations.
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
        """As a manifest stores it."""
        return asdict(self) | {"losses": list(self.losses)}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "TrainingFacts":
        """The facts that `as_dict` returned."""
        return cls(**(facts | {"losses": tuple(facts["losses"])}))


@dataclass(frozen=True)
class GateDecision:
    """The gate's decision, the reasons for it, and every number it rests on."""

    promote: bool
    reasons: tuple[str, ...]
    thresholds: Thresholds
    scores: tuple[Scores, ...] = field(repr=False)
    training: TrainingFacts | None = field(default=None, repr=False)


def decide(scores: Sequence[Scores], training: TrainingFacts, thresholds: Thresholds) -> GateDecision:
    """Lets a candidate through only if no rule objects.

    For `for_you`, and again for `discover`:

    1. Every number of the candidate is finite, in every cohort.
    2. The candidate beats every baseline of `MUST_BEAT`: the lower end of the 95% interval of the paired
       difference in Precision@K is above the margin.
    3. If there is an incumbent, the candidate is not worse: the lower end of the same interval is not below minus the
       tolerance. So shoppers, not the candidate, have the benefit of the doubt.
    4. No cohort loses more than its tolerance against the incumbent, unless the loss may be chance.
    5. The recommended products are more than the given share of the catalogue.
    6. Enough customers have a full list.
    7. Lists are not the same for everyone.

    Good lists on one holdout can hide that training went wrong, so also (see `objections_to_training`):

    8. Training ran to its end, and losses and weights are finite.
    9. The candidate was trained on everything in the snapshot before the holdout, and that is not much less than the
       incumbent was trained on.
    10. Each customer and each product has the embedding that was trained for it.

    With fewer holdout customers than `min_customers` the intervals are too wide. Then the gate holds the candidate, or
    (`when_too_few="go"`) compares the means instead of the lower ends.

    A candidate that is let through is trained again on everything. That refit must pass `objections_to_training` and
    `objections_to_refit`.

    Args:
        scores: of the candidate, the baselines and the incumbent, if there is one, by cohort.
        training: how the candidate was trained.
        thresholds: the limits.

    Returns:
        The decision. Its reasons are the objections; without any, what speaks for the candidate.
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
            # If nobody bought anything new, `discover` has no scores. That is not the model's fault.
            if question == FOR_YOU:
                objections.append("no customer bought anything in the holdout, so nothing can be compared")
        else:
            favourable, against = _compare(candidate, of, thresholds)
            in_favour += favourable
            objections += against + _cohorts_suffer(of_question, thresholds) + _guard_rails(candidate, thresholds)
            in_favour.append(
                f"{question}: {candidate.catalog_coverage:.1%} of the catalogue is recommended, "
                f"two customers' lists share {candidate.overlap:.1%}"
            )
    objections += objections_to_training(training, thresholds)
    return GateDecision(not objections, tuple(objections or in_favour), thresholds, tuple(scores), training)


def objections_to_training(facts: TrainingFacts, thresholds: Thresholds, *, whose: str = "the candidate") -> list[str]:
    """Objections to the way a model was trained; normally none.

    Args:
        facts: of the candidate or of its refit.
        thresholds: `min_lines`, `min_ids_worth` and `min_customers` are used.
        whose: what the objections call the model.
    """
    objections = []
    if not facts.losses or not all(isfinite(loss) for loss in facts.losses):
        objections.append(f"{whose} has a training loss that is NaN, infinite or missing: {list(facts.losses)}")
    if not facts.finite_weights:
        objections.append(f"{whose} has weights that are not finite, so its lists mean nothing")
    if facts.out_of_time:
        objections.append(f"{whose} is not trained to the end: its time (NCF_TRAIN_BUDGET_MINUTES) ran out")
    lines = facts.lines or 0
    if lines < facts.lines_there:
        objections.append(
            f"{whose} learned from {lines:,} of the {facts.lines_there:,} lines that the snapshot holds for it"
        )
    if facts.incumbent_lines is not None and not lines >= thresholds.min_lines * facts.incumbent_lines:
        objections.append(
            f"{whose} learned from {lines:,} lines, the incumbent from {facts.incumbent_lines:,}; "
            f"at least {thresholds.min_lines:.0%} of that is required: has the database lost lines?"
        )
    objections += [
        f"{whose} has its {names} in another order than it was trained with, or others: ids and embeddings do not match"
        for names, in_place in (("customers", facts.customers_in_place), ("products", facts.products_in_place))
        if not in_place
    ]
    if not isfinite(facts.customers_worth) or not isfinite(facts.products_worth):
        objections.append(f"{whose} predicts numbers that are not finite")
    elif facts.queries >= thresholds.min_customers and not facts.products_worth >= thresholds.min_ids_worth:
        objections.append(
            f"{whose} ranks its products hardly better than with shuffled ids ({facts.products_worth:.1f} standard "
            f"deviations; {thresholds.min_ids_worth:g} are required): ids and embeddings do not match"
        )
    return objections


def objections_to_refit(shared: float, thresholds: Thresholds) -> list[str]:
    """Objections to serving the refit of a candidate that was let through; normally none.

    The refit serves, but no holdout is left to evaluate it on. So for the same customers at the same instant it must
    recommend much of what the evaluated model recommends: about as much as a model of another seed does.

    Measured with K = 5 on Online Retail until 2011-05-30, 06-27 and 07-25, and on synthetic shops of 400, 250 and 150
    customers. Broken models were measured once on Online Retail, until 06-27:

    | share of `for_you` that two models have in common | Online Retail | synthetic shops |
    | --- | --- | --- |
    | two seeds of the backtest | 78%, 83%, 83% | 89%, 91%, 86% |
    | backtest and refit | 80%, 83%, 83% | 89%, 89%, 83% |
    | backtest and refit of another seed | 68%, 78%, 81% | 90%, 89%, 85% |
    | backtest and a model of a tenth of the customers | 62% | 72%, 75%, 42% |
    | backtest and a model of a tenth of the lines | 37% | 57%, 1%, 0% |
    | backtest and a model of shuffled labels | 8% | 1%, 9%, 13% |

    A model of a tenth of the customers shares as much as some seeds do. `objections_to_training` finds such a refit by
    its number of lines.

    Args:
        shared: `evaluation.scores.agreement` of the refit and the evaluated model, in [0, 1].
        thresholds: `min_refit_agreement` is used.
    """
    if shared >= thresholds.min_refit_agreement:
        return []
    return [
        f"the refit shares only {shared:.1%} of its recommendations with the model that was evaluated; "
        f"at least {thresholds.min_refit_agreement:.0%} is required"
    ]


def _compare(candidate: Scores, of: dict[str, Scores], thresholds: Thresholds) -> tuple[list[str], list[str]]:
    """The reasons for and against the candidate, for one question."""
    in_favour: list[str] = []
    objections: list[str] = []
    too_few = candidate.customers < thresholds.min_customers
    if too_few:
        line = (
            f"{candidate.question}: only {candidate.customers} customers in the holdout, "
            f"{thresholds.min_customers} are required"
        )
        if thresholds.when_too_few == "hold":
            return in_favour, [line]
        in_favour.append(f"{line}, so the means decide (NCF_GATE_WHEN_TOO_FEW)")
    for name in MUST_BEAT[candidate.question]:
        if name not in of:
            objections.append(f"{candidate.question}: {_words(name)} were not evaluated, so nothing can be compared")
            continue
        lead = of[name].ahead if too_few else of[name].ahead_low
        # NaN objects: a comparison with NaN is never true.
        beats = lead is not None and lead > thresholds.baseline_margin
        verb = "beats" if beats else "does not clearly beat"
        line = f"{_precision(candidate)} {verb} {_words(name)} ({of[name].precision_at_k:.4f}){_lead(of[name])}"
        (in_favour if beats else objections).append(line)
    if INCUMBENT in of:
        incumbent = of[INCUMBENT]
        lead = incumbent.ahead if too_few else incumbent.ahead_low
        holds = lead is not None and lead >= -thresholds.incumbent_tolerance
        verb = "is at most" if holds else "may be more than"
        line = (
            f"{_precision(candidate)} {verb} {thresholds.incumbent_tolerance:g} worse than the incumbent "
            f"({incumbent.precision_at_k:.4f}){_lead(incumbent)}"
        )
        (in_favour if holds else objections).append(line)
    elif candidate.question == FOR_YOU:
        in_favour.append("no incumbent that has not seen the holdout exists, so only the baselines are compared with")
    return in_favour, objections


def _not_finite(of_question: Sequence[Scores]) -> list[str]:
    return [
        f"{name} of {score.question}{'' if score.cohort == EVERYONE else f' ({score.cohort})'} is {value}: "
        "not a finite number"
        for score in of_question
        if score.customers > 0  # a mean over no customers is NaN
        for name, value in _of_the_candidate(score)
        if isinstance(value, float) and not isfinite(value)
    ]


def _of_the_candidate(score: Scores) -> Iterator[tuple[str, Any]]:
    """The candidate's numbers by name: its own scores, and its lead over the others."""
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
        # There are several small cohorts, so only a loss that is both large and not chance counts.
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
            f"more than {thresholds.min_catalog_coverage:.0%} is required"
        )
    if not candidate.full_lists >= thresholds.min_full_lists:
        objections.append(
            f"{candidate.question}: only {candidate.full_lists:.1%} of known customers have {candidate.k} products; "
            f"at least {thresholds.min_full_lists:.0%} is required"
        )
    if not candidate.overlap <= thresholds.max_overlap:
        objections.append(
            f"{candidate.question}: two customers' lists share {candidate.overlap:.1%} of their products; "
            f"at most {thresholds.max_overlap:.0%} is allowed, because one list for everyone is no recommendation"
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
