"""Products of one family, such as the colours 85123A and 85123B, and who bought of which family when. Pure.

Who has the red one may replace it by the blue one, or want both. Words find such products for a customer
(`features.words`); the features here say when the customer last bought of the family, and how often.
"""

from collections.abc import Iterator

import numpy as np

from ncf_pipeline.model.families import families_of
from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray
from ncf_pipeline.model.features.state import YEAR, Column, ShopState


class Families:
    """The G families of a shop's products at an instant, and who bought of them.

    Where codes are not a number with letters after it, each product is a family of its own. Then these features say
    only what those of the pair say.

    Args:
        state: of the shop at the instant.

    Attributes:
        family: (P,) number of each product's family, from 0. Products that were not sold before the instant share one.
        size: (P,) how many products that were sold before the instant are in it.
    """

    def __init__(self, state: ShopState) -> None:
        known = np.flatnonzero(state.known_products)  # what is sold later says nothing yet
        of_known = families_of(state.events.products[known].tolist())
        self._families = families = int(of_known.max(initial=-1)) + 2  # the last one is of all that is sold later
        self.family: IntArray = np.full(state.shape[1], families - 1)
        self.family[known] = of_known
        self.size: IntArray = np.bincount(of_known, minlength=families)[self.family]
        kept = state.pairs.times > 0
        code = state.owner[kept] * families + self.family[state.pairs.product[kept]]
        code, place = np.unique(code, return_inverse=True)
        last = np.zeros(len(code), np.int64)
        np.maximum.at(last, place, state.pairs.last[kept])
        # The last place of each is for families that the customer never bought.
        self._code = np.append(code, -1)  # ascending but for the last
        self._times = np.append(np.bincount(place, state.pairs.times[kept], minlength=len(code)), 0.0)
        self._days = np.append(np.minimum((state.at - last) / DAY, YEAR), YEAR)

    def columns(self, customer: IntArray, product: IntArray, own: FloatArray) -> Iterator[Column]:
        """(R,) each, for candidates.

        - `family_times`: log(1 + purchases of other products of the family).
        - `days_since_family`: log(1 + days since the customer last bought of the family, the product included).
        - `family_size`: log(1 + other products of the family).

        Args:
            customer: (R,) customer_index of each.
            product: (R,) product_index.
            own: (R,) purchases of the product itself, without returned ones.
        """
        wanted = customer * self._families + self.family[product]
        place = np.searchsorted(self._code[:-1], wanted)
        place = np.where(self._code[place] == wanted, place, -1)
        yield "family_times", np.log1p(np.maximum(self._times[place] - own, 0))
        yield "days_since_family", np.log1p(self._days[place])
        yield "family_size", np.log1p(np.maximum(self.size[product] - 1.0, 0))
