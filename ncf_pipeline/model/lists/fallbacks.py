"""Lists for visitors without their own: recent best sellers and new arrivals. Ties by stock code. Pure."""

from datetime import datetime, timedelta

import pandas as pd

from ncf_pipeline.columns import EVERYWHERE, FOR_YOU, NEW_ARRIVALS, Interactions, Lists
from ncf_pipeline.evaluation.baselines import RECENT_DAYS, popularity_ranking
from ncf_pipeline.evaluation.splits import interactions_as_of
from ncf_pipeline.model.lists.reasons import NEW_DAYS
from ncf_pipeline.model.lists.rules import Rules

_NO_RULES = Rules()


def fallback_lists(interactions: pd.DataFrame, as_of: datetime, top_n: int, rules: Rules = _NO_RULES) -> pd.DataFrame:
    """Makes `for_you` (recent best sellers) and `new_arrivals` for each country and for the whole shop.

    The whole shop's list fills up that of a country with too few products. A purchase without a country counts for the
    whole shop only.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored.
        as_of: first instant excluded.
        top_n: length of a list.
        rules: of a merchandiser.

    Returns:
        Columns of `columns.Lists`; the keys are countries, and `*` for the whole shop.
    """
    known = interactions_as_of(interactions, as_of)
    recent, new = _since(known, as_of), _of_new_products(known, as_of)
    best_everywhere = _then(popularity_ranking(recent), popularity_ranking(known))
    new_everywhere = popularity_ranking(new)
    best_in, new_in = _rankings_by_country(recent), _rankings_by_country(new)
    rows: list[tuple[str, str, str, list[str]]] = []
    for country in [EVERYWHERE, *sorted(known[Interactions.COUNTRY].dropna().unique())]:
        best, arrived = best_everywhere, new_everywhere
        if country != EVERYWHERE:
            best, arrived = _then(best_in.get(country, []), best), _then(new_in.get(country, []), arrived)
        place = None if country == EVERYWHERE else country
        for name, codes in ((FOR_YOU, best), (NEW_ARRIVALS, arrived)):
            shown = (code for code in codes if rules.shows(code, place))
            rows.append(("fallback", country, name, rules.arranged(shown, top_n, list_name=name, country=place)))
    return pd.DataFrame(rows, columns=list(Lists.ALL))


def best_sellers_of(interactions: pd.DataFrame, as_of: datetime) -> list[str]:
    """Every product that was sold: the best sellers of the last `RECENT_DAYS`, then those of all time.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored.
        as_of: first instant excluded.
    """
    known = interactions_as_of(interactions, as_of)
    return _then(popularity_ranking(_since(known, as_of)), popularity_ranking(known))


def _of_new_products(known: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The interactions of products that were first sold, in any country, in the last `NEW_DAYS`."""
    first_sold = known.groupby(Interactions.STOCK_CODE, observed=True)[Interactions.PURCHASED_AT].min()
    new = first_sold.index[first_sold >= as_of - timedelta(days=NEW_DAYS)]
    return known[known[Interactions.STOCK_CODE].isin(new)]


def _rankings_by_country(interactions: pd.DataFrame) -> dict[str, list[str]]:
    """What was sold in each country, by popularity there, ties by stock code."""
    by_country = interactions.groupby(Interactions.COUNTRY, observed=True, sort=False)
    return {str(country): popularity_ranking(here) for country, here in by_country}


def _since(known: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """The interactions of the last `RECENT_DAYS`."""
    return known[known[Interactions.PURCHASED_AT] >= as_of - timedelta(days=RECENT_DAYS)]


def _then(first: list[str], rest: list[str]) -> list[str]:
    """The first codes, then the rest without repetition.

    >>> _then(["B", "A"], ["A", "C"])
    ['B', 'A', 'C']
    """
    taken = set(first)
    return first + [code for code in rest if code not in taken]
