"""How results look in a terminal: rich tables."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

# pandas and psycopg2 are loaded where there is something to show: not for `--help`, and not for a light installation.
if TYPE_CHECKING:
    from ncf_pipeline.evaluation.scores import Scores
    from ncf_pipeline.ingest.summary import BatchSummary
    from ncf_pipeline.registry.live_periods import PublicationPerformance
    from ncf_pipeline.registry.versions import ModelVersion, StoredDecision

_WINDOWS = 12
"""How many windows of live performance are shown: the last ones."""

_ROOMY, _WIDE, _WIDER = 85, 105, 135
"""Columns that a terminal needs for two spaces between columns, for the interval of precision, for more metrics."""


def batch_lines(batch: "BatchSummary") -> RenderableType:
    """Lines read, merged, unchanged and quarantined, with a row for each reason."""
    table = Table(title=f"Batch {batch.counts.batch_id}: {batch.source}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("read", "merged", "unchanged", "quarantined"):
        table.add_row(f"lines {name}", f"{getattr(batch.counts, name):,}")
    for reason in batch.reasons:
        table.add_row(Text(f"  {reason.sentence} [{reason.rule_id}]", style="dim"), f"{reason.lines:,}")
    return table


def evaluation_table(
    scores: Iterable["Scores"], *, title: str, cohorts: bool = False, intervals: bool = False
) -> RenderableType:
    """A table for each question (and cohort): a row for each recommender, the candidate in bold. Fits 80 columns.

    Args:
        scores: of the evaluation.
        title: of the tables.
        cohorts: show every cohort, not only everyone.
        intervals: show the candidate's lead with its 95% interval; in a wide terminal also the interval of precision,
            and in a wider one MAP, the share of revenue, and novelty in bits.
    """
    from ncf_pipeline.evaluation import summary

    width = Console().width
    space = 0 if intervals and width < _ROOMY else 1
    columns = {summary.PRECISION, summary.RECALL, summary.NDCG, summary.COVERAGE}
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
            table.add_column(heading, justify="right", no_wrap=True)
        for row in evaluated.rows:
            table.add_row(row.recommender, *row.cells, style="bold" if row.is_candidate else None)
        tables.append(table)
    return Group(Text(title, style="italic"), *tables)


def decision_lines(decision: "StoredDecision | None", version: int) -> RenderableType:
    """The gate's decision with its reasons, what was compared, who requested the retrain, and the thresholds.

    Args:
        decision: the stored one; None before the gate has decided.
        version: the version that it is about.
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
        "compared with": summary.compared_with(details.get("incumbent")),
        "requested by": details.get("requested_by"),
        "thresholds": ", ".join(f"{name} {value}" for name, value in details.get("thresholds", {}).items()),
    }
    return Group(
        outcome,
        *(Text(f"  - {reason}") for reason in decision.reasons),
        *(Text(f"{name}: {value}", style="dim") for name, value in facts.items() if value),
    )


def live_table(rows: Iterable["PublicationPerformance"]) -> RenderableType:
    """How a version's lists performed while they were live: the last windows of each question. Fits 80 columns.

    Args:
        rows: of one version, for each publication, window, recommender and question.
    """
    from ncf_pipeline.evaluation import summary
    from ncf_pipeline.live.scores import LIVE

    windows: dict[tuple[str, int, datetime], dict[str, PublicationPerformance]] = {}
    for row in rows:
        windows.setdefault((row.question, row.number, row.bought_from), {})[row.recommender] = row
    tables = []
    for question, group in groupby(sorted(windows, reverse=True), key=lambda key: key[0]):  # for_you first
        keys = sorted(group, key=lambda key: key[2])[-_WINDOWS:]
        title = f"{question}: while it was live"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("lists")
        table.add_column("bought")
        k = windows[keys[0]][LIVE].k
        for name in ("asked", "no list", "came later", f"live P@{k}", "frequency", "live ahead by"):
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


def bundles_table(bundles: Sequence[dict[str, Any]], *, found: int) -> RenderableType:
    """Product sets that sell together, a product a line. Fits 80 columns.

    Args:
        bundles: the fields of `model.bundles.Bundle`, with `descriptions`.
        found: how many there are, with those that are not shown.
    """
    title = f"Bundles with the most revenue, {len(bundles)} of {found:,}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_lines=True)
    table.add_column("products")
    for name in ("support", "confidence", "lift", "revenue"):
        table.add_column(name, justify="right", no_wrap=True)
    for bundle in bundles:
        named = zip(bundle["stock_codes"], bundle["descriptions"], strict=True)
        table.add_row(
            Text("\n".join(f"{code} {description or ''}".rstrip() for code, description in named)),
            f"{bundle['support']:.1%}",
            f"{bundle['confidence']:.0%}",
            f"{bundle['lift']:.1f}",
            f"{bundle['revenue']:,.0f}",
        )
    return table


def versions_table(versions: Iterable["ModelVersion"]) -> RenderableType:
    """All model versions, in the order given."""
    table = Table(title="Model versions", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("version", "state", "cutoff", "snapshot", "created", "promoted"):
        table.add_column(name)
    for model in versions:
        table.add_row(
            model.name,
            Text(_state(model), style="bold green" if model.state == "champion" else ""),
            f"{model.cutoff:%Y-%m-%d %H:%M}",
            model.snapshot_id,
            f"{model.created_at:%Y-%m-%d}",
            f"{model.promoted_at:%Y-%m-%d %H:%M}" if model.promoted_at else "",
        )
    return table


def _state(model: "ModelVersion") -> str:
    marks = [mark for mark, at in (("withdrawn", model.withdrawn_at), ("pruned", model.pruned_at)) if at]
    return ", ".join([model.state, *marks])
