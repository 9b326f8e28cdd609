"""What became of a batch, for people."""

from typing import Any

from ncf_pipeline.errors import InputError
from ncf_pipeline.ingest.batches import batch_record, counts_of
from ncf_pipeline.quality import suites as quality
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storage.resources import query


def batch_summary(settings: Settings, batch_id: int | None = None) -> dict[str, Any]:
    """Where the lines of a batch went, and why.

    Args:
        settings: whose database.
        batch_id: the newest if None.

    Returns:
        The fields of `BatchCounts`, `source`, and `reasons`: for each rule that put lines into quarantine
        its sentence and their number.

    Raises:
        InputError: there is no such batch, or none at all.
    """
    with transaction(settings) as connection, connection.cursor() as cursor:
        if batch_id is None:
            cursor.execute(query("newest_batch"))
            newest = cursor.fetchone()
            if newest is None:
                raise InputError("No invoices were loaded yet: `ncf-pipeline ingest PATH` loads them.")
            (batch_id,) = newest
        record = batch_record(connection, batch_id)
        # The same bytes again are not read again: what they brought into quarantine is with the first batch.
        cursor.execute(query("quarantined_by_rule"), {"batch_id": record["same_as"] or batch_id})
        lines = dict(cursor.fetchall())
    rules = quality.rules_of("invoices")
    return {
        **counts_of(record).as_dict(),
        "source": record["source"],
        "reasons": {rule: [rules[rule].sentence if rule in rules else rule, lines[rule]] for rule in sorted(lines)},
    }
