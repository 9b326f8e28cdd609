"""What an experiment is: decided before it starts, and not changed while it runs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE

Kind = Literal["holdout", "challenger"]
Decides = Literal["weekly", "once"]


@dataclass(frozen=True)
class Design:
    """One experiment.

    Attributes:
        name: as people call it.
        hypothesis: what is thought to be true, in words.
        kind: `holdout`: the share sees best sellers, all others their own lists. `challenger`: the share sees the lists
            of another version, all others the champion's.
        share: of the customers, 0 to 1.
        salt: of the hash that draws them.
        starts_at: on the shop's clock: the first instant that counts.
        minimum_effect: the least that is worth finding, as a share: 0.05 for five percent.
        power: the chance with which it is to be found.
        metric: of `measures.MEASURES`, which decides.
        decides: `weekly`, each look by an interval that holds at all of them, or `once`, at the end.
        harm_bound: how much worse off the share may be, as a share of what the others do.
        ends_on_harm: whether the experiment ends by itself when that is sure.
        challenger: the version whose lists the share sees; None for a holdout.
        ends_at: the first that does not count any more; None for a lasting one.
    """

    name: str
    hypothesis: str
    kind: Kind
    share: float
    salt: str
    starts_at: datetime
    minimum_effect: float = 0.05
    power: float = 0.8
    metric: str = AVERAGE_ORDER_VALUE
    decides: Decides = "weekly"
    harm_bound: float = 0.1
    ends_on_harm: bool = True
    challenger: int | None = None
    ends_at: datetime | None = None

    @property
    def share_is_treated(self) -> bool:
        """Whether the share is whom something new is tried on; the share of a holdout is the control group."""
        return self.kind == "challenger"

    @property
    def groups(self) -> dict[str, str]:
        """What the treated and the control group see, as people read it."""
        share = share_sees(self.kind, self.challenger)
        if self.share_is_treated:
            return {"treated": share, "control": "the champion's lists"}
        return {"treated": "personal lists", "control": share}


def share_sees(kind: Kind, challenger: int | None) -> str:
    """What the share of an experiment sees, as people read it."""
    return "best sellers" if kind == "holdout" else f"v{challenger}'s lists"
