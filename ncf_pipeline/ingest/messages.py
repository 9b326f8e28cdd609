"""What on-call is told about a batch that broke rules."""

from typing import Any

from psycopg2.extras import RealDictCursor

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.batches import batch_record
from ncf_pipeline.privacy import masked
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, transaction
from ncf_pipeline.storage.resources import query


def example_lines(connection: Connection, batch_id: int) -> list[dict[str, Any]]:
    """Up to five lines of a batch in quarantine for each rule: `rule_id`, `file`, `row_number`, `original`."""
    return _lines(connection, "example_lines", batch_id)


def unreadable_lines(connection: Connection, batch_id: int) -> list[dict[str, Any]]:
    """Up to five landed lines of a batch that cannot be used: `file`, `row_number`, `original`."""
    return _lines(connection, "unreadable_lines", batch_id)


def example_line(line: dict[str, Any]) -> str:
    """A line in one line of text; who bought is masked, for it goes into chats and mails."""
    cells = {**line["original"]}
    if cells.get(InvoiceLines.CUSTOMER_ID):
        cells[InvoiceLines.CUSTOMER_ID] = masked(cells[InvoiceLines.CUSTOMER_ID])
    if "line" in cells:
        # It could not be divided into cells, so nobody knows where the customer stands in it.
        cells["line"] = "(cannot be divided into cells)"
    shown = ", ".join(f"{name} {_short(cells[name])}" for name in (*InvoiceLines.ALL, "line") if cells.get(name))
    return f"{line['file']} row {line['row_number']:,}: {shown}"


def quality_message(settings: Settings, batch_id: int) -> str | None:
    """What to tell on-call: the file, each failed rule in words, how many rows, examples, where to look.

    Args:
        settings: whose database, and where the pages of batches are opened.
        batch_id: of a batch that is in quarantine, or rejected.

    Returns:
        A few lines of text; None if no critical rule failed and no file was refused.
    """
    with transaction(settings) as connection:
        record = batch_record(connection, batch_id)
        examples = example_lines(connection, batch_id)
    report = record["report"] or {"broken": []}
    failed = [rule for rule in report["broken"] if rule["failed"] and rule["severity"] == "critical"]
    refused = [file["reason"] for file in record["rejected_files"] or ()]
    if not failed and not refused:
        return None
    rejected = record["status"] == "rejected"
    if rejected:
        what = "was rejected, and nothing of it was loaded"
    elif failed:
        what = "has lines in quarantine; the rest goes on"
    else:
        what = "goes on without the files that were refused"
    lines = [f"Batch {batch_id} ({record['source']}) {what}."]
    for rule in failed:
        lines.append(f"- {rule['sentence']} Broken by {rule['rows']:,} rows ({rule['rule_id']}).")
        of_rule = [line for line in examples if line["rule_id"] == rule["rule_id"]]
        if rejected and rule["breaks"] == "batch":
            of_rule = report.get("examples", [])
        lines += [f"    {example_line(line)}" for line in of_rule]
    lines += [f"- Refused: {reason}" for reason in refused[:5]]
    if len(refused) > 5:
        lines.append(f"  and {len(refused) - 5} more files")
    if report.get("docs"):
        lines.append(f"Every rule: {report['docs']}")
    if rejected or refused:
        lines.append("Correct the file and send it again; it is in the folder `rejected`, with the reason beside it.")
    return "\n".join(lines)


def _lines(connection: Connection, name: str, batch_id: int) -> list[dict[str, Any]]:
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query(name), {"batch_id": batch_id})
        return [dict(row) for row in cursor.fetchall()]


def _short(cell: object) -> str:
    text = " ".join(str(cell).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
