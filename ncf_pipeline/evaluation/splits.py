"""Splits by time. Windows are half-open and named, and nothing looks past the instant it is given.

A random split leaks: a model that has seen next week's purchases is scored on last week's (Meng et al. 2020,
"Exploring Data Splitting Strategies for the Evaluation of Recommendation Models"). So the split is by time alone, and a
return is known only after it happened.
"""

from datetime import datetime

import pandas as pd

from ncf_pipeline.columns import Interactions


def interactions_as_of(interactions: pd.DataFrame, at: datetime) -> pd.DataFrame:
    """The purchases that were known at an instant: made before it, and not yet returned in full.

    Args:
        interactions: columns of `columns.Interactions`.
        at: first instant excluded.

    Returns:
        The rows with `purchased_at < at` and not `returned_at < at`. Later returns are unknown at that instant, so
        `returned_at` is missing everywhere.

    >>> frame = pd.DataFrame({
    ...     "purchased_at": pd.to_datetime(["2011-01-01", "2011-01-02", "2011-01-03"]),
    ...     "returned_at": pd.to_datetime(["2011-01-02", "2011-01-05", None]),
    ... })
    >>> interactions_as_of(frame, datetime(2011, 1, 3))["purchased_at"].dt.day.tolist()
    [2]
    """
    purchased_at, returned_at = interactions[Interactions.PURCHASED_AT], interactions[Interactions.RETURNED_AT]
    known = interactions[(purchased_at < at) & ~(returned_at < at)]
    unknown = pd.Series(pd.NaT, index=known.index, dtype=returned_at.dtype)
    return known.assign(**{Interactions.RETURNED_AT: unknown})


def holdout(interactions: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    """The purchases that an evaluation counts as true: in `[start, end)` and not returned before `end`.

    Args:
        interactions: columns of `columns.Interactions`.
        start: first instant of the holdout; the candidate was trained on purchases before it.
        end: first instant after the holdout.

    Returns:
        The rows of customers, without guests: their purchases belong to no customer's list.
    """
    known = interactions_as_of(interactions, end)
    return known[(known[Interactions.PURCHASED_AT] >= start) & known[Interactions.CUSTOMER_ID].notna()]
