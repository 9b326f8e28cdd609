"""The page of a model version: what the gate decided and why, the evaluation, the figures. One file, nothing loaded."""

import base64
import html
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ncf_pipeline.evaluation.scores import EVERYONE

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; font-size: 14px; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.candidate { font-weight: 600; } dt { color: #666; } dl { display: grid; grid-template-columns: 11rem 1fr; }
dd { margin: 0; overflow-wrap: anywhere; } code { font-size: 12px; } a { color: inherit; }
.mark { display: inline-block; border-radius: 3px; padding: 0 .5rem; }
.promote { background: #dff3e0; } .hold { background: #fff0c2; } .none { background: #eee; }
figure { margin: 1rem 0; background: #fff; padding: .5rem; } figure img { max-width: 100%; }
figcaption { color: #666; font-size: 13px; }
@media (prefers-color-scheme: dark) {
  body { background: #1b1b1b; color: #ddd; } th, td { border-color: #444; } .mark { color: #111; }
  dt, figcaption { color: #999; }
}
"""

_COLUMNS = ("P@{k}", "95% interval", "candidate ahead by", "R@{k}", "NDCG@10", "coverage", "full lists", "overlap")


def page(summary: Mapping[str, Any], figures: Sequence[tuple[str, bytes]]) -> str:
    """The page as HTML, without anything from elsewhere.

    Args:
        summary: from `reports.retrain_summary`.
        figures: what each shows, and its SVG.
    """
    version, decision = summary["version"], summary["decision"]
    title = f"Model v{version}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{_STYLE}</style></head><body>
<p><a href="../">Recommender</a></p>
<h1>{title}</h1>
{_decision(decision)}
{_facts(summary)}
<h2>Evaluation</h2>
<p>On what was bought from {_minute(summary["holdout_start"])} until {_minute(summary["cutoff"])}, which no model here
had seen. The whole catalogue is ranked; a customer without a list scores 0.</p>
{_evaluation(summary["evaluation"])}
{"".join(_figure(*figure) for figure in figures)}
{_thresholds(decision)}
<p>The same in a terminal: <code>ncf-pipeline models show v{version}</code></p>
</body></html>
"""


def _decision(decision: Mapping[str, Any] | None) -> str:
    if decision is None:
        return '<p><span class="mark none">The gate has not decided yet</span></p>'
    mark, words = ("promote", "may serve") if decision["promote"] else ("hold", "held: what served before still serves")
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in decision["reasons"])
    return (
        f'<p><span class="mark {mark}">Gate: {words}</span> decided {_minute(decision["decided_at"])} UTC, because</p>'
        f"<ul>{reasons}</ul>"
    )


def _facts(summary: Mapping[str, Any]) -> str:
    details = (summary["decision"] or {}).get("details", {})
    incumbent = details.get("incumbent")
    facts = {
        "state": summary["state"],
        "compared with": f"v{incumbent}, the incumbent" if incumbent else "baselines alone",
        "asked for by": details.get("requested_by"),
        "snapshot": summary["snapshot_id"],
        "cutoff": _minute(summary["cutoff"]),
        "promoted": _minute(summary["promoted_at"]),
        "artifact": summary["url"],
    }
    rows = "".join(
        f"<dt>{name}</dt><dd>{html.escape(str(value))}</dd>" for name, value in facts.items() if value is not None
    )
    return f"<dl>{rows}</dl>"


def _evaluation(scores: Sequence[Mapping[str, Any]]) -> str:
    if not scores:
        return "<p>Not evaluated yet.</p>"
    open_at_once: list[str] = []
    behind: list[str] = []
    for (question, cohort), rows in groupby(scores, key=lambda score: (score["question"], score["cohort"])):
        shown = list(rows)
        if shown[0]["customers"] == 0:
            continue
        heads = "".join(f"<th>{name.format(k=shown[0]['k'])}</th>" for name in _COLUMNS)
        body = "".join(_row(score) for score in shown)
        caption = f"<h3>{question}: {html.escape(cohort)}, {shown[0]['customers']:,} customers</h3>"
        part = f"{caption}<table><thead><tr><th>recommender</th>{heads}</tr></thead><tbody>{body}</tbody></table>"
        (open_at_once if cohort == EVERYONE else behind).append(part)
    return f"{''.join(open_at_once)}<details><summary>groups of customers</summary>{''.join(behind)}</details>"


def _row(score: Mapping[str, Any]) -> str:
    lead = (
        ""
        if score["ahead"] is None
        else f"{score['ahead']:+.4f} [{score['ahead_low']:+.4f}, {score['ahead_high']:+.4f}]"
    )
    cells = (
        f"{score['precision_at_k']:.4f}",
        f"{score['precision_low']:.4f} to {score['precision_high']:.4f}",
        lead,
        f"{score['recall_at_k']:.4f}",
        f"{score['ndcg_at_10']:.4f}",
        f"{score['catalog_coverage']:.1%}",
        f"{score['full_lists']:.1%}",
        f"{score['overlap']:.1%}",
    )
    name = html.escape(score["recommender"].replace("_", " "))
    row = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{html.escape(score["recommender"])}"><td>{name}</td>{row}</tr>'


def _figure(caption: str, svg: bytes) -> str:
    # As an image, so that nothing in it can run, and its ids are its own.
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    words = html.escape(caption)
    return f'<figure><img src="{source}" alt="{words}"><figcaption>{words}</figcaption></figure>'


def _thresholds(decision: Mapping[str, Any] | None) -> str:
    thresholds = (decision or {}).get("details", {}).get("thresholds", {})
    if not thresholds:
        return ""
    rows = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in thresholds.items()
    )
    return f"<h2>Thresholds</h2><p>As the gate had them; <code>NCF_GATE_*</code> sets them.</p><dl>{rows}</dl>"


def _minute(instant: str | None) -> str | None:
    return instant[:16].replace("T", " ") if instant else None
