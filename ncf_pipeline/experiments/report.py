"""An experiment's report: a Markdown file and figures in the artifact store, and the same words for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ncf_pipeline.experiments import figures
from ncf_pipeline.experiments.analysis import UNLIKELY
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.measures import MEASURES
from ncf_pipeline.experiments.records import Experiment, Report
from ncf_pipeline.experiments.results import VALID, Exposure, Interval, MeasureResult, Results, Verdict
from ncf_pipeline.experiments.sentences import FOLDER, percent
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import new_file, open_file, store_error, store_errors

MARKDOWN = "report.md"

HEAD = (
    "",
    "treated",
    "control",
    "difference [95%]",
    "in percent [95%, one look]",
    "[95%, always valid]",
    "without CUPED",
    "not Winsorized",
)

TOGETHER = "[95%, all asked together]"
"""A further column if several measures are asked."""

CAPTIONS = {
    figures.EFFECT: "Effect by week, with its intervals",
    figures.BASKETS: "Orders by value",
}
"""Of the figures, by file name."""


@dataclass(frozen=True)
class PageContent:
    """What a page shows of an experiment's newest report, in the words of the Markdown file."""

    sentence: str
    verdict: Verdict
    facts: list[str]
    head: Sequence[str]
    rows: list[list[str]]
    notes: list[str]
    attribution: str
    figures: Mapping[str, str]


def folder(settings: Settings, name: str) -> str:
    """The folder of an experiment's newest report in the artifact store."""
    return f"{settings.artifacts}/{FOLDER}/{name}"


def write(settings: Settings, entry: Experiment, results: Results, sentence: str) -> str:
    """Writes a report, in place of the previous one.

    Args:
        settings: for the artifact store.
        entry: the experiment.
        results: of the newest look.
        sentence: its outcome.

    Returns:
        The report's folder.

    Raises:
        ArtifactError: the artifact store refused.
    """
    url = folder(settings, entry.design.name)
    parts = {**drawn(entry.design, results), MARKDOWN: render(entry, results, sentence).encode()}
    for name, content in parts.items():
        with new_file(f"{url}/{name}") as file:
            file.write(content)
    return url


def read_figure(settings: Settings, name: str, figure: str) -> bytes:
    """One figure of an experiment's newest report, as SVG.

    Args:
        settings: for the artifact store.
        name: of the experiment.
        figure: file name, a key of `CAPTIONS`.

    Raises:
        ArtifactError: there is no such figure, or the artifact store cannot be read.
    """
    url = f"{folder(settings, name)}/{figure}"
    try:
        with open_file(url) as file:
            content: bytes = file.read()
    except store_errors() as error:
        raise store_error(f"{url} cannot be read", error) from error
    return content


def shown(entry: Experiment, report: Report) -> PageContent:
    """What a page shows of a report."""
    results = report.results
    design = replace(entry.design, starts_at=results.starts_at)
    return PageContent(
        sentence=report.sentence,
        verdict=results.verdict,
        facts=facts(replace(entry, design=design), results),
        head=head(results),
        rows=[cells(result) for result in results.measures],
        notes=notes(results),
        attribution=attribution(design, results),
        figures=CAPTIONS,
    )


def drawn(design: Design, results: Results) -> dict[str, bytes]:
    """The report's figures, as SVG by file name."""
    words = MEASURES[design.metric].words
    return {
        figures.EFFECT: figures.effect_by_week(results.by_week, design.minimum_effect, words),
        figures.BASKETS: figures.baskets(results.baskets, design.groups),
    }


def render(entry: Experiment, results: Results, sentence: str) -> str:
    """The report in Markdown.

    Args:
        entry: the experiment; its hypothesis and the reason of its end are quoted.
        results: of the newest look.
        sentence: its outcome.
    """
    design = entry.design
    return "\n".join(
        [
            f"# Experiment {design.name}",
            "",
            f"**{sentence}**",
            "",
            *(f"- {line}" for line in facts(entry, results)),
            "",
            "## What the groups did",
            "",
            *_table(results),
            "",
            *notes(results),
            "",
            *(f"![{caption}]({name})\n" for name, caption in CAPTIONS.items()),
            "## What was on their lists",
            "",
            attribution(design, results),
            "",
        ]
    )


def facts(entry: Experiment, results: Results) -> list[str]:
    """The design, the groups' sizes, the sample ratio, and how the experiment ended; a line for each."""
    design, ratio = entry.design, results.sample_ratio
    end = f"until {design.ends_at:%Y-%m-%d}" if design.ends_at is not None else "with no planned end"
    lines = [
        f"Hypothesis: {design.hypothesis}",
        f"{design.share:.1%} of the customers see {design.seen_by_share}, all others see {design.seen_by_others}; "
        "guests are in no group",
        f"From {design.starts_at:%Y-%m-%d}, {end}; purchases before {results.until:%Y-%m-%d} are counted",
        *(
            [
                f"{len(design.asked)} measures are asked: {', '.join(MEASURES[name].words for name in design.asked)}. "
                f"Each has a decision of its own, by an interval at {1 - design.alpha:.1%}"
            ]
            if design.also
            else []
        ),
        f"The deciding measure is {MEASURES[design.metric].words}, "
        + ("at any weekly look" if design.decides == "weekly" else "at one look at the end")
        + f"; the least effect worth finding is {percent(design.minimum_effect)}, with a power of {design.power:.0%}",
        *(
            f"{name} ({lists}): {group.customers:,} customers, {group.buyers:,} of them bought, {group.orders:,} orders"
            for (name, group), (_, lists) in zip(results.groups.items(), design.groups.items(), strict=True)
        ),
        f"{ratio.in_share:,} of {ratio.of_all:,} customers are in the share, which should have {ratio.share:.1%}: "
        + ("a sample ratio mismatch" if ratio.p < UNLIKELY else "no sample ratio mismatch")
        + f" (p = {ratio.p:.2g})",
    ]
    if results.exposure is not None:
        lines.append(exposed(results.exposure))
    if results.other_lists > 0:
        lines.append(
            f"For {results.other_lists:.1%} of the time, lists were live that were not made for these groups (a "
            "rollback); the estimate is too small by about that share of the effect"
        )
    if entry.ended_why is not None:
        lines.append(f"Ended by {entry.ended_by}: {entry.ended_why}")
    return lines


def exposed(exposure: Exposure) -> str:
    """Whether customers saw the lists of their group, in words."""
    shares = ", ".join(
        f"{looked.share_right:.1%} of {looked.checked:,} looked at in the {name} group"
        for name, looked in exposure.groups.items()
    )
    said = f"In {exposure.checks:,} checks of what the storefront reads, customers saw their group's lists: {shares}"
    if exposure.is_invalid:
        return f"{said}. That is too few (less than {VALID:.0%} of the difference): no figure can be trusted"
    if exposure.is_diluted:
        return f"{said}. The effect is diluted: only about {exposure.contrast:.1%} of it shows"
    return said


def notes(results: Results) -> list[str]:
    """How to read the table."""
    quantiles = ", ".join(f"{result.words} {result.quantile:.0%}" for result in results.measures if result.quantile < 1)
    return [
        "Returned pieces are subtracted. The unit is the customer. Effects use CUPED: what the groups already differed "
        "by before the experiment is subtracted. Large values are Winsorized; at least this share of the values above "
        f"0 lies below the cap: {quantiles or 'none'}. The interval for one look is valid if you look once, at a time "
        "fixed in advance. The always-valid interval holds however often you look. In small groups, both are as wide "
        "as chance makes them when these customers are assigned to groups anew."
    ]


def attribution(design: Design, results: Results) -> str:
    """How much of their spending each group spent on products on their lists, in words."""
    groups, on_list = design.groups, results.attribution
    parts = [
        f"of what customers with {lists} spent, {share:.1%} was for products on their lists at that time"
        for lists, share in ((groups.treated, on_list.treated), (groups.control, on_list.control))
        if share is not None
    ]
    if not parts:
        return "Nothing has been bought yet while lists of the experiment were live."
    words = "; ".join(parts)
    return (
        f"{words[0].upper()}{words[1:]}. This is an association, not an effect: customers also buy products that they "
        "like without a list. The table above shows what the lists add."
    )


def head(results: Results) -> tuple[str, ...]:
    """The columns of the table: `HEAD`, and `TOGETHER` if several measures are asked."""
    return HEAD + ((TOGETHER,) if any(result.together is not None for result in results.measures) else ())


def _table(results: Results) -> list[str]:
    if not results.measures:
        return ["Too little was bought to compare."]
    columns = head(results)
    rows = [cells(result) for result in results.measures]
    return [
        f"| {' | '.join(columns)} |",
        "| --- " * len(columns) + "|",
        *("| " + " | ".join([*row, *[""] * (len(columns) - len(row))]) + " |" for row in rows),
    ]


def cells(result: MeasureResult) -> list[str]:
    """A measure's row, in the columns of `head`."""
    difference = result.difference
    return [
        result.words,
        number(result.treated),
        number(result.control),
        f"{number(difference.value)} [{number(difference.low)}, {number(difference.high)}]",
        _effect(result.ratio),
        _ends(result.always) if result.enough else "too few",
        _effect(result.plain),
        _effect(result.uncut) if result.uncut is not None else "",
        *([_ends(result.together)] if result.together is not None else []),
    ]


def number(value: float) -> str:
    """With two decimals below 1000, and none above.

    >>> number(12.345), number(12345.6)
    ('12.35', '12,346')
    """
    return f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


def _effect(interval: Interval) -> str:
    return f"{interval.value:+.1%} {_ends(interval)}"


def _ends(interval: Interval) -> str:
    return f"[{interval.low:+.1%}, {interval.high:+.1%}]"
