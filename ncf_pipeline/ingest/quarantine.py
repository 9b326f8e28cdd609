"""Lines that break a critical rule wait here, as they were and with the rules' ids."""

from collections.abc import Iterable
from typing import Any

from ncf_pipeline.errors import QualityError
from ncf_pipeline.storage.database import Connection
from ncf_pipeline.storage.resources import query


def quarantine_broken_lines(connection: Connection, batch_id: int, *, tomorrow: str) -> dict[str, int]:
    """Copies the broken lines of a landed batch into quarantine.

    Args:
        connection: whose transaction it is part of.
        batch_id: of a landed batch that has none there yet.
        tomorrow: later dates are in the future; the instant that the batch was validated with.

    Returns:
        The number of lines that broke each rule.
    """
    with connection.cursor() as cursor:
        cursor.execute(query("quarantine_broken_lines"), {"batch_id": batch_id, "tomorrow": tomorrow})
        cursor.execute(query("quarantine_settled_lines"), {"batch_id": batch_id})
        cursor.execute(query("quarantined_by_rule"), {"batch_id": batch_id})
        return dict(cursor.fetchall())


def check_counts(broken: Iterable[dict[str, Any]], found: dict[str, int]) -> None:
    """Makes sure that the lines in quarantine are those that the rules counted.

    Args:
        broken: what validation reported.
        found: lines in quarantine by rule.

    Raises:
        QualityError: they differ, so one of the two misreads the rules.
    """
    counted = {
        rule["rule_id"]: rule["rows"]
        for rule in broken
        if rule["severity"] == "critical" and rule["breaks"] == "row" and rule["rows"]
    }
    for rule_id in sorted(set(counted) | set(found)):
        if counted.get(rule_id, 0) != found.get(rule_id, 0):
            raise QualityError(
                f"The rule {rule_id} counts {counted.get(rule_id, 0):,} lines, but {found.get(rule_id, 0):,} were "
                "found for quarantine: expectations/invoices.json and sql/queries/quarantine_broken_lines.sql differ."
            )
