"""Where one product stands for one customer, among all that a list might show. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ncf_pipeline.columns import BUY_AGAIN, DISCOVER, FOR_YOU, Lists
from ncf_pipeline.model.features.events import rows_of
from ncf_pipeline.model.lists.assemble import ListMaker


@dataclass(frozen=True)
class Standing:
    """Where a product stands for a customer.

    Attributes:
        is_sold: whether the product was sold before the instant of the lists; others are not scored.
        is_candidate: whether the product is scored for this customer. Others only fill up lists that are short.
        bought: whether the customer bought it and has not returned it.
        seen: whether the customer ever bought it, returned or not.
        among: by list, how many candidates the rules let it show.
        places: by list, the product's place if the list did not end, from 1; None if it would not be on it.
        lists: by list, its stock codes, without an end.
        chance: of a purchase, as `for_you` states it; None if it states none.
    """

    is_sold: bool
    is_candidate: bool
    bought: bool
    seen: bool
    among: Mapping[str, int]
    places: Mapping[str, int | None]
    lists: Mapping[str, tuple[str, ...]]
    chance: float | None


def standing(maker: ListMaker, customer_id: str, stock_code: str, shown: int) -> Standing | None:
    """Scores one customer, and says where a product stands: the same code makes the lists that are published.

    Args:
        maker: of the lists.
        customer_id: of the customer.
        stock_code: of the product, in canonical spelling.
        shown: how many products of a list are shown.

    Returns:
        None if the maker has no lists for this customer.
    """
    state, codes, rules = maker.state, maker.codes, maker.rules
    index = int(state.events.index_of([customer_id])[0])
    if index < 0 or index not in state.known_customers:
        return None
    fresh = maker.with_rules(rules)  # whose certainty nobody counts
    endless = max(len(codes) + len(rules.pins) - shown, 0)
    made = pd.concat(list(fresh.customers(shown, spare=endless, chosen=[customer_id], with_chances=True)))
    lists = {name: tuple(listed) for name, listed in zip(made[Lists.LIST_NAME], made[Lists.STOCK_CODES], strict=True)}
    places = {name: listed.index(stock_code) + 1 if stock_code in listed else None for name, listed in lists.items()}
    (scored,) = fresh.scorer.candidates(np.array([index], np.int64))
    product = int(rows_of(codes, [stock_code])[0]) - 1
    country = state.events.countries[state.country[index]] or None
    may_show = rules.shown(state.events.products, country)[scored.product]
    own = scored.product == product
    (stated,) = made.loc[made[Lists.LIST_NAME] == FOR_YOU, Lists.CHANCES]
    place = places[FOR_YOU]
    chance = json.loads(stated)[place - 1] if place is not None and isinstance(stated, str) else None
    return Standing(
        is_sold=product >= 0 and bool(state.known_products[product]),
        is_candidate=bool(own.any()),
        bought=bool((own & scored.bought).any()),
        seen=product >= 0 and product in state.products_seen_by(index),
        among={
            FOR_YOU: int(may_show.sum()),
            DISCOVER: int((may_show & ~scored.seen).sum()),
            BUY_AGAIN: int((may_show & scored.bought).sum()),
        },
        places=places,
        lists=lists,
        chance=chance,
    )
