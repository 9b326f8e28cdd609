"""What the groups of an experiment are shown: the lists of a publication, by customer."""

from collections.abc import Iterator, Mapping

import pandas as pd

from ncf_pipeline.columns import EVERYWHERE, FOR_YOU, Lists

ROWS_AT_ONCE = 10_000


def best_sellers(countries: Mapping[int, str | None], fallbacks: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """A list `for_you` for each customer, the best sellers of their country, and no other list.

    Args:
        countries: of the customers, by id; None or one without best sellers of its own means everywhere.
        fallbacks: columns of `columns.Lists`, of the audience `fallback`.

    Yields:
        Columns of `columns.Lists`, some customers at a time, ascending by id.
    """
    wanted = fallbacks[fallbacks[Lists.LIST_NAME] == FOR_YOU]
    best = dict(zip(wanted[Lists.KEY], wanted[Lists.STOCK_CODES], strict=True))
    rows = [
        ("customer", str(customer), FOR_YOU, best.get(country or EVERYWHERE, best[EVERYWHERE]))
        for customer, country in sorted(countries.items())
    ]
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        yield pd.DataFrame(rows[begin : begin + ROWS_AT_ONCE], columns=list(Lists.ALL))
