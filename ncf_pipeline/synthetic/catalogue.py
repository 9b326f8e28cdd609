"""The products of a synthetic shop: codes, names, prices, seasons and companions."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]

_COLOURS = ("RED", "BLUE", "GREEN", "PINK", "WHITE", "IVORY", "BLACK", "SILVER")
_MOTIFS = ("VINTAGE", "RETROSPOT", "HEARTS", "PAISLEY", "SKULLS", "ROSES", "DOILEY", "SCOTTIE DOG", "WOODLAND", "LACE")
_MATERIALS = ("GLASS", "METAL", "WOODEN", "PAPER", "CERAMIC", "ZINC", "WICKER", "FELT", "ENAMEL", "COTTON")
# The first half is used up and bought again, the second half lasts for years.
_THINGS = (
    *("NAPKINS", "T-LIGHTS", "GIFT WRAP", "LUNCH BAG", "CAKE CASES", "CANDLE", "BUNTING", "NOTEBOOK", "PAPER CHAIN"),
    *("HOLDER", "CAKE STAND", "PHOTO FRAME", "DOORMAT", "MUG", "CLOCK", "LANTERN", "CABINET", "COAT HANGER"),
)
_LETTERS = "ABCDEFGLNP"

_FAMILY_SHARE = 0.06  # of products that come in several colours, with letters after the code
_LATE_SHARE = 0.2  # of products that enter the catalogue after the first day
_SEASONAL_SHARE = 0.25
_FAMILY_MAX = 4


@dataclass(frozen=True)
class Catalogue:
    """P products, sorted by group of taste, so that each of the G groups is a slice.

    Attributes:
        codes: (P,) numbers, or text for codes that end in a letter.
        descriptions: (P,) some with a space at the end, as in the original.
        price: (P,) in the shop's currency.
        launched: (P,) day of the first sale, from 0.
        rebuy: (P,) 1 if a favourite is bought again, 0 if it lasts for years.
        companion: (P,) index of the product that goes with it.
        group_start: (G + 1,) first product of each group.
        cumulative: (12, P) running sums, over all groups, of how often each product is chosen in a month.
    """

    codes: Objects
    descriptions: Objects
    price: Floats
    launched: Ints
    rebuy: Floats
    companion: Ints
    group_start: Ints
    cumulative: Floats

    @property
    def groups(self) -> int:
        """G, the number of groups."""
        return len(self.group_start) - 1


def make_catalogue(random: np.random.Generator, products: int, days: int) -> Catalogue:
    """Makes a catalogue that grows over time.

    Args:
        random: for all draws.
        products: number of products at the end.
        days: of trade.
    """
    family, variant, size = _families(random, products)
    families = int(family[-1]) + 1
    groups = max(4, round(products**0.5 / 1.5))
    group_of_family = random.integers(groups, size=families)
    group_of_family[: min(groups, families)] = np.arange(min(groups, families))  # so that none is empty
    # Sorted by group; the members of a family stay next to each other.
    order = np.argsort(group_of_family[family], kind="stable")
    family, variant, size = family[order], variant[order], size[order]
    group = group_of_family[family]
    group_start = np.searchsorted(group, np.arange(groups + 1))

    thing = random.integers(len(_THINGS), size=families)[family]
    popularity = 1.0 / (random.permutation(products) + 8.0) ** 0.85  # Zipf: a few sell most
    months = np.arange(12)[:, None]
    peak = random.integers(12, size=products)
    distance = np.minimum((months - peak) % 12, (peak - months) % 12)
    seasonal = random.random(products) < _SEASONAL_SHARE
    season = np.where(seasonal, 0.2 + 2.5 * np.exp(-(distance**2) / 2.0), 1.0)  # (12, P)
    late = random.random(products) < _LATE_SHARE
    return Catalogue(
        codes=_codes(random, family, variant, size),
        descriptions=_descriptions(random, family, variant, thing),
        price=np.maximum(0.19, np.exp(random.normal(0.8, 0.8, families)).round(1)[family] - 0.05).round(2),
        launched=np.where(late, random.integers(0, max(1, int(days * 0.8)), products), 0).astype(np.int64),
        rebuy=np.where(thing < len(_THINGS) // 2, 1.0, 0.0),
        companion=_companions(random, family, variant, size, group_start, group),
        group_start=group_start.astype(np.int64),
        cumulative=np.cumsum(popularity * season, axis=1),
    )


def _families(random: np.random.Generator, products: int) -> tuple[Ints, Ints, Ints]:
    """(P,) each: the product's family, its place in the family, and the family's size."""
    sizes = np.where(
        random.random(products) < _FAMILY_SHARE, random.integers(2, _FAMILY_MAX + 1, products), 1
    )  # more families than needed
    family = np.repeat(np.arange(products), sizes)[:products]
    size = np.bincount(family)
    variant = np.arange(products) - np.repeat(np.cumsum(size) - size, size)
    return family.astype(np.int64), variant.astype(np.int64), np.repeat(size, size).astype(np.int64)


def _codes(random: np.random.Generator, family: Ints, variant: Ints, size: Ints) -> Objects:
    families = int(family.max()) + 1
    # More than 70,000 families need a sixth digit.
    digits = 5 if families < 70_000 else 6
    numbers = random.choice(np.arange(2 * 10 ** (digits - 1), 10**digits), size=families, replace=False)
    letters = random.integers(len(_LETTERS) - _FAMILY_MAX + 1, size=families)
    small = random.random(families) < 0.1  # 47566b
    codes: Objects = np.empty(len(family), dtype=object)
    for index, (mine, place, members) in enumerate(zip(family.tolist(), variant.tolist(), size.tolist(), strict=True)):
        if members == 1:
            codes[index] = int(numbers[mine])
        else:
            letter = _LETTERS[letters[mine] + place]
            codes[index] = f"{numbers[mine]}{letter.lower() if small[mine] else letter}"
    return codes


def _descriptions(random: np.random.Generator, family: Ints, variant: Ints, thing: Ints) -> Objects:
    families = int(family.max()) + 1
    colour = random.integers(len(_COLOURS), size=families)
    motif = random.integers(len(_MOTIFS), size=families)
    material = random.integers(len(_MATERIALS), size=families)
    spaces = np.where(random.random(len(family)) < 0.2, " ", "").tolist()
    texts: Objects = np.empty(len(family), dtype=object)
    taken: set[str] = set()
    for index, mine in enumerate(family.tolist()):
        words = (
            _COLOURS[(colour[mine] + variant[index]) % len(_COLOURS)],
            _MOTIFS[motif[mine]],
            _MATERIALS[material[mine]],
            _THINGS[thing[index]],
        )
        text = " ".join(words)
        if text in taken:
            text = f"{text} No {index}"
        taken.add(text)
        texts[index] = text + spaces[index]
    return texts


def _companions(
    random: np.random.Generator, family: Ints, variant: Ints, size: Ints, group_start: Ints, group: Ints
) -> Ints:
    """(P,) index of the next colour of the family; for a product without a family, of another one of its group."""
    index = np.arange(len(family))
    sibling = np.where(variant + 1 < size, index + 1, index - size + 1)
    begin, end = group_start[group], group_start[group + 1]
    other = begin + (random.random(len(family)) * (end - begin)).astype(np.int64)
    return np.where(size > 1, np.clip(sibling, 0, len(family) - 1), other).astype(np.int64)
