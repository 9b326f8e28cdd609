"""How often the gate lets candidates through that are a little worse or better, in a shop like this one. It is pure.

Candidates are simulated, and the real `decide` is asked. What a shop is like comes from one stored evaluation: its
customers, cohorts and precision, and from the intervals of paired leads how much chance moves them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.evaluation.comparison import compare, smallest_held_loss, standard_error
from ncf_pipeline.evaluation.gate import Thresholds, decide, judged
from ncf_pipeline.evaluation.scores import (
    BEST_RECENT,
    CANDIDATE,
    EVERYONE,
    INCUMBENT,
    NETWORK_ALONE,
    PLAIN,
    QUESTIONS,
    Scores,
)
from ncf_pipeline.evaluation.simulation import WELL_TRAINED

CHANGES = (0.05, 0.0, -0.05, -0.10, -0.20)
"""Relative changes of Precision@K that are simulated: better, equal, worse."""

REPEATS = 250

NO_RIVALS = (CANDIDATE, BEST_RECENT, NETWORK_ALONE, PLAIN)
"""What an evaluation has beside the incumbent and the baselines."""


@dataclass(frozen=True)
class QuestionPower:
    """What the data of one question can tell.

    Attributes:
        question: `for_you` or `discover`.
        customers: in the holdout.
        precision_at_k: of the recommender that candidates are compared with.
        standard_error: of a candidate's mean lead over it, in Precision@K.
        smallest_held_loss: share of the precision; a candidate that is so much worse is held 9 times in 10. None if not
            even an empty list is.
        cannot_tell: one line if that is more than the largest loss (`NCF_GATE_MAX_LOSS`); None otherwise.
    """

    question: str
    customers: int
    precision_at_k: float
    standard_error: float
    smallest_held_loss: float | None
    cannot_tell: str | None


@dataclass(frozen=True)
class Passing:
    """How often a candidate passes whose true Precision@K differs by a share.

    Attributes:
        change: relative to the recommender that it is compared with: -0.1 is a tenth worse.
        both: share of the simulated candidates that pass, if both lists differ so.
        alone: the same if only the list of one question does and the other is equal, by question.
    """

    change: float
    both: float
    alone: dict[str, float]


@dataclass(frozen=True)
class Power:
    """The operating characteristic of the gate in one shop.

    Attributes:
        compared_with: the recommender that simulated candidates are compared with: the incumbent; or a baseline, whose
            distance to a candidate stands for that between two versions if none were compared yet.
        k: depth of Precision@K.
        repeats: simulated candidates for each share.
        questions: what the data of each question can tell.
        passing: from better to worse.
    """

    compared_with: str
    k: int
    repeats: int
    questions: tuple[QuestionPower, ...]
    passing: tuple[Passing, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON stores it."""
        return asdict(self)


def power_of(
    scores: Sequence[Scores],
    thresholds: Thresholds,
    *,
    changes: Iterable[float] = CHANGES,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Power:
    """Simulates candidates in the shop that was evaluated, and counts how often the gate lets them through.

    A simulated candidate is as much better or worse than the incumbent in every cohort. Chance moves its leads as it
    moved the stored ones: normally distributed; a cohort's luck is that of its share of the customers, and the luck
    against each other recommender is the same.

    Args:
        scores: of one evaluation, with the candidate, the baselines, and the incumbent if there was one.
        thresholds: the gate's.
        changes: relative changes of Precision@K.
        repeats: candidates for each change.
        seed: of the random numbers.

    Raises:
        ValueError: nothing was compared in the evaluation.
    """
    shop = _with_incumbent(scores)
    rows = {
        question: of
        for question in QUESTIONS
        if INCUMBENT in (of := judged([score for score in shop if score.question == question]))
        and of[INCUMBENT].customers > 0
    }
    if not rows:
        raise ValueError("nothing was compared in this evaluation")
    generator = np.random.default_rng(seed)

    def passes(by_question: dict[str, float]) -> float:
        drawn = _Draws(shop, rows, generator, repeats)
        return float(
            np.mean(
                [
                    decide(drawn.scores(number, by_question), WELL_TRAINED, thresholds).promote
                    for number in range(repeats)
                ]
            )
        )

    passing = []
    for change in changes:
        both = passes(dict.fromkeys(rows, change))
        alone = {name: passes({name: change}) if change and len(rows) > 1 else both for name in rows}
        passing.append(Passing(change, both, alone))
    return Power(
        compared_with=_rival(scores),
        k=next(iter(rows.values()))[INCUMBENT].k,
        repeats=repeats,
        questions=tuple(_question(of[INCUMBENT], thresholds) for of in rows.values()),
        passing=tuple(passing),
    )


def _question(incumbent: Scores, thresholds: Thresholds) -> QuestionPower:
    comparison = compare(incumbent, floor=thresholds.small_loss, max_loss=thresholds.max_loss)
    held = smallest_held_loss(comparison)
    line = None
    if held is None or held > thresholds.max_loss:
        then = (
            "Candidates are held unless their lead excludes it (NCF_GATE_WHEN_TOO_FEW=hold)."
            if thresholds.when_too_few == "hold"
            else "That alone holds no candidate (NCF_GATE_WHEN_TOO_FEW=go)."
        )
        smallest = f"; one that is {held:.0%} worse can" if held is not None else ""
        line = (
            f"{incumbent.question}: with {incumbent.customers:,} customers, a list that is {thresholds.max_loss:.0%} "
            f"worse cannot be told from an equal one{smallest}. {then}"
        )
    return QuestionPower(
        question=incumbent.question,
        customers=incumbent.customers,
        precision_at_k=incumbent.precision_at_k,
        standard_error=standard_error(incumbent),
        smallest_held_loss=held,
        cannot_tell=line,
    )


def _rival(scores: Sequence[Scores]) -> str:
    """The incumbent; without one, the baseline with the highest precision in the first question that has one."""
    if any(score.recommender == INCUMBENT for score in scores):
        return INCUMBENT
    for question in QUESTIONS:
        of = judged([score for score in scores if score.question == question])
        baselines = [score for score in of.values() if score.recommender not in NO_RIVALS]
        if baselines:
            return max(baselines, key=lambda score: score.precision_at_k).recommender
    return INCUMBENT


def _with_incumbent(scores: Sequence[Scores]) -> list[Scores]:
    """The scores; without an incumbent, as if the candidate had been promoted and were the incumbent now."""
    if any(score.recommender == INCUMBENT for score in scores):
        return list(scores)
    rows = list(scores)
    for question in QUESTIONS:
        own = {score.cohort: score for score in scores if score.question == question and score.recommender == CANDIDATE}
        of = judged([score for score in scores if score.question == question])
        rivals = [score for score in of.values() if score.recommender not in NO_RIVALS]
        if not rivals:
            continue
        nearest = max(rivals, key=lambda score: score.precision_at_k).recommender
        rows += [
            replace(score, recommender=INCUMBENT, precision_at_k=own[score.cohort].precision_at_k)
            for score in scores
            if score.question == question and score.recommender == nearest and score.cohort in own
        ]
    return rows


class _Draws:
    """The scores of simulated candidates: the stored rows, with other leads."""

    def __init__(
        self,
        shop: Sequence[Scores],
        rows: dict[str, dict[str, Scores]],
        generator: np.random.Generator,
        repeats: int,
    ) -> None:
        self._shop = shop
        self._of_incumbent = {
            (score.question, score.cohort): score.precision_at_k for score in shop if score.recommender == INCUMBENT
        }
        self._luck: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
        for question, of in rows.items():
            shared = generator.standard_normal(repeats)
            for score in shop:
                if score.question == question and score.recommender == INCUMBENT:
                    # Over a part of the customers, luck is partly that of all.
                    weight = sqrt(min(1.0, score.customers / of[INCUMBENT].customers))
                    if score.cohort == EVERYONE:
                        weight = 1.0  # newcomers see the same from every recommender
                    own = generator.standard_normal(repeats)
                    self._luck[question, score.cohort] = weight * shared + sqrt(1 - weight**2) * own

    def scores(self, number: int, by_question: dict[str, float]) -> list[Scores]:
        """The scores of one candidate.

        Args:
            number: of the candidate.
            by_question: relative change of its true Precision@K; 0 for other questions.
        """
        return [self._drawn(score, number, by_question.get(score.question, 0.0)) for score in self._shop]

    def _drawn(self, score: Scores, number: int, change: float) -> Scores:
        place = (score.question, score.cohort)
        if place not in self._luck or score.customers == 0:
            return score
        precision = self._of_incumbent[place]
        luck = float(self._luck[place][number])
        if score.recommender == CANDIDATE:
            return replace(score, precision_at_k=precision * (1 + change))
        if score.ahead is None or score.ahead_low is None or score.ahead_high is None:
            return score
        lead = precision * (1 + change) - score.precision_at_k + standard_error(score) * luck
        return replace(
            score,
            ahead=lead,
            ahead_low=lead - (score.ahead - score.ahead_low),
            ahead_high=lead + (score.ahead_high - score.ahead),
        )
