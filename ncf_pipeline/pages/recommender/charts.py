"""Where the marks of a chart are. A template draws them, so that they have the page's colours and fonts.

Across, places are in percent of the chart's width, which the browser knows; down, in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

HEIGHT = 190
"""Pixels between the largest value and 0."""

TOP = 12
"""Pixels above the largest value."""

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5)
_MOST_TICKS = 6


@dataclass(frozen=True)
class Value:
    """One value of a series.

    Attributes:
        place: of its label, from 0.
        mean: the value itself; 0 to 1.
        low: lower end of its interval, if it has one.
        high: upper end.
        words: what it is, for whoever points at it.
        kind: names its mark in the style.
    """

    place: int
    mean: float
    low: float | None
    high: float | None
    words: str
    kind: str = ""


@dataclass(frozen=True)
class Series:
    """Values that belong together; `name` says so in the legend and in the style, `shift` keeps their marks apart."""

    name: str
    values: Sequence[Value]
    shift: int = 0


@dataclass(frozen=True)
class Mark:
    """Where a value is drawn: `x` in percent, `y` and the ends of its interval in pixels."""

    x: float
    y: float
    top: float | None
    bottom: float | None
    words: str
    kind: str


@dataclass(frozen=True)
class Line:
    """A line from a mark to the next one."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Drawn:
    """A series as it is drawn."""

    name: str
    shift: int
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Chart:
    """Series over labels.

    Attributes:
        title: what is shown.
        summary: what a person who does not see it is told.
        labels: where each is, in percent; its lines; and whether it stays where there is little room.
        ticks: where each is, in pixels, and its text.
        series: those that have values.
        height: pixels from the top to 0.
    """

    title: str
    summary: str
    labels: tuple[tuple[float, Sequence[str], bool], ...]
    ticks: tuple[tuple[float, str], ...]
    series: tuple[Drawn, ...]
    height: int = HEIGHT + TOP


def chart(title: str, summary: str, labels: Sequence[Sequence[str]], series: Sequence[Series]) -> Chart:
    """Where everything is.

    Args:
        title: what is shown.
        summary: what a person who does not see it is told.
        labels: the lines of each label, from left to right.
        series: what is drawn; the last one on top.
    """
    shown = [value for each in series for value in each.values]
    step, top = _scale(max((max(value.mean, value.high or 0) for value in shown), default=0))
    across = [100 * (place + 0.5) / max(len(labels), 1) for place in range(len(labels))]
    count = round(top / step)
    every = 1 + (len(labels) - 1) // 4
    return Chart(
        title,
        summary,
        # Counted from the newest, which always stays.
        tuple(
            (round(x, 2), label, (len(labels) - 1 - place) % every == 0)
            for place, (x, label) in enumerate(zip(across, labels, strict=True))
        ),
        tuple((_down(step * number, top), f"{step * number:.2f}") for number in range(count + 1)),
        tuple(_drawn(each, across, top) for each in series if each.values),
    )


def _drawn(series: Series, across: Sequence[float], top: float) -> Drawn:
    marks = tuple(
        Mark(
            round(across[value.place], 2),
            _down(value.mean, top),
            None if value.high is None else _down(value.high, top),
            None if value.low is None else _down(value.low, top),
            value.words,
            value.kind,
        )
        for value in series.values
    )
    lines = tuple(Line(a.x, a.y, b.x, b.y) for a, b in pairwise(marks))
    return Drawn(series.name, series.shift, marks, lines)


def _scale(largest: float) -> tuple[float, float]:
    """A round step, and the top of the axis: a multiple of it that nothing is above."""
    step = next((step for step in _STEPS if largest / step <= _MOST_TICKS), _STEPS[-1])
    top = step
    while top < largest:
        top += step
    return step, top


def _down(value: float, top: float) -> float:
    return round(TOP + HEIGHT * (1 - value / top), 1)
