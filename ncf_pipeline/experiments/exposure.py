"""Who was given what their group is given, since when; and what they then bought of what they were shown. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from ncf_pipeline.columns import Lists
from ncf_pipeline.experiments.purchases import Lines
from ncf_pipeline.experiments.results import Bought


@dataclass(frozen=True)
class LiveLists:
    """Lists that were live.

    Attributes:
        as_of: first instant that they do not know.
        start: on the shop's clock: the first instant whose purchases they answer.
        end: the first that they do not answer any more.
        is_ours: whether they were made for the experiment's groups.
    """

    as_of: datetime
    start: datetime
    end: datetime
    is_ours: bool


def entries(first_purchases: pd.Series, shown: Sequence[LiveLists]) -> pd.Series:
    """Since when each customer has had a list of the experiment; who never had one is left out.

    Nobody leaves again: whoever was once given what their group is given counts to the end, whatever was live then.

    Args:
        first_purchases: by customer id.
        shown: in the order in which they were live.
    """
    entered = pd.Series(pd.NaT, index=first_purchases.index, dtype="datetime64[us]")
    for lists in shown:
        if lists.is_ours and lists.start < lists.end:
            entered[entered.isna() & (first_purchases < lists.as_of)] = lists.start
    return entered.dropna()


def time_of_others(shown: Sequence[LiveLists], start: datetime, until: datetime) -> float:
    """The share of an experiment's time in which lists were live that were not made for its groups."""
    whole = (until - start).total_seconds()
    others = sum(
        max((min(lists.end, until) - max(lists.start, start)).total_seconds(), 0.0)
        for lists in shown
        if not lists.is_ours
    )
    return others / whole if whole > 0 else 0.0


def bought_from_lists(lines: pd.DataFrame, lists: pd.DataFrame) -> Bought:
    """What was bought, and how much of it was of products on the customer's lists: association, not effect.

    Who likes a product buys it, and has it on their lists for the same reason; control tells how much that is.

    Args:
        lines: columns of `purchases.Lines`.
        lists: columns of `columns.Lists`, of customers.
    """
    on_list = {
        (int(key), code)
        for key, codes in zip(lists[Lists.KEY], lists[Lists.STOCK_CODES], strict=True)
        for code in codes
    }
    pairs = zip(lines[Lines.CUSTOMER_ID].tolist(), lines[Lines.STOCK_CODE].tolist(), strict=True)
    value = lines[Lines.VALUE].to_numpy(np.float64)
    hit = np.fromiter((pair in on_list for pair in pairs), np.bool_, len(value))
    return Bought(value=float(value.sum()), on_list=float(value[hit].sum()))
