"""A proposal as YAML with comments, for a person to edit."""

from collections.abc import Iterator
from typing import Any

import yaml

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.proposals.propose import (
    OPTIONAL,
    Proposal,
    currencies,
    fates_of,
    formats_open,
    frequent_customers,
    mark_open,
    order_open,
    sources_of,
    zone_open,
    zones_without_name,
)
from ncf_pipeline.ingest.readers.header import shortened
from ncf_pipeline.privacy import masked

_EXAMPLES = 3
_LENGTH = 24


def examples(proposal: Proposal, column: str, *, of_customers: bool = True) -> str:
    """The first different cells of one of our columns, in one line.

    Args:
        proposal: whose sample.
        column: one of ours.
        of_customers: whether customers may be named; else they are masked.
    """
    cells = list(dict.fromkeys(cell for cell in proposal.cells(column) if cell))[:_EXAMPLES]
    hide = column == InvoiceLines.CUSTOMER_ID and not of_customers
    return ", ".join(masked(cell) if hide else shortened(cell, _LENGTH) for cell in cells)


def not_read(proposal: Proposal) -> list[str]:
    """The columns of the file that the proposal does not read."""
    read = {name for column in proposal.columns.values() for name in sources_of(column)} | set(_beside(proposal))
    return [name for name in proposal.sample.names if name and name not in read]


def as_yaml(proposal: Proposal, name: str, *, asked: bool) -> str:
    """The mapping with comments: examples of cells, and what a person has to decide. It names no customer.

    Args:
        proposal: what it says.
        name: of the mapping.
        asked: whether a person has answered the questions, so that none is left.
    """
    said = proposal.as_mapping(name)
    where, of = proposal.sample.where, proposal.sample.rows_in_words
    lines = [
        f"# Proposed for {where}, from {of}. docs/mappings.md explains every key.",
        "# Correct what is wrong, then: ncf-pipeline mapping save FILE.yaml",
        f"name: {name}",
        "columns:",
    ]
    left = ", ".join(shortened(each, 40) for each in not_read(proposal)[:30]) or "none"
    for column in InvoiceLines.ALL:
        if column in proposal.columns:
            why = " by its cells:" if column in proposal.by_looks else ""
            shown = examples(proposal, column, of_customers=False)
            lines.append(f"  {column}: {_in_line(proposal.columns[column])}{f'  #{why} {shown}' if shown else ''}")
        elif column in OPTIONAL:
            lines.append(f"  # {column}:  # not found; it may be left out. Columns that are left: {left}")
        else:
            lines.append(f"  # {column}:  # NOT FOUND, and needed. Columns that are left: {left}")
    lines += [f"{key}: {_in_line(value)}" for key, value in said.items() if key not in ("name", "columns")]
    lines += [f"# {question}" for question in (() if asked else open_questions(proposal))]
    return "\n".join(_one_line(line) for line in lines) + "\n"


def open_questions(proposal: Proposal) -> Iterator[str]:
    """What the sample leaves open, each as a key with what to write."""
    said = proposal.said
    if formats := formats_open(proposal):
        both = " and ".join(order_open(proposal))
        yield f'date_formats: ["{formats[0]}"]  # or ["{formats[1]}"]. {both} could be either; until then, lines wait'
    elif (dates := order_open(proposal)) and "date_order" not in said:
        both = " and ".join(dates)
        yield f"date_order: day first  # or month first. {both} could be either; without it, each file proves it"
    if (numbers := mark_open(proposal)) and "decimal_mark" not in said:
        yield f'decimal_mark: "."  # or ",". {" and ".join(numbers)} could have either; else each file proves it'
    if zone_open(proposal) and "time_zone" not in said:
        yield "time_zone: Europe/London  # if the times are not on the shop's own clock"
    zone = said.get("time_zone")
    if isinstance(zone, dict) and (without := zones_without_name(proposal)):
        yield f"time_zone.names: an IANA name such as Europe/London for {', '.join(without)}; until then, lines wait"
    rates = said.get("currency", {}).get("rates") if isinstance(said.get("currency"), dict) else None
    if rates is not None and (without := [name for name, _ in currencies(proposal) if name not in rates]):
        yield f"currency.rates: what 1 {' and 1 '.join(without)} is in the shop's currency; until then, its lines wait"
    if customers := frequent_customers(proposal):
        shown = ", ".join(f"{masked(customer)} ({count:,} invoices)" for customer, count in customers)
        yield f'guests: [""]  # is one of these no customer, but what a guest looks like? {shown}'
    status = said.get("status")
    if proposal.statuses:
        decided = {each for key in ("counts", "takes_back", "left_out") for each in (status or {}).get(key, ())}
        if unknown := [each for each in proposal.statuses if each[0] not in decided]:
            shown = ", ".join(f"{shortened(name, 30)} ({_lines(count)})" for name, count in unknown[:10])
            yield f"status: put these into counts, takes_back or left_out; until then, their lines wait: {shown}"
    if "invoices" not in said:
        yield (
            "invoices: parts  # if a later file brings only the new lines of an invoice, not all of them. Then put the "
            "statuses of takes_back into left_out"
        )


def add_statuses(proposal: Proposal) -> None:
    """Adds what the words of the statuses tell. Lines with any other status wait."""
    if not proposal.statuses:
        return
    fates = fates_of(proposal.statuses)
    found = {"counts": fates.counts, "takes_back": fates.takes_back, "left_out": fates.left_out}
    proposal.said["status"] = {
        "column": proposal.beside["status"],
        **{fate: list(statuses) for fate, statuses in found.items() if statuses or fate == "counts"},
    }


def _beside(proposal: Proposal) -> Iterator[str]:
    for key in ("status", "currency", "returns", "time_zone"):
        value = proposal.said.get(key)
        if isinstance(value, dict):
            yield from sources_of(value.get("column"))


def _lines(count: int) -> str:
    return f"{count:,} {'line' if count == 1 else 'lines'}"


def _in_line(value: Any) -> str:
    """A value as YAML in one line; text that YAML would take for something else is quoted."""
    written = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=1 << 20)
    return str(written).strip().removeprefix("[").removesuffix("]")


def _one_line(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)
