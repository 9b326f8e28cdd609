"""The lists of a holdout's share."""

from collections.abc import Iterator, Mapping

import pandas as pd

from ncf_pipeline.columns import EVERYWHERE, FOR_YOU, Lists
from ncf_pipeline.id_order import in_order

ROWS_AT_ONCE = 10_000


def best_sellers(countries: Mapping[str, str | None], fallbacks: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """One list for each customer: the best sellers of their country, as `for_you`.

    Args:
        countries: by customer id. None, or a country without best sellers of its own, gets those of all countries.
        fallbacks: columns of `columns.Lists`, with the audience `fallback`.

    Yields:
        Columns of `columns.Lists`, for up to 10,000 customers at a time, ascending by id.
    """
    wanted = fallbacks[fallbacks[Lists.LIST_NAME] == FOR_YOU]
    best = dict(zip(wanted[Lists.KEY], wanted[Lists.STOCK_CODES], strict=True))
    rows = [
        ("customer", customer, FOR_YOU, best.get(countries[customer] or EVERYWHERE, best[EVERYWHERE]))
        for customer in in_order(countries)
    ]
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        yield pd.DataFrame(rows[begin : begin + ROWS_AT_ONCE], columns=list(Lists.ALL))
