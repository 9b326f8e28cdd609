"""A merchandiser's rules, applied while lists are made, so that no rule leaves a gap. Pure.

Candidates come best first, more than a list needs: if a product may not be shown, the next one takes its place. A rule
that hides a product is stronger than a pin, and a pin is stronger than the model.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from ncf_pipeline.model.families import family_of
from ncf_pipeline.model.lists.variety import Reranking

if TYPE_CHECKING:  # it imports compiled loops, and who publishes needs none
    from ncf_pipeline.model.features.state import Mask


@dataclass(frozen=True)
class Pin:
    """Puts a product at a place of every list with a name.

    Attributes:
        stock_code: of the product.
        list_name: of the lists.
        country: the lists for this country only; for every country if None.
        position: place in the list, from 1.
        beside: the product whose list it is, for lists of products; None for all others.
    """

    stock_code: str
    list_name: str
    country: str | None = None
    position: int = 1
    beside: str | None = None


@dataclass(frozen=True)
class Rules:
    """The rules for the lists of one publication. By default there are none.

    Attributes:
        hidden: stock codes that no list shows.
        only_in: by stock code, the only countries whose lists show it. Lists for no country do not show it.
        pins: in the order of their position.
        max_per_family: most variants of one product on a list; any number if None.
        at_once: stock codes that readers take out of all lists at this moment; new lists need not have them.
        at_once_in: the same by country.
    """

    hidden: frozenset[str] = frozenset()
    only_in: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    max_per_family: int | None = None
    at_once: frozenset[str] = frozenset()
    at_once_in: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def shows(self, stock_code: str, country: str | None) -> bool:
        """Whether a list may show a product.

        Args:
            stock_code: of the product.
            country: that the list is for; None for a list for no country.

        >>> Rules(only_in={"22423": frozenset({"France"})}).shows("22423", None)
        False
        """
        if stock_code in self.hidden or stock_code in self.at_once:
            return False
        if country is not None and stock_code in self.at_once_in.get(country, ()):
            return False
        return stock_code not in self.only_in or country in self.only_in[stock_code]

    def shown(self, stock_codes: Iterable[str], country: str | None) -> "Mask":
        """`shows` of many products. Pass the same stock codes each time: the result is kept for each country.

        Args:
            stock_codes: (P,).
            country: as in `shows`. Countries without a rule of their own share a result.

        Returns:
            (P,).
        """
        key = country if country in self._named_countries else None
        if key not in self._masks:
            self._masks[key] = np.array([self.shows(code, key) for code in stock_codes], np.bool_)
        return self._masks[key]

    def pinned(self, list_name: str, country: str | None, beside: str | None = None) -> list[Pin]:
        """The pins of a list that may be shown, each product once, in the order of `pins`."""
        key = (
            list_name,
            country if country in self._named_countries else None,
            beside if beside in self._paired else None,
        )
        if key not in self._pinned:
            of_list = {
                pin.stock_code: pin
                for pin in reversed(self.pins)
                if (pin.list_name, pin.beside) == (list_name, key[2])
                and pin.country in (None, key[1])
                and self.shows(pin.stock_code, key[1])
            }
            self._pinned[key] = sorted(of_list.values(), key=self.pins.index)
        return self._pinned[key]

    def arranges(self, list_name: str, country: str | None) -> bool:
        """Whether a list may differ from its best candidates that may be shown."""
        return self.max_per_family is not None or bool(self.pinned(list_name, country))

    def arranged(
        self,
        candidates: Iterable[str],
        count: int,
        *,
        list_name: str,
        country: str | None,
        never: Collection[str] = (),
        reranking: Reranking | None = None,
        again: Collection[str] = (),
        beside: str | None = None,
    ) -> list[str]:
        """Makes a list: pins at their places, and the best candidates around them, not too many of a family.

        Args:
            candidates: stock codes that may be shown, best first; repetitions are passed over.
            count: length of the list.
            list_name: of the list, for its pins.
            country: that the list is for; None for no country.
            never: stock codes that are not pinned in this list.
            reranking: brings variety to the candidates; None leaves them in their order.
            again: for `reranking`: stock codes that were shown last week.
            beside: the product whose list it is, for its pins; None for lists of customers and visitors.

        Returns:
            Stock codes, best first; fewer than `count` if there are not enough candidates.

        >>> Rules(pins=(Pin("X", "for_you", position=2),)).arranged("ABC", 3, list_name="for_you", country=None)
        ['A', 'X', 'B']
        """
        pins = [pin for pin in self.pinned(list_name, country, beside) if pin.stock_code not in never]
        families, places = Counter[str](), list[tuple[int, str]]()
        for pin in pins:
            if len(places) < count and self._has_room(families, pin.stock_code):
                # Of two pins for one place, the second comes later.
                places.append((max(pin.position - 1, places[-1][0] + 1 if places else 0), pin.stock_code))
        best = self._eligible(candidates, {code for _, code in places}, families)
        if reranking is not None:
            first = [code for place, code in places if place < reranking.variety.places]
            best = reranking.ranked(best, pinned=first, again=again)
        listed = list(islice(best, count - len(places)))
        after = -1
        for place, code in places:
            after = min(max(place, after + 1), len(listed))
            listed.insert(after, code)
        return listed

    def _eligible(self, candidates: Iterable[str], taken: set[str], families: Counter[str]) -> Iterator[str]:
        """The candidates that the list has room for, each once."""
        for code in candidates:
            if code not in taken and self._has_room(families, code):
                taken.add(code)
                yield code

    def _has_room(self, families: Counter[str], stock_code: str) -> bool:
        """Whether the list may take one more of the product's family; if so, counts it."""
        if self.max_per_family is None:
            return True
        family = family_of(stock_code)
        if families[family] >= self.max_per_family:
            return False
        families[family] += 1
        return True

    @cached_property
    def _named_countries(self) -> frozenset[str]:
        pins = {pin.country for pin in self.pins if pin.country is not None}
        return frozenset(pins).union(self.at_once_in, *self.only_in.values())

    @cached_property
    def _paired(self) -> frozenset[str]:
        return frozenset(pin.beside for pin in self.pins if pin.beside is not None)

    @cached_property
    def _masks(self) -> "dict[str | None, Mask]":
        return {}

    @cached_property
    def _pinned(self) -> dict[tuple[str, str | None, str | None], list[Pin]]:
        return {}
