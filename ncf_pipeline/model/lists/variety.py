"""Variety: limits on families, on categories and on what was shown last week, among a list's first places. Pure.

The best candidate that no limit leaves out takes the next place. What is left out comes back right behind the first
places, in its own order. So no list gets shorter, and if the candidates are too much alike, the best of them take the
places all the same. It is the greedy re-ranking of Carbonell & Goldstein 1998, "The Use of MMR, Diversity-Based
Reranking", with a penalty that is nothing up to the limit and everything beyond it: a merchandiser can say, and check,
"at most two", and no weight has to be tuned. Ziegler et al. 2005, "Improving Recommendation Lists Through Topic
Diversification", saw that shoppers like such lists better although fewer of their products are hits.
"""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ncf_pipeline.columns import DISCOVER, FOR_YOU, Lists
from ncf_pipeline.model.families import families_of
from ncf_pipeline.model.features.events import microseconds

if TYPE_CHECKING:  # it imports compiled loops, and who publishes needs none
    from ncf_pipeline.model.features.state import ShopState

VARIED_LISTS = (FOR_YOU, DISCOVER)
"""Not `buy_again`, which is there to repeat, and not lists of products, whose variants shoppers look for."""

LOOK_AHEAD = 100
"""Candidates among which variety is looked for. Further down, a product is on a list because nothing else was left."""

SHOWN_BEFORE = (timedelta(days=6), timedelta(days=14))
"""Lists of last week are at least and at most so much older. Six days: a weekly run is not always at the same hour."""


@dataclass(frozen=True)
class Variety:
    """The limits on the first places of `for_you` and `discover`. None is no limit; by default there is none.

    Attributes:
        family: most products of one family, as 85123A and 85123B are.
        category: most products of one category. A product without a category is never one too many.
        repeat: most products that the list's first places showed last week and that the customer has not bought since.
        places: how many places are the first.
        categories: by stock code.
    """

    family: int | None = None
    category: int | None = None
    repeat: int | None = None
    places: int = 5
    categories: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_on(self) -> bool:
        """Whether there is a limit."""
        return (self.family, self.category, self.repeat) != (None, None, None)

    def __str__(self) -> str:
        """The limits in words; empty without any.

        >>> str(Variety(family=2, repeat=1))
        'at most 2 of a family, at most 1 that was shown last week, among the first 5'
        """
        limits = (
            (self.family, "of a family"),
            (self.category, "of a category"),
            (self.repeat, "that was shown last week"),
        )
        said = [f"at most {limit} {what}" for limit, what in limits if limit is not None]
        return f"{', '.join(said)}, among the first {self.places}" if said else ""


class Reranking:
    """The limits, for the products of one shop.

    Args:
        variety: the limits.
        stock_codes: of all products that a list may have; each once.
    """

    def __init__(self, variety: Variety, stock_codes: Sequence[str]) -> None:
        self.variety = variety
        self._family: dict[str, int] = (
            dict(zip(stock_codes, families_of(stock_codes).tolist(), strict=True)) if variety.family is not None else {}
        )

    def ranked(
        self, candidates: Iterable[str], *, pinned: Sequence[str] = (), again: Collection[str] = ()
    ) -> Iterator[str]:
        """Brings variety to the first places.

        Args:
            candidates: stock codes, best first, each once.
            pinned: stock codes that take some of the first places whatever the limits; they count towards these.
            again: stock codes that were shown last week and not bought since.

        Yields:
            All candidates, best first.
        """
        taken = Counter[tuple[str, Hashable]]()
        for code in pinned:
            taken.update(key for key, _ in self._limits(code, again))
        free, left_out = self.variety.places - len(pinned), list[str]()
        rest = iter(candidates)
        for code in islice(rest, LOOK_AHEAD if free > 0 else 0):
            limits = self._limits(code, again)
            if all(taken[key] < most for key, most in limits):
                taken.update(key for key, _ in limits)
                free -= 1
                yield code
                if free == 0:
                    break
            else:
                left_out.append(code)
        yield from left_out
        yield from rest

    def _limits(self, code: str, again: Collection[str]) -> list[tuple[tuple[str, Hashable], int]]:
        """The groups that a product belongs to, each with its limit."""
        variety, limits = self.variety, list[tuple[tuple[str, Hashable], int]]()
        if variety.family is not None:
            limits.append((("family", self._family.get(code, code)), variety.family))
        if variety.category is not None and code in variety.categories:
            limits.append((("category", variety.categories[code]), variety.category))
        if variety.repeat is not None and code in again:
            limits.append((("repeat", None), variety.repeat))
        return limits


class ShownBefore:
    """What customers were shown by earlier lists, in the first places of each of `VARIED_LISTS`.

    Four bytes for each of these places, however many lists are read.

    Args:
        lists: columns of `columns.Lists`, in any number of frames.
        as_of: the first instant that these lists did not know.
        state: of the shop at the instant of the new lists.
        places: how many places are the first.
    """

    def __init__(self, lists: Iterable[pd.DataFrame], as_of: datetime, state: "ShopState", places: int) -> None:
        self.state, self.since = state, microseconds(as_of)
        self._product = np.full((state.shape[0], len(VARIED_LISTS), places), -1, np.int32)
        products = pd.Index(state.events.products.tolist(), dtype=object)
        for frame in lists:
            for place, name in enumerate(VARIED_LISTS):
                chosen = frame[(frame[Lists.AUDIENCE] == "customer") & (frame[Lists.LIST_NAME] == name)]
                customer = state.events.index_of(chosen[Lists.KEY].tolist())
                codes = [list(codes)[:places] for codes in chosen[Lists.STOCK_CODES]]
                owner = np.repeat(customer, [len(each) for each in codes])
                column = np.array([at for each in codes for at in range(len(each))], np.int64)
                known = owner >= 0
                found = products.get_indexer(pd.Index([code for each in codes for code in each], dtype=object))
                self._product[owner[known], place, column[known]] = found[known]

    def again(self, customer: int, list_name: str) -> frozenset[str]:
        """The stock codes that a customer (by customer_index) was shown in a list and has not bought since."""
        if list_name not in VARIED_LISTS:
            return frozenset()
        pairs, shown = self.state.pairs, self._product[customer, VARIED_LISTS.index(list_name)]
        own = slice(pairs.start[customer], pairs.start[customer + 1])
        bought = pairs.product[own][(pairs.times[own] > 0) & (pairs.last[own] >= self.since)]
        codes = self.state.events.products
        return frozenset(str(codes[index]) for index in shown[shown >= 0] if index not in bought)
