"""The style of all plots. The same numbers give the same bytes of SVG."""

import io
from typing import Any

from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller files, and a search finds it
    "svg.hashsalt": "ncf",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
}
BLUE, ORANGE, GREY = "#1d4ed8", "#c2410c", "#6b7280"


def svg(figure: Figure) -> bytes:
    """Draws a figure as SVG, without a date."""
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None})
    return content.getvalue()
