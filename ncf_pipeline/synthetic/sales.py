"""Who bought what and when in a synthetic shop, before the mess.

A line of a customer's basket is a favourite of that customer (each is one for some days only) or a find: usually from a
group that the customer likes, by season and popularity. A product's companion is often in the same basket. Everything
is drawn for all lines at once.
"""

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from ncf_pipeline.synthetic.catalogue import Bools, Catalogue, Floats, Ints, Objects

FIRST_CUSTOMER_ID = 12_346

_COUNTRIES = ("United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands", "Channel Islands", "Unspecified")
_COUNTRY_SHARES = (0.88, 0.03, 0.03, 0.02, 0.01, 0.01, 0.01, 0.01)
# How much customers buy in each month: little after Christmas, twice as much before it.
_MONTHS = np.array([0.65, 0.6, 0.75, 0.7, 0.8, 0.75, 0.75, 0.8, 0.95, 1.0, 1.3, 1.0]) / 1.3
_PACKS = np.array([1, 1, 2, 2, 3, 4, 6, 6, 8, 10, 12, 12, 24])

_MEAN_GAP_DAYS = 24.0
_MEAN_BASKET = 9.0
_TASTES = 3
_TASTE_SHARES = np.array([0.6, 0.9, 1.0])  # running sum over a customer's groups
_OFF_TASTE = 0.15
_FAVOURITES = 7.0  # mean number at a time
_FAVOURITE_DAYS = 45.0  # mean days that a favourite stays one
_TRIES = 12
_COMPANION = 0.2
_NOT_AGAIN = 0.97
_GUEST_SHARE = 0.2  # of visits, and a quarter of lines, because customers rarely buy again what lasts
_WHOLESALE_SHARE = 0.08


@dataclass(frozen=True)
class Sales:
    """L lines in the order of time; the lines of a visit are next to each other.

    Attributes:
        visit: (L,) number of the visit, ascending.
        product: (L,) index into the catalogue.
        quantity: (L,) pieces.
        at: (L,) time of the visit, to the minute.
        price: (L,) of one piece, in the shop's currency.
        customer: (L,) customer_id; NaN for a guest.
        country: (L,) name.
    """

    visit: Ints
    product: Ints
    quantity: Ints
    at: "np.ndarray[tuple[int], np.dtype[np.datetime64]]"
    price: Floats
    customer: Floats
    country: Objects


@dataclass(frozen=True)
class _Visits:
    """V visits in the order of time: (V,) arrays; `taste` is (V, 3). `buyer` is -1 for guests, `size` counts lines."""

    day: Ints
    minute: Ints
    buyer: Ints
    size: Ints
    taste: Ints


def sell(random: np.random.Generator, catalogue: Catalogue, customers: int, days: int, start: datetime) -> Sales:
    """Draws all visits of customers and guests, and what they buy.

    Args:
        random: for all draws.
        catalogue: the products.
        customers: number of customers.
        days: of trade.
        start: the first day.
    """
    tastes = np.argsort(random.random((customers, catalogue.groups)), axis=1)[:, :_TASTES].astype(np.int64)
    visits = _visits(random, catalogue, tastes, days, start)
    month = _months(start, days)[visits.day]

    line_visit = np.repeat(np.arange(len(visits.day)), visits.size)
    buyer, day = visits.buyer[line_visit], visits.day[line_visit]
    found = _finds(random, catalogue, visits.taste[line_visit], month[line_visit])
    own = _favourites(random, catalogue, tastes, buyer, day, days, start)
    product = np.where(own >= 0, own, found)

    # Companions.
    more = random.random(len(product)) < _COMPANION
    line_visit = np.concatenate([line_visit, line_visit[more]])
    product = np.concatenate([product, catalogue.companion[product[more]]])
    launched = catalogue.launched[product] <= visits.day[line_visit]
    # Each product once in a basket; then the lines of a basket in random order.
    products = len(catalogue.price)
    once = np.unique(line_visit[launched] * products + product[launched])
    once = once[~_owned_already(random, catalogue, visits.buyer, once)]
    line_visit, product = np.divmod(once, products)
    shuffled = np.lexsort((random.random(len(once)), line_visit))
    line_visit, product = line_visit[shuffled], product[shuffled]

    return _lines(random, catalogue, visits, line_visit, product, customers, days, start)


def _visits(random: np.random.Generator, catalogue: Catalogue, tastes: Ints, days: int, start: datetime) -> _Visits:
    customers = len(tastes)
    # Half of the customers come from the beginning, the others start later; some stop coming.
    first = np.where(
        random.random(customers) < 0.5, random.uniform(0, 30, customers), random.uniform(0, days, customers)
    )
    first = np.minimum(first, days - 1)
    last = np.minimum(days, first + random.exponential(500, customers) + 1)
    gap = np.exp(random.normal(np.log(_MEAN_GAP_DAYS) - 0.4, 0.9, customers)) + 3
    count = 1 + random.poisson((last - first) / gap)
    buyer = np.repeat(np.arange(customers), count)
    at = first[buyer] + random.random(len(buyer)) * (last - first)[buyer]
    at[np.cumsum(count) - count] = first
    mean = np.exp(random.normal(np.log(_MEAN_BASKET) - 0.18, 0.6, customers))
    size = 1 + random.poisson(random.gamma(2.0, mean[buyer] / 2))

    # Guests: a quarter of the lines.
    guests = max(1, round(len(buyer) * _GUEST_SHARE / (1 - _GUEST_SHARE)))
    buyer = np.concatenate([buyer, np.full(guests, -1)])
    at = np.concatenate([at, random.random(guests) * days])
    size = np.concatenate([size, 1 + random.poisson(random.gamma(2.0, _MEAN_BASKET / 2, guests))])
    taste = np.concatenate([tastes, random.integers(catalogue.groups, size=(guests, _TASTES))])
    taste = np.concatenate([taste[buyer[:-guests]], taste[customers:]])

    day = np.minimum(at.astype(np.int64), days - 1)
    # Fewer visits in quiet months, but each customer comes at least once.
    comes = random.random(len(day)) < _MONTHS[_months(start, days)[day]]
    comes[np.cumsum(count) - count] = True
    # Closed on Saturdays.
    saturday = (day + start.weekday()) % 7 == 5
    day = np.where(saturday & (day + 1 < days), day + 1, day)
    minute = np.clip(random.normal(13 * 60, 120, len(day)), 7 * 60, 20 * 60 - 1).astype(np.int64)
    order = np.lexsort((minute, day))
    order = order[comes[order]]
    return _Visits(day=day[order], minute=minute[order], buyer=buyer[order], size=size[order], taste=taste[order])


def _months(start: datetime, days: int) -> Ints:
    """The month, from 0, of each day of trade."""
    first = np.datetime64(start, "D")
    return (first + np.arange(days)).astype("datetime64[M]").astype(np.int64) % 12


def _finds(random: np.random.Generator, catalogue: Catalogue, taste: Ints, month: Ints) -> Ints:
    """A product for each line from one of the visitor's groups, by popularity in that month."""
    lines = len(month)
    place = np.searchsorted(_TASTE_SHARES, random.random(lines))
    group = taste[np.arange(lines), place]
    off = random.random(lines) < _OFF_TASTE
    begin, end = catalogue.group_start[group], catalogue.group_start[group + 1]
    begin, end = np.where(off, 0, begin), np.where(off, len(catalogue.price), end)
    drawn = np.full(lines, -1, dtype=np.int64)
    for number, weights in enumerate(catalogue.cumulative):
        here = month == number
        low = np.where(begin[here] > 0, weights[begin[here] - 1], 0.0)
        drawn[here] = np.searchsorted(weights, low + random.random(int(here.sum())) * (weights[end[here] - 1] - low))
    return np.clip(drawn, begin, end - 1)


def _favourites(
    random: np.random.Generator,
    catalogue: Catalogue,
    tastes: Ints,
    buyer: Ints,
    day: Ints,
    days: int,
    start: datetime,
) -> Ints:
    """For each line a product that is a favourite of its buyer on that day; -1 if the line is a find."""
    customers = len(tastes)
    # Favourites begin at any time and last for a while, so their number stays about the same.
    mean = random.gamma(4.0, _FAVOURITES / 4, customers) * (1 + days / _FAVOURITE_DAYS)
    count = 3 + random.poisson(mean)
    owner = np.repeat(np.arange(customers), count)
    since = random.uniform(-_FAVOURITE_DAYS, days, len(owner))
    until = since + random.exponential(_FAVOURITE_DAYS, len(owner))
    month = _months(start, days)[np.clip(since, 0, days - 1).astype(np.int64)]
    product = _finds(random, catalogue, tastes[owner], month)
    since = np.maximum(since, catalogue.launched[product])
    weight = catalogue.rebuy[product] * random.gamma(1.0, 1.0, len(owner))
    running = np.cumsum(weight)
    end = np.cumsum(count)
    low = np.where(end - count > 0, running[end - count - 1], 0.0)
    high = running[end - 1]

    loyal = random.uniform(0.35, 0.85, customers)
    wants = np.flatnonzero((buyer >= 0) & (random.random(len(buyer)) < loyal[np.maximum(buyer, 0)]))
    chosen = np.full(len(buyer), -1, dtype=np.int64)
    for _ in range(_TRIES):  # draw again if it is not a favourite on that day
        who = buyer[wants]
        drawn = np.searchsorted(running, low[who] + random.random(len(wants)) * (high - low)[who])
        drawn = np.clip(drawn, (end - count)[who], end[who] - 1)
        current = (since[drawn] <= day[wants]) & (day[wants] < until[drawn])
        chosen[wants[current]] = product[drawn[current]]
        wants = wants[~current]
    return chosen


def _owned_already(random: np.random.Generator, catalogue: Catalogue, buyer: Ints, once: Ints) -> Bools:
    """Marks lines to leave out: most of those with a lasting product that the customer already has."""
    products = len(catalogue.price)
    visit, product = np.divmod(once, products)
    pair = buyer[visit] * products + product
    first = np.zeros(len(once), dtype=bool)
    first[np.unique(pair, return_index=True)[1]] = True  # visits are in the order of time
    owned: Bools = ~first & (buyer[visit] >= 0) & (catalogue.rebuy[product] == 0)
    return owned & (random.random(len(once)) < _NOT_AGAIN)


def _lines(
    random: np.random.Generator,
    catalogue: Catalogue,
    visits: _Visits,
    line_visit: Ints,
    product: Ints,
    customers: int,
    days: int,
    start: datetime,
) -> Sales:
    buyer = visits.buyer[line_visit]
    country_of_customer = random.choice(len(_COUNTRIES), size=customers + 1, p=_COUNTRY_SHARES)
    country_of_customer[-1] = 0  # guests, whose buyer is -1
    wholesale = np.append(random.random(customers) < _WHOLESALE_SHARE, False)[buyer]
    quantity = _PACKS[random.integers(len(_PACKS), size=len(product))] * np.where(wholesale, 12, 1)
    dearer = np.where(visits.day[line_visit] * 2 > days, 1.04, 1.0)
    cheaper = np.where(wholesale, 0.85, 1.0)
    minutes = visits.day * 24 * 60 + visits.minute
    midnight = np.datetime64(pd.Timestamp(start).normalize(), "us")
    names: Objects = np.array(_COUNTRIES, dtype=object)
    return Sales(
        visit=line_visit,
        product=product,
        quantity=quantity.astype(np.int64),
        at=midnight + minutes[line_visit].astype("timedelta64[m]"),
        price=np.maximum(0.01, (catalogue.price[product] * dearer * cheaper).round(2)),
        customer=np.where(buyer >= 0, FIRST_CUSTOMER_ID + buyer, np.nan),
        country=names[country_of_customer[buyer]],
    )
