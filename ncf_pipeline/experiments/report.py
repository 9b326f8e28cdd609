"""An experiment's report: a Markdown file with its figures, in the artifact store."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import fsspec

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.experiments import figures as experiment_figures
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.measures import MEASURES
from ncf_pipeline.experiments.records import Experiment, Report
from ncf_pipeline.experiments.results import UNLIKELY
from ncf_pipeline.experiments.sentences import FOLDER, percent
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import new_file, store_errors

MARKDOWN = "report.md"

HEAD = (
    "",
    "treated",
    "control",
    "difference [95%]",
    "in percent [95%, one look]",
    "[95%, at all looks]",
    "without CUPED",
    "nothing cut",
)

CAPTIONS = {
    experiment_figures.EFFECT: "Effect by week, with its intervals",
    experiment_figures.BASKETS: "Orders by value",
}


def folder(settings: Settings, name: str) -> str:
    """Where the newest report of an experiment lies."""
    return f"{settings.artifacts}/{FOLDER}/{name}"


def write(settings: Settings, entry: Experiment, figures: Mapping[str, Any], sentence: str) -> str:
    """Writes the report in place of the one before; gives its folder.

    Raises:
        ArtifactError: the artifact store refused.
    """
    url = folder(settings, entry.design.name)
    parts = {**drawn(entry.design, figures), MARKDOWN: render(entry, figures, sentence).encode()}
    for name, content in parts.items():
        with new_file(f"{url}/{name}") as file:
            file.write(content)
    return url


def read_figure(settings: Settings, name: str, figure: str) -> bytes:
    """A figure of an experiment's newest report.

    Raises:
        ArtifactError: it is not there, or the artifact store cannot be read.
    """
    url = f"{folder(settings, name)}/{figure}"
    try:
        with fsspec.open(url, "rb") as file:
            content: bytes = file.read()
    except store_errors() as error:
        raise ArtifactError(f"{url} cannot be read: {error}") from error
    return content


def shown(entry: Experiment, report: Report) -> dict[str, Any]:
    """The newest report as a page shows it: the same words as in Markdown."""
    design = replace(entry.design, starts_at=datetime.fromisoformat(report.figures["starts_at"]))
    told = replace(entry, design=design)
    return {
        "sentence": report.sentence,
        "verdict": report.figures["verdict"],
        "facts": facts(told, report.figures),
        "head": HEAD,
        "rows": [cells(row) for row in report.figures["measures"]],
        "notes": notes(report.figures),
        "attribution": attribution(design, report.figures),
        "figures": CAPTIONS,
    }


def drawn(design: Design, figures: Mapping[str, Any]) -> dict[str, bytes]:
    """The report's figures, as SVG by file name."""
    words = MEASURES[design.metric].words
    return {
        experiment_figures.EFFECT: experiment_figures.effect_by_week(figures["by_week"], design.minimum_effect, words),
        experiment_figures.BASKETS: experiment_figures.baskets(figures["baskets"], design.groups),
    }


def render(entry: Experiment, figures: Mapping[str, Any], sentence: str) -> str:
    """The report in Markdown."""
    design = entry.design
    return "\n".join(
        [
            f"# Experiment {design.name}",
            "",
            f"**{sentence}**",
            "",
            *(f"- {line}" for line in facts(entry, figures)),
            "",
            "## What the groups did",
            "",
            *_table(figures["measures"]),
            "",
            *notes(figures),
            "",
            *(f"![{caption}]({name})\n" for name, caption in CAPTIONS.items()),
            "## What was on their lists",
            "",
            attribution(design, figures),
            "",
        ]
    )


def facts(entry: Experiment, figures: Mapping[str, Any]) -> list[str]:
    """What was decided before, who is in it, and whether it is as it should be."""
    design, ratio = entry.design, figures["sample_ratio"]
    groups = figures["groups"]
    share, others = ("treated", "control") if design.share_is_treated else ("control", "treated")
    end = f"until {design.ends_at:%Y-%m-%d}" if design.ends_at is not None else "without an end"
    told = [
        f"Hypothesis: {design.hypothesis}",
        f"{design.share:.1%} of the customers see {design.groups[share]}, all others {design.groups[others]}; guests "
        "are in no group",
        f"From {design.starts_at:%Y-%m-%d}, {end}; bought before {figures['until'][:10]} counts here",
        f"Decided by {MEASURES[design.metric].words}, "
        + ("each week" if design.decides == "weekly" else "by one look at the end")
        + f"; {percent(design.minimum_effect)} is the least worth finding, with a chance of {design.power:.0%}",
        *(
            f"{name}, with {design.groups[name]}: {groups[name]['customers']:,} customers, of whom "
            f"{groups[name]['buyers']:,} bought, {groups[name]['orders']:,} orders"
            for name in ("treated", "control")
        ),
        f"{ratio['in_share']:,} of {ratio['of_all']:,} are in the share; chance is as far from {ratio['share']:.1%} in "
        f"{ratio['p']:.1%} of cases" + (", so something else did it" if ratio["p"] < UNLIKELY else ""),
    ]
    if figures.get("other_lists", 0) > 0:
        told.append(
            f"In {figures['other_lists']:.1%} of the time, lists were live that were not made for these groups (a "
            "rollback); the effect is found as smaller than it is by about so much"
        )
    if entry.ended_why is not None:
        told.append(f"Ended by {entry.ended_by}: {entry.ended_why}")
    return told


def notes(figures: Mapping[str, Any]) -> list[str]:
    """How the table is to be read."""
    cuts = ", ".join(f"{row['words']} {row['quantile']:.0%}" for row in figures["measures"] if row["quantile"] < 1)
    return [
        "Returns are taken off. The unit is the customer. Effects are with CUPED: what the groups differed by before "
        f"is taken off. Large values are cut, so that so many of those above 0, or more, lie below: {cuts or 'none'}. "
        "The interval for one look is right for whoever looks once, at a time that was set before; the other one "
        "however often anybody looks."
    ]


def attribution(design: Design, figures: Mapping[str, Any]) -> str:
    """What was bought from lists, in words."""
    shares = figures.get("attribution", {})
    told = [
        f"of what customers with {design.groups[name]} spent, {shares[name]:.1%} was for products on their lists at "
        "the time"
        for name in ("treated", "control")
        if shares.get(name) is not None
    ]
    if not told:
        return "Nothing was bought yet while lists of the experiment were live."
    words = "; ".join(told)
    return (
        f"{words[0].upper()}{words[1:]}. That is an association and no effect: who likes a product buys it without a "
        "list too. What lists add is said above."
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rows:
        return ["Too little was bought to compare."]
    return [
        f"| {' | '.join(HEAD)} |",
        "| --- " * len(HEAD) + "|",
        *("| " + " | ".join(cells(row)) + " |" for row in rows),
    ]


def cells(row: Mapping[str, Any]) -> list[str]:
    """A measure's row as people read it."""
    difference = row["difference"]
    return [
        row["words"],
        number(row["treated"]),
        number(row["control"]),
        f"{number(difference['value'])} [{number(difference['low'])}, {number(difference['high'])}]",
        f"{row['ratio']['value']:+.1%} {_ends(row['ratio'])}",
        _ends(row["always"]) if row["enough"] else "too few",
        f"{row['plain']['value']:+.1%} {_ends(row['plain'])}",
        f"{row['uncut']['value']:+.1%} {_ends(row['uncut'])}" if row["uncut"] is not None else "",
    ]


def number(value: float) -> str:
    """With as many digits as it has to say."""
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def _ends(interval: Mapping[str, float]) -> str:
    return f"[{interval['low']:+.1%}, {interval['high']:+.1%}]"
