"""An evaluation as people read it. Its labels, rounding and order are here; commands, cards and pages lay it out."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from ncf_pipeline.columns import DISCOVER, FOR_YOU
from ncf_pipeline.evaluation.scores import BEST_RECENT, CANDIDATE, EVERYONE, KNOWN, NDCG_DEPTH, Scores

QUESTIONS_IN_WORDS = {FOR_YOU: "what they buy next", DISCOVER: "what they buy for the first time"}


@dataclass(frozen=True)
class Column:
    """A metric: its heading, in which `{k}` stands for the depth, and the text of its cells."""

    heading: str
    cell: Callable[[Scores], str]


@dataclass(frozen=True)
class Row:
    """One recommender's scores, rounded.

    Attributes:
        recommender: its name in words, such as `personal frequency`.
        is_candidate: whether it is the candidate, which tables print in bold.
        cells: a text for each column of the table.
    """

    recommender: str
    is_candidate: bool
    cells: tuple[str, ...]


@dataclass(frozen=True)
class EvaluationTable:
    """The answers of all recommenders to one question, over the customers of one cohort.

    Attributes:
        question: `for_you` or `discover`.
        cohort: `everyone`, or the name of a group of customers.
        customers: how many customers the means are over.
        known: how many of them were known before the holdout; None if that is not beside the figures for everyone.
        headings: of the columns after the recommender's.
        rows: the candidate's first.
    """

    question: str
    cohort: str
    customers: int
    known: int | None
    headings: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """As in `for_you: 1,547 customers, 1,323 of them known` and `for_you: 5+ invoices, 312 customers`."""
        who = "" if self.is_of_everyone else f"{self.cohort}, "
        known = "" if self.known is None else f", {self.known:,} of them known"
        return f"{self.question}: {who}{self.customers:,} customers{known}"

    @property
    def is_of_everyone(self) -> bool:
        """Whether no customer is left out."""
        return self.cohort == EVERYONE

    def cells_of(self, row: Row, headings: Sequence[str]) -> tuple[str, ...]:
        """The row's cells under these headings; empty where this table has no such column."""
        cells = dict(zip(self.headings, row.cells, strict=True))
        return tuple(cells.get(heading, "") for heading in headings)


def label(recommender: str | None) -> str:
    """A recommender's name in words.

    >>> label("personal_frequency")
    'personal frequency'
    """
    return (recommender or "baseline").replace("_", " ")


def number(value: float | None) -> str:
    """A metric in [0, 1] with four digits; nothing if it is unknown.

    >>> number(0.33518)
    '0.3352'
    """
    return "" if value is None else f"{value:.4f}"


def difference(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """A difference between two metrics with its sign, and with its 95% interval if it has one.

    >>> difference(0.0508, 0.0415, 0.0596)
    '+0.0508 [+0.0415, +0.0596]'
    """
    if value is None:
        return ""
    return f"{value:+.4f}" if low is None or high is None else f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def with_interval(mean: float, low: float | None, high: float | None) -> str:
    """A metric with its 95% interval, if it has one.

    >>> with_interval(0.3352, 0.3210, 0.3494)
    '0.3352 [0.3210, 0.3494]'
    """
    return number(mean) if low is None or high is None else f"{number(mean)} [{number(low)}, {number(high)}]"


def percent(share: float | None) -> str:
    """A share with one digit; nothing if it is unknown.

    >>> percent(0.202)
    '20.2%'
    """
    return "" if share is None else f"{share:.1%}"


def compared_with(details: Mapping[str, Any]) -> str:
    """What the gate compared a candidate with, from the details of its decision.

    >>> compared_with({"incumbent": 7})
    'v7, the incumbent'
    >>> compared_with({"incumbent": 7, "best_recent": {"best": {"for_you": 5}}})
    'v7, the incumbent, and v5, the best recent version (for_you)'
    """
    incumbent, best = details.get("incumbent"), (details.get(BEST_RECENT) or {}).get("best", {})
    compared = [f"v{incumbent}, the incumbent"] if incumbent is not None else []
    compared += [f"v{version}, the best recent version ({question})" for question, version in best.items()]
    return ", and ".join(compared) or "the baselines alone"


PRECISION = Column("P@{k}", lambda scores: number(scores.precision_at_k))
OF_KNOWN = Column("P@{k} known", lambda scores: number(scores.precision_at_k))
"""Beside the figures for everyone: the precision over the customers who were known before the holdout."""
INTERVAL = Column("95% interval", lambda scores: f"[{number(scores.precision_low)}, {number(scores.precision_high)}]")
AHEAD = Column("candidate ahead by", lambda scores: difference(scores.ahead, scores.ahead_low, scores.ahead_high))
RECALL = Column("R@{k}", lambda scores: number(scores.recall_at_k))
NDCG = Column(f"NDCG@{NDCG_DEPTH}", lambda scores: number(scores.ndcg_at_10))
MAP = Column(f"MAP@{NDCG_DEPTH}", lambda scores: number(scores.map_at_10))
REVENUE = Column("revenue@{k}", lambda scores: percent(scores.revenue_at_k))
NOVELTY = Column("novelty", lambda scores: "" if scores.novelty is None else f"{scores.novelty:.1f}")
COVERAGE = Column("coverage", lambda scores: percent(scores.catalog_coverage))
FULL_LISTS = Column("full lists", lambda scores: percent(scores.full_lists))
OVERLAP = Column("overlap", lambda scores: percent(scores.overlap))

COLUMNS = (
    PRECISION,
    OF_KNOWN,
    INTERVAL,
    AHEAD,
    RECALL,
    NDCG,
    MAP,
    REVENUE,
    NOVELTY,
    COVERAGE,
    FULL_LISTS,
    OVERLAP,
)
"""All columns, from left to right."""


def evaluation_tables(scores: Iterable[Scores], columns: Collection[Column] = COLUMNS) -> list[EvaluationTable]:
    """Lays an evaluation out: a table for each question and cohort, a row for each recommender.

    Args:
        scores: in the order question, cohort, recommender, as `evaluation.scores.score` returns them.
        columns: which to show; their order is always that of `COLUMNS`.

    Returns:
        In the order of the scores, without cohorts in which nobody bought anything.
    """
    everything = list(scores)
    known = {(each.question, each.recommender): each for each in everything if each.cohort == KNOWN}
    tables = []
    for (question, cohort), group in groupby(everything, key=lambda each: (each.question, each.cohort)):
        answers = list(group)
        if answers[0].customers == 0:
            continue
        of_known = [known[question, each.recommender] for each in answers if (question, each.recommender) in known]
        beside = cohort == EVERYONE and len(of_known) == len(answers) and of_known[0].customers > 0
        shown = [column for column in COLUMNS if column in columns and (column is not OF_KNOWN or beside)]
        tables.append(
            EvaluationTable(
                question,
                cohort,
                answers[0].customers,
                of_known[0].customers if beside else None,
                tuple(column.heading.format(k=answers[0].k) for column in shown),
                tuple(
                    Row(
                        label(each.recommender),
                        each.recommender == CANDIDATE,
                        tuple(column.cell(alone if column is OF_KNOWN else each) for column in shown),
                    )
                    for each, alone in zip(answers, of_known if beside else answers, strict=True)
                ),
            )
        )
    return tables
