"""From orders to values of customers. The unit is the customer, not the order. Pure.

A customer counts from the moment they first had a list of the experiment, whether they then buy or not. What they did
before that moment is used for CUPED (`Observations.past`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline.experiments.purchases import Orders
from ncf_pipeline.id_order import in_order

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Instants = npt.NDArray[np.datetime64]

REPEAT_DAYS = 28
PAST_DAYS = 182
"""Length of the past that counts for a customer's spending and orders before they entered."""


@dataclass(frozen=True)
class Measure:
    """A mean over what a group's customers did.

    Attributes:
        name: as stored.
        words: as people read it.
        of: what the mean is over: each `order`, each `customer`, or each order old enough to have been `followed`.
        quantile: at which values above 0 are Winsorized (see `inference`); 1 for not at all.
    """

    name: str
    words: str
    of: str
    quantile: float


AVERAGE_ORDER_VALUE = "average_order_value"
REVENUE_PER_CUSTOMER = "revenue_per_customer"
ORDER_QUANTILE, CUSTOMER_QUANTILE = 0.95, 0.99

MEASURES = {
    measure.name: measure
    for measure in (
        Measure(AVERAGE_ORDER_VALUE, "average order value", "order", ORDER_QUANTILE),
        Measure("items_per_basket", "different products per basket", "order", ORDER_QUANTILE),
        Measure("orders_per_customer", "orders per customer", "customer", CUSTOMER_QUANTILE),
        Measure(REVENUE_PER_CUSTOMER, "revenue per customer", "customer", CUSTOMER_QUANTILE),
        Measure("repeat_rate", f"orders followed by another within {REPEAT_DAYS} days", "followed", 1.0),
    )
}
"""By name, in the order in which reports show them."""


@dataclass(frozen=True)
class Sample:
    """Values whose mean is the measure, ascending.

    Attributes:
        customer: (values,) index of the customer that a value belongs to.
        value: (values,)
    """

    customer: IntArray
    value: FloatArray


@dataclass(frozen=True)
class Observations:
    """What is known of an experiment's customers at one instant.

    Attributes:
        customers: (n,) ids of all who have entered, ascending as in `id_order`.
        past: (n, 4) before they entered: spending in `PAST_DAYS`, orders in `PAST_DAYS`, mean value of all orders, and
            mean number of different products in all orders. Returns are not subtracted, because returning something
            may be a reaction to the lists.
        samples: by the measure's name.
    """

    customers: npt.NDArray[np.object_]
    past: FloatArray
    samples: Mapping[str, Sample]


def observe(orders: pd.DataFrame, entered_at: pd.Series, until: datetime) -> Observations:
    """What customers did since they entered, until an instant.

    Args:
        orders: columns of `purchases.Orders`, by time, from the shop's first day on.
        entered_at: when each customer first had a list of the experiment, by customer id.
        until: first instant excluded.
    """
    entered = entered_at[entered_at < until]
    entered = entered.loc[in_order(entered.index)]
    ids = entered.index.to_numpy(np.object_)
    n, since = len(ids), entered.to_numpy("datetime64[us]")
    customer = entered.index.get_indexer(pd.Index(orders[Orders.CUSTOMER_ID]))
    is_known = (customer >= 0) & (orders[Orders.PURCHASED_AT] < until).to_numpy()
    known, customer = orders[is_known], customer[is_known].astype(np.int64)
    at = known[Orders.PURCHASED_AT].to_numpy("datetime64[us]")
    value, items = (known[name].to_numpy(np.float64) for name in (Orders.VALUE, Orders.ITEMS))
    before = at < since[customer] if n else np.zeros(len(at), np.bool_)
    after = ~before & (items > 0)
    recent = before & (at >= since[customer] - np.timedelta64(PAST_DAYS, "D"))
    spent, products = (_cut(known[name].to_numpy(np.float64), before) for name in (Orders.BOUGHT, Orders.BOUGHT_ITEMS))
    ordered = np.maximum(np.bincount(customer[before], minlength=n), 1)
    past = np.column_stack(
        [
            np.bincount(customer[recent], spent[recent], n),
            np.bincount(customer[recent], minlength=n),
            np.bincount(customer[before], spent[before], n) / ordered,
            np.bincount(customer[before], products[before], n) / ordered,
        ]
    )
    mine, each = customer[after], np.arange(n)
    samples = {
        AVERAGE_ORDER_VALUE: _sample(mine, value[after]),
        "items_per_basket": _sample(mine, items[after]),
        "orders_per_customer": _sample(each, np.bincount(mine, minlength=n).astype(np.float64)),
        REVENUE_PER_CUSTOMER: _sample(each, np.bincount(mine, value[after], n).astype(np.float64)),
        "repeat_rate": _followed(mine, at[after], np.datetime64(until)),
    }
    return Observations(ids, past, samples)


def _cut(value: FloatArray, before: npt.NDArray[np.bool_]) -> FloatArray:
    """The values, capped at a quantile of those from before the customers entered."""
    return np.minimum(value, np.quantile(value[before], ORDER_QUANTILE)) if before.any() else value


def _sample(customer: IntArray, value: FloatArray) -> Sample:
    order = np.argsort(value, kind="stable")
    return Sample(customer[order], value[order])


def _followed(customer: IntArray, at: Instants, until: np.datetime64) -> Sample:
    """For orders at least `REPEAT_DAYS` old: 1 if the customer ordered again within these days, else 0."""
    order = np.lexsort((at, customer))
    customer, at = customer[order], at[order]
    within = np.timedelta64(timedelta(days=REPEAT_DAYS))
    again = np.zeros(len(at), np.float64)
    again[:-1] = (customer[1:] == customer[:-1]) & (at[1:] - at[:-1] <= within)
    old = at + within <= until
    return _sample(customer[old], again[old])
