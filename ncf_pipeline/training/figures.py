"""The plots of a model card, as SVG. The same numbers give the same bytes."""

from collections.abc import Sequence
from math import nan

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncf_pipeline.evaluation.plot import BLUE, GREY, ORANGE, STYLE, svg
from ncf_pipeline.evaluation.scores import BEST_RECENT, CANDIDATE, EVERYONE, INCUMBENT, KNOWN, QUESTIONS, Scores
from ncf_pipeline.evaluation.summary import label
from ncf_pipeline.model.trained import FIT, SELECT, EpochReport
from ncf_pipeline.registry.versions import RecentRetrain
from ncf_pipeline.training.chances import ChancesTest

LOSS, PRECISION, RETRAINS, CHANCES = "loss.svg", "precision.svg", "retrains.svg", "chances.svg"

CAPTIONS = {
    LOSS: "Loss by epoch",
    PRECISION: "Precision@K of candidate, incumbent and baselines, with 95% intervals; hollow: known customers alone",
    RETRAINS: "Precision@K of the last twelve retrains, each on its own holdout, beside the best baseline",
    CHANCES: "Chances of a purchase of `for_you`, and how many were bought, with 95% intervals over customers",
}

_COLOURS = {CANDIDATE: BLUE, INCUMBENT: ORANGE, BEST_RECENT: ORANGE}


def loss_by_epoch(history: Sequence[EpochReport]) -> bytes:
    """Plots the loss of each epoch: while the number of epochs was searched for, and of the model itself."""
    with rc_context(STYLE):
        figure = Figure(figsize=(5, 2.8), layout="constrained")
        axes = figure.subplots()
        for stage, words, colour in ((SELECT, "search for the number of epochs", GREY), (FIT, "the model", BLUE)):
            reports = [report for report in history if report.stage == stage]
            axes.plot(
                [report.epoch for report in reports],
                [report.loss for report in reports],
                marker="o",
                color=colour,
                label=words if reports else None,
            )
        axes.set_xlabel("epoch")
        axes.set_ylabel("mean loss of a query")
        axes.set_xticks(sorted({report.epoch for report in history}))
        if history:
            axes.legend(frameon=False)
        return svg(figure)


def precision_of_all(scores: Sequence[Scores]) -> bytes:
    """Plots Precision@K of the candidate, the incumbent and the baselines over everyone, with 95% intervals.

    A hollow mark is the precision over known customers alone.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        for axes, question in zip(figure.subplots(1, len(QUESTIONS)), QUESTIONS, strict=True):
            shown = [each for each in scores if each.question == question and each.cohort == EVERYONE][::-1]
            known = {each.recommender: each for each in scores if each.question == question and each.cohort == KNOWN}
            for place, each in enumerate(shown):
                colour = _COLOURS.get(each.recommender, GREY)
                axes.plot([each.precision_low, each.precision_high], [place, place], color=colour, linewidth=2)
                axes.plot([each.precision_at_k], [place], "o", color=colour)
                if each.recommender in known:
                    axes.plot([known[each.recommender].precision_at_k], [place], "o", color=colour, fillstyle="none")
            axes.set_yticks(range(len(shown)), [label(each.recommender) for each in shown])
            axes.set_ylim(-0.6, len(shown) - 0.4)
            axes.set_xlim(left=0)
            whose = f", {shown[0].customers:,} customers" if shown else ""
            axes.set_title(f"{question}{whose}", loc="left", fontweight="bold")
            if shown:
                axes.set_xlabel(f"Precision@{shown[0].k}, 95% interval")
        return svg(figure)


def precision_of_retrains(retrains: Sequence[RecentRetrain]) -> bytes:
    """Plots Precision@K of the last candidates, each on its own holdout, beside the best baseline.

    Args:
        retrains: from `registry.recent_retrains`.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3.2), layout="constrained")
        for axes, question in zip(figure.subplots(1, len(QUESTIONS)), QUESTIONS, strict=True):
            _trend(axes, [each for each in retrains if each.question == question])
            axes.set_title(question, loc="left", fontweight="bold")
        return svg(figure)


def _trend(axes: Axes, shown: Sequence[RecentRetrain]) -> None:
    places = range(len(shown))
    best = [nan if each.best_baseline is None else each.best_baseline for each in shown]
    axes.plot(places, best, "--", color=GREY, marker="_", label="best baseline")
    newest = len(shown) - 1
    kinds = [
        "this one" if place == newest else "served" if each.served else "never served"
        for place, each in enumerate(shown)
    ]
    for words, marker, colour in (("served", "o", BLUE), ("never served", "X", ORANGE), ("this one", "D", "black")):
        chosen = [(place, each) for place, each in enumerate(shown) if kinds[place] == words]
        if chosen:
            means = [each.precision_at_k for _, each in chosen]
            below = [each.precision_at_k - each.precision_low for _, each in chosen]
            above = [each.precision_high - each.precision_at_k for _, each in chosen]
            where = [place for place, _ in chosen]
            axes.errorbar(where, means, [below, above], fmt=marker, color=colour, capsize=2, label=words)
    axes.set_xticks(places, [f"v{each.version}\n{each.cutoff:%m-%d}" for each in shown], fontsize=6)
    axes.set_xlim(-0.5, max(len(shown), 1) - 0.5)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("version and cutoff (month-day)")
    if shown:
        axes.set_ylabel(f"Precision@{shown[-1].k}")
        axes.legend(frameon=False, fontsize=7, loc="lower left")


def chances_and_outcomes(test: ChancesTest | None) -> bytes:
    """Plots chances beside what was bought, a mark for each tenth of the pairs: a reliability curve.

    Args:
        test: of the backtest; an empty plot if None.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(4, 3.6), layout="constrained")
        axes = figure.subplots()
        shown = [] if test is None else [(test.candidate, "candidate", BLUE), (test.incumbent, "incumbent", ORANGE)]
        highest = 0.01
        for found, words, colour in shown:
            if found is None:
                continue
            chance, bought = [each.predicted for each in found.bins], [each.observed for each in found.bins]
            below = [each.observed - each.low for each in found.bins]
            above = [each.high - each.observed for each in found.bins]
            axes.errorbar(chance, bought, [below, above], fmt="o-", color=colour, capsize=2, label=words)
            highest = max(highest, *chance, *(each.high for each in found.bins))
        axes.plot([0, highest], [0, highest], "--", color=GREY, label="as often as it says")
        axes.set_xlabel("chance")
        axes.set_ylabel("share that was bought")
        axes.legend(frameon=False)
        return svg(figure)
