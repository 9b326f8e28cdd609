"""The results of one look at an experiment, and their form as JSON.

`analysis.measure` computes them; `records` stores them in `ml.experiment_report.figures`; `experiment report --json`
prints them. The JSON keys are a contract: reports stored by earlier versions must stay readable.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from math import isfinite
from typing import Any, Literal

from ncf_pipeline.experiments.design import Groups

Verdict = Literal["early", "open", "more", "less", "none", "mismatch"]
"""What a look decides.

`early`: too few weeks or buyers. `open`: no decision yet. `more`, `less`: the treated group has more or less of the
deciding measure. `none`: the only look of `decides="once"` found no difference. `mismatch`: the sample ratio is wrong,
or too few customers
were shown the lists of their group, so no number can be trusted.
"""

MISMATCH: Verdict = "mismatch"

UNDILUTED, VALID = 0.99, 0.9
"""Below the first contrast of `Exposure`, a report says that the effect is diluted; below the second, that no number
can be trusted: nobody can tell who the others were, and whether what they saw is why they bought."""

_OF_SEVERAL = ("together", "decision")  # keys that only experiments with several asked measures have


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Group:
    """Sizes of one group: its customers, how many of them bought, and their orders."""

    customers: int
    buyers: int
    orders: int


@dataclass(frozen=True)
class SampleRatio:
    """The test for a sample ratio mismatch.

    Attributes:
        share: of the customers that the design puts in the share.
        in_share: customers who are in it.
        of_all: customers in the experiment.
        p: p-value of the exact binomial test.
    """

    share: float
    in_share: int
    of_all: int
    p: float


@dataclass(frozen=True)
class MeasureResult:
    """Treated against control by one measure. Relative effects are treated over control, minus one.

    Attributes:
        measure: name in `measures.MEASURES`.
        words: what people call it.
        quantile: at which large values are Winsorized; 1 means not at all.
        treated: mean of this group, Winsorized.
        control: mean of this group, Winsorized.
        difference: treated minus control, with CUPED; interval for one look.
        ratio: relative effect with CUPED; interval for one look.
        always: the same effect; always-valid interval.
        plain: relative effect without CUPED; interval for one look.
        uncut: relative effect without Winsorizing; None if that leaves nothing to compare.
        enough: whether enough customers bought, and differ, for a decision.
        together: the same effect, if several measures are asked and this is one: the interval that decides; it is
            wider, so that the intervals of all asked measures contain the truth together. Else None.
        decision: what this look decides about this measure, if several are asked and this is one; else None.
    """

    measure: str
    words: str
    quantile: float
    treated: float
    control: float
    difference: Interval
    ratio: Interval
    always: Interval
    plain: Interval
    uncut: Interval | None
    enough: bool
    together: Interval | None = None
    decision: Verdict | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "MeasureResult":
        """Reads one element of `measures`; the last two keys may be missing."""
        intervals = {
            name: Interval(**stored[name])
            for name in ("difference", "ratio", "always", "plain", "uncut", "together")
            if stored.get(name) is not None
        }
        return cls(**{**stored, **intervals})

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without the last two keys if only one measure is asked."""
        values = asdict(self)
        return {name: value for name, value in values.items() if value is not None or name not in _OF_SEVERAL}


@dataclass(frozen=True)
class WeeklyEffect:
    """The relative effect on the deciding measure, as a look after so many weeks shows it.

    Attributes:
        week: since the start; a fraction for the newest look.
        ratio: treated over control, minus one, with CUPED.
        low: lower end of the interval for one look.
        high: upper end of it.
        always_low: lower end of the always-valid interval.
        always_high: upper end of it.
        squared_error: squared standard error of the log ratio.
        enough: whether enough customers had bought for a decision.
    """

    week: float
    ratio: float
    low: float
    high: float
    always_low: float
    always_high: float
    squared_error: float
    enough: bool

    def is_finite(self) -> bool:
        """Whether the effect and its intervals can be drawn."""
        return all(isfinite(each) for each in (self.ratio, self.low, self.high, self.always_low, self.always_high))


@dataclass(frozen=True)
class OrderValues:
    """A histogram of order values.

    Attributes:
        edges: of the bins, ascending by a constant factor; empty if nothing was ordered.
        treated: the share of this group's orders in each bin.
        control: the share of this group's orders in each bin.
    """

    edges: tuple[float, ...]
    treated: tuple[float, ...]
    control: tuple[float, ...]

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "OrderValues":
        """Reads `baskets`."""
        return cls(tuple(stored["edges"]), tuple(stored["treated"]), tuple(stored["control"]))

    def as_dict(self) -> dict[str, list[float]]:
        """Plain values for JSON."""
        return {"edges": list(self.edges), "treated": list(self.treated), "control": list(self.control)}


@dataclass(frozen=True)
class Bought:
    """What customers spent, and how much of it on products that were on their lists; the shop's currency."""

    value: float
    on_list: float


@dataclass(frozen=True)
class Slice:
    """What both groups bought while one publication was live, in `[start, until)` on the shop's clock."""

    start: datetime
    until: datetime
    publication: int
    treated: Bought
    control: Bought

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Slice":
        """Reads one element of `slices`."""
        return cls(
            start=datetime.fromisoformat(stored["from"]),
            until=datetime.fromisoformat(stored["until"]),
            publication=stored["publication"],
            treated=Bought(**stored["treated"]),
            control=Bought(**stored["control"]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "from": self.start.isoformat(),
            "until": self.until.isoformat(),
            "publication": self.publication,
            "treated": asdict(self.treated),
            "control": asdict(self.control),
        }


@dataclass(frozen=True)
class Attribution:
    """The share of each group's spending on products that were on their lists; None if a group bought nothing."""

    treated: float | None = None
    control: float | None = None
    slices: tuple[Slice, ...] = ()

    @classmethod
    def of(cls, slices: tuple[Slice, ...]) -> "Attribution":
        """Sums over slices."""
        return cls(_on_list(*(part.treated for part in slices)), _on_list(*(part.control for part in slices)), slices)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Attribution":
        """Reads `attribution`."""
        slices = tuple(Slice.from_dict(part) for part in stored.get("slices", ()))
        return cls(stored.get("treated"), stored.get("control"), slices)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "treated": self.treated,
            "control": self.control,
            "slices": [part.as_dict() for part in self.slices],
        }


@dataclass(frozen=True)
class Looked:
    """How many customers of a group were looked at, and what they were shown; one looked at twice counts twice.

    Attributes:
        checked: right, wrong and missing together.
        right: exactly the lists of their group.
        wrong: other lists.
        missing: no list of their own, although lists were made for them.
    """

    checked: int
    right: int
    wrong: int
    missing: int

    @property
    def share_right(self) -> float:
        """The share of those looked at who were shown the lists of their group; 1 if there was nobody to look at."""
        return self.right / self.checked if self.checked else 1.0


@dataclass(frozen=True)
class Exposure:
    """Whether customers were shown the lists of their group, in `checks` checks of samples of both groups."""

    checks: int
    groups: Groups[Looked]

    @property
    def contrast(self) -> float:
        """How much of the difference between the groups shoppers saw: 1 if all saw the lists of their group.

        An effect is diluted by this factor, as by customers who do not comply with their assignment: it is the
        difference between the shares of each group that saw the treated group's lists (Angrist, Imbens & Rubin 1996,
        "Identification of Causal Effects Using Instrumental Variables", section 3.2).
        """
        return max(0.0, round(self.groups.treated.share_right + self.groups.control.share_right - 1, 9))

    @property
    def is_diluted(self) -> bool:
        """Whether so many saw other lists that the report says so."""
        return self.contrast < UNDILUTED

    @property
    def is_invalid(self) -> bool:
        """Whether so many saw other lists that no number can be trusted."""
        return self.contrast < VALID

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Exposure":
        """Reads `exposure`."""
        groups = stored["groups"]
        return cls(stored["checks"], Groups(Looked(**groups["treated"]), Looked(**groups["control"])))


@dataclass(frozen=True)
class Results:
    """Every number of one look.

    Attributes:
        starts_at: when the first lists of the experiment went live, on the shop's clock.
        until: first instant excluded, on the shop's clock.
        weeks: from start to `until`.
        groups: sizes of both groups.
        sample_ratio: whether the groups have the sizes that chance would give them.
        measures: of `measures.MEASURES` in their order, without those that cannot be compared.
        by_week: effects on the deciding measure, oldest first.
        baskets: order values of both groups.
        verdict: what this look decides.
        more_weeks: weeks still needed to find the least effect worth finding; None if decided or never reached.
        has_ended: whether the experiment had ended before this look.
        other_lists: share of the time in which lists were live that were not made for these groups.
        attribution: what was bought from lists.
        exposure: whether customers were shown their group's lists; None if that was never checked.
    """

    starts_at: datetime
    until: datetime
    weeks: float
    groups: Groups[Group]
    sample_ratio: SampleRatio
    measures: tuple[MeasureResult, ...]
    by_week: tuple[WeeklyEffect, ...]
    baskets: OrderValues
    verdict: Verdict
    more_weeks: int | None
    has_ended: bool = False
    other_lists: float = 0.0
    attribution: Attribution = Attribution()
    exposure: Exposure | None = None

    @property
    def customers(self) -> int:
        """Customers in both groups."""
        return self.groups.treated.customers + self.groups.control.customers

    def measure(self, name: str) -> MeasureResult:
        """The result of one measure.

        Raises:
            KeyError: it could not be compared.
        """
        for result in self.measures:
            if result.measure == name:
                return result
        raise KeyError(name)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Results":
        """Reads stored results; the last four keys may be missing."""
        return cls(
            starts_at=datetime.fromisoformat(stored["starts_at"]),
            until=datetime.fromisoformat(stored["until"]),
            weeks=stored["weeks"],
            groups=Groups(Group(**stored["groups"]["treated"]), Group(**stored["groups"]["control"])),
            sample_ratio=SampleRatio(**stored["sample_ratio"]),
            measures=tuple(MeasureResult.from_dict(result) for result in stored["measures"]),
            by_week=tuple(WeeklyEffect(**effect) for effect in stored["by_week"]),
            baskets=OrderValues.from_dict(stored["baskets"]),
            verdict=stored["verdict"],
            more_weeks=stored["more_weeks"],
            has_ended=stored.get("has_ended", False),
            other_lists=stored.get("other_lists", 0.0),
            attribution=Attribution.from_dict(stored.get("attribution", {})),
            exposure=Exposure.from_dict(stored["exposure"]) if "exposure" in stored else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "starts_at": self.starts_at.isoformat(),
            "until": self.until.isoformat(),
            "weeks": self.weeks,
            "groups": asdict(self.groups),
            "sample_ratio": asdict(self.sample_ratio),
            "measures": [result.as_dict() for result in self.measures],
            "by_week": [asdict(effect) for effect in self.by_week],
            "baskets": self.baskets.as_dict(),
            "verdict": self.verdict,
            "more_weeks": self.more_weeks,
            "has_ended": self.has_ended,
            "other_lists": self.other_lists,
            "attribution": self.attribution.as_dict(),
            **({"exposure": asdict(self.exposure)} if self.exposure is not None else {}),
        }


def _on_list(*bought: Bought) -> float | None:
    value = sum(part.value for part in bought)
    return sum(part.on_list for part in bought) / value if value else None
