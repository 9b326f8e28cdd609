"""The places of a chart's marks. A template draws them, in the page's colours and fonts.

Horizontal places are in percent of the chart's width, which only the browser knows; vertical places are in pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor

from ncf_pipeline.pages.locales import count

HEIGHT = 190
"""Pixels between the top of the axis and 0."""

TOP = 12
"""Pixels above the axis."""

_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, *(digit * 10**power for power in range(9) for digit in (1, 2, 5)))
_MOST_TICKS = 6
_LABELS = 13


@dataclass(frozen=True)
class Value:
    """One value of a series.

    Attributes:
        place: index of its label, from 0.
        mean: the value itself, from 0.
        low: lower end of its interval; None without an interval.
        high: upper end of its interval; None without an interval.
        words: text of its tooltip.
        kind: class of its mark in the style sheet.
    """

    place: int
    mean: float
    low: float | None
    high: float | None
    words: str
    kind: str = ""


@dataclass(frozen=True)
class Series:
    """Values of one recommender.

    Attributes:
        name: its class in the style sheet and in the legend.
        values: from left to right.
        shift: pixels to the right, so that marks of different series do not cover each other.
    """

    name: str
    values: Sequence[Value]
    shift: int = 0


@dataclass(frozen=True)
class Mark:
    """The place of a value: `x` in percent; `y` and the ends of its interval in pixels."""

    x: float
    y: float
    top: float | None
    bottom: float | None
    words: str
    kind: str


@dataclass(frozen=True)
class Line:
    """A line from one mark to the next: `x` in percent, `y` in pixels."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Drawn:
    """A series with the places of its marks and lines."""

    name: str
    shift: int
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Chart:
    """A chart of several series.

    Attributes:
        title: its caption.
        summary: its content in words, for a screen reader.
        labels: of the horizontal axis: place in percent, lines of text, and whether it stays in a narrow chart.
        ticks: of the vertical axis: place in pixels, and text.
        series: those that have values.
        height: pixels from the top to 0.
    """

    title: str
    summary: str
    labels: tuple[tuple[float, Sequence[str], bool], ...]
    ticks: tuple[tuple[float, str], ...]
    series: tuple[Drawn, ...]
    height: int = HEIGHT + TOP


def chart(
    title: str, summary: str, labels: Sequence[Sequence[str]], series: Sequence[Series], *, first_on_top: bool = False
) -> Chart:
    """Places the marks of a chart.

    Args:
        title: its caption.
        summary: its content in words, for a screen reader.
        labels: the lines of each label, from left to right.
        series: what to draw; the last one is on top.
        first_on_top: draws small values above large ones, as places in a ranking are read.
    """
    down = _up if first_on_top else _down
    shown = [value for each in series for value in each.values]
    step, top = _scale(max((max(value.mean, value.high or 0) for value in shown), default=0))
    across = [100 * (place + 0.5) / max(len(labels), 1) for place in range(len(labels))]
    steps = round(top / step)
    every = 1 + (len(labels) - 1) // 4
    return Chart(
        title,
        summary,
        # In a narrow chart every few labels stay, counted from the newest, which always stays.
        tuple(
            (round(x, 2), label, (len(labels) - 1 - place) % every == 0)
            for place, (x, label) in enumerate(zip(across, labels, strict=True))
        ),
        tuple((down(step * number, top), _tick(step * number, step)) for number in range(steps + 1)),
        tuple(_drawn(each, across, top, down) for each in series if each.values),
    )


def signed_chart(
    title: str,
    summary: str,
    labels: Sequence[Sequence[str]],
    values: Sequence[tuple[float, float, float]],
    *,
    line: float,
) -> Chart:
    """Places values that may be below 0 as well as above, and a dashed line.

    Args:
        title: its caption.
        summary: its content in words, for a screen reader.
        labels: the lines of each label, from left to right; empty for none.
        values: each with the ends of its interval. What is beyond -100 or 100 is cut off.
        line: where the dashed line is.
    """
    low, high = (max(min(each, 100.0), -100.0) for each in (min(v[1] for v in values), max(v[2] for v in values)))
    low, high = min(low, 0.0), max(high, line, 0.0)
    step: float = next((step for step in _STEPS if (high - low) / step <= _MOST_TICKS), _STEPS[-1])
    first, last = floor(low / step), ceil(high / step)
    bottom, top = step * first, step * last

    def down(value: float) -> float:
        return round(TOP + HEIGHT * (top - max(min(value, top), bottom)) / (top - bottom), 1)

    across = [round(100 * (place + 0.5) / len(values), 2) for place in range(len(values))]
    every = 1 + (len(labels) - 1) // 4
    marks = tuple(
        Mark(x, down(mean), down(above), down(below), f"{mean:+.1f} [{below:+.1f}, {above:+.1f}]", "")
        for x, (mean, below, above) in zip(across, values, strict=True)
    )
    lines = tuple(Line(a.x, a.y, b.x, b.y) for a, b in pairwise(marks))
    drawn = (
        Drawn("zero", 0, (), (Line(0, down(0), 100, down(0)),)),
        Drawn("instead", 0, (), (Line(0, down(line), 100, down(line)),)),
        Drawn("lists", 0, marks, lines),
    )
    return Chart(
        title,
        summary,
        tuple(
            (x, label, (len(labels) - 1 - place) % every == 0)
            for place, (x, label) in enumerate(zip(across, labels, strict=True))
        ),
        tuple((down(step * number), f"{step * number:g}") for number in range(first, last + 1)),
        drawn,
    )


def _tick(value: float, step: float) -> str:
    """Writes a number beside the axis, which has room for five characters."""
    if step < 1:
        return f"{value:.2f}"
    for size, letter in ((1_000_000, "M"), (10_000, "k")):
        if value >= size:
            return f"{value / (1000 if letter == 'k' else size):g}{letter}"
    return count(round(value))


def _drawn(series: Series, across: Sequence[float], top: float, down: Callable[[float, float], float]) -> Drawn:
    marks = tuple(
        Mark(
            round(across[value.place], 2),
            down(value.mean, top),
            None if value.high is None else down(value.high, top),
            None if value.low is None else down(value.low, top),
            value.words,
            value.kind,
        )
        for value in series.values
    )
    lines = tuple(Line(a.x, a.y, b.x, b.y) for a, b in pairwise(marks))
    return Drawn(series.name, series.shift, marks, lines)


def _scale(largest: float) -> tuple[float, float]:
    """Returns a round step, and the top of the axis: the first multiple of the step that no value exceeds."""
    step = next((step for step in _STEPS if largest / step <= _MOST_TICKS), _STEPS[-1])
    top = step
    while top < largest:
        top += step
    return step, top


def _down(value: float, top: float) -> float:
    return round(TOP + HEIGHT * (1 - value / top), 1)


def _up(value: float, top: float) -> float:
    return round(TOP + HEIGHT * value / top, 1)


def thinned(labels: Sequence[str]) -> list[tuple[str, ...]]:
    """Keeps so many labels that they do not overlap, counted from the newest; a phone shows some of these.

    Args:
        labels: from left to right; a day is shown without its year.
    """
    every = 1 + (len(labels) - 1) // 4
    step = next(each for each in range(1, every + 1) if every % each == 0 and len(labels) / each <= _LABELS)
    return [(_short(label),) if (len(labels) - 1 - place) % step == 0 else () for place, label in enumerate(labels)]


def _short(label: str) -> str:
    """A day without its year: `11-27`."""
    return label[5:10] if len(label) >= 10 and label[4] == "-" else label
