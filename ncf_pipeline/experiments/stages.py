"""Plans, starts, measures and ends experiments on customers.

A look changes no lists. It may say that the experiment should end: at its planned end, or because its share is surely
worse off than the harm bound allows. `conclude` then ends it, and the next publication gives everybody the champion's
lists again.

All functions also raise SettingsError if no database is set, and DatabaseError if it cannot be reached or refuses.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

import pandas as pd

from ncf_pipeline.errors import ArtifactError, InputError
from ncf_pipeline.experiments import plan as planning
from ncf_pipeline.experiments import records as experiment_registry
from ncf_pipeline.experiments import report as experiment_report
from ncf_pipeline.experiments.analysis import UNLIKELY, measure
from ncf_pipeline.experiments.assignment import Mask, chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.exposure import LiveLists, bought_from_lists, entries, time_of_others
from ncf_pipeline.experiments.guardrails import harm_to_share, lists_lose
from ncf_pipeline.experiments.measures import MEASURES
from ncf_pipeline.experiments.plan import Plan
from ncf_pipeline.experiments.power import Curves, past_curves
from ncf_pipeline.experiments.purchases import Lines, Orders, orders_of
from ncf_pipeline.experiments.records import Experiment
from ncf_pipeline.experiments.results import MISMATCH, Attribution, Results, Slice
from ncf_pipeline.experiments.sales import customers_lines
from ncf_pipeline.experiments.sentences import sentence
from ncf_pipeline.id_order import in_order
from ncf_pipeline.registry import live_periods
from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.live_periods import LivePeriod
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.settings import Settings

logger = logging.getLogger(__name__)

BY_ITSELF = "measure_uplift"
SHARES = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Look:
    """One look at an experiment.

    Attributes:
        name: of the experiment.
        results: every number; `figures` in JSON.
        sentence: the outcome in plain words.
        url: the report's folder in the artifact store.
        ends: why `conclude` should end the experiment; None if it continues, or had ended before.
        harm: the alert for on-call if the share is surely harmed; else None.
        loss: the alert for on-call if lists surely sell less than best sellers; else None.
        mismatch: the alert for on-call if there is a sample ratio mismatch; else None.
    """

    name: str
    results: Results
    sentence: str
    url: str
    ends: str | None
    harm: str | None
    loss: str | None
    mismatch: str | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "results"}
        return {"name": values.pop("name"), "figures": self.results.as_dict(), **values}


class Past:
    """What a shop's past says of experiments. Made once, it plans many; each measure and share is computed once.

    Args:
        orders: columns of `purchases.Orders`.
        until: first instant excluded.
    """

    def __init__(self, orders: pd.DataFrame, until: datetime) -> None:
        self._orders = orders
        self.until = until
        self._curves: dict[str, Curves | None] = {}

    @classmethod
    def of(cls, settings: Settings) -> "Past":
        """Reads what customers bought until now. It keeps their order, and not their ids.

        Raises:
            InputError: there are no invoices.
        """
        until = newest_cutoff(settings)
        orders = orders_of(customers_lines(settings, until))
        ids = in_order(orders[Orders.CUSTOMER_ID].unique())
        numbers = {customer_id: f"{place:09d}" for place, customer_id in enumerate(ids)}
        return cls(orders.assign(**{Orders.CUSTOMER_ID: orders[Orders.CUSTOMER_ID].map(numbers)}), until)

    def plan(
        self,
        *,
        effect: float,
        power: float,
        metric: str,
        share: float | None = None,
        also: Sequence[str] = (),
        weeks: int | None = None,
    ) -> Plan:
        """Plans an experiment, as the function `plan` does.

        Raises:
            InputError: the past is too short.
        """
        for name in (metric, *also):
            if name not in self._curves:
                self._curves[name] = past_curves(self._orders, self.until, MEASURES[name])
        known = {name: curves for name in (metric, *also) if (curves := self._curves[name]) is not None}
        if len(known) < 1 + len(also):
            raise InputError("The shop's past is too short for a plan: load invoices of at least six weeks.")
        return planning.plan(
            known.pop(metric),
            effect=effect,
            power=power,
            metric=metric,
            until=self.until,
            shares=SHARES if share is None else (share,),
            also=known,
            weeks=weeks,
        )


def plan(
    settings: Settings,
    *,
    effect: float,
    power: float,
    metric: str,
    share: float | None = None,
    also: Sequence[str] = (),
    weeks: int | None = None,
) -> Plan:
    """Plans an experiment: how many weeks, and what share of the customers, it takes to find an effect.

    Args:
        settings: for the database with the shop's past.
        effect: to be found: 0.05 for five percent.
        power: the chance of finding it, 0 to 1.
        metric: the deciding measure, a name in `measures.MEASURES`.
        share: of the customers in the smaller group, 0 to 0.5; None for those in `SHARES`.
        also: other measures that are asked. The more are asked, the longer each takes.
        weeks: of the experiment, if that is decided: the plan then says what so many weeks find.

    Raises:
        InputError: there are no invoices, or the past is too short.
    """
    return Past.of(settings).plan(effect=effect, power=power, metric=metric, share=share, also=also, weeks=weeks)


def start(settings: Settings, design: Design, *, by: str) -> Experiment:
    """Starts an experiment. The next publication makes its groups' lists.

    Args:
        settings: for the database.
        design: with `starts_at` on the shop's clock.
        by: the person who starts it.

    Raises:
        InputError: nothing serves yet, another experiment runs, the name was used before, or the challenger cannot
            serve.
    """
    if registry.champion(settings) is None:
        raise InputError("Nothing serves yet, so there are no lists to compare. Run `ncf-pipeline refresh` first.")
    return experiment_registry.start(settings, design, by=by)


def stop(settings: Settings, name: str | None, *, by: str, why: str) -> Experiment:
    """Ends an experiment. The next publication gives everybody the champion's lists.

    Args:
        settings: for the database.
        name: of the experiment; None for the newest.
        by: the person who ends it.
        why: the reason, for the record.

    Raises:
        InputError: there is no such experiment, or it has ended.
    """
    entry = experiment_registry.experiment(settings, name)
    now = newest_cutoff(settings)
    if not experiment_registry.end(settings, entry.number, by=by, why=why, stopped_at=now):
        raise InputError(f"The experiment {entry.design.name} has ended: {entry.ended_why}")
    return experiment_registry.experiment(settings, entry.design.name)


def look(settings: Settings, name: str | None = None) -> Look | None:
    """Measures an experiment until now or until its end, and stores the report. Only `conclude` ends an experiment.

    Args:
        settings: for the database and the artifact store.
        name: of the experiment; None for the newest.

    Returns:
        None if nothing was bought yet since its first lists went live.

    Raises:
        InputError: there is no such experiment.
        ArtifactError: the report cannot be written.
    """
    entry = experiment_registry.experiment(settings, name)
    clock = newest_cutoff(settings)
    until = min(filter(None, (clock, entry.design.ends_at, entry.stopped_at)))
    periods = live_periods.live_periods(settings)
    ours = [period.answers_from for period in periods if period.experiment == entry.number]
    if not ours or until <= min(ours):
        logger.info("%s: nothing has been bought yet since its lists went live.", entry.design.name)
        return None
    design = replace(entry.design, starts_at=min(ours))
    lines = customers_lines(settings, until)
    shown = [_shown(period, entry.number, until) for period in periods]
    first = lines.groupby(Lines.CUSTOMER_ID)[Lines.PURCHASED_AT].min()
    entered = entries(first, shown)
    before = experiment_registry.reports(settings, entry.number)
    earlier = before[-1].results.attribution.slices if before else ()
    results = replace(
        measure(design, orders_of(lines), entered, until),
        has_ended=entry.state == "ended",
        other_lists=time_of_others(shown, design.starts_at, until),
        attribution=Attribution.of(_slices(periods, entry, lines, entered, until, earlier)),
        exposure=experiment_registry.exposure(settings, entry.number),
    )
    # A share that is surely harmed is harmed more if some of it saw the other lists.
    harm, loss = _harm(design, results), _loss(design, results)
    if results.exposure is not None and results.exposure.is_invalid:
        results = replace(results, verdict=MISMATCH, more_weeks=None)
    text = sentence(design, results)
    experiment_registry.record_report(settings, entry.number, results, text)
    url = experiment_report.write(settings, replace(entry, design=design), results, text)
    logger.info("%s: %s", design.name, text)
    return Look(
        name=design.name,
        results=results,
        sentence=text,
        url=url,
        ends=_ends(settings, entry, harm, clock),
        harm=harm,
        loss=loss,
        mismatch=text if results.sample_ratio.p < UNLIKELY else None,
    )


def conclude(settings: Settings, look: Look) -> bool:
    """Ends an experiment if a look says so. Separate from the look, so that on-call is alerted before the end.

    Returns:
        Whether the experiment has now ended.
    """
    if look.ends is None:
        return False
    entry, until = experiment_registry.experiment(settings, look.name), look.results.until
    if not experiment_registry.end(settings, entry.number, by=BY_ITSELF, why=look.ends, stopped_at=until):
        return False
    logger.warning("%s has ended: %s", look.name, look.ends)
    return True


def outlived(settings: Settings) -> bool:
    """Whether the lists that are live were made for the groups of an experiment that has ended."""
    periods, running = live_periods.live_periods(settings), experiment_registry.running(settings)
    groups = periods[-1].experiment if periods else None
    return groups is not None and (running is None or running.number != groups)


def _shown(period: LivePeriod, number: int, until: datetime) -> LiveLists:
    end = min(period.answers_until or until, until)
    return LiveLists(period.as_of, period.answers_from, end, is_ours=period.experiment == number)


def _ends(settings: Settings, entry: Experiment, harm: str | None, clock: datetime) -> str | None:
    """Why a running experiment should end by itself; None if it should not."""
    design = entry.design
    if entry.state != "running":
        return None
    if harm is not None and design.ends_on_harm:
        return f"harm: {harm}"
    if design.ends_at is not None and clock >= design.ends_at:
        return "its planned end"
    champion = registry.champion(settings)
    if champion is not None and champion.version == design.challenger:
        return f"{champion.name} has become the champion, so everybody sees its lists."
    return None


def _harm(design: Design, results: Results) -> str | None:
    harm = harm_to_share(design, results)
    if harm is None:
        return None
    return (
        f"customers with {design.seen_by_share} are worse off than those with {design.seen_by_others} by at least "
        f"{harm.amount:.1%} ({MEASURES[harm.measure].words}); the harm bound is {design.harm_bound:.0%}."
    )


def _loss(design: Design, results: Results) -> str | None:
    loss = lists_lose(design, results)
    if loss is None:
        return None
    words = MEASURES[loss.measure].words
    return f"Personal lists sell at least {loss.amount:.1%} less than best sellers would ({words})."


def _slices(
    periods: Sequence[LivePeriod],
    entry: Experiment,
    lines: pd.DataFrame,
    entered: pd.Series,
    until: datetime,
    earlier: Sequence[Slice],
) -> tuple[Slice, ...]:
    """What was bought from lists, by publication: slices of an earlier look are kept, only later ones are computed."""
    slices = [part for part in earlier if part.until <= until]
    since = max((part.until for part in slices), default=datetime.min)  # noqa: DTZ901 - the shop's clock has no zone
    design = entry.design
    for period in periods:
        start, end = max(period.answers_from, since), min(period.answers_until or until, until)
        if period.experiment != entry.number or start >= end:
            continue
        at, customer = lines[Lines.PURCHASED_AT], lines[Lines.CUSTOMER_ID]
        bought = lines[(at >= start) & (at < end) & (at >= customer.map(entered))]
        try:
            lists = live_periods.shown(period, set(bought[Lines.CUSTOMER_ID].tolist()))
        except ArtifactError as error:
            logger.warning("%s: what was bought from lists is not counted: %s", design.name, error)
            continue
        in_share: Mask = chosen(design.salt, design.share, bought[Lines.CUSTOMER_ID].tolist())
        treated = in_share if design.share_is_treated else ~in_share
        slices.append(
            Slice(
                start=start,
                until=end,
                publication=period.number,
                treated=bought_from_lists(bought[treated], lists),
                control=bought_from_lists(bought[~treated], lists),
            )
        )
    return tuple(slices)
