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

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model import kernels
from ncf_pipeline.model.features.events import DAY, Events, FloatArray, IntArray
from ncf_pipeline.model.features.state import customers_at_once, rank_in_group

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
    """The N days on which customers bought products, by customer, product and day, and the M days of visits.

    Attributes:
        customer, product, day: (N,) indices, and days since 1970.
        place: (N,) number of earlier days of the same pair.
        first: (N,) the pair's first day.
        following: (N,) the pair's next day; `_NEVER` if there is none.
        start: (C + 1,) the rows of customer c are start[c] to start[c + 1].
        visit: (M,) the day of each visit, by customer and day; and
        visit_start: (C + 1,) those of customer c are visit_start[c] to visit_start[c + 1].
    """

    customer: IntArray
    product: IntArray
    day: IntArray
    place: IntArray
    first: IntArray
    following: IntArray
    start: IntArray
    visit: IntArray
    visit_start: IntArray


_NEVER = np.iinfo(np.int64).max


class Rhythm:
    """What the shop's customers teach about when they buy again.

    Args:
        events: from `encode`; events and returns from `at` on are ignored.
        at: microseconds since 1970; first instant excluded.
    """

    def __init__(self, events: Events, at: int) -> None:
        self.today = -(-at // DAY)  # the first day of which nothing is known
        self.days = _days(events, at)
        self.product_gap = _product_gaps(self.days, len(events.products))
        self.medians = self._medians(len(events.customers))
        self.first_day = int(self.days.day.min(initial=self.today))
        nothing = np.zeros(0, np.int64)
        self.days = replace(self.days, customer=nothing, following=nothing)  # which nobody reads any more

    def days_until_due(self, customer: IntArray, product: IntArray) -> FloatArray:
        """Days from now until half of such customers have bought again.

        Args:
            customer: (n,) customer_index.
            product: (n,) product_index.

        Returns:
            (n,) NaN if the customer never bought the product, or if there is no such day.
        """
        until = np.full(len(customer), np.nan)
        row = self._last_rows(customer, product)
        known = row >= 0
        if known.any():
            last = row[known]
            group, gap = self._groups(last, np.full(len(last), self.today), customer[known])
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

    def _last_rows(self, customer: IntArray, product: IntArray) -> IntArray:
        """(n,) the row of `days` with the pair's last day; -1 if there is none."""
        days = self.days
        row = np.empty(len(customer), np.int64)
        kernels.last_places(customer, product, days.start, days.product, row)
        found = row >= 0
        found[found] = days.product[row[found]] == product[found]
        return np.where(found, row, -1)

    def _groups(self, row: IntArray, landmark: IntArray, customer: IntArray) -> tuple[IntArray, FloatArray]:
        """The group of each pair at a landmark, and its usual gap in days.

        Args:
            row: (n,) of `days`: the pair's last day before the landmark.
            landmark: (n,) days since 1970.
            customer: (n,) of the pair.
        """
        days = self.days
        gap = self._usual_gaps(row)
        times = np.searchsorted(TIMES, days.place[row] + 1, side="right")
        gone = np.searchsorted(GONE, (landmark - days.day[row]) / gap, side="right")
        late = np.searchsorted(LATE, self._lateness(customer, landmark), side="right")
        return (times * (len(GONE) + 1) + gone) * (len(LATE) + 1) + late, gap

    def _usual_gaps(self, row: IntArray) -> FloatArray:
        days = self.days
        own = days.place[row]
        mean = (days.day[row] - days.first[row]) / np.maximum(own, 1)
        of_product = np.log(self.product_gap[days.product[row]])
        shrunk = own * np.log(np.maximum(mean, 1)) + OWN_GAPS * of_product
        gaps: FloatArray = np.exp(shrunk / (own + OWN_GAPS))
        return gaps

    def _lateness(self, customer: IntArray, landmark: IntArray) -> FloatArray:
        """(n,) days since the last visit before the landmark, in usual gaps between visits."""
        days = self.days
        last = np.empty(len(customer), np.int64)
        kernels.last_places(customer, landmark - 1, days.visit_start, days.visit, last)
        first = days.visit_start[customer]
        visits = last - first  # gaps between them
        # One visit: as if the next were due after as long as has gone by since, half of the time.
        gap = (days.visit[last] - days.visit[first] + 30) / (visits + 1)
        lateness: FloatArray = (landmark - days.visit[last]) / np.maximum(gap, 1)
        return lateness

    def _medians(self, customers: int) -> FloatArray:
        """(groups,) median of the days until the next purchase, in usual gaps; NaN where fewer than half came back."""
        groups = (len(TIMES) + 1) * (len(GONE) + 1) * (len(LATE) + 1)
        medians = np.full(groups, np.nan)
        if len(self.days.day) == 0:
            return medians
        rows, landmarks = self._landmarks(customers)
        if len(rows) == 0:
            return medians
        days = self.days
        group, gap = self._groups(rows, landmarks, days.customer[rows])
        came_back = days.following[rows] < _NEVER
        watched = (np.where(came_back, days.following[rows], self.today) - landmarks) / gap
        late, gone = len(LATE) + 1, len(GONE) + 1
        settled = np.zeros(groups, np.bool_)
        for size in (1, late, late * gone):  # of the widened group
            for label, members in _grouped(group // size):
                if len(members) < MIN_PAIRS or len(np.unique(days.customer[rows[members]])) < MIN_CUSTOMERS:
                    continue
                part = slice(label * size, (label + 1) * size)
                medians[part][~settled[part]] = median_of(watched[members], came_back[members])
                settled[part] = True
        return medians

    def _landmarks(self, customers: int) -> tuple[IntArray, IntArray]:
        """Rows of `days` that were a pair's last at a landmark, of a customer's strongest habits, and the landmarks."""
        days = self.days
        chosen = np.ones(customers, np.bool_)
        if customers > CUSTOMERS:
            chosen[:] = False
            chosen[np.random.default_rng(0).choice(customers, CUSTOMERS, replace=False)] = True
        of_chosen = chosen[days.customer]
        rows, at = [], []
        begin = int(days.day.min()) + MIN_HISTORY_DAYS
        for landmark in range(self.today - STEP_DAYS, begin - 1, -STEP_DAYS)[:MAX_LANDMARKS]:
            last = np.flatnonzero(of_chosen & (days.day < landmark) & (days.following >= landmark))
            habit = (days.place[last] + 1) * 2.0 ** ((days.day[last] - landmark) / HALF_LIFE_DAYS)
            kept = last[rank_in_group(days.customer[last], -habit) < DEPTH]
            rows.append(kept)
            at.append(np.full(len(kept), landmark))
        nothing = np.zeros(0, np.int64)
        return np.concatenate([nothing, *rows]), np.concatenate([nothing, *at])


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


def _days(events: Events, at: int) -> _Days:
    """The days and visits of all customers; of a large shop some customers at a time."""
    alive = (events.time < at) & (events.returned >= at) & (events.customer >= 0)
    blocks = customers_at_once(events.customer, np.flatnonzero(alive))
    columns, visits = zip(*(_days_of(events, rows) for rows in blocks), strict=True)
    customer, product, day, place, first, following = map(np.concatenate, zip(*columns, strict=True))
    visitor, visit = map(np.concatenate, zip(*visits, strict=True))
    start, visit_start = (np.searchsorted(owner, np.arange(len(events.customers) + 1)) for owner in (customer, visitor))
    return _Days(customer, product, day, place, first, following, start, visit, visit_start)


def _days_of(events: Events, rows: IntArray) -> tuple[tuple[IntArray, ...], tuple[IntArray, IntArray]]:
    """The first six columns of `_Days`, and the customer and the day of each visit, from all events of some customers.

    Args:
        events: all.
        rows: of the events, without returned ones.
    """
    customer, product, day = events.customer[rows], events.product[rows], events.time[rows] // DAY
    order = np.lexsort((day, product, customer))
    customer, product, day = customer[order], product[order], day[order]
    same_pair = np.zeros(len(order), np.bool_)
    same_pair[1:] = (np.diff(customer) == 0) & (np.diff(product) == 0)
    again = same_pair.copy()
    again[1:] &= np.diff(day) == 0
    customer, product, day, same_pair = customer[~again], product[~again], day[~again], same_pair[~again]
    begin = np.flatnonzero(~same_pair)
    of_pair = np.cumsum(~same_pair) - 1
    following = np.full(len(day), _NEVER)
    following[:-1][same_pair[1:]] = day[1:][same_pair[1:]]
    span = int(day.max(initial=0)) + 1
    visitor, visit = np.divmod(np.unique(customer * span + day), span)
    place = np.arange(len(day)) - begin[of_pair]
    return (customer, product, day, place, day[begin][of_pair], following), (visitor, visit)


def _product_gaps(days: _Days, products: int) -> FloatArray:
    """(P,) the geometric mean of the gaps of each product, shrunk to that of all."""
    ended = days.following < _NEVER
    log_gap = np.log(np.maximum(days.following[ended] - days.day[ended], 1))
    usual = float(log_gap.mean()) if len(log_gap) else np.log(30.0)
    total = np.bincount(days.product[ended], log_gap, minlength=products)
    count = np.bincount(days.product[ended], minlength=products)
    gaps: FloatArray = np.exp((total + PRODUCT_GAPS * usual) / (count + PRODUCT_GAPS))
    return gaps
