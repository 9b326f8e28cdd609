"""The rules of `expectations/invoices.json`, checked on a landed batch. A batch that fails as a whole is rejected."""

from dataclasses import replace

from psycopg2.extras import Json

from ncf_pipeline.ingest import data_docs, inbox
from ncf_pipeline.ingest.batches import Batch, batch_record, drop_landed_lines
from ncf_pipeline.ingest.messages import unreadable_lines
from ncf_pipeline.ingest.validation_report import ValidationReport
from ncf_pipeline.privacy import hold_off
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, transaction

SUITE = "invoices"


def check_batch(settings: Settings, batch_id: int) -> ValidationReport:
    """Checks every rule on a landed batch, and logs those that failed.

    Returns:
        The report, which is not kept yet.

    Raises:
        QualityError: a rule could not be loaded or checked. That says nothing about the lines.
    """
    tomorrow = quality.tomorrow()
    with transaction(settings) as connection:
        (lines,) = query_rows(connection, "line_to_check", batch_id=batch_id)
    if lines.leaves_out and not lines.counts:
        # The library refuses to check no lines.
        verdict = quality.Verdict(rules=len(quality.rules_of(SUITE)), worst=None, broken=[])
    else:
        verdict = quality.check_landed_batch(settings.database(), batch_id, SUITE, tomorrow=tomorrow)
    quality.log_failures(verdict, f"Batch {batch_id}")
    return ValidationReport(
        batch_id=batch_id,
        rules=verdict.rules,
        worst=verdict.worst,
        broken=tuple(verdict.broken),
        tomorrow=tomorrow,
        docs=data_docs.link(settings, batch_id),
    )


def accept(settings: Settings, batch: Batch, report: ValidationReport) -> None:
    """Writes the batch's page, then keeps the report in its record.

    Args:
        settings: whose database and artifact store.
        batch: a landed batch without a report.
        report: of its validation.

    Raises:
        ArtifactError: the artifact store refused the page.
    """
    data_docs.write_page(settings, batch, report, [])
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute(
            "update raw.batch set report = %s, rules_sha256 = %s, validated_at = now() "
            "where batch_id = %s and validated_at is null",
            (Json(report.as_dict()), quality.sha256_of(SUITE), batch.batch_id),
        )


def reject(settings: Settings, batch_id: int, report: ValidationReport, reason: str) -> None:
    """Rejects a batch as a whole: its landed lines go, and its files leave the inbox.

    Args:
        settings: whose database, artifact store and inbox.
        batch_id: of a landed batch without a report.
        report: of its validation.
        reason: what is wrong, in one line.

    Raises:
        ArtifactError: the artifact store refused the page.
    """
    with transaction(settings) as connection, connection.cursor() as cursor:
        hold_off(connection)
        report = replace(report, examples=tuple(unreadable_lines(connection, batch_id)))
        cursor.execute(
            "update raw.batch set status = 'rejected', reason = %s, report = %s, rules_sha256 = %s, "
            "validated_at = now(), finished_at = now() where batch_id = %s",
            (reason, Json(report.as_dict()), quality.sha256_of(SUITE), batch_id),
        )
        drop_landed_lines(connection, batch_id)
        batch = batch_record(connection, batch_id)
    data_docs.write_page(settings, batch, report, [])
    for location in batch.locations:
        inbox.move_to_rejected(settings.inbox_path, location, reason, batch_id)
