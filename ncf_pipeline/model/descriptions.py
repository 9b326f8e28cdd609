"""The words of a product's description. Pure."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ncf_pipeline.model.families import family_of

_WORD = re.compile(r"[^\W\d_]{2,}")


def words_of(description: str, stock_code: str) -> set[str]:
    """The words of a description, in lower case, and the family of the stock code.

    >>> sorted(words_of("RED RETROSPOT CUP 2", "21931R"))
    ['#21931', 'cup', 'red', 'retrospot']
    """
    words = {word.casefold() for word in _WORD.findall(description)}
    return words | {f"#{family_of(stock_code)}"}


def numbered_words(
    descriptions: Sequence[str], stock_codes: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The words of each description, as numbers from 0, in the order in which they are first used.

    Args:
        descriptions: N of them.
        stock_codes: of the product of each.

    Returns:
        (W,) each: the place of the description, ascending, and the number of the word.

    >>> [part.tolist() for part in numbered_words(["RED CUP", "RED BAG"], ["1", "2"])]
    [[0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 4, 2]]
    """
    numbers: dict[str, int] = {}
    places: list[int] = []
    words: list[int] = []
    for place, (description, stock_code) in enumerate(zip(descriptions, stock_codes, strict=True)):
        # Sorted, because the order of a set differs between processes, and sums depend on the order.
        for word in sorted(words_of(description, stock_code)):
            places.append(place)
            words.append(numbers.setdefault(word, len(numbers)))
    return np.array(places, np.int64), np.array(words, np.int64)
