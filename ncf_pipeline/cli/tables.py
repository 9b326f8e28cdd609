"""How results look in a terminal: rich tables from the dictionaries of `ncf_pipeline.reports`."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def batch_lines(batch: dict[str, Any]) -> RenderableType:
    """Lines read, merged, unchanged and quarantined, with a row for each reason."""
    table = Table(title=f"Batch {batch['batch_id']}: {batch['source']}", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in ("read", "merged", "unchanged", "quarantined"):
        table.add_row(f"lines {name}", f"{batch[name]:,}")
    for rule, (sentence, rows) in batch["reasons"].items():
        table.add_row(Text(f"  {sentence} [{rule}]", style="dim"), f"{rows:,}")
    return table


def evaluation_table(scores: Sequence[dict[str, Any]], *, title: str, cohorts: bool = False) -> RenderableType:
    """A row for each list and recommender, the candidate in bold; brackets hold 95% intervals.

    Args:
        scores: the fields of `evaluation.Scores`.
        title: of the table.
        cohorts: show every cohort, instead of everyone alone.
    """
    shown = [score for score in scores if cohorts or score["cohort"] == "everyone"]
    k = shown[0]["k"] if shown else 5
    table = Table(title=title, title_justify="left")
    for name in ("list", *(["cohort"] if cohorts else []), "recommender"):
        table.add_column(name)
    for name in (f"Precision@{k}", "candidate ahead by", f"Recall@{k}", "NDCG@10", "coverage", "customers"):
        table.add_column(name, justify="right")
    previous = None
    for score in shown:
        group = (score["question"], score["cohort"])
        if previous not in (None, group):
            table.add_section()
        previous = group
        table.add_row(
            score["question"],
            *([score["cohort"]] if cohorts else []),
            score["recommender"].replace("_", " "),
            f"{score['precision_at_k']:.4f} \\[{score['precision_low']:.3f}, {score['precision_high']:.3f}]",
            ""
            if score["ahead"] is None
            else f"{score['ahead']:+.4f} \\[{score['ahead_low']:+.3f}, {score['ahead_high']:+.3f}]",
            f"{score['recall_at_k']:.4f}",
            f"{score['ndcg_at_10']:.4f}",
            f"{score['catalog_coverage']:.1%}",
            f"{score['customers']:,}",
            style="bold" if score["recommender"] == "candidate" else None,
        )
    return table


def decision_lines(decision: dict[str, Any] | None, version: int) -> RenderableType:
    """The gate's decision with its reasons."""
    if decision is None:
        return Text(f"The gate has not decided on v{version} yet.")
    outcome = (
        Text(f"Gate: v{version} may serve, because", style="bold green")
        if decision["promote"]
        else Text(f"Gate: v{version} is held; what served before still serves, because", style="bold yellow")
    )
    return Group(outcome, *(Text(f"  - {reason}") for reason in decision["reasons"]))


def versions_table(versions: Sequence[dict[str, Any]]) -> RenderableType:
    """All model versions, newest first."""
    table = Table(title="Model versions", title_justify="left")
    for name in ("version", "state", "cutoff", "snapshot", "created", "promoted"):
        table.add_column(name)
    for entry in versions:
        table.add_row(
            f"v{entry['version']}",
            Text(entry["state"], style="bold green" if entry["state"] == "champion" else ""),
            entry["cutoff"],
            entry["snapshot_id"],
            entry["created_at"][:16],
            (entry["promoted_at"] or "")[:16],
        )
    return table
