"""Scores the lists that were live on what was bought since, and looks for drift.

It runs at the beginning of a retrain, and changes nothing that serves. The window begins where the last measurement
ended, and ends at the snapshot's cutoff, on the shop's clock, or where the loaded invoices end. Each publication is
scored on the part of the window in which it was live. What it answers beyond the window is not loaded yet.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import pandas as pd

from ncf_pipeline.columns import Interactions
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.evaluation.scores import QUESTIONS
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.live.drift import DriftFigures, DriftThresholds, LivePrecision, Mix, MixCount, Shift, findings, shift
from ncf_pipeline.live.scores import (
    INSTEAD,
    LIVE,
    LiveScores,
    Slice,
    joined,
    lists_instead,
    pooled,
    score_slice,
    slice_of,
    summary,
)
from ncf_pipeline.model.lists.certainty import BINS
from ncf_pipeline.model.lists.fallbacks import best_sellers_of
from ncf_pipeline.model.lists.sales import SalesCount
from ncf_pipeline.privacy import kept_out
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.live_periods import DriftReport, LivePeriod, PeriodPerformance
from ncf_pipeline.registry.snapshots import SnapshotInParts, lines_in_order, newest_cutoff, open_snapshot
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

SHORTEST = timedelta(days=1)
"""A shorter window is left to the next measurement."""

EARLIER_WINDOWS = 4
"""Windows of about the same length that say what to expect. In a longer window, customers buy more of a list."""


def live_performance(settings: Settings, snapshot_id: str) -> DriftReport | None:
    """Scores the lists that were live since the last measurement, and looks for drift.

    A second call with the same snapshot replaces the report of the first.

    Args:
        settings: `k`, `holdout_days` and the `drift_` thresholds are used.
        snapshot_id: of the retrain that begins; purchases are read from it.

    Returns:
        The report; None if there is nothing to measure: no lists were live, or the window is shorter than `SHORTEST`.

    Raises:
        ArtifactError: the snapshot is missing or damaged.
    """
    with kept_out(settings):
        return _live_performance(settings, open_snapshot(settings, snapshot_id))


def _live_performance(settings: Settings, snapshot: SnapshotInParts) -> DriftReport | None:
    snapshot_id = snapshot.snapshot_id
    earlier = [report for report in live_periods.drift_reports(settings) if report.snapshot_id != snapshot_id]
    periods = live_periods.live_periods(settings)
    if not periods:
        logger.info("Live: no lists have been live yet, so there is nothing to measure.")
        return None
    start = max((report.bought_until for report in earlier), default=periods[0].answers_from)
    # A purchase that is loaded after its window was measured would never count, so no window reaches beyond.
    end = min(snapshot.cutoff, newest_cutoff(settings))
    if end - start < SHORTEST:
        logger.info("Live: less than a day is loaded since %s, so the next retrain measures it.", start)
        return None
    parts = [part for period in periods if (part := _part_of(period, start, end)) is not None]
    if not parts:
        logger.info("Live: no lists answer what was bought from %s to %s.", start, end)
        return None
    last = parts[-1].period
    first = next(period for period in periods if period.version == last.version)
    mixing = MixCount(
        learned_until=_learned_until(settings, last, start),
        start=start,
        end=end,
        days=settings.holdout_days,
        in_order=lines_in_order,
    )
    measured = _measure(settings, snapshot, parts, mixing)
    figures = _figures(settings, mixing.mix(), earlier, (first, last), (start, end), measured.scores)
    report = DriftReport(
        snapshot_id=snapshot.snapshot_id,
        period=last.period,
        bought_from=start,
        bought_until=end,
        figures=figures.as_dict(),
        findings=tuple(findings(figures)),
    )
    live_periods.record_measurement(settings, report, measured.rows)
    _log(report, figures, measured.newcomers)
    return report


def message(report: DriftReport) -> str | None:
    """The text for on-call; None if no figure exceeds its threshold."""
    if not report.findings:
        return None
    head = (
        f"Purchases from {report.bought_from:%Y-%m-%d} to {report.bought_until:%Y-%m-%d} differ from those that the "
        "champion learned from. The retrain continues, and shoppers keep their lists."
    )
    return "\n".join([head, *(f"- {finding}" for finding in report.findings)])


@dataclass(frozen=True)
class _Part:
    """The part of a period in the window: `[begin, end)` on the shop's clock."""

    period: LivePeriod
    begin: datetime
    end: datetime


def _part_of(period: LivePeriod, start: datetime, end: datetime) -> _Part | None:
    part = _Part(period, max(period.answers_from, start), min(period.answers_until or end, end))
    return part if part.begin < part.end else None


@dataclass(frozen=True)
class _Measured:
    """A window: scores by slice and question, the rows of `ml.live_performance`, and buying customers without lists."""

    scores: list[LiveScores]
    rows: list[PeriodPerformance]
    newcomers: int


def _measure(settings: Settings, snapshot: SnapshotInParts, parts: Sequence[_Part], mixing: MixCount) -> _Measured:
    """Scores each part of the window. A part whose lists cannot be read is left out, with a warning.

    The purchases are read twice: what the shop could have shown instead depends on the best sellers among all of them.
    """
    designs = {entry.number: entry.design for entry in experiment_registry.experiments(settings)}
    selling = SalesCount([part.begin for part in parts], by_country=False)
    found: list[list[Slice]] = [[] for _ in parts]
    for interactions in snapshot.parts():
        mixing.add(interactions)
        selling.add(interactions)
        for of_part, part in zip(found, parts, strict=True):
            of_part.append(_slice_of(part, designs.get(part.period.experiment or 0), interactions))
    slices = [joined(of_part) for of_part in found]
    rankings = [best_sellers_of(sales, sales.as_of) for sales in selling.sales(snapshot.parts)]
    instead: list[list[dict[str, pd.DataFrame]]] = [[] for _ in parts]
    for interactions in snapshot.parts():
        for made, bought, ranking in zip(instead, slices, rankings, strict=True):
            made.append(lists_instead(bought, interactions, k=settings.k, ranking=ranking))
    scores: list[LiveScores] = []
    rows: list[PeriodPerformance] = []
    for part, bought, made in zip(parts, slices, instead, strict=True):
        period = part.period
        customers = {customer for of_question in bought.truth.bought.values() for customer in of_question}
        try:
            lists = live_periods.shown(period, customers)
        except ArtifactError as error:
            logger.warning("Live: p%06d is not scored: %s", period.number, error)
            continue
        others = {name: pd.concat([each[name] for each in made], ignore_index=True) for name in INSTEAD}
        for of_question in score_slice(bought, lists, others, k=settings.k):
            scores.append(of_question)
            rows += [
                PeriodPerformance(
                    period=period.period,
                    bought_from=part.begin,
                    bought_until=part.end,
                    k=settings.k,
                    newcomers=len(bought.newcomers),
                    **asdict(row),
                )
                for row in summary(of_question)
            ]
    return _Measured(scores, rows, sum(len(bought.newcomers) for bought in slices))


def _slice_of(part: _Part, design: Design | None, interactions: pd.DataFrame) -> Slice:
    """What those customers bought who are among some interactions."""
    at, customer = interactions[Interactions.PURCHASED_AT], interactions[Interactions.CUSTOMER_ID]
    buyers = customer[(at >= part.begin) & (at < part.end)].dropna().unique()
    theirs = interactions[customer.isin(buyers)]  # a slice depends on nobody else
    left_out = _in_experiment(design, theirs)
    return slice_of(theirs, as_of=part.period.as_of, start=part.begin, end=part.end, left_out=left_out)


def _in_experiment(design: Design | None, interactions: pd.DataFrame) -> set[str]:
    """Customers in an experiment's share, who saw other lists than the version's."""
    if design is None:
        return set()
    customers = interactions[Interactions.CUSTOMER_ID].dropna().unique()
    return set(customers[chosen(design.salt, design.share, customers)])


def _figures(
    settings: Settings,
    bought: Mix,
    earlier: Sequence[DriftReport],
    of_version: tuple[LivePeriod, LivePeriod],
    window: tuple[datetime, datetime],
    scored: Sequence[LiveScores],
) -> DriftFigures:
    """The figures of a window; `of_version`: the first and the last period of the version that is live at its end."""
    precision = {}
    for question in QUESTIONS:
        of_question = [entry for entry in scored if entry.question == question]
        if of_question:
            precision[question] = _precision(pooled(of_question), settings.k)
    slices = len(scored) // len(QUESTIONS)
    first, last = of_version
    start, end = window
    length = (end - start) / max(slices, 1)
    return DriftFigures(
        thresholds=settings.of_prefix("drift", DriftThresholds),
        publication=last.number,
        slices=slices,
        days_of_a_slice=length / timedelta(days=1),
        precision=precision,
        expected=_expected(earlier, settings.k, length),
        mix=bought,
        certainty=_certainty(settings, first, last),
    )


def _learned_until(settings: Settings, last: LivePeriod, start: datetime) -> datetime:
    """Until when the version of a window's last period has learned; `start`: of the window."""
    version = registry.model_version(settings, last.version)
    learned_until = min(version.cutoff, last.as_of)
    if version.recommender == registry.BASELINES:  # it moves on with each refresh, also within the window
        learned_until = min(learned_until, start)
    return learned_until


def _precision(scores: LiveScores, k: int) -> LivePrecision:
    by_recommender = {row.recommender: row for row in summary(scores)}
    live, instead = by_recommender[LIVE], by_recommender["personal_frequency"]
    return LivePrecision(
        k=k,
        customers=live.customers,
        without_list=live.without_list,
        live=live.precision_at_k,
        low=live.precision_low,
        high=live.precision_high,
        instead=instead.precision_at_k,
        ahead=instead.ahead,
        ahead_low=instead.ahead_low,
        ahead_high=instead.ahead_high,
    )


def _expected(earlier: Sequence[DriftReport], k: int, length: timedelta) -> dict[str, float]:
    """Mean live precision by question, of the last windows with slices of half to twice the length."""
    days = length / timedelta(days=1)
    similar = [report.figures for report in earlier if 0.5 <= report.figures["days_of_a_slice"] / days <= 2]
    expected = {}
    for question in QUESTIONS:
        measured = [
            LivePrecision(**figures["precision"][question]) for figures in similar if question in figures["precision"]
        ]
        last = [each.live for each in measured if each.k == k and each.live is not None][-EARLIER_WINDOWS:]
        if last:
            expected[question] = sum(last) / len(last)
    return expected


def _certainty(settings: Settings, first: LivePeriod, last: LivePeriod) -> Shift:
    """The live lists' certainty, compared with that of the same version's first lists: each version has its own."""
    if first.number == last.number:
        return shift([], [], [])
    now, before = (live_periods.certainty(settings, period.number) for period in (last, first))
    names = [f"up to {place / BINS:.0%}" for place in range(1, BINS + 1)]
    if now is None or before is None or len(now) != BINS or len(before) != BINS:
        return shift([], [], [])
    used = [place for place in range(BINS) if now[place] or before[place]]
    return shift([before[place] for place in used], [now[place] for place in used], [names[place] for place in used])


def _log(report: DriftReport, figures: DriftFigures, newcomers: int) -> None:
    for question, precision in figures.precision.items():
        if precision.live is None:
            logger.info("Live: %s has no score, because no known customer bought anything.", question)
            continue
        logger.info(
            "Live: %s P@%d %.4f [%.4f, %.4f] over %d customers from %s to %s, %d of them without a list; "
            "personal frequency would have reached %.4f.",
            question,
            precision.k,
            precision.live,
            precision.low,
            precision.high,
            precision.customers,
            report.bought_from,
            report.bought_until,
            precision.without_list,
            precision.instead,
        )
    logger.info("Live: %d buying customers came after the lists were made, and do not count.", newcomers)
    for finding in report.findings:
        logger.warning("Drift: %s", finding)
