"""The design of an experiment: decided before it starts, and not changed while it runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Literal, TypeVar

from ncf_pipeline.errors import InputError
from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE
from ncf_pipeline.experiments.sequential import ALPHA
from ncf_pipeline.model.lists.style import Order

Kind = Literal["holdout", "challenger", "order"]
Decides = Literal["weekly", "once"]

T = TypeVar("T")


@dataclass(frozen=True)
class Groups(Generic[T]):
    """The same of each group.

    >>> Groups("v7's lists", "the champion's lists").control
    "the champion's lists"
    """

    treated: T
    control: T

    def items(self) -> Iterator[tuple[str, T]]:
        """Pairs of a group's name and what this holds of it."""
        yield "treated", self.treated
        yield "control", self.control


@dataclass(frozen=True)
class Design:
    """The design of one experiment.

    Attributes:
        name: unique; part of the report's path.
        hypothesis: a sentence.
        kind: `holdout`: the share sees best sellers, all others see personal lists. `challenger`: the share sees the
            lists of another version, all others see the champion's. `order`: the share sees the champion's lists in
            another order than all others.
        share: of the customers, 0 to 1.
        salt: of the hash that assigns customers.
        starts_at: first instant that counts, on the shop's clock.
        minimum_effect: least effect worth finding: 0.05 for five percent.
        power: the chance of finding that effect.
        metric: the deciding measure, a name in `measures.MEASURES`.
        decides: `weekly`: any weekly look may decide, by an always-valid interval. `once`: one look at the end does.
        harm_bound: how much worse off the share may be: 0.1 for ten percent.
        ends_on_harm: whether the experiment ends by itself when the share is surely worse off than that.
        challenger: the version whose lists the share sees; None for another kind.
        list_order: the order that the share sees; None for another kind.
        ends_at: first instant that no longer counts, on the shop's clock; None for no end.
        also: other measures that are asked, each with a decision of its own.
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
    list_order: Order | None = None
    ends_at: datetime | None = None
    also: tuple[str, ...] = ()

    @property
    def asked(self) -> tuple[str, ...]:
        """All measures that are asked, the deciding one first."""
        return (self.metric, *self.also)

    @property
    def alpha(self) -> float:
        """The chance that the interval of one asked measure misses the truth.

        Together, all intervals miss it in at most 5 of 100 experiments, however the measures depend on each other:
        Bonferroni's correction. Holm's would decide a little more often, but its intervals do not say what it decides
        (Dmitrienko & D'Agostino 2013, "Traditional multiplicity adjustment methods in clinical trials", Statistics in
        Medicine 32:29, section 3), and nobody could plan with it, because it depends on what the others show.
        """
        return ALPHA / len(self.asked)

    @property
    def share_is_treated(self) -> bool:
        """Whether the share is the treated group. In a holdout the share is the control group."""
        return self.kind != "holdout"

    @property
    def groups(self) -> Groups[str]:
        """What each group sees, in words."""
        if self.share_is_treated:
            return Groups(treated=self.seen_by_share, control="the champion's lists")
        return Groups(treated="personal lists", control=self.seen_by_share)

    @property
    def seen_by_share(self) -> str:
        """What the share sees, in words."""
        return share_sees(self.kind, self.challenger, self.list_order)

    @property
    def seen_by_others(self) -> str:
        """What all other customers see, in words."""
        return self.groups.control if self.share_is_treated else self.groups.treated


ONCE_NEEDS_WEEKS = "with --decides once, set --weeks: it says when the one look is."
"""Why such a design is refused."""

_OF_NAMES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def checked_name(name: str) -> str:
    """The name of an experiment.

    Raises:
        InputError: it is none.
    """
    if not (name and name[0].isalpha() and len(name) <= 60 and all(each in _OF_NAMES for each in name)):
        raise InputError(
            f"{name!r} is not a valid name: use lower-case letters, digits and hyphens, and start with a letter."
        )
    return name


def checked_text(what: str, text: str) -> str:
    """A hypothesis or a reason, without white space around it.

    Args:
        what: its name, which begins the sentence of a refusal.
        text: as somebody wrote it.

    Raises:
        InputError: it is empty.
    """
    words = text.strip()
    if not words:
        raise InputError(f"{what} is empty: write a sentence.")
    return words


def share_sees(kind: Kind, challenger: int | None, list_order: Order | None = None) -> str:
    """What the share of an experiment sees, in words.

    >>> share_sees("challenger", 7)
    "v7's lists"
    >>> share_sees("order", None, "value")
    'lists in the order of expected revenue'
    """
    if kind == "order":
        return f"lists in the order of {'expected revenue' if list_order == 'value' else 'the chance of a purchase'}"
    return "best sellers" if kind == "holdout" else f"v{challenger}'s lists"
