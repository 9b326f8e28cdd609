"""The sections of the page. A new one needs a function and an entry in `SECTIONS`, and a template in `templates/parts`.

Each function asks the database once, and returns what its template shows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from ncf_pipeline.evaluation.scores import QUESTIONS
from ncf_pipeline.evaluation.summary import QUESTIONS_IN_WORDS, label, number, with_interval
from ncf_pipeline.experiments.design import share_sees
from ncf_pipeline.live.drift import LivePrecision
from ncf_pipeline.pages.locales import axis_day, short_day
from ncf_pipeline.pages.recommender.charts import Chart, Series, Value, chart
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.versions import RecentRetrain
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

MOST = 12
"""How many retrains, windows, experiments, decisions and batches are shown."""

_NARROWEST = 1.5
"""Percent of a bar that a part has at least, so that it can be seen."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor, and its template `parts/NAME.html`, which finds the result of `read` as `shown`.
        title: its heading.
        short: its name in the navigation.
        read: reads what it shows from an installation's database.
    """

    name: str
    title: str
    short: str
    read: Callable[[Settings], Mapping[str, Any]]


@dataclass(frozen=True)
class Retrain:
    """A candidate's answer to one question, and what became of the candidate.

    Attributes:
        question: `for_you` or `discover`.
        scores: of the candidate, of the best baseline and of the incumbent.
        outcome: `promoted`, `let through`, `held` or `undecided`.
    """

    question: str
    scores: RecentRetrain
    outcome: str


@dataclass(frozen=True)
class Window:
    """How lists performed while they were live, on one question.

    Attributes:
        question: `for_you` or `discover`.
        bought_from: first instant of the window, on the shop's clock.
        bought_until: first instant after it.
        number: of the publication that was live at its end.
        precision: of the lists, and of personal frequency on the same purchases.
    """

    question: str
    bought_from: datetime
    bought_until: datetime
    number: int
    precision: LivePrecision


@dataclass(frozen=True)
class Batch:
    """A batch, and the parts of its bar.

    Attributes:
        record: the row of `recent_batches.sql`.
        bar: for each part its name, and where it starts and how wide it is in percent of the bar.
    """

    record: Any
    bar: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True)
class Trial:
    """An experiment, and what its smaller group sees.

    Attributes:
        record: the row of `recent_experiments.sql`.
        seen: what the share sees, in words.
    """

    record: Any
    seen: str


_Answer = TypeVar("_Answer", Retrain, Window)


def retrains(settings: Settings) -> Mapping[str, Any]:
    """Precision@k of the last candidates on their holdouts, beside the best baseline and the incumbent."""
    rows = [Retrain(row.question, row, _outcome(row)) for row in registry.recent_retrains(settings, count=MOST)]
    newest = next((row.scores for row in reversed(rows) if row.question == QUESTIONS[0]), None)
    return {
        "charts": [_chart_of_retrains(question, answers) for question, answers in _by_question(rows)],
        "rows": rows[::-1],
        "retrains": len({row.scores.version for row in rows}),
        "newest": newest,
    }


def live(settings: Settings) -> Mapping[str, Any]:
    """How the served lists performed, beside personal frequency on the same purchases; and what has drifted."""
    reports, known = live_periods.measured(settings, MOST)
    windows = [
        Window(question, report.bought_from, report.bought_until, report.figures["publication"], precision)
        for report in reports
        for question, precision in _precisions(report.figures)
    ]
    return {
        "charts": [_chart_of_windows(question, answers) for question, answers in _by_question(windows)],
        "rows": windows[::-1],
        "drift": reports[-1].findings if reports else (),
        "periods": known[::-1],
    }


def decisions(settings: Settings) -> Mapping[str, Any]:
    """The last decisions of the gate, with their reasons."""
    return {"rows": read_rows(settings, "recent_decisions", count=MOST)}


def batches(settings: Settings) -> Mapping[str, Any]:
    """What became of the lines of the last batches."""
    return {"rows": [Batch(row, _bar(row)) for row in read_rows(settings, "recent_batches", count=MOST)]}


def experiments(settings: Settings) -> Mapping[str, Any]:
    """The last experiments, each with the sentence of its newest report."""
    rows = read_rows(settings, "recent_experiments", count=MOST)
    return {"rows": [Trial(row, share_sees(row.kind, row.challenger, row.list_order)) for row in rows]}


SECTIONS = (
    Section("retrains", "How good the models are", "Models", retrains),
    Section("live", "How the served lists performed", "Live", live),
    Section("experiments", "Whether the lists sell more", "Uplift", experiments),
    Section("decisions", "What the gate decided", "Gate", decisions),
    Section("batches", "What was loaded", "Batches", batches),
)
"""In the order of the page."""


def _by_question(rows: Iterable[_Answer]) -> list[tuple[str, list[_Answer]]]:
    """Groups rows by question, in the order of the questions; a question without rows is left out."""
    rows = list(rows)
    grouped = ((question, [row for row in rows if row.question == question]) for question in QUESTIONS)
    return [(question, answers) for question, answers in grouped if answers]


def _precisions(figures: Mapping[str, Any]) -> list[tuple[str, LivePrecision]]:
    """The precision on each question of a window, without questions that nobody was asked."""
    stored = ((question, LivePrecision(**precision)) for question, precision in figures["precision"].items())
    return [(question, precision) for question, precision in stored if precision.live is not None]


def _outcome(row: RecentRetrain) -> str:
    if row.served:
        return "promoted"
    return "undecided" if row.may_serve is None else "let through" if row.may_serve else "held"


def _chart_of_retrains(question: str, rows: Sequence[Retrain]) -> Chart:
    newest = rows[-1].scores
    summary = f"The last {len(rows)} candidates. " if len(rows) > 1 else ""
    summary += f"The newest, v{newest.version}, has {number(newest.precision_at_k)}"
    if newest.best_baseline is not None:
        summary += f", and the best baseline on its holdout has {number(newest.best_baseline)}"
    baselines, incumbents, candidates = [], [], []
    for place, row in enumerate(rows):
        scores = row.scores
        if scores.best_baseline is not None:
            name = f"v{scores.version} {label(scores.baseline)}"
            baselines.append(_value(place, name, scores.best_baseline, scores.baseline_low, scores.baseline_high))
        if scores.incumbent is not None:
            name = f"v{scores.version} incumbent"
            incumbents.append(_value(place, name, scores.incumbent, scores.incumbent_low, scores.incumbent_high))
        name = f"v{scores.version} candidate {row.outcome}"
        ends = scores.precision_low, scores.precision_high
        candidates.append(_value(place, name, scores.precision_at_k, *ends, kind=row.outcome))
    return chart(
        f"{QUESTIONS_IN_WORDS[question]}: Precision@{newest.k} of {question}",
        f"{summary}. The numbers are in the table below.",
        [
            (f"v{row.scores.version}", axis_day(row.scores.cutoff), "held" if row.outcome == "held" else "")
            for row in rows
        ],
        [Series("baseline", baselines, -7), Series("incumbent", incumbents, 7), Series("candidate", candidates)],
    )


def _chart_of_windows(question: str, rows: Sequence[Window]) -> Chart:
    newest = rows[-1].precision
    lists, instead = [], []
    for place, row in enumerate(rows):
        precision = row.precision
        when = f"{short_day(row.bought_from)} to {short_day(row.bought_until)}"
        if precision.live is not None:
            lists.append(_value(place, f"{when}, lists", precision.live, precision.low, precision.high))
        if precision.instead is not None:
            instead.append(_value(place, f"{when}, personal frequency", precision.instead, None, None))
    return chart(
        f"{QUESTIONS_IN_WORDS[question]}: live Precision@{newest.k} of {question}",
        (f"The last {len(rows)} windows between two retrains. " if len(rows) > 1 else "")
        + f"In the newest window the lists have {number(newest.live)}. "
        "The numbers are in the table below.",
        [(axis_day(row.bought_until), f"p{row.number}") for row in rows],
        [Series("instead", instead, -5), Series("lists", lists)],
    )


def _value(place: int, name: str, mean: float, low: float | None, high: float | None, kind: str = "") -> Value:
    return Value(place, mean, low, high, f"{name}: {with_interval(mean, low, high)}", kind)


def _bar(batch: Any) -> tuple[tuple[str, float, float], ...]:
    """What became of a batch's lines, in percent of the bar; a part that has lines is wide enough to see."""
    parts = {"merged": batch.lines_merged, "unchanged": batch.lines_unchanged, "quarantined": batch.lines_quarantined}
    widths = {
        name: max(100 * lines / batch.lines_read, _NARROWEST)
        for name, lines in parts.items()
        if lines and batch.lines_read
    }
    whole = sum(widths.values())
    bar, x = [], 0.0
    for name, width in widths.items():
        bar.append((name, round(x, 2), round(100 * width / whole, 2)))
        x += 100 * width / whole
    return tuple(bar)
