"""A page for each validated batch: every rule in words, what broke it, examples. One file, readable offline."""

import html
from collections.abc import Sequence
from typing import Any

import fsspec

from ncf_pipeline.errors import ArtifactError
from ncf_pipeline.ingest.messages import example_line
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import new_file

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; margin: 1rem 0; }
th:nth-child(2) { width: 9rem; } th:nth-child(3) { width: 6rem; text-align: right; }
th, td { text-align: left; padding: .45rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.n { text-align: right; white-space: nowrap; }
code { font-size: 12px; color: #666; }
pre { background: #f6f6f6; padding: .6rem; white-space: pre-wrap; font-size: 12px; margin: .3rem 0 0; }
.mark { display: inline-block; border-radius: 3px; padding: 0 .45rem; font-size: 12px; white-space: nowrap; }
.passed { background: #dff3e0; } .tolerated { background: #eef; }
.warning, .info { background: #fff0c2; } .critical { background: #ffd7d3; }
@media (prefers-color-scheme: dark) {
  body { background: #1b1b1b; color: #ddd; } th, td { border-color: #444; } pre { background: #2a2a2a; }
  .mark { color: #111; }
}
"""


def link(settings: Settings, batch_id: int) -> str:
    """Where a person opens the page of a batch."""
    return f"{(settings.data_docs_url or _store(settings)).rstrip('/')}/{_name(batch_id)}"


def read_page(settings: Settings, batch_id: int) -> str:
    """The page of a batch, as it was written.

    Raises:
        ArtifactError: there is none.
    """
    url = f"{_store(settings)}/{_name(batch_id)}"
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
        return str(filesystem.read_text(path, encoding="utf-8"))
    except (OSError, ImportError, ValueError) as error:
        raise ArtifactError(f"Batch {batch_id} has no page: {url} cannot be read ({error}).") from error


def write_page(
    settings: Settings, record: dict[str, Any], report: dict[str, Any], examples: Sequence[dict[str, Any]]
) -> None:
    """Writes the page of a batch.

    Args:
        settings: whose artifact store.
        record: of the batch.
        report: of its validation.
        examples: lines, each with `rule_id`, `file`, `row_number` and `original`.

    Raises:
        ArtifactError: the artifact store refused.
    """
    with new_file(f"{_store(settings)}/{_name(record['batch_id'])}") as file:
        file.write(page(record, report, examples).encode())


def page(record: dict[str, Any], report: dict[str, Any], examples: Sequence[dict[str, Any]]) -> str:
    """The page as HTML, without anything from elsewhere; see `write_page`."""
    broken = {rule["rule_id"]: rule for rule in report["broken"]}
    rules = quality.rules_of("invoices")
    ordered = [*broken, *(rule_id for rule_id in rules if rule_id not in broken)]
    rows = "\n".join(
        _row(rules[rule_id], broken.get(rule_id), [line for line in examples if line["rule_id"] == rule_id])
        for rule_id in ordered
        if rule_id in rules
    )
    title = html.escape(f"Batch {record['batch_id']}: {record['source']}")
    failed = sum(rule["failed"] for rule in report["broken"])
    verdict = "Every rule passed." if not failed else f"{failed} of {report['rules']} rules failed."
    reason = f"<p>{html.escape(record['reason'])}</p>" if record["reason"] else ""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>{_STYLE}</style></head><body>
<h1>{title}</h1>
<p>{record["lines_read"]:,} lines, landed {record["created_at"]:%Y-%m-%d %H:%M}. {verdict}</p>
{reason}
<table><thead><tr><th>Rule</th><th>Result</th><th>Rows</th></tr></thead><tbody>
{rows}
</tbody></table>
<p>A line that breaks a critical rule waits in quarantine: <code>ncf-pipeline quarantine list --batch \
{record["batch_id"]}</code></p>
</body></html>
"""


def _store(settings: Settings) -> str:
    return f"{settings.artifacts}/data_docs"


def _name(batch_id: int) -> str:
    return f"invoices/batch-{batch_id:06d}.html"


def _row(rule: quality.Rule, broken: dict[str, Any] | None, examples: Sequence[dict[str, Any]]) -> str:
    if broken is None:
        mark, words = "passed", "passed"
    elif broken["failed"]:
        mark, words = rule.severity, f"{rule.severity}: failed"
    else:
        mark, words = "tolerated", "within tolerance"
    lines = html.escape("\n".join(example_line(line) for line in examples))
    shown = f"<pre>{lines}</pre>" if lines else ""
    return (
        f"<tr><td>{html.escape(rule.sentence)}<br><code>{rule.rule_id}</code>{shown}</td>"
        f'<td><span class="mark {mark}">{words}</span></td><td class="n">{broken["rows"] if broken else 0:,}</td></tr>'
    )
