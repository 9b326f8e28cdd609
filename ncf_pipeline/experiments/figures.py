"""Figures of an experiment's report, as SVG: the same figures give the same bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ncf_pipeline.evaluation.plot import BLUE, GREY, ORANGE, STYLE, svg
from ncf_pipeline.experiments.results import is_finite

EFFECT, BASKETS = "effect.svg", "baskets.svg"

_FARTHEST = 1.0
"""Beyond so much of an effect nothing is drawn: the first weeks' intervals would hide all others."""


def effect_by_week(rows: Sequence[Mapping[str, Any]], minimum_effect: float, words: str) -> bytes:
    """The effect as each weekly look found it, with the interval for one look and the one for all of them.

    Args:
        rows: `by_week` of a report.
        minimum_effect: the least that is worth finding.
        words: of the measure.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots()
        shown = [row for row in rows if is_finite(dict(row))]
        weeks = [row["week"] for row in shown]
        axes.axhline(0, color="black", linewidth=1)
        axes.axhline(minimum_effect, color=GREY, linestyle=":", label="least effect worth finding")
        if shown:
            low, high = ([row[name] for row in shown] for name in ("always_low", "always_high"))
            axes.fill_between(weeks, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95%, at all looks together")
            low, high = ([row[name] for row in shown] for name in ("low", "high"))
            axes.fill_between(weeks, low, high, color=BLUE, alpha=0.3, linewidth=0, label="95%, for one look")
            axes.plot(weeks, [row["ratio"] for row in shown], color=BLUE, marker="o", markersize=3)
            ends = [row[name] for row in shown for name in ("always_low", "always_high")]
            axes.set_ylim(max(min(ends), -_FARTHEST), min(max(ends), _FARTHEST))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("weeks since the start")
        axes.set_ylabel(f"{words},\ntreated over control")
        axes.legend(frameon=False, fontsize=7, loc="upper right")
        return svg(figure)


def baskets(spread: Mapping[str, Sequence[float]], groups: Mapping[str, str]) -> bytes:
    """How orders spread over values in each group, on a scale of equal factors.

    Args:
        spread: `baskets` of a report.
        groups: what `treated` and `control` see.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        axes = figure.subplots()
        for name, colour, width in (("treated", BLUE, 2.0), ("control", ORANGE, 1.4)):
            if spread["edges"]:
                axes.stairs(spread[name], spread["edges"], color=colour, linewidth=width, label=groups[name])
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("value of an order, the shop's currency")
        axes.set_ylabel("share of orders")
        if spread["edges"]:
            axes.legend(frameon=False)
        return svg(figure)
