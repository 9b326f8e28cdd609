"""Families of products: variants such as 85123A and 85123B, known by their stock codes alone. Pure."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

MOST_VARIANTS = 30
"""A family has at most so many products, one for each letter and some more. If more share a number, the number says
nothing in this shop, and each of them is a family of its own."""

_VARIANT = re.compile(r"([0-9]+)[A-Z]+")


@lru_cache(maxsize=200_000)
def family_of(stock_code: str) -> str:
    """The family of a product's variants: the number of a stock code without the letters after it.

    It is `retail.product_family` of the database. Any other text is a family of its own.

    >>> family_of("85123A"), family_of("85123"), family_of("DCGS0003"), family_of("")
    ('85123', '85123', 'DCGS0003', '')
    """
    variant = _VARIANT.fullmatch(stock_code)
    return variant[1] if variant else stock_code


def families_of(stock_codes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Numbers the families of a shop's products.

    Args:
        stock_codes: (P,) in canonical spelling, each once.

    Returns:
        (P,) from 0. Products with one number are of one family: of one `family_of`, unless that has more than
        `MOST_VARIANTS` products.

    >>> families_of(["22423", "85123A", "85123B", "ABC"]).tolist()
    [0, 1, 1, 2]
    """
    places: dict[str, int] = {}  # not np.unique: an array of text drops the NULs at its end
    family = np.array([places.setdefault(family_of(str(code)), len(places)) for code in stock_codes], np.int64)
    alone = np.bincount(family, minlength=1)[family] > MOST_VARIANTS
    family[alone] = len(places) + np.arange(len(family))[alone]
    numbers: npt.NDArray[np.int64] = np.unique(family, return_inverse=True)[1].astype(np.int64)
    return numbers
