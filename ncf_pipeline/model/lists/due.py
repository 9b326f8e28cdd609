"""The day by which half of such customers have bought a product again. Pure.

Such customers are those who, on an earlier day, stood as this one does today: they had bought the product as often, as
much of its usual gap had gone by since, and they had come to the shop as lately. What they did next is known, or still
open: the median of the days until they bought again is that of Kaplan & Meier 1958, "Nonparametric estimation from
incomplete observations", at many such days (landmarks: van Houwelingen 2007, "Dynamic prediction by landmarking").
Where fewer than half came back while they could be watched, there is no such day.

The usual gap of a customer and a product is the mean of their own gaps, shrunk to that of the product, which is shrunk
to that of the shop. All groups count in usual gaps, so a product of each month and one of each quarter tell of each
other.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.events import DAY, Events, FloatArray, Int32Array, IntArray, pair_codes
from ncf_pipeline.model.features.state import ShopState, rank_in_group

STEP_DAYS = 7
"""Days between landmarks."""

MIN_HISTORY_DAYS = 42
"""Days of invoices before the earliest landmark."""

MAX_LANDMARKS = 52

CUSTOMERS = 5000
"""Most customers to learn from; a random sample if there are more."""

DEPTH = 10
"""Products of a customer to learn from, at each landmark: those that a list of `buy_again` would show, about."""

HALF_LIFE_DAYS = 90.0

MIN_PAIRS, MIN_CUSTOMERS = 200, 50
"""A smaller group is widened: first it no longer matters how lately the customers came, then how much of the gap is
gone."""

OWN_GAPS, PRODUCT_GAPS = 1.0, 10.0
"""The usual gap of a product counts as much as so many own gaps; that of the shop, as so many gaps of the product."""

TIMES = (2, 3, 5)  # bought once, twice, 3 to 4 times, more often
GONE = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)  # of the usual gap
LATE = (0.5, 1.0, 2.0, 4.0)  # days since the last visit, in the customer's usual gaps between visits


@dataclass(frozen=True)
class _Days:
    """The N days on which some customers bought products, by customer, product and day, and the M days of visits.

    Attributes:
        customer, product, day: (N,) indices, and days since 1970.
        place: (N,) number of earlier days of the same pair.
        first: (N,) the pair's first day.
        following: (N,) the pair's next day; `_NEVER` if there is none.
        visitor, visit: (M,) customer_index, and the day of each visit, by customer and day.
    """

    customer: Int32Array
    product: Int32Array
    day: IntArray
    place: IntArray
    first: IntArray
    following: IntArray
    visitor: IntArray
    visit: Int32Array


_NEVER = np.iinfo(np.int64).max


class Rhythm:
    """What the shop's customers teach about when they buy again.

    Args:
        state: of the shop at an instant.

    Attributes:
        days, first: (N,) of each of the state's pairs, on how many days it was bought, and the first, since 1970.
        visits, first_visit, last_visit: (C,) on how many days each customer came, the first and the last.
        product_gap: (P,) the geometric mean of the gaps of each product, shrunk to that of all.
        medians: (groups,) of the days until the next purchase, in usual gaps; NaN where fewer than half came back.
    """

    def __init__(self, state: ShopState) -> None:
        self.state = state
        self.today = -(-state.at // DAY)  # the first day of which nothing is known
        pairs, (customers, products) = state.pairs, state.shape
        self.days, self.first = (np.zeros(len(pairs.product), np.int32) for _ in range(2))
        self.visits, self.first_visit, self.last_visit = (np.zeros(customers, np.int32) for _ in range(3))
        gaps, of_products = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for begin, end in state.parts():
            days = _days_of(state.events, state.purchases(begin, end)[0])
            bought = pairs.start[begin] + np.flatnonzero(pairs.times[pairs.start[begin] : pairs.start[end]] > 0)
            of_pair = np.flatnonzero(days.place == 0)
            self.days[bought], self.first[bought] = np.diff(of_pair, append=len(days.day)), days.day[of_pair]
            of_visitor = np.flatnonzero(np.diff(days.visitor, prepend=-1))
            visitor = days.visitor[of_visitor]
            self.visits[visitor] = np.diff(of_visitor, append=len(days.visitor))
            self.first_visit[visitor] = days.visit[of_visitor]
            self.last_visit[visitor] = days.visit[of_visitor + self.visits[visitor] - 1]
            ended = days.following < _NEVER
            gaps.append((days.following - days.day)[ended])
            of_products.append(days.product[ended])
        self.product_gap = _product_gaps(np.concatenate(gaps), np.concatenate(of_products), products)
        self.first_day = int(self.first_visit[self.visits > 0].min(initial=self.today))
        self.medians = self._medians()

    def days_until_due(self, customer: IntArray, product: IntArray) -> FloatArray:
        """Days from now until half of such customers have bought again.

        Args:
            customer: (n,) customer_index.
            product: (n,) product_index.

        Returns:
            (n,) NaN if the customer never bought the product, or if there is no such day.
        """
        until = np.full(len(customer), np.nan)
        pair = self.state.pair_of(customer, product)
        known = pair >= 0
        known[known] = self.days[pair[known]] > 0
        pair, who = pair[known], customer[known]
        late = _lateness(self.first_visit[who], self.last_visit[who], self.visits[who], self.today)
        last = self.state.pairs.last[pair] // DAY
        group, gap = self._groups(product[known], self.days[pair] - 1, self.first[pair], last, self.today, late)
        until[known] = np.ceil(self.medians[group] * gap)
        # A median in gaps of others may be longer than anybody was watched.
        until[until > self.today - self.first_day] = np.nan
        return until

    def due_on(self, customer: IntArray, product: IntArray) -> list[str | None]:
        """The day by whose end half of such customers have bought again, as ISO 8601 text; None if there is none.

        Args:
            customer: (n,) customer_index.
            product: (n,) product_index.
        """
        until = self.days_until_due(customer, product)
        known = np.isfinite(until)
        days, place = np.unique(until[known].astype(np.int64), return_inverse=True)
        texts = np.datetime_as_string(np.datetime64(self.today, "D") + days).tolist()
        place_of = np.full(len(until), len(texts))
        place_of[known] = place
        text_or_none = [*texts, None]
        return [text_or_none[each] for each in place_of.tolist()]

    def _groups(
        self,
        product: npt.NDArray[Any],
        place: npt.NDArray[Any],
        first: npt.NDArray[Any],
        day: IntArray,
        landmark: int | IntArray,
        lateness: FloatArray,
    ) -> tuple[IntArray, FloatArray]:
        """The group of each pair at a landmark, and its usual gap in days.

        Args:
            product: (n,) of the pair.
            place: (n,) number of the pair's days before its last one.
            first: (n,) the pair's first day; and
            day: (n,) its last one before the landmark.
            landmark: a day since 1970, or (n,) days.
            lateness: (n,) see `_lateness`.
        """
        gap = self._usual_gaps(product, place, day - first)
        times = np.searchsorted(TIMES, place + 1, side="right")
        gone = np.searchsorted(GONE, (landmark - day) / gap, side="right")
        late = np.searchsorted(LATE, lateness, side="right")
        return (times * (len(GONE) + 1) + gone) * (len(LATE) + 1) + late, gap

    def _usual_gaps(self, product: npt.NDArray[Any], own: npt.NDArray[Any], length: IntArray) -> FloatArray:
        """(n,) days; `own` is the number of a pair's gaps, and `length` the days that they take together."""
        of_product = np.log(self.product_gap[product])
        shrunk = own * np.log(np.maximum(length / np.maximum(own, 1), 1)) + OWN_GAPS * of_product
        gaps: FloatArray = np.exp(shrunk / (own + OWN_GAPS))
        return gaps

    def _medians(self) -> FloatArray:
        """See `medians`; from a sample of the customers if there are many."""
        customers = self.state.shape[0]
        chosen = np.arange(customers)
        if customers > CUSTOMERS:
            chosen = np.sort(np.random.default_rng(0).choice(customers, CUSTOMERS, replace=False))
        days = _days_of(self.state.events, self.state.rows_of(chosen))
        groups = (len(TIMES) + 1) * (len(GONE) + 1) * (len(LATE) + 1)
        medians = np.full(groups, np.nan)
        rows, landmarks = self._landmarks(days)
        if len(rows) == 0:
            return medians
        who, day = days.customer[rows].astype(np.int64), days.day[rows]
        start = np.searchsorted(days.visitor, np.arange(customers + 1))
        last = np.empty(len(rows), np.int64)
        kernels.last_places(who, landmarks - 1, start, days.visit, last)
        late = _lateness(days.visit[start[who]], days.visit[last], last - start[who] + 1, landmarks)
        group, gap = self._groups(days.product[rows], days.place[rows], days.first[rows], day, landmarks, late)
        came_back = days.following[rows] < _NEVER
        watched = (np.where(came_back, days.following[rows], self.today) - landmarks) / gap
        late_ones, gone = len(LATE) + 1, len(GONE) + 1
        settled = np.zeros(groups, np.bool_)
        for size in (1, late_ones, late_ones * gone):  # of the widened group
            for label, members in _grouped(group // size):
                if len(members) < MIN_PAIRS or len(np.unique(who[members])) < MIN_CUSTOMERS:
                    continue
                part = slice(label * size, (label + 1) * size)
                medians[part][~settled[part]] = median_of(watched[members], came_back[members])
                settled[part] = True
        return medians

    def _landmarks(self, days: _Days) -> tuple[IntArray, IntArray]:
        """Rows of `days` that were a pair's last at a landmark, of a customer's strongest habits, and the landmarks."""
        rows, at = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        begin = self.first_day + MIN_HISTORY_DAYS
        for landmark in range(self.today - STEP_DAYS, begin - 1, -STEP_DAYS)[:MAX_LANDMARKS]:
            last = np.flatnonzero((days.day < landmark) & (days.following >= landmark))
            habit = (days.place[last] + 1) * 2.0 ** ((days.day[last] - landmark) / HALF_LIFE_DAYS)
            kept = last[rank_in_group(days.customer[last], -habit) < DEPTH]
            rows.append(kept)
            at.append(np.full(len(kept), landmark))
        return np.concatenate(rows), np.concatenate(at)


def _lateness(
    first: Int32Array, last: Int32Array, visits: npt.NDArray[np.integer[Any]], landmark: int | IntArray
) -> FloatArray:
    """(n,) days since the last visit before the landmark, in usual gaps between visits.

    Args:
        first: (n,) the day of a customer's first visit; and
        last: (n,) that of the last one before the landmark.
        visits: (n,) how many there are from one to the other, both included.
        landmark: a day since 1970, or (n,) days.
    """
    # One visit: as if the next were due after as long as has gone by since, half of the time.
    gap = (last - first + 30) / visits
    lateness: FloatArray = (landmark - last) / np.maximum(gap, 1)
    return lateness


def median_of(watched: FloatArray, came_back: npt.NDArray[np.bool_]) -> float:
    """Kaplan and Meier's median: the first time by which half or more came back; NaN if there is none.

    Args:
        watched: (n,) time until they came back, or until nobody watched any longer.
        came_back: (n,) whether they came back.

    >>> median_of(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, True]))
    3.0
    >>> median_of(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, False, False]))
    nan
    """
    times, place = np.unique(watched, return_inverse=True)
    back = np.bincount(place, came_back, minlength=len(times))
    gone = np.bincount(place, minlength=len(times))
    at_risk = len(watched) - np.cumsum(gone) + gone
    left = np.cumprod(1 - back / at_risk)
    reached = np.flatnonzero(left <= 0.5 + 1e-12)
    return float(times[reached[0]]) if len(reached) else float("nan")


def _grouped(label: IntArray) -> list[tuple[int, IntArray]]:
    order = np.argsort(label, kind="stable")
    labels, begin = np.unique(label[order], return_index=True)
    return [(int(each), part) for each, part in zip(labels, np.split(order, begin[1:]), strict=True)]


def _days_of(events: Events, rows: Int32Array) -> _Days:
    """The days and visits of some customers.

    Args:
        events: all.
        rows: of the events of these customers, without returned ones, by customer, product and time.
    """
    customer, product, day = events.customer[rows], events.product[rows], events.time[rows] // DAY
    same_pair = np.zeros(len(rows), np.bool_)
    same_pair[1:] = (np.diff(customer) == 0) & (np.diff(product) == 0)
    again = same_pair.copy()
    again[1:] &= np.diff(day) == 0
    customer, product, day, same_pair = customer[~again], product[~again], day[~again], same_pair[~again]
    begin = np.flatnonzero(~same_pair)
    of_pair = np.cumsum(~same_pair) - 1
    following = np.full(len(day), _NEVER)
    following[:-1][same_pair[1:]] = day[1:][same_pair[1:]]
    span = int(day.max(initial=0)) + 1
    visitor, visit = np.divmod(np.unique(pair_codes(customer, day, span)), span)
    place = np.arange(len(day)) - begin[of_pair]
    return _Days(customer, product, day, place, day[begin][of_pair], following, visitor, visit.astype(np.int32))


def _product_gaps(gap: IntArray, product: Int32Array, products: int) -> FloatArray:
    """(P,) see `Rhythm.product_gap`; of n gaps in days, each of a product."""
    log_gap = np.log(np.maximum(gap, 1))
    usual = float(log_gap.mean()) if len(log_gap) else np.log(30.0)
    total = np.bincount(product, log_gap, minlength=products)
    count = np.bincount(product, minlength=products)
    gaps: FloatArray = np.exp((total + PRODUCT_GAPS * usual) / (count + PRODUCT_GAPS))
    return gaps
