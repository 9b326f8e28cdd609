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


def evaluation_table(
    scores: Sequence[dict[str, Any]], *, title: str, cohorts: bool = False, intervals: bool = False
) -> RenderableType:
    """A row for each list and recommender, the candidate in bold.

    Args:
        scores: the fields of `evaluation.Scores`.
        title: of the table.
        cohorts: show every cohort, instead of everyone alone.
        intervals: show the 95% interval of precision, and of the candidate's lead; asks for a wide terminal.
    """
    shown = [score for score in scores if cohorts or score["cohort"] == "everyone"]
    k = shown[0]["k"] if shown else 5
    table = Table(title=title, title_justify="left")
    for name in ("list", *(["cohort"] if cohorts else []), "recommender"):
        table.add_column(name)
    for name in (f"P@{k}", *(["95%", "candidate ahead by"] if intervals else []), f"R@{k}", "NDCG@10", "coverage"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("customers", justify="right")
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
            f"{score['precision_at_k']:.4f}",
            *([_interval(score, "precision_low", "precision_high"), _lead(score)] if intervals else []),
            f"{score['recall_at_k']:.4f}",
            f"{score['ndcg_at_10']:.4f}",
            f"{score['catalog_coverage']:.1%}",
            f"{score['customers']:,}",
            style="bold" if score["recommender"] == "candidate" else None,
        )
    return table


def _interval(score: dict[str, Any], low: str, high: str) -> str:
    return f"{score[low]:.3f} to {score[high]:.3f}"


def _lead(score: dict[str, Any]) -> str:
    return "" if score["ahead"] is None else f"{score['ahead']:+.4f} ({_interval(score, 'ahead_low', 'ahead_high')})"


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
