"""Files into `raw.landed_line`: every line of a file, or none."""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.errors import InputError, SourceUnavailableError
from ncf_pipeline.ingest.batches import drop_landed_lines, lock_landing, name_files
from ncf_pipeline.ingest.erased_lines import without_erased
from ncf_pipeline.ingest.fetching import FileChangedError, FileGoneError, Source, check_unchanged, fetch
from ncf_pipeline.ingest.inbox import File, location_and_mapping, move_to_rejected, name_of
from ncf_pipeline.ingest.mappings.mapping import Mapping
from ncf_pipeline.ingest.mappings.store import keep_used, named, readable, sells_fractions
from ncf_pipeline.ingest.proposals.recognise import next_step
from ncf_pipeline.ingest.readers.cells import ORIGINAL, UNREADABLE, as_typed
from ncf_pipeline.ingest.readers.file_kinds import open_file
from ncf_pipeline.ingest.readers.header import CORRECTS, HeaderError, shortened
from ncf_pipeline.ingest.readers.table import LEFT_OUT, ROW, TAKES_BACK, Table
from ncf_pipeline.privacy import known_erased
from ncf_pipeline.redaction import redacted_location
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import (
    Connection,
    query_rows,
    refresh_statistics,
    rehearsed,
    savepoint,
    transaction,
)
from ncf_pipeline.storage.faults import may_pass
from ncf_pipeline.storage.resources import query
from ncf_pipeline.storage.scratch import scratch_folder

logger = logging.getLogger(__name__)

_Item = TypeVar("_Item")

Progress = Callable[[str, int, int], None]
"""Called with the name of the current step, how many are done, and how many there are (0 if unknown)."""


@dataclass(frozen=True)
class _Calls:
    """What the caller wants to be told; see `land_files`."""

    on_progress: Progress | None
    on_copy: Callable[[], object] | None
    on_table: Callable[[Table], None] | None


@dataclass(frozen=True)
class _Refused:
    """A file that cannot be used; `sha256` is empty if it could not even be read."""

    location: str
    sha256: str
    reason: str


@dataclass
class _Offer:
    """The files of a run, sorted by what can be done with them."""

    readable: list[Source] = field(default_factory=list)
    refused: list[_Refused] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # why a file is left for the next run


@dataclass(frozen=True)
class _Landed:
    lines: int
    sheets: list[str]
    ignored: list[str]
    note: str | None


@dataclass(frozen=True)
class Place:
    """Where a table's lines belong: batch, file (from 1), and sheet (from 1; 0 if the file is not a workbook)."""

    batch_id: int
    file_number: int
    sheet_number: int


def land_files(
    settings: Settings,
    files: Sequence[File],
    *,
    rules_sha256: str,
    on_progress: Progress | None = None,
    on_copy: Callable[[], object] | None = None,
    on_table: Callable[[Table], None] | None = None,
    inbox: Path | None = None,
) -> int:
    """Lands files as one batch.

    A file that cannot be used is refused alone: it is recorded and moved out of the inbox, and the others are landed.
    Files of an unfinished batch are not landed again. If there are no others, the unfinished batch is returned, so that
    a run that was killed continues where it stopped. Bytes that were merged before are recognised and not read again.

    Args:
        settings: whose database and inbox; `max_unpacked_mb` limits a file.
        files: paths or URLs, or those with the name of their mapping.
        rules_sha256: of the rules that the lines will be checked with.
        on_progress: called before each file.
        on_copy: called when the lines of a file begin to be copied into Postgres.
        on_table: called with each table that is read.
        inbox: the folder out of which no link of its own may lead; None for the inbox of the settings.

    Returns:
        The batch's id.

    Raises:
        InputError: there are no files, or none can be used.
        SourceUnavailableError: a file cannot be read now. Nothing is refused or landed.
        SettingsError: customers were erased, and their key is missing or wrong.
    """
    if not files:
        raise InputError("There are no files to load. Drop some into the inbox, or name them.")
    with scratch_folder() as folder:
        offer = _fetch_all(settings, files, folder, inbox or settings.inbox_path)
        with transaction(settings) as connection:
            batch_id = _land(connection, settings, offer, rules_sha256, _Calls(on_progress, on_copy, on_table))
            rejected = _record_refused(connection, offer.refused, batch_id)
    for rejected_batch, file in rejected.items():
        logger.warning("Refused: %s", file.reason)
        move_to_rejected(settings.inbox_path, file.location, file.reason, rejected_batch)
    if batch_id is None:
        reasons = [file.reason for file in offer.refused] + offer.left
        more = f" ({len(reasons) - 1} more could not be used either)" if len(reasons) > 1 else ""
        raise InputError(f"{reasons[0]}{more}")
    return batch_id


def _fetch_all(settings: Settings, files: Sequence[File], folder: Path, inbox: Path) -> _Offer:
    offer = _Offer()
    known: dict[str, Mapping] = {}
    for file in files:
        location, name = location_and_mapping(file)
        try:
            if name is not None and name not in known:
                known[name] = named(settings, name).mapping
        except InputError as error:
            # Somebody has removed it since the file was found. With it again, the file can be read as it is.
            offer.left.append(f"{name_of(location)} is left where it is: {error}")
            logger.warning("%s", offer.left[-1])
            continue
        try:
            mapping = known[name] if name is not None else None
            offer.readable.append(fetch(location, folder, mapping, inbox=inbox, max_mb=settings.max_unpacked_mb))
        except FileGoneError as error:
            logger.info("%s", error)
            offer.left.append(str(error))
        except InputError as error:
            _stop_if_it_may_pass(error)
            offer.refused.append(_Refused(location, "", str(error)))
    return offer


def _land(connection: Connection, settings: Settings, offer: _Offer, rules_sha256: str, calls: _Calls) -> int | None:
    lock_landing(connection)
    # A rehearsal must not touch a batch that another run is working on.
    offered = [source.sha256 for source in offer.readable] if rehearsed() is None else []
    rows = query_rows(connection, "open_files", sha256=offered)
    started: dict[tuple[str, str | None], int] = {(row.sha256, row.mapping_sha256): row.batch_id for row in rows}
    replaced = _replace_changed(connection, offer.readable, started)
    started = {read_as: batch_id for read_as, batch_id in started.items() if batch_id not in replaced}
    unfinished = {source.read_as: started[source.read_as] for source in offer.readable if source.read_as in started}
    free = [source for source in offer.readable if source.read_as not in unfinished]
    if not free:
        # Only files of unfinished batches: continue with the oldest of these.
        return min(unfinished.values(), default=None)
    for source in offer.readable:
        if source.read_as in unfinished:
            logger.info(
                "%s belongs to batch %d, which is not finished: it stays there.",
                source.name,
                unfinished[source.read_as],
            )
    recognised = _recognise(connection, settings, free, rules_sha256)
    return recognised if recognised is not None else _land_batch(connection, settings, offer, free, calls)


def _replace_changed(
    connection: Connection, sources: Sequence[Source], started: dict[tuple[str, str | None], int]
) -> set[int]:
    """Rejects unfinished batches whose mapping has changed since a run was killed; returns their ids.

    Nobody would finish them, because their files are now read by the other mapping.
    """
    offered = {source.read_as for source in sources}
    changed = {batch_id for read_as, batch_id in started.items() if read_as not in offered}
    replaced: set[int] = set()
    if changed:
        for row in query_rows(connection, "replace_open_batches", batch_ids=sorted(changed)):
            logger.warning(
                "Batch %d was not finished, and its mapping has changed: its files are read again.", row.batch_id
            )
            drop_landed_lines(connection, row.batch_id)
            replaced.add(row.batch_id)
    return replaced


def _recognise(connection: Connection, settings: Settings, sources: Sequence[Source], rules_sha256: str) -> int | None:
    """Records a batch of bytes that were merged before; returns its id, or None if the files must be read."""
    sha256 = _sha256_of(sources, settings)
    merged_before = query_rows(connection, "same_bytes", sha256=sha256, rules_sha256=rules_sha256)
    if not merged_before:
        return None
    (earlier,) = merged_before
    reason = f"the same bytes as batch {earlier.batch_id} ({earlier.source}): nothing to change"
    (recognised,) = query_rows(
        connection,
        "insert_recognised_batch",
        source=name_files([source.name for source in sources]),
        reason=reason,
        same_as=earlier.batch_id,
    )
    for number, source in enumerate(sources, 1):
        _record_file(connection, recognised.batch_id, number, source, _Landed(0, [], [], reason))
    return int(recognised.batch_id)


def _land_batch(
    connection: Connection, settings: Settings, offer: _Offer, sources: Sequence[Source], calls: _Calls
) -> int | None:
    """Lands the sources as a new batch; returns its id, or None if none of them could be read."""
    (batch,) = query_rows(connection, "insert_batch", source="", sha256="")
    batch_id = int(batch.batch_id)
    landed: dict[tuple[str, str | None], Source] = {}
    copies = []
    lines = 0
    for done, source in enumerate(sources):
        if calls.on_progress is not None:
            calls.on_progress(source.name, done, len(sources))
        if source.read_as in landed:
            copies.append(source)
            continue
        try:
            with savepoint(connection, "file", undone_by=InputError):
                result = _land_file(connection, settings, source, batch_id, len(landed) + 1, lines, calls)
                check_unchanged(source)
        except FileChangedError as error:
            logger.info("%s", error)
            offer.left.append(str(error))
        except InputError as error:
            _stop_if_it_may_pass(error)
            advice = _advice(connection, settings, source) if isinstance(error, HeaderError) else ""
            offer.refused.append(_Refused(source.location, source.sha256, f"{error}{advice}"))
        else:
            landed[source.read_as] = source
            _record_file(connection, batch_id, len(landed), source, result)
            lines += result.lines
    for number, source in enumerate(copies, len(landed) + 1):
        note = f"the same bytes as {landed[source.read_as].name}: not read again"
        _record_file(connection, batch_id, number, source, _Landed(0, [], [], note))
    with connection.cursor() as cursor:
        if not landed:
            cursor.execute("delete from raw.batch where batch_id = %s", (batch_id,))
            return None
        read = list(landed.values())
        cursor.execute(
            "update raw.batch set source = %s, sha256 = %s, lines_read = %s where batch_id = %s",
            (name_files([source.name for source in read]), _sha256_of(read, settings), lines, batch_id),
        )
        # The table was empty a moment ago.
        columns = ("batch_id", "line_number", "invoice_no", "file_number", "customer_id", "corrects", "left_out")
        refresh_statistics(connection, "raw.landed_line", *columns)
        cursor.execute(query("apply_corrections"), {"batch_id": batch_id})
        if cursor.rowcount:
            note = f"broken lines that were read with an earlier correction: {cursor.rowcount}"
            cursor.execute("update raw.batch set reason = %s where batch_id = %s", (note, batch_id))
    return batch_id


def _land_file(
    connection: Connection,
    settings: Settings,
    source: Source,
    batch_id: int,
    file_number: int,
    lines_before: int,
    calls: _Calls,
) -> _Landed:
    lines = lines_before
    take_out_erased = partial(without_erased, erased=known_erased(connection, settings))
    with open_file(
        source.path,
        source.name,
        max_unpacked_mb=settings.max_unpacked_mb,
        mapping=source.mapping,
        shop_timezone=settings.shop_timezone,
        fractions_are_corrections=sells_fractions(connection),
    ) as opened:
        if calls.on_copy is not None:
            calls.on_copy()
        for number, table in enumerate(opened.tables, 1):
            logger.debug("%s is read by %s", table.where, "; ".join(table.dialect.evidence) or "the usual marks")
            if calls.on_table is not None:
                calls.on_table(table)
            place = Place(batch_id, file_number, 0 if table.sheet is None else number)
            lines = _land_table(connection, table, place, lines, take_out_erased)
        if lines == lines_before:
            raise InputError(f"{source.name} has a header but no lines: there is nothing to load.")
        return _Landed(
            lines - lines_before,
            sheets=[table.sheet for table in opened.tables if table.sheet is not None],
            ignored=list(dict.fromkeys(name for table in opened.tables for name in table.ignored)),
            note=opened.note,
        )


def _advice(connection: Connection, settings: Settings, source: Source) -> str:
    """What to do with a file without the columns that were looked for: it may look like another shop's."""
    read_by = source.mapping.name if source.mapping is not None else None
    return next_step(settings, source.path, source.name, readable(connection), read_by=read_by)


def _land_table(
    connection: Connection,
    table: Table,
    place: Place,
    lines: int,
    take_out_erased: Callable[[pl.DataFrame], pl.DataFrame],
) -> int:
    """Copies a table's lines, after `lines` earlier ones of the batch; returns how many the batch has then."""
    statement = query("copy_landed_lines")
    with connection.cursor() as cursor:
        for text, read in _one_ahead(lines_as_csv(table, place, lines, take_out_erased)):
            cursor.copy_expert(statement, io.BytesIO(text))
            lines += read
    return lines


def lines_as_csv(
    table: Table, place: Place, lines: int, take_out_erased: Callable[[pl.DataFrame], pl.DataFrame]
) -> Iterator[tuple[bytes, int]]:
    """The typed lines of a table as `copy_landed_lines` takes them, a chunk at a time, each with its number of lines.

    Args:
        table: of an opened file.
        place: where its lines belong.
        lines: number of earlier lines of the batch.
        take_out_erased: takes erased customers off typed lines.
    """
    for chunk in table.chunks():
        typed = as_typed(chunk, table.dialect)
        landed = take_out_erased(typed).select(
            pl.lit(place.batch_id).alias("batch_id"),
            pl.int_range(lines + 1, lines + 1 + pl.len()).alias("line_number"),
            pl.lit(place.file_number).alias("file_number"),
            pl.lit(place.sheet_number).alias("sheet_number"),
            ROW,
            *InvoiceLines.ALL,
            pl.format("{{{}}}", pl.col(UNREADABLE).list.join(",")).alias(UNREADABLE),
            ORIGINAL,
            CORRECTS,
            # Only a mapping knows lines that do not count.
            *(name if name in typed.columns else pl.lit(None).alias(name) for name in (LEFT_OUT, TAKES_BACK)),
        )
        lines += len(typed)
        yield landed.write_csv(include_header=False).encode(), len(typed)


def _one_ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """The same items; the next one is made in a thread while the caller uses this one."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, items, None)
        while (item := following.result()) is not None:
            following = pool.submit(next, items, None)
            yield item


def _record_file(connection: Connection, batch_id: int, number: int, source: Source, landed: _Landed) -> None:
    if source.mapping is not None:
        keep_used(connection, source.mapping)
    with connection.cursor() as cursor:
        cursor.execute(
            query("insert_batch_file"),
            {
                "batch_id": batch_id,
                "file_number": number,
                "name": source.name,
                "location": redacted_location(source.location),
                "sha256": source.sha256,
                "bytes": source.bytes,
                "lines_read": landed.lines,
                "sheets": [shortened(sheet) for sheet in landed.sheets],
                "ignored_columns": landed.ignored,
                "note": landed.note,
                "mapping": source.mapping.name if source.mapping else None,
                "mapping_sha256": source.mapping.sha256 if source.mapping else None,
                "adds_parts": source.mapping is not None and source.mapping.invoices == "parts",
            },
        )


def _record_refused(connection: Connection, refused: Sequence[_Refused], batch_id: int | None) -> dict[int, _Refused]:
    """Records each refused file as a rejected batch of its own; returns the file by that batch's id."""
    rejected = {}
    for file in refused:
        (row,) = query_rows(
            connection,
            "insert_rejected_batch",
            source=name_of(file.location),
            sha256=file.sha256,
            reason=shortened(file.reason, 2_000),
            offered_with=batch_id,
        )
        rejected[int(row.batch_id)] = file
    return rejected


def _stop_if_it_may_pass(error: InputError) -> None:
    """Raises for a fault of this machine or of a server: the file is not refused, and the next try reads it.

    Raises:
        SourceUnavailableError: such as a full disk, where files are unpacked.
    """
    if isinstance(error, SourceUnavailableError):
        raise error
    if may_pass(error):
        raise SourceUnavailableError(f"{error} This may pass, so the file stays where it is.") from error


def _sha256_of(sources: Sequence[Source], settings: Settings) -> str:
    """Of a set of files and what they are read by, in any order. A mapping brings times to the shop's clock."""
    clock = settings.shop_timezone
    read = {" ".join([*filter(None, source.read_as), *([clock] if source.mapping else [])]) for source in sources}
    return hashlib.sha256("\n".join(sorted(read)).encode()).hexdigest()
