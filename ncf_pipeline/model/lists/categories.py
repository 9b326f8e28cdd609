"""Which products are of a category, the best sellers first. Ties by stock code. Pure."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import pandas as pd

from ncf_pipeline.columns import BEST_SELLERS, OTHERS, Lists, category_levels
from ncf_pipeline.model.families import family_of
from ncf_pipeline.model.lists.fallbacks import best_sellers_of
from ncf_pipeline.model.lists.rules import Rules
from ncf_pipeline.model.lists.sales import Sales

_NO_RULES = Rules()


def category_lists(
    interactions: pd.DataFrame | Sales, as_of: datetime, categories: Mapping[str, str], rules: Rules = _NO_RULES
) -> pd.DataFrame:
    """Makes `best_sellers` and `others` for each category and each level above it.

    Together they are all products of the category that a list may show: a reader takes everything else out of a list.
    `best_sellers` are those of the last weeks, then those of all time, of every country. `others` may be shown, but not
    to everybody in place of a list: in some countries only, pinned without a sale, or one variant too many.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored. Or the
            sales among them.
        as_of: first instant excluded.
        categories: by stock code.
        rules: of a merchandiser.

    Returns:
        Columns of `columns.Lists`; the keys are categories, in alphabetical order. A category without a product that a
        list may show is not among them.
    """
    if not categories:
        return pd.DataFrame([], columns=list(Lists.ALL))
    sold = best_sellers_of(interactions, as_of)
    shown_by_pins = [code for code in dict.fromkeys(pin.stock_code for pin in rules.pins) if code not in set(sold)]
    found: dict[str, tuple[list[str], list[str]]] = {}
    relatives = Counter[tuple[str, str]]()
    for code in (*sold, *shown_by_pins):
        if code not in categories or code in rules.hidden or code in rules.at_once:
            continue
        for name in category_levels(categories[code]):
            best, others = found.setdefault(name, ([], []))
            family = (name, family_of(code))
            is_best = code not in shown_by_pins and rules.shows(code, None)
            if is_best and (rules.max_per_family is None or relatives[family] < rules.max_per_family):
                relatives[family] += 1
                best.append(code)
            else:
                others.append(code)
    rows = [
        ("category", name, list_name, codes)
        for name in sorted(found)
        for list_name, codes in zip((BEST_SELLERS, OTHERS), found[name], strict=True)
    ]
    return pd.DataFrame(rows, columns=list(Lists.ALL))
