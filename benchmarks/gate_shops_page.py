"""Writes what `gate_shops.py` found as a page of Markdown: each default of the gate, and what it does in each shop."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from ncf_pipeline.evaluation.baselines import BASELINES
from ncf_pipeline.evaluation.gate import TrainingFacts, decide
from ncf_pipeline.evaluation.scores import CANDIDATE, EVERYONE, INCUMBENT, KNOWN, QUESTIONS, VERSION_0, Scores
from ncf_pipeline.settings import Settings
from ncf_pipeline.training.decision import thresholds

DEPTHS = (1, 5, 10)
"""K of the agreement of two models."""

HONEST, SECOND_SEED = "honest", "second seed"
ONE_LIST, SHUFFLED, TENTH = "one list for everyone", "shuffled labels", "a tenth of the lines"
FORGETS, STALE, WORSE = "forgets 30 days", "forgets 30 days, in lists too", "discover 15% worse"
GOOD = (HONEST, SECOND_SEED)
BROKEN = (ONE_LIST, SHUFFLED, TENTH, FORGETS, STALE, WORSE)
REFIT = "refit"
TRAINED_AS = {STALE: FORGETS, WORSE: HONEST}

FOR_YOU, DISCOVER = QUESTIONS
PERSONAL = "personal_frequency"

Study = dict[str, Any]
"""What was measured in one shop, as JSON."""


@dataclass(frozen=True)
class Outcome:
    """What the gate objects to in a candidate: in its scores, and in the way it was trained."""

    scores: tuple[str, ...]
    training: tuple[str, ...]

    @property
    def word(self) -> str:
        """In a cell of a table."""
        parts = [name for name, held in (("scores", self.scores), ("training", self.training)) if held]
        return f"held: {', '.join(parts)}" if parts else "passes"


def outcomes(record: Study, settings: Settings) -> dict[str, Outcome]:
    """What the gate does with each candidate of a shop, by the settings' thresholds."""
    bounds = thresholds(settings)
    honest = TrainingFacts.from_dict(record["facts"][HONEST])
    found = {}
    for name, rows in record["scores"].items():
        scores = [Scores(**row) for row in rows]
        whole = decide(scores, TrainingFacts.from_dict(record["facts"][TRAINED_AS.get(name, name)]), bounds)
        by_scores = decide(scores, honest, bounds)
        objections = () if by_scores.promote else by_scores.reasons
        others = () if whole.promote else tuple(each for each in whole.reasons if each not in by_scores.reasons)
        found[name] = Outcome(objections, others)
    return found


def rows_of(record: Study, candidate: str, question: str, cohort: str = KNOWN) -> dict[str, Scores]:
    """The scores beside a candidate by recommender; none if it could not be trained."""
    rows = (Scores(**row) for row in record["scores"].get(candidate, []))
    return {row.recommender: row for row in rows if (row.question, row.cohort) == (question, cohort)}


Figures = Iterator[tuple[str, float]]
"""Figures of one candidate in one shop, each with the place that it is from."""


def relative_lead(record: Study, candidate: str) -> Figures:
    """Lead over the incumbent, as a share of its precision."""
    for question in (DISCOVER,) if candidate == WORSE else QUESTIONS:
        other = rows_of(record, candidate, question).get(INCUMBENT)
        if other is not None and other.ahead is not None and other.precision_at_k > 0:
            yield question, other.ahead / other.precision_at_k


def relative_lead_of_cohorts(record: Study, candidate: str) -> Figures:
    """The same in each cohort of 50 customers or more."""
    for row in (Scores(**row) for row in record["scores"].get(candidate, [])):
        if row.recommender != INCUMBENT or row.cohort in (KNOWN, EVERYONE) or row.customers < 50:
            continue
        if row.ahead is not None and row.precision_at_k > 0:
            yield f"{row.question}, {row.cohort}", row.ahead / row.precision_at_k


def coverage_ratio(record: Study, candidate: str) -> Figures:
    """Coverage over that of the personal baseline of the question."""
    for question in QUESTIONS:
        rows = rows_of(record, candidate, question)
        personal = personal_of(record, candidate, question)
        if CANDIDATE in rows and personal is not None and personal.catalog_coverage > 0:
            yield question, rows[CANDIDATE].catalog_coverage / personal.catalog_coverage


def overlap(record: Study, candidate: str) -> Figures:
    """Overlap between that of the personal baseline (0) and that of one list for everyone (1)."""
    for question in QUESTIONS:
        rows, personal = rows_of(record, candidate, question), personal_of(record, candidate, question)
        if CANDIDATE in rows and personal is not None:
            least = personal.overlap
            same = max(rows[name].overlap for name in ("best_sellers", "recent_best_sellers"))
            if same > least:
                yield question, (rows[CANDIDATE].overlap - least) / (same - least)


def full_lists(record: Study, candidate: str) -> Figures:
    """Share of customers with a full list, over the largest of the baselines."""
    for question in QUESTIONS:
        rows = rows_of(record, candidate, question)
        most = max((rows[name].full_lists for name in BASELINES if name in rows), default=0.0)
        if CANDIDATE in rows and most > 0:
            yield question, rows[CANDIDATE].full_lists / most


def lines_ratio(record: Study, candidate: str) -> Figures:
    """Lines that the model was trained on, over the incumbent's."""
    facts = record["facts"].get(TRAINED_AS.get(candidate, candidate))
    if facts and facts["incumbent_lines"] and facts["lines"]:
        yield "", facts["lines"] / facts["incumbent_lines"]


def ids_worth(record: Study, candidate: str) -> Figures:
    """Standard deviations by which products are ranked better than with shuffled ids."""
    facts = record["facts"].get(TRAINED_AS.get(candidate, candidate))
    if facts and facts["queries"] >= 50:
        yield "", float(facts["products_worth"])


def refit_ratio(record: Study, candidate: str) -> Figures:
    """What a model shares with the evaluated one, over what another seed shares with it, at each K."""
    seed, other = record["agreement"].get(SECOND_SEED), record["agreement"].get(candidate)
    for k in DEPTHS if seed and other else ():
        if seed[FOR_YOU][str(k)] > 0:
            yield f"K = {k}", other[FOR_YOU][str(k)] / seed[FOR_YOU][str(k)]


def personal_of(record: Study, candidate: str, question: str) -> Scores | None:
    """The baseline that shows how varied lists can be in this shop."""
    if question == FOR_YOU:
        return rows_of(record, candidate, question).get(PERSONAL)
    version_0 = rows_of(record, candidate, question).get(VERSION_0)
    return version_0 or rows_of(record, candidate, FOR_YOU).get(PERSONAL)


@dataclass(frozen=True)
class Default:
    """A default of the gate, the figure that it limits, and the candidates that it is there for.

    Attributes:
        settings: their names, without `NCF_GATE_`.
        figure: in words.
        measure: the figure of a candidate in a shop.
        broken: the broken candidates that this figure shows.
        lowest: whether the limit is a lower one.
        percent: whether the figure is a share.
        honest: the candidates that must not be held.
    """

    settings: tuple[str, ...]
    figure: str
    measure: Callable[[Study, str], Figures]
    broken: tuple[str, ...]
    lowest: bool = True
    percent: bool = True
    honest: tuple[str, ...] = GOOD


DEFAULTS = (
    Default(
        ("SMALL_LOSS", "MAX_LOSS"),
        "lead over the incumbent / its P@K",
        relative_lead,
        (SHUFFLED, FORGETS, STALE, WORSE),
    ),
    Default(("MAX_COHORT_LOSS",), "the same in a cohort of 50 customers or more", relative_lead_of_cohorts, (STALE,)),
    Default(("MIN_COVERAGE_RATIO",), "coverage / that of the personal baseline", coverage_ratio, (ONE_LIST,)),
    Default(("MIN_FULL_LISTS",), "customers with a full list / the baselines'", full_lists, ()),
    Default(
        ("MAX_OVERLAP",), "overlap: 0 the personal baseline's, 1 one list for all", overlap, (ONE_LIST,), lowest=False
    ),
    Default(("MIN_LINES",), "lines / the incumbent's", lines_ratio, (TENTH, FORGETS)),
    Default(("MIN_IDS_WORTH",), "standard deviations above shuffled ids", ids_worth, (SHUFFLED,), percent=False),
    Default(
        ("MIN_REFIT_RATIO",),
        "shared with the evaluated model / by two seeds",
        refit_ratio,
        (TENTH, SHUFFLED, ONE_LIST),
        honest=(REFIT,),
    ),
)


_HEAD = (
    "shop",
    "buyers",
    "catalogue",
    "honest",
    "second seed",
    "incumbent",
    "lead over it",
    "best baseline",
    "lead over it",
    "coverage: honest, personal, K x customers",
    "overlap: honest, personal, one list",
)


def page(records: Sequence[Study], settings: Settings) -> str:
    """The whole page.

    Args:
        records: of the shops, from `gate_shops.scored`.
        settings: whose thresholds decide, and whose `k` the scores have.
    """
    lines = [
        "# What the gate's defaults do in many shops",
        "",
        "<!-- Written by benchmarks/gate_shops.py: run `make gate-shops` instead of editing it. -->",
        "",
        f"{len(records)} shops: the workbook at several cuts, and synthetic shops that are each extreme in one way. "
        f"K = {settings.k}. Each has a holdout of 28 days, and an incumbent: the same recipe, trained until 28 days "
        "before it. `python benchmarks/gate_shops.py --help` says what the candidates are. Those of shuffled labels "
        "and of a tenth of the lines are trained in synthetic shops only.",
        "",
        "## Each default",
        "",
        "For each figure that the gate limits: its range over shops and questions, with the shop that is nearest to "
        "the limit. Broken candidates are those that the limit is there for.",
        "",
        *table(
            ("`NCF_GATE_...`", "default", "figure", "honest", "nearest to the limit", "broken"),
            (_default(default, records, settings) for default in DEFAULTS),
        ),
        "",
        "## Each candidate",
        "",
        "Held by its scores, or by the way it was trained. Where training is at fault, scores may look good.",
        "",
        *table(("shop", *GOOD, *BROKEN), (_decided(record, settings) for record in records)),
        "",
        *_held(records, settings),
        "",
    ]
    for question in QUESTIONS:
        lines += [f"## `{question}`, known customers", ""]
        lines += [*table(_HEAD, (_of_question(record, question) for record in records)), ""]
    names = list(dict.fromkeys(name for record in records for name in record["agreement"]))
    lines += [
        "## Share of `for_you` that a model has in common with the evaluated one",
        "",
        "As of the cutoff, of the 300 customers who bought last, at K = 1, 5 and 10.",
        "",
        *table(("shop", *names), ([record["shop"], *(_shared(record, name) for name in names)] for record in records)),
        "",
    ]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _default(default: Default, records: Sequence[Study], settings: Settings) -> list[str]:
    def found(name: str) -> list[tuple[float, str]]:
        return sorted(
            (value, f"{record['shop']}{', ' if place else ''}{place}")
            for record in records
            for place, value in default.measure(record, name)
            if isfinite(value)
        )

    def shown(value: float) -> str:
        return f"{value:.0%}" if default.percent else f"{value:.1f}"

    honest = sorted(each for name in default.honest for each in found(name))
    nearest = honest[0 if default.lowest else -1] if honest else None
    broken = [(name, found(name)) for name in default.broken]
    return [
        ", ".join(f"`{name}`" for name in default.settings),
        ", ".join(f"{getattr(settings, f'gate_{name.lower()}'):g}" for name in default.settings),
        default.figure,
        f"{shown(honest[0][0])} to {shown(honest[-1][0])}" if honest else "",
        f"{shown(nearest[0])}: {nearest[1]}" if nearest else "",
        "; ".join(f"{name}: {shown(of[0][0])} to {shown(of[-1][0])}" for name, of in broken if of),
    ]


def _decided(record: Study, settings: Settings) -> list[str]:
    found = outcomes(record, settings)
    return [record["shop"], *(found[name].word if name in found else "not trained" for name in (*GOOD, *BROKEN))]


def _held(records: Sequence[Study], settings: Settings) -> list[str]:
    """Every wrong decision, with its reasons."""
    held, passed = [], []
    for record in records:
        for name, outcome in outcomes(record, settings).items():
            reasons = outcome.scores + outcome.training
            if name in GOOD:
                held += [f"- {record['shop']}, {name}: {reason}" for reason in reasons]
            elif not reasons:
                passed.append(f"- {record['shop']}, {name}: {_beside_what_serves(record, name)}")
    return [
        "Honest candidates that are held:" if held else "No honest candidate is held.",
        *(("", *held) if held else ()),
        "",
        "Broken candidates that pass:" if passed else "No broken candidate passes.",
        *(("", *passed) if passed else ()),
    ]


def _beside_what_serves(record: Study, name: str) -> str:
    """How good a broken candidate that passes is: it may be no worse than the incumbent, or without one version 0."""
    found = []
    for question in QUESTIONS:
        of = rows_of(record, name, question)
        rival = INCUMBENT if INCUMBENT in of else VERSION_0
        found.append(
            f"`{question}` {of[CANDIDATE].precision_at_k:.4f}, {rival.replace('_', ' ')} "
            f"{of[rival].precision_at_k:.4f}, lead {_lead(of[rival])}, {of[CANDIDATE].customers} customers"
        )
    return "; ".join(found)


def _of_question(record: Study, question: str) -> list[str]:
    rows, seed = rows_of(record, HONEST, question), rows_of(record, SECOND_SEED, question)
    honest, incumbent, personal = rows[CANDIDATE], rows.get(INCUMBENT), personal_of(record, HONEST, question)
    best = max(
        (row for name, row in rows.items() if name not in (CANDIDATE, INCUMBENT)), key=lambda row: row.precision_at_k
    )
    return [
        record["shop"],
        f"{honest.customers:,}",
        f"{record['catalogue']:,}",
        f"{honest.precision_at_k:.4f}",
        f"{seed[CANDIDATE].precision_at_k:.4f}" if seed else "",
        f"{incumbent.precision_at_k:.4f}" if incumbent else "none",
        _lead(incumbent),
        f"{best.recommender.replace('_', ' ')} {best.precision_at_k:.4f}",
        _lead(best),
        f"{honest.catalog_coverage:.1%}, {personal.catalog_coverage if personal else 0:.1%}, "
        f"{min(1.0, record['known_buyers'] * honest.k / record['catalogue']):.1%}",
        f"{honest.overlap:.1%}, {personal.overlap if personal else 0:.1%}, {rows['best_sellers'].overlap:.1%}",
    ]


def _lead(row: Scores | None) -> str:
    if row is None or row.ahead is None:
        return ""
    return f"{row.ahead:+.4f} [{row.ahead_low:+.4f}, {row.ahead_high:+.4f}]"


def _shared(record: Study, name: str) -> str:
    of = record["agreement"].get(name)
    return ", ".join(f"{of[FOR_YOU][str(k)]:.0%}" for k in DEPTHS) if of else ""


def write_page(records: Sequence[Study], settings: Settings, path: Path) -> None:
    """Writes the page, whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(page(records, settings))
    temporary.replace(path)
