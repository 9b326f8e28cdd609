"""Drift since the champion learned: figures, and a sentence for each that exceeds its threshold. Pure.

Two distributions are compared by the population stability index, PSI = Σ (a_i - e_i) ln(a_i / e_i), over bins with
shares e_i before and a_i now (Siddiqi 2006, "Credit Risk Scorecards", chapter 10: below 0.1 little has changed, from
0.25 on much has). If nothing changed, PSI of samples of n and m is distributed like (1/n + 1/m) χ², with one degree of
freedom less than bins (Yurdakul & Naranjo 2020, "Statistical properties of the population stability index"). A PSI
below the 99% point of that distribution is never reported as drift.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2, norm

from ncf_pipeline.columns import Interactions
from ncf_pipeline.model.descriptions import words_of

GROUPS = 10
"""Parts of the catalogue with about the same number of sold lines."""

COUNTRIES = 9
"""Bins for single countries, those with the most customers; all others share one more bin."""

CHANCE = 0.99
"""Share of cases without any change in which PSI stays below `Shift.by_chance`."""

COUNTRY_DAYS, COUNTRY_DAYS_BEFORE = 28, 84
"""How many customers come from a country is compared over longer times: in a week, most countries have a few."""

PRICE_JUMP = 3
"""Discounts for quantity stay below this factor."""

FULL_WEEK = timedelta(days=7)
"""The number of sold lines is compared in windows of at least this length: days of the week differ."""

GROUP_SHARE, GROUP_LINES = 0.02, 20
"""A group of products is watched if it has this share of earlier sales, and this many lines are expected of it."""

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
        country: the odds that a customer comes from a country have risen or fallen by more than this factor.
        price_level: the typical price of a product has risen or fallen by more than this factor.
        price_jumps: share of sold lines whose price has risen or fallen by more than a factor of `PRICE_JUMP`.
        lost_ids: share of the lines with a customer id that has been lost.
        vanished: share of earlier sales whose products no longer sell at all, beyond what chance explains.
        vanished_group: products that share a word sell less than this part of what is expected of them.
        more_lines: lines per day of trade, as a multiple of those before.
        fewer_lines: the same, at least.
    """

    precision_drop: float
    psi: float
    new_products: float
    newcomers: float
    min_customers: int
    country: float = 1.5
    price_level: float = 1.25
    price_jumps: float = 0.2
    lost_ids: float = 0.5
    vanished: float = 0.13
    vanished_group: float = 0.1
    more_lines: float = 1.75
    fewer_lines: float = 0.35


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
        sales: what else the lines say; None in reports from before it was measured.
    """

    customers: int
    newcomers: int
    lines: int
    new_products: float
    countries: Shift
    catalogue: Shift
    unsold_before: float
    sales: "Sales | None" = None


@dataclass(frozen=True)
class CountryChange:
    """Customers of one country, in the last `COUNTRY_DAYS` and in the `COUNTRY_DAYS_BEFORE` before these.

    Attributes:
        name: of the country.
        now: its share of customers.
        before: its share of customers before.
        odds_ratio: of coming from this country, now against before. Twice the customers double the odds, whether few
            or most customers come from there.
        z: log of the odds ratio in standard errors (Woolf 1955, "On estimating the relation between blood group and
            disease", with half a customer added to each cell).
    """

    name: str
    now: float
    before: float
    odds_ratio: float
    z: float

    def exceeds(self, factor: float) -> bool:
        """Whether the odds have changed by more than a factor, either way, and by more than chance explains."""
        return abs(np.log(self.odds_ratio)) > np.log(factor) and abs(self.z) > norm.ppf((1 + CHANCE) / 2)


@dataclass(frozen=True)
class GroupChange:
    """Products whose descriptions share a word.

    Attributes:
        word: in lower case.
        before: their share of the lines before.
        now: their share of the lines in the window.
    """

    word: str
    before: float
    now: float


@dataclass(frozen=True)
class Sales:
    """What the lines of a window say without any model, compared with the days before the window.

    The champion's age does not matter here: a season that ends slowly is no broken feed.

    Attributes:
        customers_before: who bought in the days before.
        lines_a_day: sold lines per day of trade; None in a window that is shorter than `FULL_WEEK`.
        lines_a_day_before: the same for the days before; None if there are none.
        with_id: share of lines with a customer id; None without lines.
        with_id_before: the same for the days before.
        price_level: median, over lines, of the price divided by the product's median price before; None if no product
            sold before.
        price_jumps: share of these lines whose price is more than `PRICE_JUMP` times that price, or less than that
            part of it.
        vanished: share of the earlier lines whose products did not sell in the window, less what chance explains.
        vanished_by_chance: `vanished` exceeds it in 1 of 100 cases if nothing has changed.
        lowest_group: of the watched groups, the one that has lost most; None if none is watched.
        countries: the countries with the largest |z|, at most three.
    """

    customers_before: int
    lines_a_day: float | None
    lines_a_day_before: float | None
    with_id: float | None
    with_id_before: float | None
    price_level: float | None
    price_jumps: float
    vanished: float
    vanished_by_chance: float
    lowest_group: GroupChange | None
    countries: tuple[CountryChange, ...]


def mix(interactions: pd.DataFrame, *, learned_until: datetime, start: datetime, end: datetime, days: int) -> Mix:
    """Compares purchases in `[start, end)` with those of the `days` before `learned_until`.

    Args:
        interactions: columns of `columns.Interactions`.
        learned_until: the champion's cutoff.
        start: first instant of the window.
        end: first instant after the window.
        days: before `learned_until`, to compare with; for `Sales`, before `start`.
    """
    counting = MixCount(learned_until=learned_until, start=start, end=end, days=days)
    counting.add(interactions)
    return counting.mix()


class MixCount:
    """Counts what `mix` compares, in a shop whose interactions come in parts. All lines of a customer are in one part.

    In memory stay: counts of products and countries, of the window and the `days` before it the price of each line, and
    the last description of each product.

    Args:
        learned_until: as for `mix`.
        start: as for `mix`.
        end: as for `mix`.
        days: as for `mix`.
        in_order: puts lines of several parts into the order that they have in the whole shop.
    """

    def __init__(
        self,
        *,
        learned_until: datetime,
        start: datetime,
        end: datetime,
        days: int,
        in_order: Callable[[pd.DataFrame], pd.DataFrame] = lambda lines: lines,
    ) -> None:
        self._learned_until, self._start, self._end, self._length = learned_until, start, end, timedelta(days=days)
        self._in_order = in_order
        self._now, self._before = _Lines(), _Lines()
        self._learned = pd.Series([], dtype=np.int64)
        self._known = set[str]()
        self._newcomers = 0
        self._customers_in = {name: pd.Series([], dtype=np.int64) for name in ("now", "learned", "late", "earlier")}
        self._first: datetime | None = None
        self._described: pd.DataFrame | None = None

    def add(self, interactions: pd.DataFrame) -> None:
        """Counts a part.

        Args:
            interactions: columns of `columns.Interactions`.
        """
        at, code, customer = interactions[Interactions.PURCHASED_AT], Interactions.STOCK_CODE, Interactions.CUSTOMER_ID
        start, learned_until = self._start, self._learned_until
        now = interactions[(at >= start) & (at < self._end)]
        learned = interactions[(at >= learned_until - self._length) & (at < learned_until)]
        before = interactions[(at >= start - self._length) & (at < start)]
        self._known.update(interactions.loc[at < learned_until, code].unique())
        buyers = set(now[customer].dropna().unique())
        self._newcomers += len(buyers - set(interactions.loc[at < start, customer].dropna().unique()))
        self._now.add(now)
        self._before.add(before)
        self._learned = _summed(self._learned, learned[code].value_counts())
        since, earlier = _country_windows(start, self._end)
        of_countries = {
            "now": now,
            "learned": learned,
            "late": interactions[(at >= since) & (at < self._end)],
            "earlier": interactions[(at >= earlier) & (at < since)],
        }
        for name, lines in of_countries.items():
            self._customers_in[name] = _summed(self._customers_in[name], _customers_by_country(lines))
        if len(at) and (self._first is None or at.min() < self._first):
            self._first = at.min()
        described = _last_described(pd.concat([before, now]))
        if self._described is not None:
            described = _last_described(self._in_order(pd.concat([self._described, described], ignore_index=True)))
        self._described = described

    def mix(self) -> Mix:
        """Compares what was counted."""
        now = self._now
        catalogue, unsold = _catalogue(self._learned, now.sold)
        unknown = int(now.sold[~now.sold.index.isin(self._known)].sum())
        return Mix(
            customers=now.customers,
            newcomers=self._newcomers,
            lines=now.lines,
            new_products=unknown / now.lines if now.lines else 0.0,
            countries=_countries(self._customers_in["learned"], self._customers_in["now"]),
            catalogue=catalogue,
            unsold_before=unsold,
            sales=self._sales(),
        )

    def _sales(self) -> Sales:
        now, before = self._now, self._before
        level, jumps = _prices(before.prices(), now.prices())
        vanished, by_chance = _vanished(before.sold, now.sold)
        return Sales(
            customers_before=before.customers,
            lines_a_day=now.lines_a_day() if self._end - self._start >= FULL_WEEK else None,
            lines_a_day_before=before.lines_a_day(),
            with_id=now.with_id / now.lines if now.lines else None,
            with_id_before=before.with_id / before.lines if before.lines else None,
            price_level=level,
            price_jumps=jumps,
            vanished=vanished,
            vanished_by_chance=by_chance,
            lowest_group=_lowest_group(self._described, before.sold, now.sold),
            countries=_country_changes(
                self._customers_in["late"], self._customers_in["earlier"], self._first, start=self._start, end=self._end
            ),
        )


class _Lines:
    """What is counted of the lines of some days, part by part."""

    def __init__(self) -> None:
        self.lines = self.with_id = self.customers = 0
        self.sold = pd.Series([], dtype=np.int64)  # by stock code
        self._days = set[datetime]()
        self._prices: list[pd.DataFrame] = []

    def add(self, lines: pd.DataFrame) -> None:
        self.lines += len(lines)
        self.with_id += int(lines[Interactions.CUSTOMER_ID].notna().sum())
        self.customers += int(lines[Interactions.CUSTOMER_ID].nunique())
        self.sold = _summed(self.sold, lines[Interactions.STOCK_CODE].value_counts())
        self._days.update(lines[Interactions.PURCHASED_AT].dt.normalize().unique())
        self._prices.append(lines[[Interactions.STOCK_CODE, Interactions.UNIT_PRICE]])

    def prices(self) -> pd.DataFrame:
        """Stock code and unit price of each line."""
        return pd.concat(self._prices)

    def lines_a_day(self) -> float | None:
        """Per day of trade: a shop that closes for the holidays has not lost sales."""
        return self.lines / len(self._days) if self._days else None


def _summed(counts: pd.Series, more: pd.Series) -> pd.Series:
    """Counts of two parts together, by name in alphabetical order."""
    summed: pd.Series = pd.concat([each for each in (counts, more) if len(each)] or [counts]).groupby(level=0).sum()
    return summed


def _last_described(lines: pd.DataFrame) -> pd.DataFrame:
    """The last of the lines that describe each product."""
    return lines.dropna(subset=[Interactions.DESCRIPTION]).drop_duplicates(Interactions.STOCK_CODE, keep="last")


def _prices(then: pd.DataFrame, now: pd.DataFrame) -> tuple[float | None, float]:
    if now.empty:
        return None, 0.0
    usual = then.groupby(Interactions.STOCK_CODE)[Interactions.UNIT_PRICE].median()
    usual = usual[usual > 0]
    ratio = (now[Interactions.UNIT_PRICE] / now[Interactions.STOCK_CODE].map(usual)).dropna()
    if ratio.empty:
        return None, 0.0
    jumped = (ratio > PRICE_JUMP) | (ratio < 1 / PRICE_JUMP)
    return float(ratio.median()), float(jumped.mean())


def _vanished(sold: pd.Series, sells: pd.Series) -> tuple[float, float]:
    """Share of earlier lines whose products do not sell, beyond a Poisson's share of zeros; and its 99% point."""
    before, now = sold.to_numpy(np.float64), sells.reindex(sold.index, fill_value=0).to_numpy(np.float64)
    if not before.sum() or not sells.sum():
        return 0.0, 0.0
    weight = before / before.sum()
    zero = np.exp(-weight * sells.sum())  # the chance that a product does not sell, if nothing has changed
    spread = float(np.sqrt((weight**2 * zero * (1 - zero)).sum()))
    return float((weight * ((now == 0) - zero)).sum()), float(norm.ppf(CHANCE)) * spread


def _lowest_group(described: pd.DataFrame | None, sold: pd.Series, sells: pd.Series) -> GroupChange | None:
    code, text = Interactions.STOCK_CODE, Interactions.DESCRIPTION
    if described is None:
        return None
    pairs = [
        (word, product)
        for product, description in zip(described[code], described[text], strict=True)
        for word in words_of(description, product)
        if not word.startswith("#")  # the family of a stock code, which is no word
    ]
    words = pd.DataFrame(pairs, columns=["word", code])
    before, now = (
        words[code].map(lines_of).fillna(0).groupby(words["word"]).sum() / max(int(lines_of.sum()), 1)
        for lines_of in (sold, sells)
    )
    watched = before[(before >= GROUP_SHARE) & (before * int(sells.sum()) >= GROUP_LINES)]
    if watched.empty:
        return None
    word = str((now[watched.index] / watched).idxmin())
    return GroupChange(word, float(before[word]), float(now[word]))


def _country_windows(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """From when on customers of a country are counted, and from when on those before."""
    since = min(start, end - timedelta(days=COUNTRY_DAYS))
    return since, since - timedelta(days=COUNTRY_DAYS_BEFORE)


def _country_changes(
    now: pd.Series, before: pd.Series, first: datetime | None, *, start: datetime, end: datetime
) -> tuple[CountryChange, ...]:
    _, earlier = _country_windows(start, end)
    # A few weeks of one season are no measure for the next.
    if first is None or first >= earlier + FULL_WEEK or not before.sum() or not now.sum():
        return ()
    changes = []
    for name in sorted({*before.index, *now.index}):
        ours, ours_before = int(now.get(name, 0)), int(before.get(name, 0))
        cells = 0.5 + np.array([ours, now.sum() - ours, ours_before, before.sum() - ours_before], np.float64)
        odds = float(cells[0] / cells[1] / (cells[2] / cells[3]))
        z = float(np.log(odds) / np.sqrt((1 / cells).sum()))
        changes.append(CountryChange(str(name), float(ours / now.sum()), float(ours_before / before.sum()), odds, z))
    return tuple(sorted(changes, key=lambda change: -abs(change.z))[:3])


def _countries(before: pd.Series, after: pd.Series) -> Shift:
    """Compares customers by country."""
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


def _catalogue(sold: pd.Series, sells: pd.Series) -> tuple[Shift, float]:
    """Compares sold lines by product."""
    # By sales, then by stock code, so that the same sales always have the same tenths.
    sold = sold.sort_index().sort_values(ascending=False, kind="stable")
    middle = (sold.cumsum() - sold / 2) / max(int(sold.sum()), 1)
    group = (middle * GROUPS).astype(int).clip(upper=GROUPS - 1)
    known = sells[sells.index.isin(group.index)]
    before = sold.groupby(group).sum().reindex(range(GROUPS), fill_value=0)
    after = known.groupby(group.reindex(known.index)).sum().reindex(range(GROUPS), fill_value=0)
    used = before > 0  # a tenth is empty if a best seller fills more than one
    names = [f"tenth {number + 1}" for number in before.index[used]]
    unsold = int(sells.sum() - known.sum()) / int(sells.sum()) if len(sells) else 0.0
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
        certainty: of the newest lists, against the first lists of the same version.
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
    if figures.mix.sales is not None:
        sentences += _sales_findings(figures.mix, figures.mix.sales, thresholds)
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


def _sales_findings(mix: Mix, sales: Sales, thresholds: DriftThresholds) -> list[str]:
    sentences = []
    # A broken feed may have no customers at all.
    if sales.customers_before >= thresholds.min_customers:
        sentences += _volume_findings(sales, thresholds) + _id_findings(sales, mix.lines, thresholds)
    if mix.customers >= thresholds.min_customers:
        sentences += _price_findings(sales, thresholds)
        sentences += _vanished_findings(sales, thresholds)
        sentences += _country_findings(sales, thresholds)
    return sentences


def _volume_findings(sales: Sales, thresholds: DriftThresholds) -> list[str]:
    now, before = sales.lines_a_day, sales.lines_a_day_before
    if now is None or not before:
        return []
    sold = f"{now:,.0f} lines are sold on a day of trade"
    if now > thresholds.more_lines * before:
        return [
            f"{sold}, {now / before:.1f} times the {before:,.0f} before (more than {thresholds.more_lines:g}). If no "
            "campaign or season explains it, look for invoices that were loaded twice under other numbers."
        ]
    if now < thresholds.fewer_lines * before:
        return [
            f"{sold}, {now / before:.0%} of the {before:,.0f} before (less than {thresholds.fewer_lines:.0%}). If no "
            "season explains it, look for files that are missing or cut off."
        ]
    return []


def _id_findings(sales: Sales, lines: int, thresholds: DriftThresholds) -> list[str]:
    now, before = sales.with_id, sales.with_id_before
    if now is None or not before or 1 - now / before <= thresholds.lost_ids:
        return []
    return [
        f"{now:.0%} of {lines:,} sold lines have a customer id, before {before:.0%}: more than "
        f"{thresholds.lost_ids:.0%} of them are lost. No model learns from lines without one. Correct the export and "
        "load the files again before the next retrain."
    ]


def _price_findings(sales: Sales, thresholds: DriftThresholds) -> list[str]:
    level, jumps = sales.price_level, sales.price_jumps
    mend = "look for another currency or unit in the export; correct it and load the files again."
    if level is not None and not 1 / thresholds.price_level <= level <= thresholds.price_level:
        return [
            f"The typical price of a product is {level:.3g} times what it was (a factor of {thresholds.price_level:g} "
            f"is allowed). If the shop did not change its prices, {mend}"
        ]
    if jumps > thresholds.price_jumps:
        return [
            f"{jumps:.0%} of sold lines (more than {thresholds.price_jumps:.0%}) have a price that is more than "
            f"{PRICE_JUMP} times what the product cost, or less than one part in {PRICE_JUMP}. If the shop did not "
            f"change these prices, {mend}"
        ]
    return []


def _vanished_findings(sales: Sales, thresholds: DriftThresholds) -> list[str]:
    group, sentences = sales.lowest_group, []
    mend = "If not, look for a part of the catalogue that is missing in the export."
    if group is not None and group.now < thresholds.vanished_group * group.before:
        sentences.append(
            f'Products with "{group.word}" in their descriptions have vanished: {group.now:.1%} of sold lines, before '
            f"{group.before:.1%}. If they are out of stock or season, take them off the lists (docs/merchandising.md). "
            f"{mend}"
        )
    if sales.vanished > max(thresholds.vanished, sales.vanished_by_chance):
        sentences.append(
            f"Products with {sales.vanished:.0%} of earlier sales (more than {thresholds.vanished:.0%}) no longer "
            f"sell, and chance does not explain it. If they left the range, retrain. {mend}"
        )
    return sentences


def _country_findings(sales: Sales, thresholds: DriftThresholds) -> list[str]:
    changed = [country for country in sales.countries if country.exceeds(thresholds.country)]
    if not changed:
        return []
    each = ", ".join(f"{country.name} {country.now:.1%}, before {country.before:.1%}" for country in changed)
    return [
        f"The share of customers has changed by country: {each} (the odds by a factor of more than "
        f"{thresholds.country:g}). If the shop entered or left a market, retrains learn it within weeks. If not, look "
        "for files that are missing, or for customers who were loaded twice under other ids."
    ]
