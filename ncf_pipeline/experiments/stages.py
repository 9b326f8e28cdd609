"""Plans, starts, measures and ends experiments on customers.

Measuring changes nothing that serves, but for one thing: an experiment whose end has come, or whose share is surely
worse off than its harm bound allows, ends. The next publication then gives everybody the champion's lists again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.experiments.assignment import Mask, chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.exposure import Shown, bought_from_lists, entries, time_of_others
from ncf_pipeline.experiments.measures import MEASURES
from ncf_pipeline.experiments.power import MOST_WEEKS, chance_within, past_curves, smallest_effect, weeks_needed
from ncf_pipeline.experiments.purchases import Lines, orders_of
from ncf_pipeline.experiments.records import Experiment
from ncf_pipeline.experiments.results import UNLIKELY, harm_to_share, lists_lose, measure
from ncf_pipeline.experiments.sales import customers_lines
from ncf_pipeline.experiments.sentences import sentence
from ncf_pipeline.registry import live_periods as live_history
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.live_periods import LivePeriod
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

BY_ITSELF = "measure_uplift"
SHARES = (0.05, 0.1, 0.2, 0.5)
HALF_A_YEAR = 26  # weeks


@dataclass(frozen=True)
class Look:
    """What a look at an experiment found.

    Attributes:
        name: of the experiment.
        figures: every number; see `experiments.results.measure`, with `attribution` and `other_lists` beside it.
        sentence: the outcome in plain words.
        url: the folder of the report in the artifact store.
        ends: why the experiment is to end by this look (`conclude`); None if it goes on, or has ended before.
        harm: what on-call should hear of the share's being worse off; None while it is not, surely.
        loss: what on-call should hear of lists that sell less than best sellers; likewise.
        mismatch: what on-call should hear of groups that are out of proportion; likewise.
    """

    name: str
    figures: dict[str, Any]
    sentence: str
    url: str
    ends: str | None
    harm: str | None
    loss: str | None
    mismatch: str | None


def plan(settings: Settings, *, effect: float, power: float, metric: str, share: float | None = None) -> dict[str, Any]:
    """How many weeks, and what share, an effect needs to be found, by the shop's own past.

    Args:
        settings: whose database.
        effect: as a share: 0.05 for five percent.
        power: the chance with which it is to be found.
        metric: of `experiments.measures.MEASURES`.
        share: of the customers in the smaller group; several if None.

    Returns:
        What was asked, `customers`, `seen_weeks`, and `shares`: for each, the weeks that are needed (None where
        two years are too few) looked at every week or once, with CUPED or without, and what half a year would find.

    Raises:
        InputError: the past is too short.
    """
    until = newest_cutoff(settings)
    curves = past_curves(orders_of(customers_lines(settings, until)), until, MEASURES[metric])
    if curves is None:
        raise InputError("The shop's past is too short for a plan: load invoices of six weeks at least.")
    with_past, without = curves
    rows = []
    for each in SHARES if share is None else (share,):
        row: dict[str, Any] = {"share": each}
        for name, every_week in (("weekly", True), ("once", False)):
            how: dict[str, Any] = {"share": each, "power": power, "every_week": every_week}
            least = smallest_effect(with_past, HALF_A_YEAR, **how)
            row[name] = {
                "weeks": weeks_needed(with_past, effect, **how),
                "weeks_without_cuped": weeks_needed(without, effect, **how),
                "chance_in_half_a_year": chance_within(with_past, effect, HALF_A_YEAR, **how),
                "smallest_effect_in_half_a_year": least if np.isfinite(least) else None,
            }
        rows.append(row)
    return {
        "effect": effect,
        "power": power,
        "metric": metric,
        "until": until.isoformat(),
        "customers": with_past.customers,
        "seen_weeks": with_past.seen_weeks,
        "most_weeks": MOST_WEEKS,
        "shares": rows,
    }


def start(settings: Settings, design: Design, *, by: str) -> Experiment:
    """Lets an experiment begin: the next publication makes the lists of its groups.

    Args:
        settings: whose database.
        design: of the experiment, whose `starts_at` is taken from the shop's clock.
        by: who starts it.

    Raises:
        InputError: nothing serves yet, another experiment runs, the name was used before, or the challenger cannot
            serve.
    """
    if registry.champion(settings) is None:
        raise InputError("No model serves yet, so there is nothing to compare with. Run a retrain first.")
    return experiment_registry.start(settings, design, by=by)


def stop(settings: Settings, name: str | None, *, by: str, why: str) -> Experiment:
    """Ends an experiment: the next publication gives everybody the champion's lists.

    Raises:
        InputError: there is no such experiment, or it has ended.
    """
    entry = experiment_registry.experiment(settings, name)
    now = newest_cutoff(settings)
    if not experiment_registry.end(settings, entry.number, by=by, why=why, stopped_at=now):
        raise InputError(f"The experiment {entry.design.name} has ended: {entry.ended_why}")
    return experiment_registry.experiment(settings, entry.design.name)


def look(settings: Settings, name: str | None = None) -> Look | None:
    """Measures an experiment until now, or until it ended, and keeps the report. It goes on until `conclude`.

    Args:
        settings: of this run.
        name: of the experiment; the newest if None.

    Returns:
        None where no list of it was ever live: there is nothing to measure.

    Raises:
        InputError: there is no such experiment.
        ArtifactError: the report cannot be written.
    """
    entry = experiment_registry.experiment(settings, name)
    clock = newest_cutoff(settings)
    until = min(filter(None, (clock, entry.design.ends_at, entry.stopped_at)))
    periods = live_history.live_periods(settings)
    ours = [period.answers_from for period in periods if period.experiment == entry.number]
    if not ours or until <= min(ours):
        logger.info("%s: nothing was bought yet since its lists went live.", entry.design.name)
        return None
    design = replace(entry.design, starts_at=min(ours))
    lines = customers_lines(settings, until)
    shown = [_shown(period, entry.number, until) for period in periods]
    first = lines.groupby(Lines.CUSTOMER_ID)[Lines.PURCHASED_AT].min()
    entered = entries(first, shown)
    figures = measure(design, orders_of(lines), entered, until)
    figures["has_ended"] = entry.state == "ended"
    figures["other_lists"] = time_of_others(shown, design.starts_at, until)
    before = experiment_registry.reports(settings, entry.number)
    earlier = before[-1].figures["attribution"]["slices"] if before else []
    figures["attribution"] = _attribution(periods, entry, lines, entered, until, earlier)
    text = sentence(design, figures)
    experiment_registry.record_report(settings, entry.number, figures, text, until)
    url = experiment_report.write(settings, replace(entry, design=design), figures, text)
    logger.info("%s: %s", design.name, text)
    harm, loss, mismatch = _harm(design, figures), _loss(design, figures), _mismatch(design, figures)
    ends = _ends(settings, entry, harm, clock)
    return Look(design.name, figures, text, url, ends, harm, loss, mismatch)


def conclude(settings: Settings, found: Look) -> bool:
    """Ends an experiment if the look says so; gives whether it ended now.

    Apart from the look, so that on-call hears of why before it is over.
    """
    if found.ends is None:
        return False
    entry, until = experiment_registry.experiment(settings, found.name), datetime.fromisoformat(found.figures["until"])
    if not experiment_registry.end(settings, entry.number, by=BY_ITSELF, why=found.ends, stopped_at=until):
        return False
    logger.warning("%s has ended: %s", found.name, found.ends)
    return True


def outlived(settings: Settings) -> bool:
    """Whether the lists that are live were made for the groups of an experiment that has ended."""
    periods, running = live_history.live_periods(settings), experiment_registry.running(settings)
    groups = periods[-1].experiment if periods else None
    return groups is not None and (running is None or running.number != groups)


def _shown(period: LivePeriod, number: int, until: datetime) -> Shown:
    end = min(period.answers_until or until, until)
    return Shown(period.as_of, period.answers_from, end, is_ours=period.experiment == number)


def _ends(settings: Settings, entry: Experiment, harm: str | None, clock: datetime) -> str | None:
    """Why an experiment that runs is to end by itself; None if it is not."""
    design = entry.design
    if entry.state != "running":
        return None
    if harm is not None and design.ends_on_harm:
        return f"harm: {harm}"
    if design.ends_at is not None and clock >= design.ends_at:
        return "its planned end"
    champion = registry.champion(settings)
    if champion is not None and champion.version == design.challenger:
        return f"{champion.name} is the champion by now, and all see its lists."
    return None


def _harm(design: Design, figures: dict[str, Any]) -> str | None:
    found = harm_to_share(design, figures)
    if found is None:
        return None
    measure, worse = found
    share, others = ("treated", "control") if design.share_is_treated else ("control", "treated")
    return (
        f"customers with {design.groups[share]} are worse off than those with {design.groups[others]} by {worse:.1%} "
        f"at least ({MEASURES[measure].words}); the bound is {design.harm_bound:.0%}."
    )


def _loss(design: Design, figures: dict[str, Any]) -> str | None:
    found = lists_lose(design, figures)
    if found is None:
        return None
    measure, less = found
    return f"Personal lists sell less than best sellers would, by {less:.1%} at least ({MEASURES[measure].words})."


def _mismatch(design: Design, figures: dict[str, Any]) -> str | None:
    return sentence(design, figures) if figures["sample_ratio"]["p"] < UNLIKELY else None


def _attribution(
    periods: Sequence[LivePeriod],
    entry: Experiment,
    lines: pd.DataFrame,
    entered: pd.Series,
    until: datetime,
    earlier: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """How much of what each group bought was on their lists then; of each time that lists were live, once."""
    done = [row for row in earlier if datetime.fromisoformat(row["until"]) <= until]
    since = max((datetime.fromisoformat(row["until"]) for row in done), default=datetime.min)  # noqa: DTZ901
    design, slices = entry.design, list(done)
    for period in periods:
        start, end = max(period.answers_from, since), min(period.answers_until or until, until)
        if period.experiment != entry.number or start >= end:
            continue
        at, customer = lines[Lines.PURCHASED_AT], lines[Lines.CUSTOMER_ID]
        bought = lines[(at >= start) & (at < end) & (at >= customer.map(entered))]
        try:
            lists = live_history.shown(period, set(bought[Lines.CUSTOMER_ID].tolist()))
        except ArtifactError as error:
            logger.warning("%s: what was bought from lists cannot be told: %s", design.name, error)
            continue
        in_share: Mask = chosen(design.salt, design.share, bought[Lines.CUSTOMER_ID].tolist())
        treated = in_share if design.share_is_treated else ~in_share
        row: dict[str, Any] = {"from": start.isoformat(), "until": end.isoformat(), "publication": period.number}
        for name, mine in (("treated", treated), ("control", ~treated)):
            value, on_list = bought_from_lists(bought[mine], lists)
            row[name] = {"value": value, "on_list": on_list}
        slices.append(row)
    shares = {}
    for name in ("treated", "control"):
        value = sum(row[name]["value"] for row in slices)
        shares[name] = sum(row[name]["on_list"] for row in slices) / value if value else None
    return {**shares, "slices": slices}
