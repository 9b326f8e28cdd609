"""Merges good lines into `retail.invoice_line`, by invoice."""

from ncf_pipeline.ingest.batches import drop_landed_lines
from ncf_pipeline.storage.database import Connection, refresh_statistics, rehearsed
from ncf_pipeline.storage.resources import query

NAMED_INVOICES = 10
"""The most invoices that a batch's record names for each thing that happened to them."""


def merge_good_lines(connection: Connection, batch_id: int) -> None:
    """Merges a landed batch whose broken lines are in quarantine, and closes its record.

    An invoice's new lines replace its earlier ones; the same content changes nothing. If two batches are merged at
    once, the second waits, so that the newer batch's lines stay.
    """
    with connection.cursor() as cursor:
        cursor.execute("lock table retail.invoice in share row exclusive mode")
        refresh_statistics(connection, "raw.quarantined_line")
        cursor.execute(query("merge_batch"), {"batch_id": batch_id, "named": NAMED_INVOICES})
        if rehearsed() is None:  # others would wait for its lock
            cursor.execute("select retail.summarise_new_lines()")
    drop_landed_lines(connection, batch_id)
