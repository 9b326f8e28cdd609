"""Drift since the champion learned: figures, and a sentence for each that exceeds its threshold. Pure.

Two distributions are compared by the population stability index, PSI = Σ (a_i - e_i) ln(a_i / e_i), over bins with
shares e_i before and a_i now (Siddiqi 2006, "Credit Risk Scorecards", chapter 10: below 0.1 little has changed, from
0.25 on much has). If nothing changed, PSI of samples of n and m is distributed like (1/n + 1/m) χ², with one degree of
freedom less than bins (Yurdakul & Naranjo 2020, "Statistical properties of the population stability index"). A PSI
below the 99% point of that distribution is never reported as drift.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from ncf_pipeline.columns import Interactions

GROUPS = 10
"""Parts of the catalogue with about the same number of sold lines."""

COUNTRIES = 9
"""Bins for single countries, those with the most customers; all others share one more bin."""

CHANCE = 0.99
"""Share of cases without any change in which PSI stays below `Shift.by_chance`."""

_UNKNOWN = "unknown"
_OTHERS = "others"


@dataclass(frozen=True)
class DriftThresholds:
    """On-call hears of what exceeds these. The settings `drift_...` hold the numbers.

    Attributes:
        precision_drop: share of the live Precision@K of earlier windows that may be lost.
        psi: of certainty, customers' countries, and the catalogue.
        new_products: share of sold lines whose products the champion has not learned.
        newcomers: share of buying customers who had no list because they came after it was made.
        min_customers: with fewer customers, nothing is reported.
    """

    precision_drop: float
    psi: float
    new_products: float
    newcomers: float
    min_customers: int


@dataclass(frozen=True)
class Shift:
    """One distribution, before and now.

    Attributes:
        psi: population stability index; None if one of the two is empty.
        by_chance: PSI exceeds it in 1 of 100 cases if nothing has changed; None if `psi` is.
        before: shares by bin.
        now: shares by bin.
    """

    psi: float | None
    by_chance: float | None
    before: dict[str, float]
    now: dict[str, float]

    def exceeds(self, threshold: float) -> bool:
        """Whether PSI is above the threshold and above what chance explains."""
        return self.psi is not None and self.by_chance is not None and self.psi > max(threshold, self.by_chance)


def shift(before: Sequence[float], now: Sequence[float], names: Sequence[str]) -> Shift:
    """Compares counts in the same bins. Half a count is added to each, so that none is 0.

    Args:
        before: counts by bin.
        now: counts by bin.
        names: of the bins.

    Returns:
        PSI and shares; without them if one side has no counts, or there is only one bin.

    >>> round(shift([50, 50], [50, 50], ["a", "b"]).psi, 3)
    0.0
    """
    expected, actual = np.asarray(before, np.float64), np.asarray(now, np.float64)
    n, m = float(expected.sum()), float(actual.sum())
    if n == 0 or m == 0 or len(names) < 2:
        return Shift(None, None, {}, {})
    e, a = _smooth_shares(expected), _smooth_shares(actual)
    return Shift(
        psi=float(((a - e) * np.log(a / e)).sum()),
        by_chance=float((1 / n + 1 / m) * chi2.ppf(CHANCE, len(names) - 1)),
        before=dict(zip(names, (expected / n).tolist(), strict=True)),
        now=dict(zip(names, (actual / m).tolist(), strict=True)),
    )


def _smooth_shares(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    added = counts + 0.5
    shares: npt.NDArray[np.float64] = added / added.sum()
    return shares


@dataclass(frozen=True)
class Mix:
    """Who bought what in a window, compared with the days before the champion's cutoff.

    Attributes:
        customers: who bought in the window.
        newcomers: of them, those who had never bought before the window.
        lines: sold in the window, including those of guests.
        new_products: share of these lines whose products nobody had bought before the champion's cutoff.
        countries: customers by country.
        catalogue: lines by tenths of the catalogue, from the products that sold best before to those that sold least.
            Products that did not sell then are left out: see `unsold_before`.
        unsold_before: share of lines whose products did not sell in the days before.
    """

    customers: int
    newcomers: int
    lines: int
    new_products: float
    countries: Shift
    catalogue: Shift
    unsold_before: float


def mix(interactions: pd.DataFrame, *, learned_until: datetime, start: datetime, end: datetime, days: int) -> Mix:
    """Compares purchases in `[start, end)` with those of the `days` before `learned_until`.

    Args:
        interactions: columns of `columns.Interactions`.
        learned_until: the champion's cutoff.
        start: first instant of the window.
        end: first instant after the window.
        days: before `learned_until`, to compare with.
    """
    at = interactions[Interactions.PURCHASED_AT]
    now = interactions[(at >= start) & (at < end)]
    then = interactions[(at >= learned_until - timedelta(days=days)) & (at < learned_until)]
    known_products = set(interactions.loc[at < learned_until, Interactions.STOCK_CODE])
    buyers = set(now[Interactions.CUSTOMER_ID].dropna().astype(int))
    known_customers = set(interactions.loc[at < start, Interactions.CUSTOMER_ID].dropna().astype(int))
    catalogue, unsold = _catalogue(then[Interactions.STOCK_CODE], now[Interactions.STOCK_CODE])
    return Mix(
        customers=len(buyers),
        newcomers=len(buyers - known_customers),
        lines=len(now),
        new_products=float((~now[Interactions.STOCK_CODE].isin(known_products)).mean()) if len(now) else 0.0,
        countries=_countries(then, now),
        catalogue=catalogue,
        unsold_before=unsold,
    )


def _countries(then: pd.DataFrame, now: pd.DataFrame) -> Shift:
    before, after = (_customers_by_country(part) for part in (then, now))
    largest = before.sort_values(ascending=False, kind="stable").index[:COUNTRIES].tolist()
    counted = [
        [*(int(part.get(name, 0)) for name in largest), int(part[~part.index.isin(largest)].sum())]
        for part in (before, after)
    ]
    names = [*(str(name) for name in largest), _OTHERS]
    if counted[0][-1] == counted[1][-1] == 0:
        counted, names = [part[:-1] for part in counted], names[:-1]
    return shift(counted[0], counted[1], names)


def _customers_by_country(lines: pd.DataFrame) -> pd.Series:
    known = lines.dropna(subset=[Interactions.CUSTOMER_ID])
    country = known[Interactions.COUNTRY].fillna(_UNKNOWN)
    return known[Interactions.CUSTOMER_ID].groupby(country).nunique()


def _catalogue(then: pd.Series, now: pd.Series) -> tuple[Shift, float]:
    sold = then.value_counts()
    # By sales, then by stock code, so that the same sales always have the same tenths.
    sold = sold.sort_index().sort_values(ascending=False, kind="stable")
    middle = (sold.cumsum() - sold / 2) / max(int(sold.sum()), 1)
    group = (middle * GROUPS).astype(int).clip(upper=GROUPS - 1)
    of_now = now.map(group)
    known = of_now.dropna().astype(int)
    before = sold.groupby(group).sum().reindex(range(GROUPS), fill_value=0)
    after = known.value_counts().reindex(range(GROUPS), fill_value=0)
    used = before > 0  # a tenth is empty if a best seller fills more than one
    names = [f"tenth {number + 1}" for number in before.index[used]]
    unsold = float(of_now.isna().mean()) if len(now) else 0.0
    return shift(before[used].tolist(), after[used].tolist(), names), unsold


@dataclass(frozen=True)
class LivePrecision:
    """Precision@k of one question in a window, with 95% intervals; None if no customer counts.

    Attributes:
        k: depth.
        customers: who count.
        without_list: of them, those who had no list.
        live: of the lists that were live.
        low: lower end of its interval.
        high: upper end of its interval.
        instead: of personal frequency, on the same purchases.
        ahead: `live` minus `instead`, customer by customer.
        ahead_low: lower end of its interval.
        ahead_high: upper end of its interval.
    """

    k: int
    customers: int
    without_list: int
    live: float | None
    low: float | None
    high: float | None
    instead: float | None
    ahead: float | None
    ahead_low: float | None
    ahead_high: float | None


@dataclass(frozen=True)
class DriftFigures:
    """Every number of a window, and the thresholds; kept as JSON in `ml.drift_report.figures`.

    Attributes:
        thresholds: that the numbers were compared with.
        publication: the number of the one that was live at the window's end.
        slices: parts of the window in which one publication was live.
        days_of_a_slice: their mean length.
        precision: by question; a question is missing if no lists could be read.
        expected: by question, the mean live precision of earlier windows of about this length; missing if there are
            none.
        mix: who bought what.
        certainty: of the newest lists, against those of the window before.
    """

    thresholds: DriftThresholds
    publication: int
    slices: int
    days_of_a_slice: float
    precision: dict[str, LivePrecision]
    expected: dict[str, float]
    mix: Mix
    certainty: Shift

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def findings(figures: DriftFigures) -> list[str]:
    """One sentence for each number beyond its threshold, with the figures and what to do; normally there is none."""
    thresholds, certainty = figures.thresholds, figures.certainty
    sentences = []
    for question, precision in figures.precision.items():
        sentences += _precision_findings(question, precision, figures.expected.get(question), thresholds)
    if figures.mix.customers >= thresholds.min_customers:
        sentences += _mix_findings(figures.mix, thresholds)
    if certainty.exceeds(thresholds.psi):
        sentences.append(
            f"How sure the model is of its lists has shifted: PSI {certainty.psi:.2f}, more than {thresholds.psi:g}. "
            "Its features have changed: check which rules the newest snapshot broke, then retrain."
        )
    return sentences


def _precision_findings(
    question: str, precision: LivePrecision, expected: float | None, thresholds: DriftThresholds
) -> list[str]:
    if precision.live is None or precision.customers < thresholds.min_customers:
        return []
    sentences = []
    at = f"{question}: live Precision@{precision.k} was {precision.live:.4f} over {precision.customers:,} customers"
    least = (1 - thresholds.precision_drop) * expected if expected is not None else 0.0
    if expected is not None and precision.high is not None and precision.high < least:
        sentences.append(
            f"{at}, {1 - precision.live / expected:.0%} below the {expected:.4f} of earlier windows "
            f"({thresholds.precision_drop:.0%} is allowed). See what changed with `ncf-pipeline models show`. If it "
            "began with a new version, go back with `ncf-pipeline rollback`."
        )
    # Only for_you: personal frequency cannot name products that are new to a customer.
    if question == "for_you" and precision.ahead_high is not None and precision.ahead_high < 0:
        sentences.append(
            f"{at}. Lists of what each customer bought most often would have reached {precision.instead:.4f}, so these "
            "lists do harm. Go back with `ncf-pipeline rollback`, then check the newest invoices."
        )
    return sentences


def _mix_findings(mix: Mix, thresholds: DriftThresholds) -> list[str]:
    sentences = []
    if mix.countries.exceeds(thresholds.psi):
        now, before = mix.countries.now, mix.countries.before
        most = max(now, key=lambda name: abs(now[name] - before[name]))
        sentences.append(
            f"Customers come from other countries: PSI {mix.countries.psi:.2f}, more than {thresholds.psi:g}; "
            f"{most} {now[most]:.0%}, before {before[most]:.0%}. If the shop entered or left a market, retrain after "
            "four weeks of invoices. If not, look for a file that is missing or was loaded twice."
        )
    if mix.catalogue.exceeds(thresholds.psi):
        sentences.append(
            f"Other products sell than when the champion learned: PSI {mix.catalogue.psi:.2f}, more than "
            f"{thresholds.psi:g}. Retrain. If stock codes were renamed, correct the invoices first."
        )
    if mix.new_products > thresholds.new_products:
        sentences.append(
            f"{mix.new_products:.0%} of {mix.lines:,} sold lines are of products that the champion has not "
            f"learned, more than {thresholds.new_products:.0%}. Retrain. If stock codes were renamed, correct the "
            "invoices first."
        )
    share = mix.newcomers / mix.customers
    if share > thresholds.newcomers:
        sentences.append(
            f"{share:.0%} of {mix.customers:,} buying customers are new, more than {thresholds.newcomers:.0%}, and had "
            "no list of their own. Refresh more often. If customers got new ids, correct the invoices."
        )
    return sentences
