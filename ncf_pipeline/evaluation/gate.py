"""The gate decides whether a candidate may serve. It is pure: a decision holds its reasons and its numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.evaluation.comparison import FALSE_ALARM, Comparison, compare
from ncf_pipeline.evaluation.scores import (
    BEST_RECENT,
    CANDIDATE,
    EVERYONE,
    INCUMBENT,
    KNOWN,
    QUESTIONS,
    VERSION_0,
    Scores,
)

MUST_BEAT: dict[str, tuple[str, ...]] = {
    FOR_YOU: ("best_sellers", "recent_best_sellers", "personal_frequency"),
    # The `discover` list of personal frequency is that of recent best sellers.
    DISCOVER: ("best_sellers", "recent_best_sellers"),
}
"""The baselines of each question. `VERSION_0` is one more, in evaluations that have it."""

_SAME_FOR_EVERYONE = ("best_sellers", "recent_best_sellers")
_PERSONAL = "personal_frequency"

RECENT_VERSIONS = 8
"""Most versions of which `BEST_RECENT` is the best. Each costs seconds, and the best of many is ahead by chance."""


@dataclass(frozen=True)
class Thresholds:
    """The limits that the gate applies. Their defaults and bounds are those of `Settings.gate_*`.

    Attributes:
        baseline_margin: Precision@K; a lead over a baseline is clear if its lower end is above this.
        small_loss: share of another recommender's precision; a loss up to it never holds a candidate.
        max_loss: share of another recommender's precision; a candidate that is so much worse is held at least 9 times
            in 10, or the gate says that it cannot tell.
        max_slide: share of the best recent version's precision; a loss up to it does not hold a candidate.
        max_cohort_loss: share of a cohort's precision; a loss up to it does not hold a candidate.
        min_customers: customers in the holdout, below which no lead counts as clear and no cohort is compared.
        when_too_few: what to do if the data cannot tell an equal candidate from one that is worse by `max_loss`: `go`,
            or `hold`.
        min_coverage_ratio: smallest `catalog_coverage`, as a share of that of the personal baseline.
        min_full_lists: smallest share of customers with a full list, as a share of the baselines'.
        max_overlap: largest overlap of two customers' lists: 0 is that of the personal baseline, 1 that of one list for
            everyone.
        min_lines: smallest share of the incumbent's training lines that the candidate must be trained on.
        min_ids_worth: standard deviations by which a model must rank its products better than with shuffled ids.
        min_refit_ratio: the refit and the evaluated model must recommend at least this share of what two models of
            different seeds have in common.
    """

    baseline_margin: float
    small_loss: float
    max_loss: float
    max_slide: float
    max_cohort_loss: float
    min_customers: int
    when_too_few: Literal["hold", "go"]
    min_coverage_ratio: float
    min_full_lists: float
    max_overlap: float
    min_lines: float
    min_ids_worth: float
    min_refit_ratio: float


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


def decide(
    scores: Sequence[Scores], training: TrainingFacts, thresholds: Thresholds, *, top_n: int | None = None
) -> GateDecision:
    """Lets a candidate through only if no rule objects.

    A version is let through or held as a whole, with its lists for both questions. For `for_you`, and again for
    `discover`:

    1. Every number of the candidate is finite, in every cohort.
    2. It is not worse than what could serve instead: the incumbent, version 0 and the baselines. The limits are those
       of `evaluation.comparison`, with `small_loss` and `max_loss`. Where the data cannot tell, `when_too_few` decides.
    3. It is not worse than the best recent version, with `max_slide`. So many small losses cannot add up.
    4. No cohort loses more than `max_cohort_loss` and more than chance explains, with all cohorts taken together.
    5. It recommends enough of the catalogue, enough customers have a full list, and lists are not the same for
       everyone: each compared with what the baselines reach in this shop.

    Without an incumbent, nothing was ever proven better than the baselines. Then also:

    6. In at least one question, the lower end of its lead over every baseline is above the margin.

    Good lists on one holdout can hide that training went wrong, so also (see `objections_to_training`):

    7. Training ran to its end, and losses and weights are finite.
    8. The candidate was trained on everything in the snapshot before the holdout, and that is not much less than the
       incumbent was trained on.
    9. Each customer and each product has the embedding that was trained for it.

    A candidate that is let through is trained again on everything. That refit must pass `objections_to_training` and
    `objections_to_refit`.

    Args:
        scores: of the candidate, the baselines and, if there are any, the incumbent and the best recent version, by
            cohort. Known customers are judged if they are a cohort, otherwise everyone.
        training: how the candidate was trained.
        thresholds: the limits.
        top_n: length of a served list, if it is known.

    Returns:
        The decision. Its reasons are the objections; without any, what speaks for the candidate. Notes come last.
    """
    objections: list[str] = []
    in_favour: list[str] = []
    unproven: list[str] = []
    followed = proven = False
    cohorts = _cohorts(scores, thresholds)
    for question in QUESTIONS:
        of_question = [score for score in scores if score.question == question]
        of = judged(of_question)
        candidate = of.get(CANDIDATE)
        objections += _not_finite(of_question)
        if candidate is None:
            objections.append(f"the candidate was not evaluated on {question}")
        elif candidate.customers == 0:
            # If nobody bought anything new, `discover` has no scores. That is not the model's fault.
            if question == FOR_YOU:
                objections.append("no customer bought anything in the holdout, so nothing can be compared")
            else:
                in_favour.append(f"{question}: nobody bought anything new in the holdout, so it is not judged")
        else:
            found = _compare(candidate, of, thresholds)
            followed |= INCUMBENT in of
            in_favour += found.in_favour
            objections += found.objections
            if found.shortfalls:
                unproven += found.shortfalls
            else:
                proven = True
            objections += [
                _cohort_suffers(each) for each in cohorts if each.other.question == question and each.is_worse
            ]
            objections += _guard_rails(candidate, of, scores, thresholds)
            in_favour.append(
                f"{question}: {candidate.catalog_coverage:.1%} of the catalogue is recommended, "
                f"two customers' lists share {candidate.overlap:.1%}"
            )
    if not followed and not proven:
        objections += unproven
    elif not followed:
        in_favour += [f"{line}; a clear lead in one question is enough" for line in unproven]
    objections += objections_to_training(training, thresholds)
    notes = _notes(scores, top_n)
    return GateDecision(not objections, (*(objections or in_favour), *notes), thresholds, tuple(scores), training)


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


def objections_to_refit(shared: float, of_two_seeds: float | None, thresholds: Thresholds) -> list[str]:
    """Objections to serving the refit of a candidate that was let through; normally none.

    The refit serves, but no holdout is left to evaluate it on. So for the same customers at the same instant it must
    recommend much of what the evaluated model recommends: about as much as two models of different seeds have in common
    in this shop, at this K.

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

    In nine young synthetic shops of 120 and 300 customers, refits share 84% to 98% of what two seeds share with K = 5,
    and 76% to 107% with K = 1. There, a limit of 70% of all products held five of them. Models of shuffled labels share
    at most 25% of it.

    A model of a tenth of the customers shares as much as some seeds do. `objections_to_training` finds such a refit by
    its number of lines.

    Args:
        shared: `evaluation.scores.agreement` of the refit and the evaluated model, in [0, 1].
        of_two_seeds: the same of two models of different seeds, trained alike. None if it was not measured, as by an
            earlier version of the package; then the refit is judged as if they had everything in common.
        thresholds: `min_refit_ratio` is used.
    """
    measured = of_two_seeds if of_two_seeds is not None and isfinite(of_two_seeds) else 1.0
    required = thresholds.min_refit_ratio * measured
    if shared >= required:
        return []
    of = f", {thresholds.min_refit_ratio:.0%} of what two seeds share ({measured:.1%})" if measured < 1 else ""
    return [
        f"the refit shares only {shared:.1%} of its recommendations with the model that was evaluated; "
        f"at least {required:.1%} is required{of}"
    ]


@dataclass
class _Found:
    """What the comparisons of one question say.

    Attributes:
        in_favour: of the candidate.
        objections: each holds it.
        shortfalls: baselines that it does not clearly beat.
    """

    in_favour: list[str] = field(default_factory=list)
    objections: list[str] = field(default_factory=list)
    shortfalls: list[str] = field(default_factory=list)


def judged(of_question: Sequence[Scores]) -> dict[str, Scores]:
    """The scores over known customers by recommender; over everyone in an evaluation without that cohort.

    Other customers see the same fallback from every recommender. They only make a relative loss look smaller.
    """
    for cohort in (KNOWN, EVERYONE):
        of = {score.recommender: score for score in of_question if score.cohort == cohort}
        if CANDIDATE in of:
            return of
    return {}


def _compare(candidate: Scores, of: dict[str, Scores], thresholds: Thresholds) -> _Found:
    """Compares the candidate with all that could serve instead, for one question."""
    found = _Found()
    baselines = [*MUST_BEAT[candidate.question], *([VERSION_0] if VERSION_0 in of else [])]
    enough = candidate.customers >= thresholds.min_customers
    if not enough:
        found.shortfalls.append(
            f"{candidate.question}: only {candidate.customers} customers in the holdout; "
            f"with fewer than {thresholds.min_customers}, no lead over a baseline counts as clear"
        )
    missing = [name for name in baselines if name not in of]
    found.objections += [
        f"{candidate.question}: {_words(name)} were not evaluated, so nothing can be compared" for name in missing
    ]
    for name in baselines:
        if name in missing:
            continue
        comparison = _against(of[name], thresholds)
        if comparison.is_worse:
            found.objections.append(_is_worse(candidate, comparison))
        elif comparison.clearly_ahead(thresholds.baseline_margin):
            found.in_favour.append(_line(candidate, "beats", of[name]))
        elif enough:
            found.shortfalls.append(_line(candidate, "does not clearly beat", of[name]))
    if INCUMBENT in of:
        comparison = _against(of[INCUMBENT], thresholds)
        if comparison.is_worse:
            found.objections.append(_is_worse(candidate, comparison))
        else:
            found.in_favour.append(_line(candidate, "is not worse than", of[INCUMBENT]))
    else:
        found.in_favour.append(
            f"{candidate.question}: no incumbent that has not seen the holdout was evaluated, "
            "so only the baselines are compared with"
        )
    _too_few(candidate, of, baselines, thresholds, found)
    if BEST_RECENT in of:
        slide = compare(
            of[BEST_RECENT],
            floor=thresholds.max_slide,
            max_loss=thresholds.max_loss,
            false_alarm=FALSE_ALARM / RECENT_VERSIONS,
        )
        if slide.is_worse:
            found.objections.append(f"{_is_worse(candidate, slide)}: small losses have added up")
        else:
            found.in_favour.append(_line(candidate, "is not worse than", of[BEST_RECENT]))
    return found


def _against(other: Scores, thresholds: Thresholds) -> Comparison:
    return compare(other, floor=thresholds.small_loss, max_loss=thresholds.max_loss)


def _too_few(
    candidate: Scores, of: dict[str, Scores], baselines: Sequence[str], thresholds: Thresholds, found: _Found
) -> None:
    """Says if the data cannot tell, and what follows from that. What counts is what would serve instead."""
    rivals = [of[INCUMBENT]] if INCUMBENT in of else [of[name] for name in baselines if name in of]
    strongest = max(rivals, key=lambda other: other.precision_at_k, default=None)
    if strongest is None or not _against(strongest, thresholds).cannot_tell:
        return
    line = (
        f"{candidate.question}: with {candidate.customers} customers, a list that is {thresholds.max_loss:.0%} worse "
        f"than {_the(strongest)} cannot be told from an equal one{_lead(strongest)}"
    )
    if thresholds.when_too_few == "hold":
        found.objections.append(f"{line}, so the version is held (NCF_GATE_WHEN_TOO_FEW=hold)")
    else:
        found.in_favour.append(f"{line}; that does not hold it (NCF_GATE_WHEN_TOO_FEW=go)")


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
    for name, value in vars(score).items():
        if score.recommender == CANDIDATE:
            yield name, value
        elif name.startswith("ahead"):
            yield f"{name} of {_words(score.recommender)}", value


def _cohorts(scores: Sequence[Scores], thresholds: Thresholds) -> list[Comparison]:
    """Compares every large enough cohort with the incumbent, or without one with version 0.

    There are several cohorts, so chance must explain less in each: all together raise as few
    false alarms as one comparison (Bonferroni).
    """
    rival = INCUMBENT if any(score.recommender == INCUMBENT for score in scores) else VERSION_0
    main = {id(each) for question in QUESTIONS for each in judged(_of(scores, question)).values()}
    rows = [
        score
        for score in scores
        if score.recommender == rival
        and id(score) not in main
        and score.customers >= thresholds.min_customers
        and score.ahead is not None
    ]
    return [
        compare(
            row,
            floor=thresholds.max_cohort_loss,
            max_loss=thresholds.max_loss,
            false_alarm=FALSE_ALARM / len(rows),
        )
        for row in rows
    ]


def _cohort_suffers(comparison: Comparison) -> str:
    other = comparison.other
    return (
        f"{other.question}: customers of cohort {other.cohort} lose against {_the(other)} "
        f"({other.precision_at_k:.4f}){_lead(other)}; more than {-comparison.worse_below:.4f} is too much"
    )


def _guard_rails(
    candidate: Scores, of: dict[str, Scores], scores: Sequence[Scores], thresholds: Thresholds
) -> list[str]:
    """Compares coverage, full lists and overlap with what the baselines reach, on the same customers and catalogue."""
    objections = []
    personal = _personal_baseline(candidate, of, scores)
    if personal is not None:
        required = thresholds.min_coverage_ratio * personal.catalog_coverage
        if not candidate.catalog_coverage >= required:
            objections.append(
                f"{candidate.question}: only {candidate.catalog_coverage:.2%} of the catalogue is recommended; "
                f"at least {required:.2%} is required, {thresholds.min_coverage_ratio:.0%} of what "
                f"{_words(personal.recommender)} recommends"
            )
    full = max((of[name].full_lists for name in (*MUST_BEAT[candidate.question], VERSION_0) if name in of), default=1.0)
    if not candidate.full_lists >= thresholds.min_full_lists * full:
        objections.append(
            f"{candidate.question}: only {candidate.full_lists:.1%} of known customers have {candidate.k} products; "
            f"at least {thresholds.min_full_lists * full:.1%} is required: a baseline has as many for {full:.1%}"
        )
    allowed = _allowed_overlap(personal, of, thresholds)
    if not candidate.overlap <= allowed:
        objections.append(
            f"{candidate.question}: two customers' lists share {candidate.overlap:.1%} of their products; "
            f"at most {allowed:.1%} is allowed, because one list for everyone is no recommendation"
        )
    return objections


def _personal_baseline(candidate: Scores, of: dict[str, Scores], scores: Sequence[Scores]) -> Scores | None:
    """The baseline that shows how varied lists can be in this shop: with so many customers, products and repeats.

    It is scored on the same customers, so it cannot reach more than their number times K, nor more than the catalogue.
    """
    if candidate.question == FOR_YOU and _PERSONAL in of:
        return of[_PERSONAL]
    # The `discover` list of personal frequency is not personal, so in an older evaluation its other list must do.
    return of.get(VERSION_0) or judged(_of(scores, FOR_YOU)).get(_PERSONAL)


def _allowed_overlap(personal: Scores | None, of: dict[str, Scores], thresholds: Thresholds) -> float:
    least = personal.overlap if personal is not None else 0.0
    same = max((of[name].overlap for name in _SAME_FOR_EVERYONE if name in of), default=1.0)
    # In a catalogue of a few products, personal lists overlap as much.
    same = same if same > least else 1.0
    return least + thresholds.max_overlap * (same - least)


def _notes(scores: Sequence[Scores], top_n: int | None) -> list[str]:
    k = max((score.k for score in scores), default=0)
    if top_n is None or k <= top_n:
        return []
    return [
        f"Precision@{k} judges {k} places, but a served list has {top_n}: set NCF_K to {top_n} or less, "
        f"or NCF_TOP_N to {k} or more"
    ]


def _of(scores: Sequence[Scores], question: str) -> list[Scores]:
    return [score for score in scores if score.question == question]


def _is_worse(candidate: Scores, comparison: Comparison) -> str:
    other = comparison.other
    if not isfinite(comparison.worse_below):
        return _line(candidate, "cannot be compared with", other)
    line = _line(candidate, "is worse than", other)
    if other.precision_at_k <= 0:
        return line
    return f"{line}; a loss of up to {-comparison.worse_below / other.precision_at_k:.1%} is allowed"


def _line(candidate: Scores, verb: str, other: Scores) -> str:
    return f"{_precision(candidate)} {verb} {_the(other)} ({other.precision_at_k:.4f}){_lead(other)}"


def _precision(score: Scores) -> str:
    cohort = "" if score.cohort == EVERYONE else f" of {score.cohort}"
    return f"{score.question}{cohort}: Precision@{score.k} {score.precision_at_k:.4f}"


def _lead(other: Scores) -> str:
    if other.ahead is None or other.ahead_low is None or other.ahead_high is None:
        return ""
    return f", {other.ahead:+.4f} [{other.ahead_low:+.4f}, {other.ahead_high:+.4f}]"


def _the(other: Scores) -> str:
    names = {INCUMBENT: "the incumbent", BEST_RECENT: "the best recent version"}
    return names.get(other.recommender, _words(other.recommender))


def _words(name: str) -> str:
    return name.replace("_", " ")
