"""What people are told about a batch: the text of its alerts, and what it did to invoices."""

from collections.abc import Iterator, Sequence

from ncf_pipeline.alerts import Alert
from ncf_pipeline.alerts.kinds import LINES_QUARANTINED
from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.batches import BatchCounts, batch_record
from ncf_pipeline.ingest.merging import NAMED_INVOICES
from ncf_pipeline.ingest.quarantine import has_waiting_lines
from ncf_pipeline.ingest.readers.cells import cell_in_file
from ncf_pipeline.ingest.validation_report import ExampleLine
from ncf_pipeline.privacy import masked
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import Connection, query_rows, transaction

_REFUSED_SHOWN = 5


def example_lines(connection: Connection, batch_id: int) -> list[ExampleLine]:
    """Up to five of a batch's lines in quarantine for each rule."""
    return [
        ExampleLine(file=row.file, row_number=row.row_number, original=row.original, rule_id=row.rule_id)
        for row in query_rows(connection, "example_lines", batch_id=batch_id)
    ]


def unreadable_lines(connection: Connection, batch_id: int) -> list[ExampleLine]:
    """Up to five landed lines of a batch that cannot be used."""
    return [
        ExampleLine(file=row.file, row_number=row.row_number, original=row.original)
        for row in query_rows(connection, "unreadable_lines", batch_id=batch_id)
    ]


def example_line(line: ExampleLine) -> str:
    """A line as one line of text. The customer is masked, because alerts go into chats and mails."""
    cells = {name: cell_in_file(line.original, name) for name in (*InvoiceLines.ALL, "line")}
    if cells.get(InvoiceLines.CUSTOMER_ID):
        cells[InvoiceLines.CUSTOMER_ID] = masked(cells[InvoiceLines.CUSTOMER_ID])
    if "line" in cells:
        # Nobody knows which part of an undivided line is the customer.
        cells["line"] = "(cannot be divided into cells)"
    shown = ", ".join(f"{name} {_short(cells[name])}" for name in (*InvoiceLines.ALL, "line") if cells.get(name))
    return f"{line.file} row {line.row_number:,}: {shown}"


def of_invoices(names: Sequence[str], number: int) -> str:
    """Names invoices, and how many there are besides.

    >>> of_invoices(["536365"], 1), of_invoices(["536365", "536366"], 4)
    ('invoice 536365', 'invoices 536365, 536366 and 2 others')
    """
    more = number - len(names)
    others = f" and {more:,} {'other' if more == 1 else 'others'}" if more > 0 else ""
    return f"{'invoice' if number == 1 else 'invoices'} {', '.join(names)}{others}"


def replaced_lines(counts: BatchCounts, *, would: bool = False) -> Iterator[str]:
    """What a batch did to invoices that were stored before, or would do, in sentences."""
    if counts.replaced:
        verb = "would be" if would else "was" if counts.replaced == 1 else "were"
        yield (
            f"{counts.replaced:,} {'line' if counts.replaced == 1 else 'lines'} of earlier loads {verb} replaced, of "
            f"{of_invoices(counts.replaced_invoices, max(counts.invoices_replaced, len(counts.replaced_invoices)))}: "
            "an invoice's new lines replace its earlier ones."
        )
    if message := lost_lines(counts):
        yield message
    if counts.invoices_incomplete:
        batch_id = None if would else counts.batch_id
        yield _incomplete(batch_id, counts.incomplete_invoices, counts.invoices_incomplete)


def lost_lines(counts: BatchCounts) -> str | None:
    """What on-call and a person read if invoices lost lines; None if none did, as when a file is sent again."""
    if not counts.lost:
        return None
    named = ", ".join(counts.lost_invoices)
    return (
        f"{counts.lost:,} of the replaced lines have none for their product in the new load, of invoices such as "
        f"{named}. If these invoices came in two parts, send all their files in one call, or use a mapping with "
        "`invoices: parts`. If the lines were taken off on purpose, nothing is to be done."
    )


def _incomplete(batch_id: int | None, names: Sequence[str], number: int) -> str:
    invoices = f"{of_invoices(names, number)}, which had been loaded before"
    if batch_id is None:
        return f"Lines that wait in quarantine would be missing from {invoices}."
    return (
        f"Lines that wait in quarantine are missing from {invoices}. "
        f"Correct or discard them: ncf-pipeline quarantine list --batch {batch_id}"
    )


def quality_message(settings: Settings, batch_id: int) -> str | None:
    """What on-call reads about a batch: each failed rule in words, its rows, examples, and where to look.

    Args:
        settings: whose database.
        batch_id: of a batch whose lines are in quarantine, or that was rejected.

    Returns:
        A few lines of text; None if no critical rule failed and no file was refused.

    Raises:
        InputError: there is no such batch.
    """
    with transaction(settings) as connection:
        batch = batch_record(connection, batch_id)
        examples = example_lines(connection, batch_id)
        # Before the merge, the record does not name them yet.
        incomplete = [row.invoice_no for row in query_rows(connection, "incomplete_invoices", batch_id=batch_id)]
    report = batch.report
    failed = [rule for rule in report.failed if rule.severity == "critical"] if report is not None else []
    refused = [file.reason for file in batch.counts.rejected_files]
    if not failed and not refused:
        return None
    rejected = batch.counts.status == "rejected"
    if rejected:
        outcome = "was rejected: none of its lines was loaded"
    elif failed:
        outcome = "has lines in quarantine; its other lines are merged"
    else:
        outcome = "continues without the files that were refused"
    lines = [f"Batch {batch_id} ({batch.source}) {outcome}."]
    for rule in failed:
        rows = f"Broken by {rule.rows:,} {'row' if rule.rows == 1 else 'rows'} " if rule.breaks == "row" else ""
        lines.append(f"- {rule.sentence} {rows}({rule.rule_id}).")
        of_rule = [line for line in examples if line.rule_id == rule.rule_id]
        if report is not None and rejected and rule.breaks == "batch":
            of_rule = list(report.examples)
        lines += [f"    {example_line(line)}" for line in of_rule]
    if incomplete and not rejected:
        lines.append(f"- {_incomplete(batch_id, incomplete[:NAMED_INVOICES], len(incomplete))}")
    lines += [f"- Refused: {reason}" for reason in refused[:_REFUSED_SHOWN]]
    if len(refused) > _REFUSED_SHOWN:
        lines.append(f"  and {len(refused) - _REFUSED_SHOWN} more")
    if report is not None and report.docs:
        lines.append(f"Every rule: {report.docs}")
    if rejected or refused:
        lines.append("Correct the refused file and send it again. It is in the folder `rejected`, beside the reason.")
    return "\n".join(lines)


def quarantine_alert(settings: Settings, batch_id: int) -> Alert | None:
    """What on-call is told of a batch whose lines wait in quarantine, whoever loaded it; None if none waits.

    Lines of a file that was sent again wait in the batch that read it first.

    Raises:
        InputError: there is no such batch.
    """
    with transaction(settings) as connection:
        is_waiting = has_waiting_lines(connection, batch_id)
    message = quality_message(settings, batch_id) if is_waiting else None
    if message is None:
        return None
    what, _, details = message.partition("\n")
    look = f"{LINES_QUARANTINED.look} --batch {batch_id}"
    return Alert(LINES_QUARANTINED, f"batch {batch_id}", what, details=details or None, look=look)


def _short(cell: object) -> str:
    text = " ".join(str(cell).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
