"""Can the measured effects be trusted? Hundreds of simulated experiments on a shop's past, in which the truth is known.

    python benchmarks/uplift.py [--data FOLDER_OR_WORKBOOK] [--experiments 500] [--effect 0.12]

The first half of the shop's invoices is used to plan an experiment, and the second half to simulate it. Each simulated
experiment has a new salt, so other customers in its groups. It either changes nothing (A/A), or enlarges all orders of
the treated group. Every experiment has weekly looks, by the functions that `experiment report` uses. The table shows
how often the results are true, with the Monte Carlo error of each rate.

Exits with 1 if a rate misses its bound by more than that error. `uplift_grid.py` does the same with made-up customers,
in groups of many sizes.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from gate_drill import day_files
from statsmodels.stats.proportion import proportion_confint

from ncf_pipeline.experiments.analysis import UNLIKELY
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.inference import ONE_LOOK, REDRAWS, Redrawn, compare, margin_of, redraw, sample_ratio
from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE, MEASURES, Observations, Sample, observe
from ncf_pipeline.experiments.power import (
    FEWEST_BUYERS,
    FEWEST_WEEKS,
    Looking,
    chance_within,
    entered_at,
    past_curves,
    tau_for,
    weeks_needed,
)
from ncf_pipeline.experiments.purchases import Orders, orders_of
from ncf_pipeline.experiments.redraws import estimates
from ncf_pipeline.experiments.sales import customers_lines
from ncf_pipeline.experiments.sequential import ALPHA, margin
from ncf_pipeline.ingest.stages import ingest
from ncf_pipeline.local.services import serving
from ncf_pipeline.registry.snapshots import newest_cutoff
from ncf_pipeline.settings import Settings

MEASURE = MEASURES[AVERAGE_ORDER_VALUE]
OUTLIER = 168_469.60  # one order of the real shop, in its currency
SHARE, POWER = 0.5, 0.8

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Estimates:
    """Estimates of all simulated experiments: (experiments, looks)."""

    value: FloatArray  # log ratio
    error: FloatArray
    enough: Mask  # whether a look may decide


def orders_from(options: argparse.Namespace) -> tuple[pd.DataFrame, datetime]:
    """A shop's orders by time, and the first instant after them."""
    with (
        tempfile.TemporaryDirectory(prefix="ncf-uplift-") as home,
        serving(Settings(home=Path(home) / "home")) as settings,
    ):
        days = [str(path) for _, path in day_files(options.data, Path(home) / "days", options)]
        ingest(settings, days)
        until = newest_cutoff(settings)
        return orders_of(customers_lines(settings, until)), until


def twice(orders: pd.DataFrame) -> pd.DataFrame:
    """A shop in which each customer exists twice."""
    others = orders.assign(**{Orders.CUSTOMER_ID: "again " + orders[Orders.CUSTOMER_ID]})
    return pd.concat([orders, others]).sort_values(Orders.PURCHASED_AT, kind="stable", ignore_index=True)


def planted(sample: Sample, treated: Mask, effect: float) -> Sample:
    """The sample with the values of the treated enlarged by the effect."""
    value = np.where(treated[sample.customer], sample.value * (1 + effect), sample.value)
    order = np.argsort(value, kind="stable")
    return Sample(sample.customer[order], value[order])


def with_outlier(sample: Sample, customer: int) -> Sample:
    """The sample with one huge order of a customer added."""
    return Sample(np.append(sample.customer, customer), np.append(sample.value, OUTLIER))


def assigned(ids: npt.NDArray[np.object_], options: argparse.Namespace) -> Mask:
    """(experiments, n) whether each customer is treated, by the hash that experiments use."""
    masks = [
        ~chosen(f"simulated {options.seed} {number}", SHARE, ids.tolist()) for number in range(options.experiments)
    ]
    return np.array(masks)


def simulate(looks: Sequence[Observations], weeks: Sequence[int], treated: Mask) -> Estimates:
    """Simulates experiments that change nothing, each with weekly looks."""
    value, error, enough = [], [], []
    for week, look in zip(weeks, looks, strict=True):
        masks, sample = at(look, looks[-1], treated), look.samples[MEASURE.name]
        drawn = estimates(sample, look.past, MEASURE.quantile, masks)
        value.append(drawn.log_ratio)
        error.append(drawn.log_ratio_error)
        bought = np.zeros(len(look.customers), np.bool_)
        bought[sample.customer[sample.value > 0]] = True
        buyers = np.minimum((masks & bought).sum(axis=1), (~masks & bought).sum(axis=1))
        enough.append((buyers >= FEWEST_BUYERS) & (week >= FEWEST_WEEKS))
    return Estimates(np.array(value).T, np.array(error).T, np.array(enough).T)


def planted_in(looks: Sequence[Observations], weeks: Sequence[int], treated: Mask, effect: float) -> Estimates:
    """Simulates experiments with this effect, each with weekly looks."""
    shape, ids = (len(treated), len(looks)), looks[-1].customers
    value, error, enough = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, bool)
    for number, everybody in enumerate(treated):
        for place, look in enumerate(looks):
            mine = everybody[places(ids, look)]
            comparison = compare(planted(look.samples[MEASURE.name], mine, effect), look.past, mine, MEASURE.quantile)
            if comparison is None:
                continue
            value[number, place], error[number, place] = comparison.log_ratio.value, comparison.log_ratio.standard_error
            buyers = min(comparison.treated_buyers, comparison.control_buyers)
            enough[number, place] = buyers >= FEWEST_BUYERS and weeks[place] >= FEWEST_WEEKS
    return Estimates(value, error, enough)


def one_look(look: Observations, treated: Mask, effect: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Estimates, standard errors and margins, (experiments,) each, of one look at experiments with this effect.

    Each has the margin that its own customers give, as `experiment report` computes it.
    """
    found = []
    for mine in treated:
        sample = planted(look.samples[MEASURE.name], mine, effect)
        comparison = compare(sample, look.past, mine, MEASURE.quantile, redraws=REDRAWS)
        assert comparison is not None
        estimate = comparison.log_ratio
        found.append((estimate.value, estimate.standard_error, margin_of(comparison.redrawn.log_ratio)))
    value, error, margins = np.array(found).T
    return value, error, margins


def of_nothing(look: Observations, name: str, redraws: int = 20 * REDRAWS + 19) -> Redrawn:
    """What gives margins if nothing changes: the same for all assignments to groups of these sizes.

    There are more redraws than an experiment has, because all experiments share them.
    """
    n, measure = len(look.customers), MEASURES[name]
    return redraw(look.samples[name], look.past, np.arange(n) >= round(SHARE * n), measure.quantile, redraws)


def places(ids: npt.NDArray[np.object_], look: Observations) -> IntArray:
    """The place of each customer of a look in `ids`."""
    found: IntArray = pd.Index(ids).get_indexer(pd.Index(look.customers)).astype(np.int64)
    return found


def at(look: Observations, last: Observations, treated: Mask) -> Mask:
    """The assignments of the customers of a look, from those of all customers."""
    return treated[:, places(last.customers, look)]


def other_measures(look: Observations, treated: Mask) -> tuple[dict[str, float], float]:
    """How often each measure finds an effect that is not there, and how often there is a sample ratio mismatch."""
    hits = {}
    for name, measure in MEASURES.items():
        drawn = estimates(look.samples[name], look.past, measure.quantile, treated)
        off = np.abs(drawn.log_ratio / drawn.log_ratio_error)
        hits[name] = float((off > margin_of(of_nothing(look, name).log_ratio)).mean())
    alarms = [sample_ratio(int((~mine).sum()), len(mine), SHARE) < UNLIKELY for mine in treated]
    return hits, float(np.mean(alarms))


def several_measures(look: Observations, treated: Mask) -> tuple[float, float]:
    """How often any measure finds an effect that is not there: with, and without, the correction for several."""
    corrected, uncorrected = np.zeros(len(treated), np.bool_), np.zeros(len(treated), np.bool_)
    for name, measure in MEASURES.items():
        drawn, redrawn = estimates(look.samples[name], look.past, measure.quantile, treated), of_nothing(look, name)
        off = np.abs(drawn.log_ratio / drawn.log_ratio_error)
        corrected |= off > margin_of(redrawn.log_ratio, ALPHA / len(MEASURES))
        uncorrected |= off > margin_of(redrawn.log_ratio)
    return float(corrected.mean()), float(uncorrected.mean())


def signs(look: Observations, treated: Mask, effect: float) -> FloatArray:
    """How often one huge order of a control customer turns the sign of the estimate.

    Returns:
        (3,) rates: among significant estimates; among all estimates; among all estimates without Winsorizing.
    """
    turned, significant = np.zeros(3, np.float64), 0
    for number, mine in enumerate(treated):
        sample = planted(look.samples[MEASURE.name], mine, effect)
        spoilt = with_outlier(sample, int(np.flatnonzero(~mine)[number % int((~mine).sum())]))
        for place, quantile in ((1, MEASURE.quantile), (2, 1.0)):
            plain, with_order = (compare(each, look.past, mine, quantile) for each in (sample, spoilt))
            assert plain is not None
            assert with_order is not None
            before, after = plain.log_ratio, with_order.log_ratio
            turned[place] += (before.value > 0) != (after.value > 0)
            if place == 1 and abs(before.value) > ONE_LOOK * before.standard_error:
                significant += 1
                turned[0] += (before.value > 0) != (after.value > 0)
    return turned / np.array([max(significant, 1), len(treated), len(treated)], np.float64)


class Rates:
    """Prints the table, and collects the rates that miss their bound."""

    def __init__(self, experiments: int) -> None:
        self.experiments = experiments
        self.missed: list[str] = []
        print(f"| over {experiments} simulated experiments | rate | its own 95% interval | must be |")
        print("| --- | --- | --- | --- |")

    def row(self, words: str, rate: float, *, least: float | None = None, most: float | None = None) -> None:
        low, high = proportion_confint(round(rate * self.experiments), self.experiments, method="wilson")
        wanted = f"≥ {least:.1%}" if least is not None else f"≤ {most:.1%}" if most is not None else ""
        print(f"| {words} | {rate:.1%} | {low:.1%} to {high:.1%} | {wanted} |", flush=True)
        if (least is not None and high < least) or (most is not None and low > most + 1e-9):
            self.missed.append(words)


def any_look(estimates: Estimates, margins: FloatArray | float, truth: float) -> Mask:
    """Whether the interval misses the truth, at any look that may decide."""
    outside = (np.abs(estimates.value - truth) > margins * estimates.error) & estimates.enough
    return np.asarray(outside.any(axis=1), np.bool_)


def planned(
    orders: pd.DataFrame, start: datetime, weeks_left: int, options: argparse.Namespace, *, every_week: bool
) -> tuple[int, float]:
    """The plan from the past before the start: the number of weeks, and the power."""
    curves = past_curves(orders, start, MEASURE)
    assert curves is not None
    curve, looking = curves.with_cuped, Looking(SHARE, POWER, every_week, draws=curves.draws(SHARE).with_cuped)
    weeks = weeks_needed(curve, options.effect, looking)
    within = min(weeks or weeks_left, weeks_left)
    return within, chance_within(curve, options.effect, within, looking)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of YYYY-MM-DD.csv.gz, or workbook; default: a synthetic shop")
    parser.add_argument("--experiments", type=int, default=1000, help="simulated experiments of each kind")
    parser.add_argument("--effect", type=float, default=0.12, help="by which orders of the treated are enlarged")
    parser.add_argument("--customers", type=int, default=2000, help="of the synthetic shop, like the next two")
    parser.add_argument("--products", type=int, default=300)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    logging.basicConfig(level=logging.ERROR)
    started = time.perf_counter()
    orders, until = orders_from(options)
    first = orders[Orders.PURCHASED_AT].min().to_pydatetime()
    weeks_left = int((until - first) / 2 / timedelta(weeks=1))
    start = until - timedelta(weeks=weeks_left)
    customers = orders[Orders.CUSTOMER_ID].nunique()
    print(f"{len(orders):,} orders of {customers:,} customers; planned from {first:%Y-%m-%d} to {start:%Y-%m-%d},")
    print(f"simulated from there to {until:%Y-%m-%d}. Half of the customers in each group.\n")

    once, chance_once = planned(orders, start, weeks_left, options, every_week=False)
    larger = twice(orders)
    weekly, chance_weekly = planned(larger, start, weeks_left, options, every_week=True)
    _, chance_small = planned(orders, start, weeks_left, options, every_week=True)
    name = f"{options.effect:+.0%} on order value"
    print(f"Plan, one look: finds {name} after {once} weeks with a power of {chance_once:.0%}.")
    print(f"Plan, weekly looks: find it within {weeks_left} weeks with a power of {chance_small:.0%};")
    print(f"in a shop of twice the customers, within {weekly} weeks with a power of {chance_weekly:.0%}.\n")

    weeks = list(range(1, weeks_left + 1))
    looks, larger_looks = (
        [
            observe(shop, entered_at(shop.groupby(Orders.CUSTOMER_ID)[Orders.PURCHASED_AT].min(), start), at)
            for at in ends
        ]
        for shop, ends in (
            (orders, [start + timedelta(weeks=week) for week in weeks]),
            (larger, [start + timedelta(weeks=week) for week in weeks[:weekly]]),
        )
    )
    tau, truth, end = tau_for(options.effect, POWER), np.log1p(options.effect), once - 1
    rates = Rates(options.experiments)
    treated, twice_treated = (assigned(each[-1].customers, options) for each in (looks, larger_looks))
    nothing = simulate(looks, weeks, treated)
    always = np.vectorize(lambda error: margin(error, tau))
    at_end = np.abs(nothing.value[:, end] / nothing.error[:, end])
    rates.row(
        "A/A: one look at the planned end finds an effect",
        (at_end > margin_of(of_nothing(looks[end], MEASURE.name).log_ratio)).mean(),
        most=0.05,
    )
    rates.row("(the same with the margin of large groups)", (at_end > ONE_LOOK).mean())
    widened = np.array([of_nothing(look, MEASURE.name, REDRAWS).widened() for look in looks])
    rates.row(
        "A/A: a look each week finds an effect", any_look(nothing, widened * always(nothing.error), 0).mean(), most=0.05
    )
    rates.row("(the same with an interval for one look)", any_look(nothing, ONE_LOOK, 0).mean())
    hits, alarms = other_measures(looks[-1], treated)
    for measure, rate in hits.items():
        rates.row(f"A/A: {MEASURES[measure].words}, one look at the last end", rate, most=0.05)
    corrected, uncorrected = several_measures(looks[-1], treated)
    rates.row("A/A: any of all five measures asked, one look at the last end", corrected, most=0.05)
    rates.row("(the same without the correction for several)", uncorrected)
    rates.row("A/A: sample ratio mismatch", alarms, most=0.005)
    value, error, margins = one_look(looks[end], at(looks[end], looks[-1], treated), options.effect)
    inside = np.abs(value - truth) <= margins * error
    rates.row(f"{name}: inside the 95% interval at the planned end", inside.mean(), least=0.95)
    rates.row(f"{name}: found by one look after {once} weeks", (value > margins * error).mean(), least=chance_once)
    grown = planted_in(larger_looks, weeks, twice_treated, options.effect)
    margins = np.array([of_nothing(look, MEASURE.name, REDRAWS).widened() for look in larger_looks]) * always(
        grown.error
    )
    rates.row(f"{name}: ever outside the always-valid interval", any_look(grown, margins, truth).mean(), most=0.05)
    seen = ((grown.value > margins * grown.error) & grown.enough).any(axis=1)
    rates.row(
        f"{name}: found within {weekly} weeks by a look each week, twice the customers",
        seen.mean(),
        least=chance_weekly,
    )
    of_found, of_all, uncut = signs(looks[end], at(looks[end], looks[-1], treated), options.effect)
    words = f"one order of {OUTLIER:,.2f} in control turns the sign of"
    rates.row(f"{name}: {words} an effect that was found", of_found, most=0.0)
    rates.row(f"{name}: {words} any estimate", of_all)
    rates.row("(the same without Winsorizing)", uncut)
    print(f"\ntook {(time.perf_counter() - started) / 60:.1f} minutes")
    if rates.missed:
        sys.exit(f"MISSED: {'; '.join(rates.missed)}")


if __name__ == "__main__":
    main()
