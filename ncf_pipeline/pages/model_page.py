"""The page of a model version: what the gate decided and why, the evaluation, the figures. One file, nothing loaded."""

import base64
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from ncf_pipeline.evaluation.summary import compared_with, evaluation_tables
from ncf_pipeline.html import render_file
from ncf_pipeline.pages.navigation import navigation
from ncf_pipeline.registry.versions import BASELINES, VERSION_0_WORDS, recommenders_in_words
from ncf_pipeline.training.report import RetrainSummary

_FOLDER = Path(__file__).parent / "templates"


def page(summary: RetrainSummary, figures: Sequence[tuple[str, bytes]]) -> str:
    """Renders the page as one HTML file that loads nothing.

    Args:
        summary: of the version.
        figures: for each figure of its model card, what it shows and its SVG.
    """
    tables = evaluation_tables(summary.evaluation)
    decision = summary.decision
    return render_file(
        _FOLDER,
        "model.html",
        navigation=navigation(f"models/{summary.model.name}", "../"),
        model=summary.model,
        decision=decision,
        facts=_facts(summary),
        thresholds=decision.details.get("thresholds", {}) if decision else {},
        about=VERSION_0_WORDS if summary.model.recommender == BASELINES else None,
        everyone=[table for table in tables if table.is_of_everyone],
        cohorts=[table for table in tables if not table.is_of_everyone],
        figures=[(caption.replace("`", ""), _as_image(svg)) for caption, svg in figures],  # Markdown, for cards
    )


def _facts(summary: RetrainSummary) -> dict[str, str]:
    model = summary.model
    details = summary.decision.details if summary.decision else {}
    facts = {
        "State": model.state,
        "Lists": recommenders_in_words(model.recommender),
        "Compared with": compared_with(details) if summary.decision else None,
        "Requested by": details.get("requested_by"),
        "Snapshot": model.snapshot_id,
        "Cutoff": _minute(model.cutoff),
        "Promoted": f"{_minute(model.promoted_at)} UTC" if model.promoted_at else None,
        "Artifact": model.url,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _as_image(svg: bytes) -> str:
    """As an image, nothing in the SVG can run, and its ids cannot clash with those of another."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
