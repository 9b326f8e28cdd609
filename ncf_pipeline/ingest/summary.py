"""Where a batch's lines went and why, for people."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.batches import Batch, BatchCounts, MappedFile, batch_record, name_files, read_by
from ncf_pipeline.ingest.messages import replaced_lines
from ncf_pipeline.ingest.quarantine import lines_by_rule
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction


@dataclass(frozen=True)
class BrokenBy:
    """A rule that put lines into quarantine.

    Attributes:
        rule_id: of the rule.
        sentence: the rule in words; the id if the rule is no longer in the suite.
        lines: number of lines that broke it.
    """

    rule_id: str
    sentence: str
    lines: int


@dataclass(frozen=True)
class BatchSummary:
    """What became of a batch.

    Attributes:
        counts: where its lines went.
        source: what people call its files.
        reasons: the rules that put lines into quarantine, by id.
        notes: what a person should know of its files: columns that were not read, sheets that were left out, how text
            was read.
        mapped_files: which of its files a mapping read.
    """

    counts: BatchCounts
    source: str
    reasons: tuple[BrokenBy, ...]
    notes: tuple[str, ...] = ()
    mapped_files: tuple[MappedFile, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them.

        The counts, `source`, `notes`, `reasons` as rule to [sentence, lines], `mapped_files` as name, mapping and hash.
        """
        reasons = {reason.rule_id: [reason.sentence, reason.lines] for reason in self.reasons}
        return {
            **self.counts.as_dict(),
            "source": self.source,
            "reasons": reasons,
            "notes": list(self.notes),
            "mapped_files": [asdict(file) for file in self.mapped_files],
        }


def batch_summary(settings: Settings, batch_id: int | None = None) -> BatchSummary:
    """What became of a batch.

    Args:
        settings: whose database.
        batch_id: of the batch; the newest one if None.

    Raises:
        InputError: there is no such batch, or none at all.
    """
    with transaction(settings) as connection:
        if batch_id is None:
            newest = query_rows(connection, "newest_batch")
            if not newest:
                raise InputError("No invoices have been loaded yet: `ncf-pipeline ingest PATH` loads some.")
            batch_id = newest[0].batch_id
        batch = batch_record(connection, batch_id)
        lines = lines_by_rule(connection, batch.read_as)
        notes = told(connection, batch, replaced=False)
    rules = quality.rules_of("invoices")
    return BatchSummary(
        counts=batch.counts,
        source=batch.source,
        reasons=tuple(
            BrokenBy(rule_id, rules[rule_id].sentence if rule_id in rules else rule_id, lines[rule_id])
            for rule_id in sorted(lines)
        ),
        notes=notes,
        mapped_files=batch.mapped_files,
    )


def told(connection: Connection, batch: Batch, *, replaced: bool = True) -> tuple[str, ...]:
    """What a person is told at the end of every ingest, in sentences.

    Args:
        connection: with an open transaction.
        batch: a finished one.
        replaced: whether to say which lines of earlier loads were replaced.

    Returns:
        What was not read or not used: columns, sheets, and the shop's own rules that no product matches; by which
        mapping files were read; and which lines were replaced.
    """
    files = query_rows(connection, "batch_files", batch_id=batch.batch_id)
    unused = [
        f"No product of the shop matches {row.pattern} of {row.place}. Correct or delete that row."
        for row in query_rows(connection, "rules_without_products")
    ]
    return (
        *read_by(batch.mapped_files),
        *_notes(files),
        *(replaced_lines(batch.counts) if replaced else ()),
        *unused,
    )


def _notes(files: Iterable[Any]) -> Iterator[str]:
    """What is worth knowing of each file; what several files have in common is told once."""
    told: dict[str, list[str]] = {}
    for file in files:
        columns = [f"columns that are not read: {', '.join(file.ignored_columns)}"] if file.ignored_columns else []
        for note in (*columns, *([file.note] if file.note else [])):
            told.setdefault(note, []).append(file.name)
    for note, names in told.items():
        yield f"{name_files(names)}: {note}"
