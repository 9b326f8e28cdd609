"""Tables of results for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

# `--help` and a light installation do without pandas and psycopg2.
if TYPE_CHECKING:
    from ncf_pipeline.evaluation.scores import Scores
    from ncf_pipeline.ingest.rehearsal import LandedLine
    from ncf_pipeline.ingest.summary import BatchSummary
    from ncf_pipeline.model.lists.bundles import Bundle
    from ncf_pipeline.registry.live_periods import KnownOf, PublicationPerformance
    from ncf_pipeline.registry.versions import ModelVersion, RecentRetrain, StoredDecision
    from ncf_pipeline.training.style_price import Price

_WINDOWS = 12
"""How many windows of live performance a table shows: the last ones."""

_ROOMY, _WIDE, _WIDER = 94, 112, 140
"""Widths from which there is room for wider gaps and recall, for the interval of precision, and for more metrics."""


def batch_lines(batch: "BatchSummary", *, title: str | None = None) -> RenderableType:
    """Makes a table of the lines read, merged, unchanged, quarantined and left out, with a row for each broken rule."""
    title = title or f"Batch {batch.counts.batch_id}: {batch.source}"
    table = Table(title=Text(title), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("read", "merged", "unchanged", "quarantined"):
        table.add_row(f"lines {name}", f"{getattr(batch.counts, name):,}")
    if batch.counts.left_out:
        table.add_row("lines left out", f"{batch.counts.left_out:,}")
    for why, lines in batch.counts.left_out_reasons.items():
        table.add_row(Text(f"  {why}", style="dim"), f"{lines:,}")
    for reason in batch.reasons:
        table.add_row(Text(f"  {reason.sentence} [{reason.rule_id}]", style="dim"), f"{reason.lines:,}")
    return table


def landed_lines(lines: Sequence["LandedLine"]) -> RenderableType:
    """Makes a table of lines as they would land: a row for each column, and a column for each line."""
    from ncf_pipeline.columns import InvoiceLines

    table = Table(title="The first lines as they would land", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for line in lines:
        table.add_column(f"row {line.row_number:,}")
    for name in InvoiceLines.ALL:
        cells = ("(unreadable)" if name in line.unreadable else getattr(line, name) or "" for line in lines)
        table.add_row(name, *map(Text, cells))
    if any(line.left_out for line in lines):
        table.add_row("left out", *(Text(line.left_out or "") for line in lines))
    return table


def price_tables(prices: Sequence["Price"]) -> Iterable[RenderableType]:
    """Makes a table for each question of what limits on variety and the order by value cost."""
    from ncf_pipeline.training.style_price import HEADINGS

    for question, group in groupby(prices, key=lambda price: price.question):
        rows = list(group)
        title = f"{question}: price of variety and of the order by value, {rows[0].customers:,} known customers"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("setting", overflow="fold")
        for heading in HEADINGS:
            table.add_column(heading.format(k=rows[0].k), justify="right")
        for price in rows:
            table.add_row(price.setting, *price.cells())
        yield table


def evaluation_table(
    scores: Iterable["Scores"], *, title: str, cohorts: bool = False, intervals: bool = False
) -> RenderableType:
    """Makes a table for each question and cohort, with a row for each recommender. It fits 80 columns.

    Args:
        scores: of the evaluation.
        title: a line above the tables.
        cohorts: show every cohort, not only everyone.
        intervals: show the candidate's lead with its 95% interval, in a narrow terminal in place of recall; in a wide
            one also the interval of precision, and in a wider one MAP, the share of revenue, and novelty in bits.
    """
    from ncf_pipeline.evaluation import summary

    width = Console().width
    space = 0 if intervals and width < _ROOMY else 1
    columns = {summary.PRECISION, summary.OF_KNOWN, summary.NDCG, summary.COVERAGE}
    if not intervals or width >= _ROOMY:
        columns.add(summary.RECALL)
    if intervals:
        columns.add(summary.AHEAD)
        if width >= _WIDE:
            columns.add(summary.INTERVAL)
        if width >= _WIDER:
            columns |= {summary.MAP, summary.REVENUE, summary.NOVELTY}
    tables = []
    for evaluated in summary.evaluation_tables(scores, columns):
        if not (cohorts or evaluated.is_of_everyone):
            continue
        table = Table(title=evaluated.title, title_justify="left", box=SIMPLE_HEAD, padding=(0, space, 0, 0))
        table.add_column("recommender", min_width=19)
        for heading in evaluated.headings:
            table.add_column(heading.replace(" known", "\nknown"), justify="right", no_wrap=True)
        for row in evaluated.rows:
            table.add_row(row.recommender, *row.cells, style="bold" if row.is_candidate else None)
        tables.append(table)
    return Group(Text(title, style="italic"), *tables)


def decision_lines(decision: "StoredDecision | None", version: int) -> RenderableType:
    """Lists the gate's decision: its reasons, what it compared with, who requested the retrain, and the thresholds.

    Args:
        decision: the stored one; None before the gate has decided.
        version: the version that was decided on.
    """
    from ncf_pipeline.evaluation import summary

    if decision is None:
        return Text(f"The gate has not decided on v{version} yet.")
    outcome = (
        Text(f"Gate: v{version} may serve, because", style="bold green")
        if decision.promote
        else Text(f"Gate: v{version} is held and will not serve, because", style="bold yellow")
    )
    details = decision.details
    facts = {
        "compared with": summary.compared_with(details),
        "requested by": details.get("requested_by"),
        "thresholds": ", ".join(f"{name} {value}" for name, value in details.get("thresholds", {}).items()),
    }
    return Group(
        outcome,
        _bullets(decision.reasons),
        *(Text(f"{name}: {value}", style="dim") for name, value in facts.items() if value),
    )


def _bullets(lines: Iterable[str]) -> RenderableType:
    """Lists lines; what wraps begins under the text, not under the dash."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for line in lines:
        table.add_row("  -", Text(line))
    return table


def version_0_lines(model: "ModelVersion") -> RenderableType:
    """Says what version 0 is, what makes its lists, and from which purchases the newest ones were made."""
    from ncf_pipeline.registry.versions import VERSION_0_WORDS, recommenders_in_words

    return Group(
        Text(f"Version 0 (baselines), {model.state}: {VERSION_0_WORDS}"),
        Text(f"Its newest lists know the purchases before {model.cutoff:%Y-%m-%d %H:%M} ({model.snapshot_id})."),
        Text(f"lists: {recommenders_in_words(model.recommender)}", style="dim"),
    )


def live_table(rows: Iterable["PublicationPerformance"]) -> RenderableType:
    """Makes a table for each question of how a version's lists performed while they were live. It fits 80 columns.

    Args:
        rows: of one version, for each publication, window, recommender and question.
    """
    from ncf_pipeline.evaluation import summary
    from ncf_pipeline.live.scores import LIVE

    space = 0 if Console().width < _ROOMY else 1
    windows: dict[tuple[str, int, datetime], dict[str, PublicationPerformance]] = {}
    for row in rows:
        windows.setdefault((row.question, row.number, row.bought_from), {})[row.recommender] = row
    tables = []
    for question, group in groupby(sorted(windows, reverse=True), key=lambda key: key[0]):  # for_you first
        keys = sorted(group, key=lambda key: key[2])[-_WINDOWS:]
        title = f"{question}: while its lists were live"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, space, 0, 0))
        table.add_column("lists")
        table.add_column("bought", no_wrap=True)
        k = windows[keys[0]][LIVE].k
        for name in ("customers", "no list", "newcomers", f"live P@{k}", "frequency", "ahead by"):
            table.add_column(name, justify="right")
        for key in keys:
            live, instead = windows[key][LIVE], windows[key]["personal_frequency"]
            table.add_row(
                f"p{live.number:06d}",
                f"{live.bought_from:%m-%d} to {live.bought_until:%m-%d}",
                f"{live.customers:,}",
                f"{live.without_list:,}",
                f"{live.newcomers:,}",
                summary.number(live.precision_at_k),
                summary.number(instead.precision_at_k),
                summary.difference(instead.ahead),
            )
        tables.append(table)
    return Group(*tables)


def periods_table(periods: Sequence["KnownOf"]) -> RenderableType:
    """Makes a table of when a version's lists were live, and how much of what was bought then is known. 80 columns.

    Args:
        periods: of one version, oldest first; the last ones are shown.
    """
    title = "When its lists were live, on the shop's clock"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("lists", "answer from", "until", "measured", "not loaded yet"):
        table.add_column(name, no_wrap=True)
    for period in periods[-_WINDOWS:]:
        end = period.answers_until
        measured, missing = period.measured_until, period.not_loaded_from
        table.add_row(
            f"p{period.number:06d}",
            _minute(period.answers_from),
            _minute(end) if end is not None else "now live",
            "nothing" if measured is None else "all" if measured == end else f"until {_minute(measured)}",
            "" if missing is None else "all" if missing == period.answers_from else f"from {_minute(missing)}",
        )
    return table


def _minute(at: datetime) -> str:
    return f"{at:%m-%d %H:%M}"


def bundles_table(bundles: Sequence["Bundle"], descriptions: Mapping[str, str], *, total: int) -> RenderableType:
    """Makes a table of products that sell together, one product a line. It fits 80 columns.

    Args:
        bundles: those to show.
        descriptions: by stock code; a product that is missing here has only its code.
        total: how many bundles there are, including those that are not shown.
    """
    title = f"Bundles with the most revenue, {len(bundles)} of {total:,}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=True)
    table.add_column("products")
    for name in ("support", "confidence", "lift", "revenue"):
        table.add_column(name, justify="right", no_wrap=True)
    for bundle in bundles:
        table.add_row(
            Text("\n".join(f"{code} {descriptions.get(code, '')}".rstrip() for code in bundle.stock_codes)),
            f"{bundle.support:.1%}",
            f"{bundle.confidence:.0%}",
            f"{bundle.lift:.1f}",
            f"{bundle.revenue:,.0f}",
        )
    return table


def versions_table(versions: Iterable["ModelVersion"], quality: Mapping[int, "RecentRetrain"]) -> RenderableType:
    """Makes a table of model versions, in the order given. It fits 80 columns.

    Args:
        versions: to show.
        quality: by version, the candidate's precision of `for_you` on its holdout, beside the best baseline's.
    """
    from ncf_pipeline.evaluation import summary

    table = Table(title="Model versions", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("version", "state", "cutoff", "snapshot", "promoted"):
        table.add_column(name, no_wrap=name not in ("version", "state"))
    depths = sorted({row.k for row in quality.values()})
    table.add_column(f"P@{depths[-1]}" if depths else "P@K", justify="right", no_wrap=True)
    table.add_column("lead", justify="right", no_wrap=True)
    for model in versions:
        row = quality.get(model.version)
        lead = None if row is None or row.best_baseline is None else row.precision_at_k - row.best_baseline
        table.add_row(
            "v0 (baselines)" if model.version == 0 else model.name,
            Text(_state(model), style="bold green" if model.state == "champion" else ""),
            f"{model.cutoff:%Y-%m-%d}",
            model.snapshot_id,
            f"{model.promoted_at:%Y-%m-%d}" if model.promoted_at else "",
            "" if row is None else summary.number(row.precision_at_k),
            "" if lead is None else summary.difference(lead),
        )
    if any(row.best_baseline is not None for row in quality.values()):
        table.caption = "Precision of for_you on the holdout, and its lead over the best baseline there."
        table.caption_justify = "left"
    return table


def _state(model: "ModelVersion") -> str:
    marks = [mark for mark, at in (("withdrawn", model.withdrawn_at), ("pruned", model.pruned_at)) if at]
    return ", ".join([model.state, *marks])
