"""discover → land → validate → quarantine → merge, in this order.

Each stage is a transaction, returns the same when it runs again, and can be killed at any point. It passes only the
batch's id to the next. Its work is in the file of its name: `inbox`, `landing`, `validation`, `quarantine`, `merging`.

Beside the errors that it names, a stage raises DatabaseError if Postgres cannot be reached or refuses a statement, and
SettingsError if no database is set.
"""

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncf_pipeline import alerts
from ncf_pipeline.errors import InputError, NcfError, QualityError
from ncf_pipeline.ingest import data_docs, inbox, requests, validation
from ncf_pipeline.ingest.batches import BatchCounts, batch_record, locked_batch
from ncf_pipeline.ingest.corrections import write_corrections
from ncf_pipeline.ingest.inbox import File, Found, location_and_mapping
from ncf_pipeline.ingest.landing import Progress, land_files
from ncf_pipeline.ingest.mappings.store import every_mapping, is_name, named
from ncf_pipeline.ingest.merging import merge_good_lines
from ncf_pipeline.ingest.messages import example_lines, lost_lines, quality_message, quarantine_alert
from ncf_pipeline.ingest.quarantine import (
    QuarantineCounts,
    check_counts,
    lines_in_quarantine,
    quarantine_broken_lines,
)
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.ingest.readers.table import Table
from ncf_pipeline.ingest.requests import Asked
from ncf_pipeline.ingest.summary import told
from ncf_pipeline.ingest.validation_report import ValidationReport
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.redaction import has_secrets, redacted_location
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import query_rows, transaction
from ncf_pipeline.storage.scratch import scratch_folder

__all__ = [
    "BatchCounts",
    "UnreadFolder",
    "discover",
    "finish",
    "ingest",
    "land",
    "lost_lines",
    "merge",
    "quality_message",
    "quarantine",
    "quarantine_alert",
    "release",
    "release_request",
    "unread_folders",
    "validate",
]

logger = logging.getLogger(__name__)

_TIMES_CHECKED = 5
"""How often a batch is checked again because others are merged beside it."""


@dataclass(frozen=True)
class UnreadFolder:
    """A folder of the inbox whose files nothing reads, because its name is no mapping.

    Attributes:
        name: of the folder.
        files: how many wait in it.
        mappings: the names that there are.
    """

    name: str
    files: int
    mappings: tuple[str, ...]

    @property
    def what(self) -> str:
        """What is wrong, in one line."""
        files = f"{self.files:,} {'file waits' if self.files == 1 else 'files wait'}"
        return f"{files} in the inbox's folder {shortened(self.name, 60)!r}, and there is no mapping of that name."

    @property
    def advice(self) -> str:
        """What to do, in one line."""
        close = difflib.get_close_matches(self.name.lower(), self.mappings, n=1)
        rename = f"Rename the folder to {close[0]}, or make" if close else "Make"
        name = self.name if is_name(self.name) else "NAME"
        return f"{rename} the mapping: ncf-pipeline mapping new FILE --name {name}"

    def __str__(self) -> str:
        return f"{self.what} {self.advice}"


def discover(settings: Settings, paths: Sequence[str] | None = None, mapping: str | None = None) -> list[File]:
    """The files to load, each with the mapping that reads it.

    A file in a folder of the inbox is read by the mapping of the folder's name. If there is none of that name, its
    files stay where they are, and the log says so; `unread_folders` returns them.

    Args:
        settings: whose inbox and mappings.
        paths: files, folders, globs or URLs; None or empty for every file in the inbox that has stopped growing.
        mapping: the name of the mapping that reads the files, but for those in folders of the inbox if `paths` is
            empty.

    Returns:
        Absolute paths and URLs, each once; those that a mapping reads as a dictionary of `location` and `mapping`.

    Raises:
        InputError: a path matches no file, or there is no mapping of that name.
    """
    if mapping is not None:
        named(settings, mapping)
    if paths:
        locations = inbox.files_at(paths)
        found = [Found(location, mapping or _folder_of(settings, location)) for location in locations]
        for name in dict.fromkeys(each.folder for each in found if each.folder not in (None, mapping)):
            named(settings, str(name))
    else:
        found = inbox.files_in_inbox(settings.inbox_path, settle_seconds=settings.inbox_settle_seconds)
        unread = unread_folders(settings)
        for folder in unread:
            logger.warning("%s", folder)
        without = {folder.name for folder in unread}
        found = [Found(each.location, each.folder or mapping) for each in found if each.folder not in without]
    return [
        each.location if each.folder is None else {"location": each.location, "mapping": each.folder} for each in found
    ]


def without_secrets(files: Sequence[File]) -> list[File]:
    """Files as Airflow may store them: the passwords and signatures in their URLs are masked."""
    return [_with_location(file, redacted_location(location_and_mapping(file)[0])) for file in files]


def with_secrets(files: Sequence[File], paths: Sequence[str] | None) -> list[File]:
    """The files of `without_secrets`, with the URLs that a person gave.

    Args:
        files: in the order of `discover`.
        paths: what `discover` was given.
    """
    given: dict[str, list[str]] = {}
    for path in dict.fromkeys(paths or ()):
        if has_secrets(path):
            given.setdefault(redacted_location(path), []).append(path)
    found = []
    for file in files:
        urls = given.get(location_and_mapping(file)[0])
        found.append(_with_location(file, urls.pop(0)) if urls else file)
    return found


def _with_location(file: File, location: str) -> File:
    return location if isinstance(file, str) else {**file, "location": location}


def unread_folders(settings: Settings) -> list[UnreadFolder]:
    """The folders of the inbox in which files wait, and whose name is no mapping."""
    files = inbox.files_by_folder(settings.inbox_path)
    if not files:
        return []
    names = [each.name for each in every_mapping(settings)]
    return [UnreadFolder(name, files[name], tuple(names)) for name in sorted(files) if name not in names]


def land(
    settings: Settings,
    files: Sequence[File],
    on_progress: Progress | None = None,
    on_copy: Callable[[], object] | None = None,
    on_table: Callable[[Table], None] | None = None,
    inbox: Path | None = None,
) -> int:
    """Copies every line of the files into the landing table, as one batch.

    Args:
        settings: whose database and inbox.
        files: as `discover` returns them.
        on_progress: called before each file.
        on_copy: called when the lines of a file begin to be copied into Postgres.
        on_table: called with each table that is read.
        inbox: where the files may lie; None for the inbox of the settings.

    Returns:
        The batch's id.

    Raises:
        InputError: none of the files can be used. Each unusable file is recorded with the reason.
    """
    batch_id = land_files(
        settings,
        files,
        rules_sha256=quality.sha256_of(validation.SUITE),
        on_progress=on_progress,
        on_copy=on_copy,
        on_table=on_table,
        inbox=inbox,
    )
    with transaction(settings) as connection:
        batch = batch_record(connection, batch_id)
    logger.info("Batch %d: %s, %d lines.", batch_id, batch.source, batch.counts.read)
    return batch_id


def _folder_of(settings: Settings, location: str) -> str | None:
    """The mapping of a file in a folder of the inbox that a person has named by its path."""
    path = inbox.local_path(location)
    return inbox.folder_in(settings.inbox_path, path) if path is not None else None


def validate(settings: Settings, batch_id: int) -> ValidationReport:
    """Checks the rules of `expectations/invoices.json` on the batch, and keeps the report in its record.

    Returns:
        The report; the kept one if the batch has been validated before.

    Raises:
        InputError: there is no such batch.
        ArtifactError: the artifact store refused the batch's page.
        QualityError: the batch as a whole broke a critical rule, so it was rejected and nothing of it is merged; or
            a rule could not be checked.
    """
    with transaction(settings) as connection:
        batch = batch_record(connection, batch_id)
    if batch.counts.status == "rejected":
        raise QualityError(batch.counts.reason or "", quality_message(settings, batch_id))
    if batch.report is not None:
        return batch.report
    try:
        report = validation.check_batch(settings, batch_id)
    except QualityError:
        # Another run may have finished the batch meanwhile: its landed lines are gone then, and its report is kept.
        with transaction(settings) as connection:
            kept = batch_record(connection, batch_id).report
        if kept is not None:
            return kept
        raise
    if (rule := report.rejects) is not None:
        reason = f"{batch.source}: {rule.sentence.rstrip('.')} ({rule.rule_id})."
        validation.reject(settings, batch_id, report, reason)
        raise QualityError(reason, quality_message(settings, batch_id))
    validation.accept(settings, batch, report)
    return report


def quarantine(settings: Settings, batch_id: int) -> QuarantineCounts:
    """Puts the lines that break a critical rule into quarantine, with the rules' ids.

    Returns:
        How many lines of the batch are in quarantine, and for which rules.

    Raises:
        InputError: there is no such batch, or it has not been validated.
        ArtifactError: the artifact store refused the batch's page.
        QualityError: the quarantined lines are not those that validation counted.
    """
    for _ in range(_TIMES_CHECKED):
        try:
            return _quarantine(settings, batch_id)
        except QualityError:
            # A rule looks at stored lines. Another batch may have been merged since they were checked.
            with transaction(settings) as connection:
                if not query_rows(connection, "validate_again", batch_id=batch_id):
                    raise
            logger.info("Another batch was merged since batch %d was checked: checking it again.", batch_id)
            validate(settings, batch_id)
    return _quarantine(settings, batch_id)


def _quarantine(settings: Settings, batch_id: int) -> QuarantineCounts:
    with transaction(settings) as connection, connection.cursor() as cursor:
        batch = locked_batch(connection, batch_id)
        if batch.quarantined_at is None:
            if batch.report is None:
                raise InputError(f"Batch {batch_id} has not been validated. Validate it first.")
            lines_by_rule = quarantine_broken_lines(connection, batch_id, tomorrow=batch.report.tomorrow)
            check_counts(batch.report.broken, lines_by_rule)
            cursor.execute("update raw.batch set quarantined_at = now() where batch_id = %s", (batch_id,))
            if lines_by_rule:
                data_docs.write_page(settings, batch, batch.report, example_lines(connection, batch_id))
        return lines_in_quarantine(connection, batch)


def merge(settings: Settings, batch_id: int) -> BatchCounts:
    """Merges the good lines into `retail.invoice_line`, by invoice; then moves the files out of the inbox.

    Returns:
        Where the lines of the batch went.

    Raises:
        InputError: there is no such batch.
        ArtifactError: the artifact store refused the batch's page.
    """
    with transaction(settings) as connection:
        if locked_batch(connection, batch_id).counts.status == "landed":
            merge_good_lines(connection, batch_id)
            batch = batch_record(connection, batch_id)
            if batch.report is not None:
                examples = example_lines(connection, batch_id)
                data_docs.write_page(settings, batch, batch.report, examples, told(connection, batch))
        batch = batch_record(connection, batch_id)
        sentences = told(connection, batch)
    for location in batch.locations:
        inbox.move_to_processed(settings.inbox_path, location, batch_id)
    logger.info("Merged %s.", batch.counts)
    for sentence in sentences:
        logger.info("Batch %d: %s", batch_id, sentence)
    return batch.counts


def ingest(
    settings: Settings,
    paths: Sequence[str] | None = None,
    on_progress: Progress | None = None,
    *,
    mapping: str | None = None,
) -> BatchCounts:
    """Runs all stages, one after the other.

    Args:
        settings: whose inbox, database and artifact store.
        paths: as for `discover`.
        on_progress: called before each file and each later stage.
        mapping: as for `discover`.

    Returns:
        Where the lines of the batch went.

    Raises:
        InputError: there is nothing to load, or none of the files can be used.
        QualityError: the batch as a whole broke a critical rule.
        ArtifactError: the artifact store refused the batch's page.
    """
    files = discover(settings, paths, mapping)
    with ThreadPoolExecutor(1) as beside:
        # Not before the file is read: the process that unpacks a workbook needs most of the memory.
        batch_id = land(settings, files, on_progress, on_copy=lambda: beside.submit(quality.import_library))
    counts = finish(settings, batch_id, on_progress, is_told=True)
    alerts.recover_quarantine(settings, later=True)
    return counts


def finish(
    settings: Settings, batch_id: int, on_progress: Progress | None = None, *, is_told: bool = False
) -> BatchCounts:
    """Runs the stages after landing, one after the other; see `ingest`.

    Args:
        settings: whose database and artifact store.
        batch_id: of a landed batch.
        on_progress: called before each stage.
        is_told: tell on-call if lines wait in quarantine.
    """
    steps: tuple[tuple[str, Callable[[Settings, int], Any]], ...] = (
        ("checking the rules", validate),
        ("putting broken lines into quarantine", _quarantine_and_tell if is_told else quarantine),
        ("merging by invoice", merge),
    )
    result = None
    for done, (name, stage) in enumerate(steps):
        if on_progress is not None:
            on_progress(name, done, len(steps))
        result = stage(settings, batch_id)
    assert isinstance(result, BatchCounts)
    return result


def _quarantine_and_tell(settings: Settings, batch_id: int) -> None:
    quarantine(settings, batch_id)
    if (alert := quarantine_alert(settings, batch_id)) is not None:
        alerts.tell(settings, alert, later=True)


def release(
    settings: Settings,
    quarantine_ids: Sequence[int],
    changes: Mapping[str, str] | None = None,
    *,
    actor: str | None = None,
    reason: str | None = None,
) -> BatchCounts:
    """Sends lines from quarantine through all stages again, as a batch of their own, and records who did.

    A line that is good now joins the other lines of its invoice. A line that still breaks a rule waits under a new id.

    Args:
        settings: whose database and artifact store.
        quarantine_ids: of waiting lines.
        changes: column to the new text of its cell, in each of the lines; None if the rules have changed instead.
        actor: who releases them; None for the database's user.
        reason: why, for later readers.

    Returns:
        Where the released lines went.

    Raises:
        InputError: no line is named, a line does not wait, or there is no such column.
        QualityError: the lines as a whole broke a critical rule.
        ArtifactError: the artifact store refused the batch's page.
    """
    changes = changes or {}
    requests.check_columns(changes)
    counts = _release(settings, quarantine_ids, changes)
    requests.record_release(settings, quarantine_ids, changes, actor=actor, reason=reason, batch_id=counts.batch_id)
    return counts


def release_request(settings: Settings, request_id: int) -> int | None:
    """Releases the lines that somebody asked for with `requests.ask`. A second try goes on where the first stopped.

    Returns:
        The id of the batch that brought them; None if the request was dropped or is done.

    Raises:
        NcfError: as `release`, which the request also says.
    """
    asked = requests.begin(settings, request_id)
    if asked is None:
        logger.info("Request %d is not carried out: it was dropped, or is done.", request_id)
        return None
    try:
        batch_id = requests.released_before(settings, asked)
        if batch_id is None:
            batch_id = _release_asked(settings, asked).batch_id
    except NcfError as error:
        requests.fail(settings, request_id, str(error))
        raise
    requests.finish(settings, request_id, batch_id)
    return batch_id


def _release_asked(settings: Settings, asked: Asked) -> BatchCounts:
    if not asked.by_workbook:
        return _release(settings, asked.quarantine_ids, asked.changes)
    if asked.workbook is None:
        raise InputError(f"The workbook of request {asked.request_id} is no longer kept. Send it again.")
    with scratch_folder() as folder:
        file = folder / f"corrections-{asked.request_id}.xlsx"
        file.write_bytes(asked.workbook)
        return ingest(settings, [str(file)])


def _release(settings: Settings, quarantine_ids: Sequence[int], changes: Mapping[str, str]) -> BatchCounts:
    with scratch_folder() as folder:
        # The same lines and changes give the same bytes, so a release that was killed continues where it stopped.
        file = folder / "released-lines.csv"
        write_corrections(settings, quarantine_ids, changes, file)
        return ingest(settings, [str(file)])
