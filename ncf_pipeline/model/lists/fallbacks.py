"""Lists for visitors without their own: recent best sellers and new arrivals. Ties by stock code. Pure."""

from datetime import datetime, timedelta

import pandas as pd

from ncf_pipeline.columns import EVERYWHERE, FOR_YOU, NEW_ARRIVALS, Lists
from ncf_pipeline.model.lists.reasons import NEW_DAYS
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.model.lists.sales import Sales, sales_of

_NO_RULES = Rules()


def fallback_lists(
    interactions: pd.DataFrame | Sales, as_of: datetime, top_n: int, rules: Rules = _NO_RULES
) -> pd.DataFrame:
    """Makes `for_you` (recent best sellers) and `new_arrivals` for each country and for the whole shop.

    The whole shop's list fills up that of a country with too few products. A purchase without a country counts for the
    whole shop only.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored. Or the
            sales among them.
        as_of: first instant excluded.
        top_n: length of a list.
        rules: of a merchandiser.

    Returns:
        Columns of `columns.Lists`; the keys are countries, and `*` for the whole shop.
    """
    sales = interactions if isinstance(interactions, Sales) else sales_of(interactions, as_of)
    best_everywhere = best_sellers_of(sales, as_of)
    new_everywhere = _new_arrivals(EVERYWHERE, sales)
    rows: list[tuple[str, str, str, list[str]]] = []
    for country in [EVERYWHERE, *sales.countries()]:
        best, new = best_everywhere, new_everywhere
        if country != EVERYWHERE:
            best = _then(sales.ranking(country, recent=True), best)
            new = _then(_new_arrivals(country, sales), new)
        place = None if country == EVERYWHERE else country
        for name, codes in ((FOR_YOU, best), (NEW_ARRIVALS, new)):
            shown = (code for code in codes if rules.shows(code, place))
            rows.append(("fallback", country, name, rules.arranged(shown, top_n, list_name=name, country=place)))
    return pd.DataFrame(rows, columns=list(Lists.ALL))


def best_sellers_of(interactions: pd.DataFrame | Sales, as_of: datetime) -> list[str]:
    """Every product that was sold: the best sellers of the last `RECENT_DAYS`, then those of all time.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored. Or the
            sales among them.
        as_of: first instant excluded.
    """
    sales = interactions if isinstance(interactions, Sales) else sales_of(interactions, as_of)
    return _then(sales.ranking(recent=True), sales.ranking())


def _new_arrivals(country: str, sales: Sales) -> list[str]:
    """Products first sold, in any country, in the last `NEW_DAYS`: by popularity here, ties by stock code."""
    since = sales.as_of - timedelta(days=NEW_DAYS)
    new = set(sales.first_sold.index[sales.first_sold >= since])
    return [code for code in sales.ranking(country) if code in new]


def _then(first: list[str], rest: list[str]) -> list[str]:
    """The first codes, then the rest without repetition.

    >>> _then(["B", "A"], ["A", "C"])
    ['B', 'A', 'C']
    """
    taken = set(first)
    return first + [code for code in rest if code not in taken]
