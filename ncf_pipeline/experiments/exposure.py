"""Since when customers have had lists of an experiment, what they are shown, and what they bought from lists. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd

from ncf_pipeline.columns import Lists
from ncf_pipeline.experiments.assignment import fraction
from ncf_pipeline.experiments.purchases import Lines
from ncf_pipeline.experiments.results import Bought


@dataclass(frozen=True)
class LiveLists:
    """One publication's lists, while they were live in `[start, end)` on the shop's clock.

    Attributes:
        as_of: cutoff of the purchases that the lists were made from.
        start: first instant at which shoppers saw the lists.
        end: first instant at which they no longer did.
        is_ours: whether the lists were made for the experiment's groups.
    """

    as_of: datetime
    start: datetime
    end: datetime
    is_ours: bool


def entries(first_purchases: pd.Series, shown: Sequence[LiveLists]) -> pd.Series:
    """When each customer first had a list of the experiment.

    A customer who entered never leaves, whatever lists are live later.

    Args:
        first_purchases: when each customer first bought, by customer id.
        shown: in the order in which they were live.

    Returns:
        Start of their first list by customer id, without customers who never had one.
    """
    entered = pd.Series(pd.NaT, index=first_purchases.index, dtype="datetime64[us]")
    for lists in shown:
        if lists.is_ours and lists.start < lists.end:
            entered[entered.isna() & (first_purchases < lists.as_of)] = lists.start
    return entered.dropna()


def time_of_others(shown: Sequence[LiveLists], start: datetime, until: datetime) -> float:
    """How much of an experiment's time lists were live that were not made for its groups.

    Args:
        shown: in any order.
        start: of the experiment, on the shop's clock.
        until: first instant excluded.

    Returns:
        A share, 0 to 1.
    """
    whole = (until - start).total_seconds()
    others = sum(
        max((min(lists.end, until) - max(lists.start, start)).total_seconds(), 0.0)
        for lists in shown
        if not lists.is_ours
    )
    return others / whole if whole > 0 else 0.0


def bought_from_lists(lines: pd.DataFrame, lists: pd.DataFrame) -> Bought:
    """What customers spent, and how much of it on products that were on their lists.

    This is an association, not an effect: the lists contain what customers like, and they would buy some of it anyway.
    The control group shows how much.

    Args:
        lines: columns of `purchases.Lines`.
        lists: columns of `columns.Lists`, with the audience `customer` only.
    """
    on_list = {
        (key, code) for key, codes in zip(lists[Lists.KEY], lists[Lists.STOCK_CODES], strict=True) for code in codes
    }
    pairs = zip(lines[Lines.CUSTOMER_ID].tolist(), lines[Lines.STOCK_CODE].tolist(), strict=True)
    value = lines[Lines.VALUE].to_numpy(np.float64)
    hit = np.fromiter((pair in on_list for pair in pairs), np.bool_, len(value))
    return Bought(value=float(value.sum()), on_list=float(value[hit].sum()))


Shown = Literal["right", "wrong", "missing"]
"""What a customer is shown: exactly the lists of their group, other lists, or none of their own."""

StockCodes = tuple[str, ...]


def sampled(customers: Collection[str], check: int, most: int) -> list[str]:
    """The customers whom a check looks at: always the same ones, and nobody twice before everybody once.

    Args:
        customers: of a group.
        check: its number, from 0.
        most: how many to look at.
    """
    shuffled = sorted(customers, key=lambda customer: fraction("exposure", customer))
    if len(shuffled) <= most:
        return shuffled
    begin = check * most % len(shuffled)
    return (shuffled + shuffled)[begin : begin + most]


def shown(made: Mapping[str, StockCodes], served: Mapping[str, StockCodes], *, of_own_group: bool) -> Shown:
    """What a customer is shown.

    Args:
        made: lists that were made for the customer, by name, as the publication keeps them.
        served: lists of their own that the storefront reads, by name.
        of_own_group: whether the lists that were made are those of the customer's group.

    >>> shown({"for_you": ("22423",)}, {"for_you": ("22423",)}, of_own_group=True)
    'right'
    """
    if not served or made.keys() - served.keys():
        return "missing"
    return "right" if of_own_group and dict(made) == dict(served) else "wrong"
