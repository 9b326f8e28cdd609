"""Figures of an experiment's report, as SVG. The same results give the same bytes."""

from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from ncf_pipeline.evaluation.plot import BLUE, GREY, ORANGE, STYLE, svg
from ncf_pipeline.experiments.design import Groups
from ncf_pipeline.experiments.results import OrderValues, WeeklyEffect

EFFECT, BASKETS = "effect.svg", "baskets.svg"

_FARTHEST = 1.0
"""Effects beyond this are not drawn, because the wide intervals of the first weeks would flatten all others."""


def effect_by_week(effects: Sequence[WeeklyEffect], minimum_effect: float, words: str) -> bytes:
    """The effect at each weekly look, with the interval for one look and the always-valid one.

    Args:
        effects: oldest first.
        minimum_effect: least effect worth finding: 0.05 for five percent.
        words: name of the measure.

    Returns:
        The SVG file.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots()
        shown = [effect for effect in effects if effect.is_finite()]
        weeks = [effect.week for effect in shown]
        axes.axhline(0, color="black", linewidth=1)
        axes.axhline(minimum_effect, color=GREY, linestyle=":", label="least effect worth finding")
        if shown:
            low, high = [effect.always_low for effect in shown], [effect.always_high for effect in shown]
            ends = [*low, *high]
            axes.fill_between(weeks, low, high, color=BLUE, alpha=0.15, linewidth=0, label="95%, always valid")
            low, high = [effect.low for effect in shown], [effect.high for effect in shown]
            axes.fill_between(weeks, low, high, color=BLUE, alpha=0.3, linewidth=0, label="95%, for one look")
            axes.plot(weeks, [effect.ratio for effect in shown], color=BLUE, marker="o", markersize=3)
            axes.set_ylim(max(min(ends), -_FARTHEST), min(max(ends), _FARTHEST))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("weeks since the start")
        axes.set_ylabel(f"{words},\ntreated over control")
        axes.legend(frameon=False, fontsize=7, loc="upper right")
        return svg(figure)


def baskets(values: OrderValues, groups: Groups[str]) -> bytes:
    """Histograms of order values in both groups, on a logarithmic scale.

    Args:
        values: of both groups.
        groups: what each group sees, for the legend.

    Returns:
        The SVG file.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        axes = figure.subplots()
        if values.edges:
            axes.stairs(values.treated, values.edges, color=BLUE, linewidth=2.0, label=groups.treated)
            axes.stairs(values.control, values.edges, color=ORANGE, linewidth=1.4, label=groups.control)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.set_xlabel("value of an order, the shop's currency")
        axes.set_ylabel("share of orders")
        if values.edges:
            axes.legend(frameon=False)
        return svg(figure)
