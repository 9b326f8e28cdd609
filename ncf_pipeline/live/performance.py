"""What the champion really did: the lists that were live, against what was bought since; and what has drifted.

At the beginning of a retrain. The window reaches from where the last measurement ended to the snapshot's cutoff, on
the shop's clock; each publication that was live in it answers for its own part. It changes nothing that serves.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import pandas as pd

from ncf_pipeline.columns import Interactions
from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.evaluation.scores import QUESTIONS
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.live.drift import DriftFigures, DriftThresholds, LivePrecision, Shift, findings, mix, shift
from ncf_pipeline.live.scores import LIVE, LiveScores, pooled, score_slice, slice_of, summary
from ncf_pipeline.model.lists.certainty import BINS
from ncf_pipeline.registry import live_periods as live_history
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.live_periods import DriftReport, LivePeriod, PeriodPerformance
from ncf_pipeline.registry.snapshots import Snapshot, read_snapshot
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

SHORTEST = timedelta(days=1)
"""What was bought in less than this is left to the next measurement."""

EARLIER_WINDOWS = 4
"""So many, of about the same length, say what to expect: the longer a window, the more of a list is bought in it."""


def live_performance(settings: Settings, snapshot_id: str) -> DriftReport | None:
    """Scores the lists that were live since the last measurement, and looks for drift.

    Run again with the same snapshot, it replaces what it found.

    Args:
        settings: `k` and the `drift_` thresholds count.
        snapshot_id: of the retrain that begins; what was bought is read from it.

    Returns:
        The report; None where there is nothing to measure: no lists were live, or too little time has passed.

    Raises:
        ArtifactError: the snapshot is damaged.
    """
    frozen = read_snapshot(settings, snapshot_id)
    earlier = [report for report in live_history.drift_reports(settings) if report.snapshot_id != snapshot_id]
    periods = live_history.live_periods(settings)
    if not periods:
        logger.info("Live: no lists have served yet, so there is nothing to measure.")
        return None
    start = max((report.bought_until for report in earlier), default=periods[0].answers_from)
    if frozen.cutoff - start < SHORTEST:
        logger.info("Live: what was bought until %s is measured, or by the next retrain.", start)
        return None
    rows: list[PeriodPerformance] = []
    scored: list[LiveScores] = []
    newcomers = 0
    designs = {entry.number: entry.design for entry in experiment_registry.experiments(settings)}
    in_window = [found for period in periods if (found := _in_window(period, start, frozen.cutoff)) is not None]
    for period, begin, end in in_window:
        left_out = _in_experiment(designs.get(period.experiment or 0), frozen.interactions)
        part = slice_of(frozen.interactions, as_of=period.as_of, start=begin, end=end, left_out=left_out)
        newcomers += len(part.newcomers)
        asked = {customer for bought in part.truth.bought.values() for customer in bought}
        try:
            lists = live_history.shown(period, asked)
        except ArtifactError as error:
            logger.warning("Live: what p%06d did cannot be told: %s", period.number, error)
            continue
        answers = score_slice(part, lists, frozen.interactions, k=settings.k)
        scored += answers
        rows += [
            PeriodPerformance(
                period=period.period,
                bought_from=begin,
                bought_until=end,
                k=settings.k,
                newcomers=len(part.newcomers),
                **asdict(row),
            )
            for scores in answers
            for row in summary(scores)
        ]
    last = in_window[-1][0]
    figures = _figures(settings, frozen, earlier, last, start, scored)
    report = DriftReport(
        snapshot_id=frozen.snapshot_id,
        period=last.period,
        bought_from=start,
        bought_until=frozen.cutoff,
        figures=figures.as_dict(),
        findings=tuple(findings(figures)),
    )
    live_history.record_measurement(settings, report, rows)
    _log(report, figures, newcomers)
    return report


def message(report: DriftReport) -> str | None:
    """What on-call should hear, in words; None where nothing is beyond a threshold."""
    if not report.findings:
        return None
    head = (
        f"What was bought from {report.bought_from:%Y-%m-%d} to {report.bought_until:%Y-%m-%d} differs from what the "
        "champion was made for. The retrain goes on, and shoppers keep their lists."
    )
    return "\n".join([head, *(f"- {finding}" for finding in report.findings)])


def _in_window(period: LivePeriod, start: datetime, end: datetime) -> tuple[LivePeriod, datetime, datetime] | None:
    """What of a period lies in the window."""
    begin, until = max(period.answers_from, start), min(period.answers_until or end, end)
    return (period, begin, until) if begin < until else None


def _in_experiment(design: Design | None, interactions: pd.DataFrame) -> set[int]:
    """Customers who were shown other lists than the version's, because an experiment said so."""
    if design is None:
        return set()
    customers = interactions[Interactions.CUSTOMER_ID].dropna().astype("int64").unique()
    return set(customers[chosen(design.salt, design.share, customers.tolist())].tolist())


def _figures(
    settings: Settings,
    frozen: Snapshot,
    earlier: Sequence[DriftReport],
    last: LivePeriod,
    start: datetime,
    scored: Sequence[LiveScores],
) -> DriftFigures:
    precision = {}
    for question in QUESTIONS:
        of_question = [entry for entry in scored if entry.question == question]
        if of_question:
            precision[question] = _precision(pooled(of_question), settings.k)
    slices = len(scored) // len(QUESTIONS)
    length = (frozen.cutoff - start) / max(slices, 1)
    return DriftFigures(
        thresholds=settings.of_prefix("drift", DriftThresholds),
        publication=last.number,
        slices=slices,
        days_of_a_slice=length / timedelta(days=1),
        precision=precision,
        expected=_expected(earlier, settings.k, length),
        mix=mix(
            frozen.interactions,
            learned_until=min(registry.model_version(settings, last.version).cutoff, last.as_of),
            start=start,
            end=frozen.cutoff,
            days=settings.holdout_days,
        ),
        certainty=_certainty(settings, earlier, last),
    )


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
    """Mean live precision of the last windows whose slices are about as long, by question."""
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


def _certainty(settings: Settings, earlier: Sequence[DriftReport], last: LivePeriod) -> Shift:
    """The live lists' certainty against that of the lists at the end of the window before."""
    now = live_history.certainty(settings, last.number)
    before = live_history.certainty(settings, earlier[-1].figures["publication"]) if earlier else None
    names = [f"up to {place / BINS:.0%}" for place in range(1, BINS + 1)]
    if now is None or before is None or len(now) != BINS or len(before) != BINS:
        return shift([], [], [])
    used = [place for place in range(BINS) if now[place] or before[place]]
    return shift([before[place] for place in used], [now[place] for place in used], [names[place] for place in used])


def _log(report: DriftReport, figures: DriftFigures, newcomers: int) -> None:
    for question, precision in figures.precision.items():
        if precision.live is None:
            logger.info("Live: %s was not asked: nobody who was known bought anything.", question)
            continue
        logger.info(
            "Live: %s P@%d %.4f [%.4f, %.4f] over %d customers from %s to %s, %d of them without a list; "
            "personal frequency would have had %.4f.",
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
    logger.info("Live: %d buying customers came after the lists were made and are not counted.", newcomers)
    for finding in report.findings:
        logger.warning("Drift: %s", finding)
