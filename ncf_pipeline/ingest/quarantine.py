"""Lines that break a critical rule wait here, with their original cells and the rules' ids."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ncf_pipeline.errors import QualityError
from ncf_pipeline.ingest.batches import Batch
from ncf_pipeline.quality.suites import BrokenRule
from ncf_pipeline.storage.database import Connection, query_rows, refresh_statistics
from ncf_pipeline.storage.resources import query


@dataclass(frozen=True)
class QuarantineCounts:
    """How many lines a batch brought into quarantine.

    Attributes:
        batch_id: of the batch.
        lines: number of lines in quarantine; a line may break several rules.
        rules: rule to the number of lines that broke it.
    """

    batch_id: int
    lines: int
    rules: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def quarantine_broken_lines(connection: Connection, batch_id: int, *, tomorrow: str) -> dict[str, int]:
    """Copies the broken lines of a landed batch into quarantine.

    Args:
        connection: with an open transaction.
        batch_id: of a landed batch that has no lines in quarantine yet.
        tomorrow: a later date is in the future; must be the instant that the batch was validated with.

    Returns:
        Rule to the number of lines that broke it.
    """
    with connection.cursor() as cursor:
        cursor.execute(query("quarantine_broken_lines"), {"batch_id": batch_id, "tomorrow": tomorrow})
        # The lines came a moment ago.
        refresh_statistics(connection, "raw.quarantined_line")
        cursor.execute(query("quarantine_settled_lines"), {"batch_id": batch_id})
    return lines_by_rule(connection, batch_id)


def lines_by_rule(connection: Connection, batch_id: int) -> dict[str, int]:
    """Rule to the number of the batch's lines in quarantine that broke it."""
    rows = query_rows(connection, "quarantined_by_rule", batch_id=batch_id)
    return {row.rule_id: row.lines for row in rows}


def lines_in_quarantine(connection: Connection, batch: Batch) -> QuarantineCounts:
    """How many lines a batch has in quarantine; if its bytes were read before, how many the earlier batch has."""
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from raw.quarantined_line where batch_id = %s", (batch.read_as,))
        (lines,) = cursor.fetchone() or (0,)
    return QuarantineCounts(batch.batch_id, lines, lines_by_rule(connection, batch.read_as))


def has_waiting_lines(connection: Connection, batch_id: int) -> bool:
    """Returns whether a line that this batch brought waits for a person."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select exists (select from raw.quarantined_line where batch_id = %s and state = 'waiting')", (batch_id,)
        )
        (waits,) = cursor.fetchone() or (False,)
    return bool(waits)


def check_counts(broken: Iterable[BrokenRule], quarantined: Mapping[str, int]) -> None:
    """Compares the lines in quarantine with those that validation counted.

    Args:
        broken: the broken rules of the validation report.
        quarantined: rule to its lines in quarantine.

    Raises:
        QualityError: a number differs, so one of the two misreads a rule.
    """
    counted = {
        rule.rule_id: rule.rows for rule in broken if rule.severity == "critical" and rule.breaks == "row" and rule.rows
    }
    for rule_id in sorted(set(counted) | set(quarantined)):
        if counted.get(rule_id, 0) != quarantined.get(rule_id, 0):
            raise QualityError(
                f"Validation counted {counted.get(rule_id, 0):,} lines that break {rule_id}, but quarantine selected "
                f"{quarantined.get(rule_id, 0):,}: expectations/invoices.json and "
                "sql/queries/quarantine_broken_lines.sql differ. Make them say the same."
            )
