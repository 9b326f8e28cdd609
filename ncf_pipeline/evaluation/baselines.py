"""Recommendations without a model. A candidate that does not beat these has learned nothing.

Each baseline returns a `for_you` and a `discover` list for every customer, in the columns of `columns.Lists`. It uses
only what was known at `as_of`. Ties are broken by stock code.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pandas as pd

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Interactions, Lists
from ncf_pipeline.evaluation.splits import interactions_as_of

RECENT_DAYS = 28
"""Days before `as_of` that count as recent."""

Baseline = Callable[[pd.DataFrame, datetime, int, Sequence[str]], pd.DataFrame]


def best_sellers(interactions: pd.DataFrame, as_of: datetime, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    """Recommends the products that are on the most invoices; the same for everyone.

    Args:
        interactions: columns of `columns.Interactions`.
        as_of: first instant excluded.
        top_n: length of a list.
        customers: customer_ids to recommend to.

    Returns:
        A `for_you` list (the ranking) and a `discover` list (the ranking without what the customer bought) for each
        customer, in the columns of `columns.Lists`.
    """
    known = interactions_as_of(interactions, as_of)
    return _same_for_everyone(popularity_ranking(known), known, top_n, customers)


def recent_best_sellers(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    ranking: list[str] | None = None,
) -> pd.DataFrame:
    """Ranks by the invoices of the last 28 days; products without a recent sale follow.

    Args:
        interactions: as for `best_sellers`.
        as_of: as for `best_sellers`.
        top_n: as for `best_sellers`.
        customers: as for `best_sellers`.
        ranking: all products of the shop in that order, if known; then the customers' own interactions are enough.

    Returns:
        Lists as those of `best_sellers`.
    """
    known = interactions_as_of(interactions, as_of)
    everything = _recent_ranking(known, as_of) if ranking is None else ranking
    return _same_for_everyone(everything, known, top_n, customers)


def personal_frequency(
    interactions: pd.DataFrame,
    as_of: datetime,
    top_n: int,
    customers: Sequence[str],
    *,
    ranking: list[str] | None = None,
) -> pd.DataFrame:
    """Recommends what the customer bought on most invoices, then recent best sellers; hard to beat.

    "A Next Basket Recommendation Reality Check", Li et al. 2021, section 4 (P-TopFreq + G-TopFreq). Frequency says
    nothing about new products, so the `discover` list is that of recent best sellers.

    Args:
        interactions: as for `best_sellers`.
        as_of: as for `best_sellers`.
        top_n: as for `best_sellers`.
        customers: as for `best_sellers`.
        ranking: as for `recent_best_sellers`.

    Returns:
        Lists as those of `best_sellers`.
    """
    known = interactions_as_of(interactions, as_of)
    popular = _recent_ranking(known, as_of) if ranking is None else ranking
    place = {code: position for position, code in enumerate(popular)}
    counts = (
        _of(customers, known)[[Interactions.CUSTOMER_ID, Interactions.STOCK_CODE, Interactions.INVOICE_NO]]
        .drop_duplicates()
        .groupby([Interactions.CUSTOMER_ID, Interactions.STOCK_CODE], sort=False, observed=True)
        .size()
        .rename("times")
        .reset_index()
    )
    counts["place"] = counts[Interactions.STOCK_CODE].map(place)
    counts = counts.sort_values([Interactions.CUSTOMER_ID, "times", "place"], ascending=[True, False, True])
    own = counts.groupby(Interactions.CUSTOMER_ID)[Interactions.STOCK_CODE].agg(list).to_dict()
    rows = []
    for customer in customers:
        mine = own.get(customer, [])
        bought = set(mine)
        new = _first(popular, top_n, without=bought)
        rows.append((customer, FOR_YOU, (mine + new)[:top_n]))
        rows.append((customer, DISCOVER, new))
    return _as_lists(rows)


BASELINES: dict[str, Baseline] = {
    "best_sellers": best_sellers,
    "recent_best_sellers": recent_best_sellers,
    "personal_frequency": personal_frequency,
}
"""By their names in an evaluation."""


def popularity_ranking(interactions: pd.DataFrame) -> list[str]:
    """Ranks stock codes by the number of invoices that they are on, ties by stock code.

    Guests' lines count too. Invoices count, not pieces, so that one wholesale order of 10,000 pieces does not make a
    best seller.

    Args:
        interactions: columns of `columns.Interactions`.

    Returns:
        All stock codes, the most popular first.

    >>> popularity_ranking(pd.DataFrame({"stock_code": ["b", "a", "c", "a"], "invoice_no": ["1", "1", "2", "2"]}))
    ['a', 'b', 'c']
    """
    counts = (
        interactions[[Interactions.STOCK_CODE, Interactions.INVOICE_NO]]
        .drop_duplicates()
        .groupby(Interactions.STOCK_CODE, observed=True)
        .size()
    )
    ranked = counts.reset_index(name="invoices").sort_values(
        ["invoices", Interactions.STOCK_CODE], ascending=[False, True]
    )
    return ranked[Interactions.STOCK_CODE].tolist()


def _recent_ranking(known: pd.DataFrame, as_of: datetime) -> list[str]:
    recent = known[known[Interactions.PURCHASED_AT] >= as_of - timedelta(days=RECENT_DAYS)]
    ranking = popularity_ranking(recent)
    listed = set(ranking)
    return ranking + [code for code in popularity_ranking(known) if code not in listed]


def _same_for_everyone(ranking: list[str], known: pd.DataFrame, top_n: int, customers: Sequence[str]) -> pd.DataFrame:
    bought = _of(customers, known).groupby(Interactions.CUSTOMER_ID)[Interactions.STOCK_CODE].agg(set).to_dict()
    rows = []
    for customer in customers:
        rows.append((customer, FOR_YOU, ranking[:top_n]))
        rows.append((customer, DISCOVER, _first(ranking, top_n, without=bought.get(customer, set()))))
    return _as_lists(rows)


def _of(customers: Sequence[str], interactions: pd.DataFrame) -> pd.DataFrame:
    return interactions[interactions[Interactions.CUSTOMER_ID].isin(customers)]


def _first(ranking: list[str], count: int, *, without: set[str]) -> list[str]:
    chosen: list[str] = []
    for code in ranking:
        if len(chosen) == count:
            break
        if code not in without:
            chosen.append(code)
    return chosen


def _as_lists(rows: list[tuple[str, str, list[str]]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[Lists.KEY, Lists.LIST_NAME, Lists.STOCK_CODES])
    frame[Lists.KEY] = frame[Lists.KEY].astype(str)
    frame.insert(0, Lists.AUDIENCE, "customer")
    return frame
