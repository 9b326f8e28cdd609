"""Products of one family, such as the colours 85123A and 85123B, and who bought of which family when. Pure.

Who has the red one may replace it by the blue one, or want both. Words find such products for a customer
(`features.words`); the features here say when the customer last bought of the family, and how often.
"""

from collections.abc import Iterator

import numpy as np

from ncf_pipeline.model.families import families_of
from ncf_pipeline.model.features.events import DAY, FloatArray, IntArray, pair_codes
from ncf_pipeline.model.features.state import YEAR, Column, ShopState, slices


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
        self._state = state
        self._families = families = int(of_known.max(initial=-1)) + 2  # the last one is of all that is sold later
        self.family: IntArray = np.full(state.shape[1], families - 1)
        self.family[known] = of_known
        self.size: IntArray = np.bincount(of_known, minlength=families)[self.family]

    def columns(self, customers: IntArray, owner: IntArray, product: IntArray, own: FloatArray) -> Iterator[Column]:
        """(R,) each, for candidates.

        - `family_times`: log(1 + purchases of other products of the family).
        - `days_since_family`: log(1 + days since the customer last bought of the family, the product included).
        - `family_size`: log(1 + other products of the family).

        Args:
            customers: (B,) customer_index of the customers.
            owner: (R,) the place of each candidate's customer among them.
            product: (R,) product_index.
            own: (R,) purchases of the product itself, without returned ones.
        """
        pairs = self._state.pairs
        pair, of_pair = slices(pairs.start[customers], pairs.start[customers + 1])
        kept = pairs.times[pair] > 0
        pair, of_pair = pair[kept], of_pair[kept]
        code, group = np.unique(
            pair_codes(of_pair, self.family[pairs.product[pair]], self._families), return_inverse=True
        )
        last = np.zeros(len(code), np.int64)
        np.maximum.at(last, group, pairs.last[pair])
        # The last place of each is for families that the customer never bought.
        times = np.append(np.bincount(group, pairs.times[pair], minlength=len(code)), 0.0)
        days = np.append(np.minimum((self._state.at - last) / DAY, YEAR), YEAR)
        wanted = pair_codes(owner, self.family[product], self._families)
        place = np.searchsorted(code, wanted)
        place = np.where(np.append(code, -1)[place] == wanted, place, -1)
        yield "family_times", np.log1p(np.maximum(times[place] - own, 0))
        yield "days_since_family", np.log1p(days[place])
        yield "family_size", np.log1p(np.maximum(self.size[product] - 1.0, 0))
