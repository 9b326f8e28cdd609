"""discover → land → validate → quarantine → merge.

Each stage is a transaction, gives the same when it is run again, and can be killed at any point. What passes
between them is a batch's id and small dictionaries.
"""

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from psycopg2.extras import Json

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError, QualityError
from ncf_pipeline.ingest import data_docs, inbox
from ncf_pipeline.ingest.batches import BatchCounts, batch_record, counts_of, drop_landed_lines, locations, locked_batch
from ncf_pipeline.ingest.corrections import write_corrections
from ncf_pipeline.ingest.landing import land_files
from ncf_pipeline.ingest.merging import merge_good_lines
from ncf_pipeline.ingest.messages import example_lines, quality_message, unreadable_lines
from ncf_pipeline.ingest.quarantine import check_counts, quarantine_broken_lines
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction

__all__ = [
    "BatchCounts",
    "discover",
    "ingest",
    "land",
    "merge",
    "quality_message",
    "quarantine",
    "release",
    "validate",
]

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

SUITE = "invoices"


def discover(settings: Settings, paths: Sequence[str] | None = None) -> list[str]:
    """The files to load.

    Args:
        settings: of this run.
        paths: files, folders, globs or URLs; None or empty for whatever is in the inbox and has stopped growing.

    Raises:
        InputError: one of the paths stands for nothing.
    """
    return inbox.files_at(paths) if paths else inbox.files_in_inbox(settings)


def land(settings: Settings, files: Sequence[str], on_progress: Progress | None = None) -> int:
    """Every line of the files into the landing table, as one batch.

    Returns:
        The batch's id.

    Raises:
        InputError: none of the files can be used. Each one that cannot is recorded with the reason.
    """
    batch_id = land_files(settings, files, rules_sha256=quality.sha256_of(SUITE), on_progress=on_progress)
    with transaction(settings) as connection:
        record = batch_record(connection, batch_id)
    logger.info("Batch %d: %s, %d lines.", batch_id, record["source"], record["lines_read"])
    return batch_id


def validate(settings: Settings, batch_id: int) -> dict[str, Any]:
    """Asks the rules of `expectations/invoices.json` about the batch, and keeps the answer in its record.

    Returns:
        `batch_id`, `rules` (how many were asked), `worst` (the highest severity that failed), `tomorrow` (what counted
        as the future), and `broken`: for each rule that rows broke, its `rule_id`, `severity`, `breaks`, `sentence`,
        `rows`, and whether it `failed`; `docs` is the URL of a page that says all this in words.

    Raises:
        QualityError: the batch as a whole broke a critical rule. It is rejected, and nothing of it was merged.
    """
    with transaction(settings) as connection:
        record = batch_record(connection, batch_id)
    if record["status"] == "rejected":
        raise QualityError(record["reason"], quality_message(settings, batch_id))
    if record["validated_at"] is not None:
        return dict(record["report"])
    tomorrow = quality.tomorrow()
    verdict = quality.check_landed_batch(settings, batch_id, SUITE, tomorrow=tomorrow)
    report = {
        **verdict.as_dict(),
        "batch_id": batch_id,
        "tomorrow": tomorrow,
        "docs": data_docs.link(settings, batch_id),
    }
    quality.log_failures(verdict, f"Batch {batch_id}")
    whole = [rule for rule in verdict.failed if rule.severity == "critical" and rule.breaks == "batch"]
    if whole:
        _reject(settings, batch_id, report, f"{record['source']}: {whole[0].sentence} ({whole[0].rule_id})")
    data_docs.write_page(settings, record, report, [])
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update raw.batch set report = %s, rules_sha256 = %s, validated_at = now() "
            "where batch_id = %s and validated_at is null",
            (Json(report), quality.sha256_of(SUITE), batch_id),
        )
    return report


def quarantine(settings: Settings, batch_id: int) -> dict[str, Any]:
    """Lines that break a critical rule wait in quarantine, with the rules' ids.

    Returns:
        `batch_id`, `lines` (in quarantine) and `rules`: the number of lines that broke each.

    Raises:
        QualityError: the lines found are not those that validation counted.
    """
    with transaction(settings) as connection, connection.cursor() as cursor:
        record = locked_batch(connection, batch_id)
        if record["quarantined_at"] is None:
            report = record["report"]
            found = quarantine_broken_lines(connection, batch_id, tomorrow=report["tomorrow"])
            check_counts(report["broken"], found)
            cursor.execute("update raw.batch set quarantined_at = now() where batch_id = %s", (batch_id,))
            if found:
                data_docs.write_page(settings, record, report, example_lines(connection, batch_id))
        cursor.execute(
            "select count(*) from raw.quarantined_line where batch_id = %s", (record["same_as"] or batch_id,)
        )
        (lines,) = cursor.fetchone() or (0,)
        cursor.execute(
            "select rule_id, count(*) from raw.quarantined_line, unnest(rule_ids) as rule_id "
            "where batch_id = %s group by rule_id order by rule_id",
            (record["same_as"] or batch_id,),
        )
        return {"batch_id": batch_id, "lines": lines, "rules": dict(cursor.fetchall())}


def merge(settings: Settings, batch_id: int) -> BatchCounts:
    """The good lines into `retail.invoice_line`, by invoice; then the files leave the inbox."""
    with transaction(settings) as connection:
        if locked_batch(connection, batch_id)["status"] == "landed":
            merge_good_lines(connection, batch_id)
        counts = counts_of(batch_record(connection, batch_id))
        files = locations(connection, batch_id)
    for location in files:
        inbox.move_to_processed(settings, location, batch_id)
    logger.info("Merged %s.", counts)
    return counts


def ingest(settings: Settings, paths: Sequence[str] | None = None, on_progress: Progress | None = None) -> BatchCounts:
    """All stages, one after the other.

    Args:
        settings: of this run.
        paths: as for `discover`.
        on_progress: is told what is being done.

    Raises:
        InputError: there is nothing to load, or nothing of it can be used.
        QualityError: the batch as a whole broke a critical rule.
    """
    files = discover(settings, paths)
    batch_id = land(settings, files, on_progress)
    steps: tuple[tuple[str, Callable[[Settings, int], Any]], ...] = (
        ("checking the rules", validate),
        ("putting broken lines into quarantine", quarantine),
        ("merging by invoice", merge),
    )
    result = None
    for done, (name, stage) in enumerate(steps):
        if on_progress is not None:
            on_progress(name, done, len(steps))
        result = stage(settings, batch_id)
    assert isinstance(result, BatchCounts)
    return result


def release(settings: Settings, quarantine_ids: Sequence[int], changes: Mapping[str, str] | None = None) -> BatchCounts:
    """Sends lines from quarantine through all stages again, as a batch of their own.

    A line that is good now joins the other lines of its invoice. One that still breaks a rule waits under a new id.

    Args:
        settings: of this run.
        quarantine_ids: of lines that wait.
        changes: column to the text that its cell should hold, in each of the lines; None where the rules have changed.

    Raises:
        InputError: one of the lines does not wait, or there is no such column.
    """
    changes = changes or {}
    if unknown := sorted(set(changes) - set(InvoiceLines.ALL)):
        raise InputError(f"There is no column {unknown[0]}; the columns are {', '.join(InvoiceLines.ALL)}.")
    with tempfile.TemporaryDirectory(prefix="ncf-") as folder:
        # The same lines and changes give the same bytes, so a release that was killed goes on where it stopped.
        file = Path(folder) / "released-lines.csv"
        write_corrections(settings, quarantine_ids, changes, file)
        return ingest(settings, [str(file)])


def _reject(settings: Settings, batch_id: int, report: dict[str, Any], reason: str) -> None:
    with transaction(settings) as connection, connection.cursor() as cursor:
        hold_off(connection)
        report["examples"] = unreadable_lines(connection, batch_id)
        cursor.execute(
            "update raw.batch set status = 'rejected', reason = %s, report = %s, rules_sha256 = %s, "
            "validated_at = now(), finished_at = now() where batch_id = %s",
            (reason, Json(report), quality.sha256_of(SUITE), batch_id),
        )
        drop_landed_lines(connection, batch_id)
        files = locations(connection, batch_id)
        record = batch_record(connection, batch_id)
    data_docs.write_page(settings, record, report, [])
    for location in files:
        inbox.move_to_rejected(settings, location, reason, batch_id)
    raise QualityError(reason, quality_message(settings, batch_id))
