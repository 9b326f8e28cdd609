"""The sections of the page. One more is a function here, an entry in `SECTIONS`, and a template in `templates/parts`.

Each function asks the database one question, and gives what its template shows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline.evaluation.scores import QUESTIONS
from ncf_pipeline.evaluation.summary import QUESTIONS_IN_WORDS, label, number, with_interval
from ncf_pipeline.experiments.design import share_sees
from ncf_pipeline.pages.recommender.charts import Chart, Series, Value, chart
from ncf_pipeline.registry import live_periods as live_history
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import read_rows

MOST = 12
"""Retrains, decisions, weeks and batches that are shown."""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: its anchor, and its template `parts/NAME.html`, which finds what `read` gave as `shown`.
        title: its heading.
        short: the same on the way to it.
        read: what it shows, from an installation's database.
    """

    name: str
    title: str
    short: str
    read: Callable[[Settings], Mapping[str, Any]]


def retrains(settings: Settings) -> Mapping[str, Any]:
    """Precision@K of the last candidates on their holdouts, beside the best baseline and the incumbent there."""
    rows = registry.recent_retrains(settings, count=MOST)
    shown = [{**asdict(row), "outcome": _outcome(row)} for row in rows]
    charts = [_of_retrains(question, found) for question, found in _by_question(shown)]
    newest = next((row for row in reversed(shown) if row["question"] == QUESTIONS[0]), None)
    return {"charts": charts, "rows": shown[::-1], "newest": newest}


def live(settings: Settings) -> Mapping[str, Any]:
    """What the served lists did, beside what personal frequency would have done; and what has drifted."""
    reports = live_history.drift_reports(settings)[-MOST:]
    rows = [
        {
            **of,
            "question": question,
            "bought_from": report.bought_from,
            "bought_until": report.bought_until,
            "number": report.figures["publication"],
        }
        for report in reports
        for question, of in report.figures["precision"].items()
        if of["live"] is not None
    ]
    drift = reports[-1].findings if reports else ()
    return {"charts": [_of_live(*of) for of in _by_question(rows)], "rows": rows[::-1], "drift": drift}


def decisions(settings: Settings) -> Mapping[str, Any]:
    """What the gate decided, and why."""
    return {"rows": read_rows(settings, "recent_decisions", count=MOST)}


def batches(settings: Settings) -> Mapping[str, Any]:
    """Where the lines of the last batches went."""
    return {"rows": [_batch(row) for row in read_rows(settings, "recent_batches", count=MOST)]}


def experiments(settings: Settings) -> Mapping[str, Any]:
    """Whether the lists sell more, in the one sentence of each experiment's newest report."""
    rows = read_rows(settings, "recent_experiments", count=MOST)
    return {"rows": [{**row._asdict(), "seen": share_sees(row.kind, row.challenger)} for row in rows]}


SECTIONS = (
    Section("retrains", "How good the models are", "Models", retrains),
    Section("live", "What the served lists did", "Live", live),
    Section("experiments", "Whether they sell more", "Uplift", experiments),
    Section("decisions", "What the gate decided", "Gate", decisions),
    Section("batches", "What was loaded", "Batches", batches),
)
"""From top to bottom."""


def _by_question(rows: Sequence[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    found = ((question, [row for row in rows if row["question"] == question]) for question in QUESTIONS)
    return [(question, rows) for question, rows in found if rows]


def _of_retrains(question: str, rows: Sequence[dict[str, Any]]) -> Chart:
    newest = rows[-1]
    summary = (
        f"The last {len(rows)} candidates. The newest, v{newest['version']}, had {number(newest['precision_at_k'])}"
    )
    if newest["best_baseline"] is not None:
        summary += f", the best baseline there {number(newest['best_baseline'])}"
    return chart(
        f"{QUESTIONS_IN_WORDS[question]}: Precision@{newest['k']} of {question}",
        f"{summary}. The numbers are in the table below.",
        [(f"v{row['version']}", f"{row['cutoff']:%-d %b}", "held" if row["outcome"] == "held" else "") for row in rows],
        [
            Series("baseline", _values(rows, "best_baseline", "baseline", lambda row: label(row["baseline"])), -7),
            Series("incumbent", _values(rows, "incumbent", "incumbent", lambda _: "incumbent"), 7),
            Series("candidate", _values(rows, "precision_at_k", "precision", lambda _: "candidate", _kind)),
        ],
    )


def _values(
    rows: Sequence[dict[str, Any]],
    mean: str,
    interval: str,
    who: Callable[[dict[str, Any]], str],
    kind: Callable[[dict[str, Any]], str] = lambda _: "",
) -> list[Value]:
    values = []
    for place, row in enumerate(rows):
        if row[mean] is not None:
            low, high = row[f"{interval}_low"], row[f"{interval}_high"]
            words = f"v{row['version']} {who(row)} {kind(row)}".rstrip()
            values.append(
                Value(place, row[mean], low, high, f"{words}: {with_interval(row[mean], low, high)}", kind(row))
            )
    return values


def _kind(row: dict[str, Any]) -> str:
    return str(row["outcome"])


def _outcome(row: registry.RecentRetrain) -> str:
    if row.served:
        return "promoted"
    return "undecided" if row.may_serve is None else "let through" if row.may_serve else "held"


def _of_live(question: str, rows: Sequence[dict[str, Any]]) -> Chart:
    newest = rows[-1]
    lists, instead = [], []
    for place, row in enumerate(rows):
        low, high = row["low"], row["high"]
        when = f"{row['bought_from']:%-d %b} to {row['bought_until']:%-d %b}"
        lists.append(Value(place, row["live"], low, high, f"{when}, lists: {with_interval(row['live'], low, high)}"))
        if row["instead"] is not None:
            instead.append(Value(place, row["instead"], None, None, f"{when}, instead: {number(row['instead'])}"))
    return chart(
        f"{QUESTIONS_IN_WORDS[question]}: live Precision@{newest['k']} of {question}",
        f"The last {len(rows)} windows between two retrains. In the newest the lists had {number(newest['live'])}. "
        "The numbers are in the table below.",
        [(f"{row['bought_until']:%-d %b}", f"p{row['number']}") for row in rows],
        [Series("instead", instead, -5), Series("lists", lists)],
    )


def _batch(row: Any) -> dict[str, Any]:
    """A batch with its bar: what became of its lines, in percent; so many lines that they can be seen."""
    parts = {"merged": row.lines_merged, "unchanged": row.lines_unchanged, "quarantined": row.lines_quarantined}
    seen = {name: max(100 * lines / row.lines_read, 1.5) for name, lines in parts.items() if lines and row.lines_read}
    whole = sum(seen.values())
    bar, x = [], 0.0
    for name, width in seen.items():
        bar.append((name, round(x, 2), round(100 * width / whole, 2)))
        x += 100 * width / whole
    return {**row._asdict(), "bar": bar}
