"""In which order and with how much variety lists show what a model scored. Pure."""

from dataclasses import dataclass, field, replace
from typing import Literal

from ncf_pipeline.model.lists.variety import Variety

Order = Literal["precision", "value"]
"""`precision`: by the chance of a purchase. `value`: by that times what the customer would spend; see `value.py`."""

SPEND_WEIGHT = 0.5
"""On the development cuts, `revenue@5` is as high as with 1, and costs a third as much precision. A chance to buy and a
spend that are both estimated, and not calibrated, are no better than that: docs/experiments-offline.md."""


@dataclass(frozen=True)
class Style:
    """How lists show what was scored. By default, plainly: best chance first.

    Attributes:
        order: of `for_you` and `discover`. `buy_again` is always by the chance of buying again.
        variety: the limits on the first places of these lists.
        spend_weight: of the logarithm of the expected spend in the order by value, beside that of the chance: 0 leaves
            the order by chance, 1 is that of expected revenue.
    """

    order: Order = "precision"
    variety: Variety = field(default_factory=Variety)
    spend_weight: float = SPEND_WEIGHT

    @property
    def is_plain(self) -> bool:
        """Whether lists are in the order of the scores alone."""
        return self.order == "precision" and not self.variety.is_on

    @property
    def without_repeat(self) -> "Style":
        """The same without the limit on what was shown last week."""
        return replace(self, variety=replace(self.variety, repeat=None))

    def __str__(self) -> str:
        """In words; empty if it is plain.

        >>> str(Style("value", Variety(family=2)))
        'by expected revenue, at most 2 of a family, among the first 5'
        """
        words = ("by expected revenue" if self.order == "value" else "", str(self.variety))
        return ", ".join(filter(None, words))


PLAIN = Style()
