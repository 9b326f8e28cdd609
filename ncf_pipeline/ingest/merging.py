"""Merges good lines into `retail.invoice_line`, by invoice."""

from ncf_pipeline.ingest.batches import drop_landed_lines
from ncf_pipeline.storage.database import Connection, query_rows, refresh_statistics, rehearsed
from ncf_pipeline.storage.resources import query

NAMED_INVOICES = 10
"""The most invoices that a batch's record names for each thing that happened to them."""

BULK_LINES = 1_000_000
"""From so many landed lines on, and if no more are stored, the indexes for pages are made anew after the merge."""


def merge_good_lines(connection: Connection, batch_id: int) -> None:
    """Merges a landed batch whose broken lines are in quarantine, and closes its record.

    An invoice's new lines replace its earlier ones; the same content changes nothing. If two batches are merged at
    once, the second waits, so that the newer batch's lines stay.
    """
    with connection.cursor() as cursor:
        cursor.execute("lock table retail.invoice in share row exclusive mode")
        refresh_statistics(connection, "raw.quarantined_line")
        is_aside = _is_bulk(connection, batch_id) and _set_lookups_aside(connection)
        cursor.execute(query("merge_batch"), {"batch_id": batch_id, "named": NAMED_INVOICES})
        if is_aside:
            cursor.execute("select retail.bring_lookups_back()")
        if rehearsed() is None:  # others would wait for its lock
            cursor.execute("select retail.summarise_new_lines()")
    drop_landed_lines(connection, batch_id)


def _is_bulk(connection: Connection, batch_id: int) -> bool:
    """Whether a batch is so large beside the shop that to write the indexes anew costs less than to extend them."""
    if rehearsed() is not None:  # readers would wait for nothing
        return False
    (bulk,) = query_rows(connection, "bulk_load", batch_id=batch_id)
    return bool(bulk.landed >= max(BULK_LINES, bulk.stored))


def _set_lookups_aside(connection: Connection) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("select retail.set_lookups_aside()")
        ((is_aside,),) = cursor.fetchall()
        return bool(is_aside)
