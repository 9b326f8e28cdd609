"""Files into `raw.landed_line`: every line of them, or none."""

import hashlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.batches import called, lock_landing
from ncf_pipeline.ingest.erased_lines import without_erased
from ncf_pipeline.ingest.fetching import FileChangedError, FileGoneError, Source, check_unchanged, fetch
from ncf_pipeline.ingest.inbox import move_to_rejected, name_of
from ncf_pipeline.ingest.readers.cells import ORIGINAL, UNREADABLE, DateOrder, ambiguous_at, as_typed, examples_of_order
from ncf_pipeline.ingest.readers.file_kinds import open_file
from ncf_pipeline.ingest.readers.header import CORRECTS, shortened
from ncf_pipeline.ingest.readers.table import ROW, Table
from ncf_pipeline.privacy import known_erased
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, transaction
from ncf_pipeline.storage.resources import query

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0 if unknown)."""


@dataclass
class _Offer:
    """The files that a run was offered, as they turn out."""

    readable: list[Source] = field(default_factory=list)
    refused: list[tuple[str, str, str]] = field(default_factory=list)  # location, SHA-256, reason
    left: list[str] = field(default_factory=list)  # why a file is neither


@dataclass(frozen=True)
class _Landed:
    lines: int
    sheets: list[str]
    ignored: list[str]
    note: str | None


def land_files(
    settings: Settings, files: Sequence[str], *, rules_sha256: str, on_progress: Progress | None = None
) -> int:
    """Lands files as one batch.

    A file that cannot be used is refused alone, recorded, and moved out of the inbox; the others are landed.
    Files that an unfinished batch holds are not taken again: that batch is given back, so that a run which was
    killed goes on where it stopped. Bytes that were merged before are recognised and not read again.

    Args:
        settings: of this run.
        files: paths or URLs.
        rules_sha256: of the rules that the lines will be checked with.
        on_progress: is told about each file.

    Returns:
        The batch's id.

    Raises:
        InputError: no file could be used.
    """
    if not files:
        raise InputError("There are no files to load. Drop some into the inbox, or name them.")
    with tempfile.TemporaryDirectory(prefix="ncf-") as folder:
        offer = _look_at(files, Path(folder))
        with transaction(settings) as connection:
            batch_id = _land(connection, settings, offer, rules_sha256, on_progress)
            rejected = _record_refused(connection, offer, batch_id)
    for location, reason, its_batch in rejected:
        logger.warning("Refused: %s", reason)
        move_to_rejected(settings, location, reason, its_batch)
    if batch_id is None:
        reasons = [reason for _, reason, _ in rejected] + offer.left
        more = f" ({len(reasons) - 1} more files could not be used either)" if len(reasons) > 1 else ""
        raise InputError(f"{reasons[0]}{more}")
    return batch_id


def _look_at(files: Sequence[str], folder: Path) -> _Offer:
    offer = _Offer()
    for location in files:
        try:
            offer.readable.append(fetch(location, folder))
        except FileGoneError as error:
            logger.info("%s", error)
            offer.left.append(str(error))
        except InputError as error:
            offer.refused.append((location, "", str(error)))
    return offer


def _land(
    connection: Connection, settings: Settings, offer: _Offer, rules_sha256: str, on_progress: Progress | None
) -> int | None:
    lock_landing(connection)
    with connection.cursor() as cursor:
        cursor.execute(query("open_files"), {"sha256": [source.sha256 for source in offer.readable]})
        taken: dict[str, int] = dict(cursor.fetchall())
    free = [source for source in offer.readable if source.sha256 not in taken]
    if not free:
        # Nothing but files of unfinished batches: go on with the oldest of them.
        return min(taken.values(), default=None)
    for source in offer.readable:
        if source.sha256 in taken:
            logger.info("%s is in batch %d, which is not finished: left to it.", source.name, taken[source.sha256])
    recognised = _recognise(connection, free, rules_sha256)
    return recognised if recognised is not None else _land_batch(connection, settings, offer, free, on_progress)


def _recognise(connection: Connection, sources: Sequence[Source], rules_sha256: str) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(query("same_bytes"), {"sha256": _sha256_of(sources), "rules_sha256": rules_sha256})
        known = cursor.fetchone()
        if known is None:
            return None
        names = [source.name for source in sources]
        reason = f"the same bytes as batch {known[0]} ({known[1]}): nothing to change"
        cursor.execute(
            query("insert_recognised_batch"), {"source": called(names), "reason": reason, "same_as": known[0]}
        )
        batch_id = int(cursor.fetchone()[0])  # type: ignore[index]
    for number, source in enumerate(sources, 1):
        _record_file(connection, batch_id, number, source, _Landed(0, [], [], reason))
    return batch_id


def _land_batch(
    connection: Connection, settings: Settings, offer: _Offer, sources: Sequence[Source], on_progress: Progress | None
) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(query("insert_batch"), {"source": "", "sha256": ""})
        batch_id = int(cursor.fetchone()[0])  # type: ignore[index]
    landed: dict[str, Source] = {}
    copies = []
    lines = 0
    for done, source in enumerate(sources):
        if on_progress is not None:
            on_progress(source.name, done, len(sources))
        if source.sha256 in landed:
            copies.append(source)
            continue
        try:
            with _savepoint(connection):
                result = _land_file(connection, settings, source, batch_id, len(landed) + 1, lines)
                check_unchanged(source)
        except FileChangedError as error:
            logger.info("%s", error)
            offer.left.append(str(error))
        except InputError as error:
            offer.refused.append((source.location, source.sha256, str(error)))
        else:
            landed[source.sha256] = source
            _record_file(connection, batch_id, len(landed), source, result)
            lines += result.lines
    for number, source in enumerate(copies, len(landed) + 1):
        note = f"the same bytes as {landed[source.sha256].name}: not read again"
        _record_file(connection, batch_id, number, source, _Landed(0, [], [], note))
    with connection.cursor() as cursor:
        if not landed:
            cursor.execute("delete from raw.batch where batch_id = %s", (batch_id,))
            return None
        read = list(landed.values())
        cursor.execute(
            "update raw.batch set source = %s, sha256 = %s, lines_read = %s where batch_id = %s",
            (called([source.name for source in read]), _sha256_of(read), lines, batch_id),
        )
        cursor.execute(query("apply_corrections"), {"batch_id": batch_id})
        if cursor.rowcount:
            known = f"{cursor.rowcount} broken lines were read as they were corrected before"
            cursor.execute("update raw.batch set reason = %s where batch_id = %s", (known, batch_id))
        # The table was empty a moment ago: without a look at it, joins would be planned for no rows at all.
        cursor.execute("analyze raw.landed_line (batch_id, line_number, invoice_no, file_number)")
    return batch_id


def _land_file(
    connection: Connection, settings: Settings, source: Source, batch_id: int, file_number: int, lines_before: int
) -> _Landed:
    lines = lines_before
    take_out = partial(without_erased, erased=known_erased(connection, settings))
    with open_file(source.path, source.name, max_unpacked_mb=settings.max_unpacked_mb) as opened:
        for number, table in enumerate(opened.tables, 1):
            place = (batch_id, file_number, 0 if table.sheet is None else number)
            lines = _land_table(connection, table, place, lines, take_out)
        if lines == lines_before:
            raise InputError(f"{source.name} has a header but no lines: there is nothing to load.")
        return _Landed(
            lines - lines_before,
            sheets=[table.sheet for table in opened.tables if table.sheet is not None],
            ignored=list(dict.fromkeys(name for table in opened.tables for name in table.ignored)),
            note=opened.note,
        )


def _land_table(
    connection: Connection,
    table: Table,
    place: tuple[int, int, int],
    lines: int,
    take_out: Callable[[pl.DataFrame], pl.DataFrame],
) -> int:
    """Copies a table; gives the number of the batch's last line."""
    batch_id, file_number, sheet_number = place
    order: DateOrder | None = None
    statement = query("copy_landed_lines")
    with connection.cursor() as cursor:
        for chunk in table.chunks():
            if order is None and ambiguous_at(chunk[InvoiceLines.INVOICE_DATE]) is not None:
                order = date_order(table)
            typed = as_typed(chunk, order=order, serial_dates=table.serial_dates, decimal_comma=table.decimal_comma)
            landed = take_out(typed).select(
                pl.lit(batch_id).alias("batch_id"),
                pl.int_range(lines + 1, lines + 1 + pl.len()).alias("line_number"),
                pl.lit(file_number).alias("file_number"),
                pl.lit(sheet_number).alias("sheet_number"),
                ROW,
                *InvoiceLines.ALL,
                pl.format("{{{}}}", pl.col(UNREADABLE).list.join(",")).alias(UNREADABLE),
                ORIGINAL,
                CORRECTS,
            )
            cursor.copy_expert(statement, io.BytesIO(landed.write_csv(include_header=False).encode()))
            lines += len(typed)
    return lines


def date_order(table: Table) -> DateOrder | None:
    """Whether dates such as 01/02/2011 have the day or the month first in a table: what its other dates prove.

    Raises:
        InputError: nothing proves it, or both are proved; the message names a row.
    """
    proved: dict[DateOrder, tuple[int, str]] = {}
    unclear: tuple[int, str] | None = None
    for chunk in table.chunks():
        dates, rows = chunk[InvoiceLines.INVOICE_DATE], chunk[ROW]
        for order, at in examples_of_order(dates).items():
            proved.setdefault(order, (rows[at], dates[at]))
        if unclear is None and (at_unclear := ambiguous_at(dates)) is not None:
            unclear = rows[at_unclear], dates[at_unclear]
    if len(proved) == 1:
        return next(iter(proved))
    if proved:
        (first, first_text), (second, second_text) = proved.values()
        raise InputError(
            f"{table.where} mixes two ways to write dates: row {first:,} has {shortened(first_text, 40)} and row "
            f"{second:,} has {shortened(second_text, 40)}. Write all of them as 2011-12-25."
        )
    if unclear is not None:
        raise InputError(
            f"{table.where} row {unclear[0]:,}: {shortened(unclear[1], 40)} could have the day or the month first, and "
            "no other date in the file tells. Write dates as 2011-12-25."
        )
    return None


def _record_file(connection: Connection, batch_id: int, number: int, source: Source, landed: _Landed) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            query("insert_batch_file"),
            {
                "batch_id": batch_id,
                "file_number": number,
                "name": source.name,
                "location": source.location,
                "sha256": source.sha256,
                "bytes": source.bytes,
                "lines_read": landed.lines,
                "sheets": [shortened(sheet) for sheet in landed.sheets],
                "ignored_columns": landed.ignored,
                "note": landed.note,
            },
        )


def _record_refused(connection: Connection, offer: _Offer, batch_id: int | None) -> list[tuple[str, str, int]]:
    """Each refused file is a rejected batch of its own; gives location, reason and batch of each."""
    rejected = []
    with connection.cursor() as cursor:
        for location, sha256, reason in offer.refused:
            told = {
                "source": name_of(location),
                "sha256": sha256,
                "reason": shortened(reason, 2_000),
                "offered_with": batch_id,
            }
            cursor.execute(query("insert_rejected_batch"), told)
            rejected.append((location, reason, int(cursor.fetchone()[0])))  # type: ignore[index]
    return rejected


@contextmanager
def _savepoint(connection: Connection) -> Iterator[None]:
    """What the block wrote is taken back if it fails; the rest of the transaction stays."""
    with connection.cursor() as cursor:
        cursor.execute("savepoint file")
        try:
            yield
        except InputError:
            cursor.execute("rollback to savepoint file")
            raise
        cursor.execute("release savepoint file")


def _sha256_of(sources: Sequence[Source]) -> str:
    """Of a set of files, whatever their order."""
    return hashlib.sha256("\n".join(sorted({source.sha256 for source in sources})).encode()).hexdigest()
