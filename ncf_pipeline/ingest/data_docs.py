"""The page of a validated batch: every rule in words, and lines that broke it. One HTML file, readable offline."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ncf_pipeline.html import render_file
from ncf_pipeline.ingest.batches import Batch, read_by
from ncf_pipeline.ingest.messages import example_line
from ncf_pipeline.ingest.validation_report import ExampleLine, ValidationReport
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.files import filesystem_of, new_file, store_error, store_errors

_FOLDER = Path(__file__).parent / "templates"
_TONES = {"critical": "bad", "warning": "warn", "info": "warn"}


@dataclass(frozen=True)
class _Shown:
    """A rule as the page shows it: its result in words, the result's tone, and how many rows broke it."""

    sentence: str
    rule_id: str
    result: str
    tone: str
    rows: int
    examples: str


def link(settings: Settings, batch_id: int) -> str:
    """Returns the address at which a person opens the page of a batch."""
    return f"{(settings.data_docs_url or _store(settings)).rstrip('/')}/{_name(batch_id)}"


def read_page(settings: Settings, batch_id: int) -> str:
    """Reads the page of a batch from the artifact store.

    Raises:
        ArtifactError: the batch has no page, or the store cannot be read.
    """
    url = f"{_store(settings)}/{_name(batch_id)}"
    try:
        filesystem, path = filesystem_of(url)
        return str(filesystem.read_text(path, encoding="utf-8"))
    except store_errors() as error:
        raise store_error(f"Batch {batch_id} has no page: {url} cannot be read", error) from error


def write_page(
    settings: Settings,
    record: Batch,
    report: ValidationReport,
    examples: Sequence[ExampleLine],
    told: Sequence[str] | None = None,
) -> None:
    """Writes the page of a batch to the artifact store.

    Args:
        settings: of the installation whose artifact store is written to.
        record: of the batch.
        report: of its validation.
        examples: lines that broke a rule.
        told: what a person is told of a finished batch; None before.

    Raises:
        ArtifactError: the artifact store refused the write.
    """
    with new_file(f"{_store(settings)}/{_name(record.batch_id)}") as file:
        file.write(page(record, report, examples, told).encode())


def page(
    record: Batch, report: ValidationReport, examples: Sequence[ExampleLine], told: Sequence[str] | None = None
) -> str:
    """The page as one HTML file that loads nothing; see `write_page`."""
    broken = {rule.rule_id: rule for rule in report.broken}
    rules = quality.rules_of("invoices")
    ordered = [*broken, *(rule_id for rule_id in rules if rule_id not in broken)]
    return render_file(
        _FOLDER,
        "batch.html",
        title=f"Batch {record.batch_id}: {record.source}",
        record=record,
        told=read_by(record.mapped_files) if told is None else [str(replace(record.counts, reason=None)), *told],
        report=report,
        failed=len(report.failed),
        rules=[
            _shown(rules[rule_id], broken.get(rule_id), [line for line in examples if line.rule_id == rule_id])
            for rule_id in ordered
            if rule_id in rules
        ],
    )


def _store(settings: Settings) -> str:
    return f"{settings.artifacts}/data_docs"


def _name(batch_id: int) -> str:
    return f"invoices/batch-{batch_id:06d}.html"


def _shown(rule: quality.Rule, broken: quality.BrokenRule | None, examples: Sequence[ExampleLine]) -> _Shown:
    if broken is None:
        result, tone = "passed", "good"
    elif broken.failed:
        result, tone = f"{rule.severity}: failed", _TONES[rule.severity]
    else:
        result, tone = "within tolerance", ""
    lines = "\n".join(example_line(line) for line in examples)
    return _Shown(rule.sentence, rule.rule_id, result, tone, broken.rows if broken else 0, lines)
