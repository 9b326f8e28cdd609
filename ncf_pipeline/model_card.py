"""The model card of a version, in Markdown (Mitchell et al. 2019, "Model Cards for Model Reporting")."""

from collections.abc import Sequence
from typing import Any

from ncf_pipeline.evaluation import NDCG_DEPTH, Scores
from ncf_pipeline.model.trained import EpochReport, TrainedModel
from ncf_pipeline.snapshot import Snapshot


def render(
    *,
    version: int,
    snapshot: Snapshot,
    model: TrainedModel,
    scores: Sequence[Scores],
    decision: dict[str, Any] | None,
    warning: str | None = None,
) -> str:
    """The card's text.

    Args:
        version: of the model.
        snapshot: what it learned from.
        model: the backtest's or the refit's.
        scores: of the backtest: candidate, incumbent and baselines.
        decision: the gate's, once there is one.
        warning: what somebody should know who reads how it was trained.
    """
    bought = snapshot.interactions
    parts = [
        f"# Model v{version}",
        "",
        "Recommends what a customer of this shop buys next, from what customers bought before. "
        "Neural collaborative filtering (He et al. 2017) with purchase context.",
        "",
        "## Learned from",
        f"- Snapshot {snapshot.snapshot_id}, SHA-256 `{snapshot.sha256}`",
        f"- Purchases before {model.cutoff}: {len(model.customers):,} customers, {len(model.products):,} products, "
        f"{len(bought):,} lines in the snapshot",
        "",
        f"## Evaluation on the holdout before {snapshot.cutoff}",
        "",
        *_table(scores),
        "",
        "The whole catalogue is ranked; a customer without a list scores 0.",
        "",
        "## Gate",
        *(_decision(decision) if decision else ["Not decided yet: this is the backtest's model."]),
        "",
        "## Training",
        "",
        *([f"**{warning}**", ""] if warning else []),
        *[f"- {epoch_line(report)}" for report in model.history],
        "",
        "## Not for",
        "Anything but ranking this shop's products for this shop's customers. It knows purchases only: "
        "no stock levels, margins or personal data.",
        "",
    ]
    return "\n".join(parts)


def epoch_line(report: EpochReport) -> str:
    """One epoch in words, for logs and cards."""
    line = f"{report.stage} epoch {report.epoch} of {report.of}: loss {report.loss:.4f}, {report.seconds:.1f} s"
    if report.for_you is None:
        return line
    return f"{line}, inner holdout Precision@5 {report.for_you:.4f} for_you, {report.discover:.4f} discover"


def _table(scores: Sequence[Scores]) -> list[str]:
    if not scores:
        return ["No scores."]
    k = scores[0].k
    return [
        f"| list | cohort | recommender | Precision@{k} | 95% interval | candidate ahead by | Recall@{k} "
        f"| NDCG@{NDCG_DEPTH} | coverage | customers |",
        "| --- " * 10 + "|",
        *(
            f"| {entry.question} | {entry.cohort} | {entry.recommender} | {entry.precision_at_k:.4f} "
            f"| {entry.precision_low:.4f} to {entry.precision_high:.4f} "
            f"| {'' if entry.ahead is None else f'{entry.ahead:+.4f}'} | {entry.recall_at_k:.4f} "
            f"| {entry.ndcg_at_10:.4f} | {entry.catalog_coverage:.1%} | {entry.customers:,} |"
            for entry in scores
        ),
    ]


def _decision(decision: dict[str, Any]) -> list[str]:
    outcome = "Promoted" if decision["promote"] else "Held"
    reasons = [f"- {reason}" for reason in decision["reasons"]]
    return [f"{outcome} at {decision['decided_at']:%Y-%m-%d %H:%M} UTC:", *reasons]
