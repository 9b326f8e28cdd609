"""Which margins hold in small groups, and is the power what was promised? Simulated experiments on made-up customers.

    python benchmarks/uplift_grid.py [--experiments 2000] [--cells small|all]

Customers differ permanently in how often they order and in what they spend, as in UCI's Online Retail; among wholesale
buyers, much more. They are in groups of 60 to 5,000, and the smaller group is a share of 5% to 50% of all. Each row's
experiments are spread over shops that are drawn anew.

The first table compares ways to get a margin: the normal distribution, Student's t with the fewest degrees of freedom
that Welch and Satterthwaite allow (so any other number finds more), the bootstrap-t (Efron & Tibshirani 1993, "An
Introduction to the Bootstrap", section 12.5), and the permutation that `experiments.inference` uses. The second shows
all measures with that. The third shows the always-valid interval with a look each week. The fourth shows what a plan
promises, and what is then found.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ncf_pipeline.experiments.inference import (
    LARGE,
    ONE_LOOK,
    REDRAWS,
    compare,
    in_errors,
    margin_of,
    redraw,
)
from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE, MEASURES, REVENUE_PER_CUSTOMER, Observations, observe
from ncf_pipeline.experiments.power import (
    FEWEST_BUYERS,
    FEWEST_WEEKS,
    Looking,
    chance_within,
    entered_at,
    past_curves,
    smallest_effect,
    tau_for,
)
from ncf_pipeline.experiments.purchases import Orders
from ncf_pipeline.experiments.redraws import estimates
from ncf_pipeline.experiments.sequential import margin

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

START = datetime(2011, 1, 3)
WEEKS = 12
SPREADS = {"even": 0.5, "wholesale": 1.2}  # standard deviation of the logarithm of what customers spend an order
BOOTSTRAPS = 399
POWER = 0.8


@dataclass(frozen=True)
class Cell:
    """Customers in the smaller group, its share of all, and how much customers differ."""

    smaller: int
    share: float
    spread: str

    @property
    def customers(self) -> int:
        return round(self.smaller / self.share)

    @property
    def words(self) -> str:
        return f"{self.smaller:,} of {self.customers:,} ({self.share:.0%}), {self.spread}"


CELLS = [
    Cell(smaller, share, spread)
    for spread in SPREADS
    for smaller, shares in ((60, (0.05, 0.2, 0.5)), (250, (0.05, 0.2, 0.5)), (1000, (0.1, 0.5)), (5000, (0.5,)))
    for share in shares
]


def shop(customers: int, spread: float, seed: int, weeks: int) -> pd.DataFrame:
    """Orders of made-up customers; columns of `purchases.Orders`, by time."""
    random = np.random.default_rng(seed)
    rate = random.gamma(1, 0.25, customers)  # orders a week
    level, products = np.exp(random.normal(4, spread, customers)), 8 * np.exp(random.normal(0, 0.5, customers))
    customer = np.repeat(np.arange(customers), random.poisson(rate * weeks))
    at = pd.Timestamp(START) + pd.to_timedelta(random.uniform(0, weeks * 7 * 24 * 60, len(customer)), unit="min")
    value, items = (
        level[customer] * np.exp(random.normal(0, 0.6, len(customer))),
        1 + random.poisson(products[customer]),
    )
    orders = {
        Orders.CUSTOMER_ID: pd.Series(customer + 10_000).astype(str),
        Orders.PURCHASED_AT: at,
        Orders.VALUE: value,
        Orders.BOUGHT: value,
        Orders.ITEMS: items,
        Orders.BOUGHT_ITEMS: items,
    }
    return pd.DataFrame(orders).sort_values(Orders.PURCHASED_AT, kind="stable", ignore_index=True)


def customers_of(cell: Cell, seed: int, *, weeks: int = 2 * WEEKS) -> pd.DataFrame:
    """A shop in which about as many customers enter as the cell has: 5 of 100 order nothing in 12 weeks or more."""
    return shop(round(cell.customers * 1.25), SPREADS[cell.spread], seed, weeks)


def looked(orders: pd.DataFrame, start: datetime, at: datetime, customers: int | None = None) -> Observations:
    """What is known at a look; of the first so many customers only."""
    first = orders.groupby(Orders.CUSTOMER_ID)[Orders.PURCHASED_AT].min()
    if customers is not None:
        first = first[first < start][:customers]
    return observe(orders, entered_at(first, start), at)


def assigned(n: int, smaller: int, count: int, seed: int) -> Mask:
    """(count, n) assignments; the smaller group is the control group, as in a holdout."""
    random = np.random.default_rng([seed, 1])
    return np.asarray(random.permuted(np.tile(np.arange(n) >= smaller, (count, 1)), axis=1), np.bool_)


def rate(hits: Sequence[bool] | Mask) -> str:
    """A rate in percent with its 95% interval, for a cell of a table."""
    count, of = int(np.sum(hits)), len(hits)
    if of == 0:
        return ""
    low, high = proportion_confint(count, of, method="wilson")
    return f"{100 * count / of:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def too_high(hits: Sequence[bool] | Mask, most: float) -> bool:
    """Whether a rate is above its bound by more than the simulation's error, which is larger for the highest of 100."""
    return float(proportion_confint(int(np.sum(hits)), len(hits), alpha=0.05 / 100, method="wilson")[0]) > most


def bootstrap_margin(look: Observations, name: str, treated: Mask, seed: int) -> float:
    """The margin of a bootstrap-t: customers are drawn with replacement, within their group."""
    random, n = np.random.default_rng([seed, 2]), len(treated)

    def drawn(group: Mask) -> npt.NDArray[np.int64]:
        members = np.flatnonzero(group)
        chosen = (
            members[random.integers(0, len(members), (BOOTSTRAPS, len(members)))] + n * np.arange(BOOTSTRAPS)[:, None]
        )
        return np.bincount(chosen.ravel(), minlength=n * BOOTSTRAPS).reshape(BOOTSTRAPS, n)

    measure, sample = MEASURES[name], look.samples[name]
    once = estimates(sample, look.past, measure.quantile, treated[None])
    again = estimates(sample, look.past, measure.quantile, drawn(treated), drawn(~treated))
    off = in_errors(again.log_ratio - once.log_ratio[0], again.log_ratio_error, again.log_ratio_error)
    return margin_of(np.sort(np.nan_to_num(off)))


@dataclass(frozen=True)
class Shops:
    """How many shops are drawn for a cell, and how many experiments there are in each."""

    shops: int
    experiments: int

    @classmethod
    def of(cls, cell: Cell, experiments: int) -> "Shops":
        shops = 50 if cell.customers <= 1500 else 20 if cell.customers <= 5000 else 5
        return cls(shops, max(1, experiments // shops))


def found_in(cell: Cell, name: str, experiments: int, *, bootstraps: int) -> dict[str, list[bool]]:
    """Whether each experiment that changes nothing finds an effect, by the way to get a margin."""
    counts = Shops.of(cell, experiments)
    hits: dict[str, list[bool]] = {"normal": [], "t": [], "bootstrap-t": [], "permutation": []}
    for number in range(counts.shops):
        look = looked(
            customers_of(cell, number),
            START + timedelta(weeks=WEEKS),
            START + timedelta(weeks=2 * WEEKS),
            cell.customers,
        )
        n, measure, sample = len(look.customers), MEASURES[name], look.samples[name]
        smaller = round(n * cell.share)
        masks = assigned(n, smaller, counts.experiments, number)
        drawn = estimates(sample, look.past, measure.quantile, masks)
        off = np.nan_to_num(in_errors(drawn.log_ratio, drawn.log_ratio_error, drawn.log_ratio_error))
        hits["normal"] += (off > ONE_LOOK).tolist()
        hits["t"] += (off > stats.t.ppf(0.975, smaller - 1)).tolist()
        # If nothing changes, all assignments to groups of these sizes have the same margin.
        reference = redraw(sample, look.past, masks[0], measure.quantile, REDRAWS)
        hits["permutation"] += (off > margin_of(reference.log_ratio)).tolist()
        for place in range(min(-(-bootstraps // counts.shops), counts.experiments) if cell.customers <= 5000 else 0):
            hits["bootstrap-t"].append(bool(off[place] > bootstrap_margin(look, name, masks[place], number)))
    return hits


def ever_found(cell: Cell, experiments: int) -> dict[str, list[bool]]:
    """Whether a look each week for half a year ever finds an effect on revenue that is not there."""
    counts = Shops.of(cell, experiments)
    hits: dict[str, list[bool]] = {"one look's": [], "large groups'": [], "always valid": []}
    start, name, tau = START + timedelta(weeks=WEEKS), REVENUE_PER_CUSTOMER, tau_for(0.2, POWER)
    for number in range(counts.shops):
        orders = customers_of(cell, number, weeks=WEEKS + 26)
        ever = {way: np.zeros(counts.experiments, np.bool_) for way in hits}
        for week in range(FEWEST_WEEKS, 27):
            look = looked(orders, start, start + timedelta(weeks=week), cell.customers)
            n, measure, sample = len(look.customers), MEASURES[name], look.samples[name]
            masks = assigned(n, round(n * cell.share), counts.experiments, number)
            bought = np.zeros(n, np.bool_)
            bought[sample.customer[sample.value > 0]] = True
            enough = np.minimum((masks & bought).sum(axis=1), (~masks & bought).sum(axis=1)) >= FEWEST_BUYERS
            drawn = estimates(sample, look.past, measure.quantile, masks)
            off = np.nan_to_num(in_errors(drawn.log_ratio, drawn.log_ratio_error, drawn.log_ratio_error)) * enough
            of_large = np.array([margin(error, tau) if error > 0 else np.inf for error in drawn.log_ratio_error])
            widened = redraw(sample, look.past, masks[0], measure.quantile, 499).widened()
            ever["one look's"] |= off > ONE_LOOK
            ever["large groups'"] |= off > of_large
            ever["always valid"] |= off > widened * of_large
        for way, of_way in ever.items():
            hits[way] += of_way.tolist()
    return hits


@dataclass(frozen=True)
class Planned:
    """What plans promised, and what was found."""

    effect: float
    promised: float
    textbook: float
    found: list[bool]


def planned(cell: Cell, name: str, experiments: int) -> Planned | None:
    """Plans in the first half of each shop's time, and runs experiments in the second."""
    counts, start = Shops.of(cell, experiments), START + timedelta(weeks=26)
    measure, shops = MEASURES[name], []
    for number in range(counts.shops):
        orders = customers_of(cell, 1000 + number, weeks=26 + WEEKS)
        curves = past_curves(orders[orders[Orders.PURCHASED_AT] < start], start, measure)
        assert curves is not None
        looking = Looking(cell.share, POWER, every_week=False, draws=curves.draws(cell.share).with_cuped)
        shops.append((orders, curves, looking))
    effects = [smallest_effect(curves.with_cuped, WEEKS, looking) for _, curves, looking in shops]
    effect = float(np.median(effects))
    if not np.isfinite(effect):
        return None
    promised = [chance_within(curves.with_cuped, effect, WEEKS, looking) for _, curves, looking in shops]
    large = [
        chance_within(curves.with_cuped, effect, WEEKS, Looking(cell.share, POWER, every_week=False))
        for _, curves, _ in shops
    ]
    found: list[bool] = []
    for number, (orders, _, _) in enumerate(shops):
        look = looked(orders, start, start + timedelta(weeks=WEEKS))
        n, sample = len(look.customers), look.samples[name]
        for treated in assigned(n, round(n * cell.share), counts.experiments, number):
            value = np.where(treated[sample.customer], sample.value * (1 + effect), sample.value)
            order = np.argsort(value, kind="stable")
            grown = type(sample)(sample.customer[order], value[order])
            comparison = compare(grown, look.past, treated, measure.quantile, redraws=REDRAWS)
            found.append(
                comparison is not None
                and min(comparison.treated_buyers, comparison.control_buyers) >= FEWEST_BUYERS
                and comparison.log_ratio.interval(margin_of(comparison.redrawn.log_ratio))[0] > 0
            )
    return Planned(effect, float(np.mean(promised)), float(np.mean(large)), found)


def table(head: Sequence[str]) -> Callable[..., None]:
    """Prints the head of a table; returns a function that prints a row."""
    print("| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")

    def row(*cells: str) -> None:
        print("| " + " | ".join(cells) + " |", flush=True)

    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=2000, help="simulated experiments of each row")
    parser.add_argument("--powered", type=int, default=500, help="simulated experiments of each row about power")
    parser.add_argument("--smaller", type=int, default=5000, help="largest smaller group; fewer is quicker")
    options = parser.parse_args()
    started, missed = time.perf_counter(), []
    cells = [cell for cell in CELLS if cell.smaller <= options.smaller]

    print(f"A/A, revenue per customer, one look: an effect is found in so many of 100 of {options.experiments}\n")
    row = table(["smaller group", "normal", "Student's t", "bootstrap-t", "permutation"])
    for cell in cells:
        hits = found_in(cell, REVENUE_PER_CUSTOMER, options.experiments, bootstraps=options.experiments // 5)
        row(cell.words, *(rate(of_way) for of_way in hits.values()))

    print("\nA/A, all measures, one look, by permutation (by the normal distribution from 5,000 on)\n")
    row = table(["smaller group", *(measure.words for measure in MEASURES.values())])
    for cell in cells:
        of_measures = [found_in(cell, name, options.experiments, bootstraps=0)["permutation"] for name in MEASURES]
        row(cell.words, *(rate(hits) for hits in of_measures))
        missed += [
            f"{cell.words}: {name}" for name, hits in zip(MEASURES, of_measures, strict=True) if too_high(hits, 0.05)
        ]

    print("\nA/A, revenue per customer, a look each week for half a year, with the margin of\n")
    row = table(["smaller group", "one look, normal", "always valid, large groups", "always valid"])
    for cell in cells:
        if cell.customers <= 5000:
            weekly = ever_found(cell, options.experiments)
            row(cell.words, *(rate(of_way) for of_way in weekly.values()))
            missed += [f"{cell.words}: weekly"] if too_high(weekly["always valid"], 0.05) else []

    print(f"\nPower of one look after {WEEKS} weeks, in percent, over {options.powered} experiments\n")
    row = table(["smaller group", "measure", "effect", "promised for large groups", "promised", "found"])
    for cell in cells:
        for name in (AVERAGE_ORDER_VALUE, REVENUE_PER_CUSTOMER):
            if cell.customers > 5000 and cell.smaller < LARGE:
                continue
            plan = planned(cell, name, options.powered)
            if plan is None:
                row(cell.words, MEASURES[name].words, "none", "", "", "")
                continue
            row(
                cell.words,
                MEASURES[name].words,
                f"{plan.effect:+.0%}",
                f"{plan.textbook:.1%}",
                f"{plan.promised:.1%}",
                rate(plan.found),
            )
    print(f"\ntook {(time.perf_counter() - started) / 60:.1f} minutes")
    if missed:
        sys.exit(f"MISSED: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
