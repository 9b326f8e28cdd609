"""How results look in a terminal: rich tables from the dictionaries of `ncf_pipeline.training.report`."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:  # `--help` should not wait for the import
    from ncf_pipeline.ingest.summary import BatchSummary

_SLICES = 12
"""Of a version's time as the one that serves, the last ones that are shown."""

_WIDE, _WIDER = 100, 135
"""Columns of a terminal from which on there is room for more."""


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
    scores: Sequence[dict[str, Any]], *, title: str, cohorts: bool = False, intervals: bool = False
) -> RenderableType:
    """A table for each list (and cohort): a row for each recommender, the candidate in bold. Fits 80 columns.

    Args:
        scores: the fields of `evaluation.Scores`.
        title: of the tables.
        cohorts: show every cohort, instead of everyone alone.
        intervals: show the candidate's lead with its 95% interval, in a wide terminal that of precision, and in a
            wider one MAP, the share of revenue and novelty (bits).
    """
    shown = [score for score in scores if cohorts or score["cohort"] == "everyone"]
    cells: dict[str, Callable[[dict[str, Any]], str]] = {"P@{k}": lambda score: f"{score['precision_at_k']:.4f}"}
    if intervals:
        cells["candidate ahead by"] = _lead
    width = Console().width
    if intervals and width >= _WIDE:
        cells["95%"] = lambda score: f"{score['precision_low']:.3f} to {score['precision_high']:.3f}"
    cells["R@{k}"] = lambda score: f"{score['recall_at_k']:.4f}"
    cells["NDCG@10"] = lambda score: f"{score['ndcg_at_10']:.4f}"
    if intervals and width >= _WIDER:
        cells["MAP@10"] = lambda score: _number(score["map_at_10"], ".4f")
        cells["revenue@{k}"] = lambda score: _number(score["revenue_at_k"], ".1%")
        cells["novelty"] = lambda score: _number(score["novelty"], ".1f")
    cells["coverage"] = lambda score: f"{score['catalog_coverage']:.1%}"
    groups = groupby(shown, key=lambda score: (score["question"], score["cohort"], score["customers"], score["k"]))
    tables = []
    for (question, cohort, customers, k), rows in groups:
        whose = f"{customers:,} customers" if cohort == "everyone" else f"{cohort}, {customers:,} customers"
        table = Table(title=f"{question}: {whose}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("recommender", min_width=19)
        for name in cells:
            table.add_column(name.format(k=k), justify="right", no_wrap=True)
        for score in rows:
            table.add_row(
                score["recommender"].replace("_", " "),
                *(cell(score) for cell in cells.values()),
                style="bold" if score["recommender"] == "candidate" else None,
            )
        tables.append(table)
    return Group(Text(title, style="italic"), *tables)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _lead(score: dict[str, Any]) -> str:
    if score["ahead"] is None:
        return ""
    return f"{score['ahead']:+.3f} [{score['ahead_low']:+.3f}, {score['ahead_high']:+.3f}]"


def decision_lines(decision: dict[str, Any] | None, version: int) -> RenderableType:
    """The gate's decision with its reasons, what was compared, who asked, and the thresholds."""
    if decision is None:
        return Text(f"The gate has not decided on v{version} yet.")
    outcome = (
        Text(f"Gate: v{version} may serve, because", style="bold green")
        if decision["promote"]
        else Text(f"Gate: v{version} is held; what served before still serves, because", style="bold yellow")
    )
    details = decision.get("details", {})
    incumbent, thresholds = details.get("incumbent"), details.get("thresholds", {})
    facts = {
        "compared with": f"v{incumbent}, the incumbent" if incumbent else "the baselines alone",
        "asked for by": details.get("requested_by"),
        "thresholds": ", ".join(f"{name} {value}" for name, value in thresholds.items()),
    }
    return Group(
        outcome,
        *(Text(f"  - {reason}") for reason in decision["reasons"]),
        *(Text(f"{name}: {value}", style="dim") for name, value in facts.items() if value),
    )


def live_table(rows: Sequence[dict[str, Any]]) -> RenderableType:
    """What a version's lists did while they were live, the last slices of each question. Fits 80 columns.

    Args:
        rows: `live` of `reports.retrain_summary`.
    """
    slices: dict[tuple[str, int, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        slices.setdefault((row["question"], row["number"], row["bought_from"]), {})[row["recommender"]] = row
    tables = []
    for question, group in groupby(sorted(slices, reverse=True), key=lambda key: key[0]):  # for_you first
        keys = sorted(group, key=lambda key: key[2])[-_SLICES:]
        k = slices[keys[0]]["live"]["k"]
        title = f"{question}: while it served"
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("lists")
        table.add_column("bought")
        for name in ("asked", "no list", "came later", f"live P@{k}", "frequency", "live ahead by"):
            table.add_column(name, justify="right")
        for key in keys:
            live, instead = slices[key]["live"], slices[key]["personal_frequency"]
            table.add_row(
                f"p{live['number']:06d}",
                f"{live['bought_from'][5:10]} to {live['bought_until'][5:10]}",
                f"{live['customers']:,}",
                f"{live['without_list']:,}",
                f"{live['newcomers']:,}",
                _number(live["precision_at_k"], ".3f"),
                _number(instead["precision_at_k"], ".3f"),
                _number(instead["ahead"], "+.3f"),
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


def versions_table(versions: Sequence[dict[str, Any]]) -> RenderableType:
    """All model versions, newest first."""
    table = Table(title="Model versions", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("version", "state", "cutoff", "snapshot", "created", "promoted"):
        table.add_column(name)
    for entry in versions:
        table.add_row(
            f"v{entry['version']}",
            Text(_state(entry), style="bold green" if entry["state"] == "champion" else ""),
            _minute(entry["cutoff"]),
            entry["snapshot_id"],
            entry["created_at"][:10],
            _minute(entry["promoted_at"] or ""),
        )
    return table


def _state(entry: dict[str, Any]) -> str:
    marks = [name for name in ("withdrawn", "pruned") if entry.get(f"{name}_at")]
    return ", ".join([entry["state"], *marks])


def _minute(instant: str) -> str:
    return instant[:16].replace("T", " ")
