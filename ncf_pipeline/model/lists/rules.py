"""What a merchandiser decided about lists, applied while they are made, so that no rule leaves a hole. Pure.

Candidates come best first and in plenty; what may not be shown is passed over and the next one takes its place. What
hides a product is stronger than a pin, and a pin is stronger than the model.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from ncf_pipeline.model.features.state import Mask

_VARIANT = re.compile(r"([0-9]+)[A-Z]+")


@dataclass(frozen=True)
class Pin:
    """A product that is put at a place of lists with this name, from 1; for every country if None."""

    stock_code: str
    list_name: str
    country: str | None = None
    position: int = 1


@dataclass(frozen=True)
class Rules:
    """What holds for the lists of one publication. None at all by default.

    Attributes:
        hidden: stock codes that no list shows.
        only_in: stock codes that only lists for these countries show. A list that is for no country does not.
        pins: in the order in which they are put, by position.
        max_per_family: how many variants of one product a list shows; any number if None.
    """

    hidden: frozenset[str] = frozenset()
    only_in: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pins: tuple[Pin, ...] = ()
    max_per_family: int | None = None

    def shows(self, stock_code: str, country: str | None) -> bool:
        """Whether a list for a country may show a product; for no country in particular if None."""
        return stock_code not in self.hidden and (stock_code not in self.only_in or country in self.only_in[stock_code])

    def shown(self, stock_codes: Iterable[str], country: str | None) -> Mask:
        """`shows` of many; the same array for all countries of which no rule speaks."""
        key = country if country in self._named_countries else None
        if key not in self._masks:
            self._masks[key] = np.array([self.shows(code, key) for code in stock_codes], np.bool_)
        return self._masks[key]

    def pinned(self, list_name: str, country: str | None) -> list[Pin]:
        """The pins of a list that may be shown, each product once."""
        key = (list_name, country if country in self._named_countries else None)
        if key not in self._pinned:
            mine = {
                pin.stock_code: pin
                for pin in reversed(self.pins)
                if pin.list_name == list_name and pin.country in (None, key[1]) and self.shows(pin.stock_code, key[1])
            }
            self._pinned[key] = sorted(mine.values(), key=self.pins.index)
        return self._pinned[key]

    def arranged(
        self,
        candidates: Iterable[str],
        count: int,
        *,
        list_name: str,
        country: str | None,
        never: Collection[str] = (),
    ) -> list[str]:
        """A list: its pins at their places, and around them the first candidates, not too many of one family.

        Args:
            candidates: best first, all of which may be shown there; a product that comes again is passed over.
            count: length of the list; shorter where there are not enough.
            list_name: of the list, for its pins.
            country: that it is for.
            never: products that are not pinned in this list.
        """
        pins = [pin for pin in self.pinned(list_name, country) if pin.stock_code not in never]
        families, places = Counter[str](), list[tuple[int, str]]()
        for pin in pins:
            if len(places) < count and self._has_room(families, pin.stock_code):
                places.append((pin.position - 1, pin.stock_code))
        taken = {code for _, code in places}
        listed: list[str] = []
        for code in candidates:
            if len(listed) + len(places) >= count:
                break
            if code not in taken and self._has_room(families, code):
                taken.add(code)
                listed.append(code)
        after = -1
        for place, code in places:
            after = min(max(place, after + 1), len(listed))  # of two at one place, the second comes behind
            listed.insert(after, code)
        return listed

    def _has_room(self, families: Counter[str], stock_code: str) -> bool:
        """Whether one more of its family may come; if so, it is counted."""
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
        return frozenset(pins).union(*self.only_in.values())

    @cached_property
    def _masks(self) -> dict[str | None, Mask]:
        return {}

    @cached_property
    def _pinned(self) -> dict[tuple[str, str | None], list[Pin]]:
        return {}


@lru_cache(maxsize=200_000)
def family_of(stock_code: str) -> str:
    """What the variants of a product have in common: a number without the letters behind it.

    >>> family_of("85123A"), family_of("85123"), family_of("DCGS0003")
    ('85123', '85123', 'DCGS0003')
    """
    variant = _VARIANT.fullmatch(stock_code)
    return variant[1] if variant else stock_code
