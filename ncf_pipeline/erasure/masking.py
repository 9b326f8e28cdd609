"""How a customer's id is found, and masked, in text and in JSON.

Ids, stock codes, quantities and prices are all numbers, so a number counts by where it stands: under the name of a
customer's column always; in words, if nothing next to it says that it is something else.
"""

import re
from typing import Any

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.readers.cells import LINE
from ncf_pipeline.privacy import masked

NAMES = (InvoiceLines.CUSTOMER_ID, "customer")
"""Keys in JSON under which a number is a customer's; under `customers` each of a list is."""

OTHER_CELLS = frozenset(InvoiceLines.ALL) - {InvoiceLines.CUSTOMER_ID}
"""Cells in which the same number is another thing."""

_CELLS = (InvoiceLines.CUSTOMER_ID, LINE)
_ELSE = "".join(rf"(?<!{name} )" for name in sorted((*OTHER_CELLS, "row")))


def pattern(customer_id: int, *, written: bool) -> re.Pattern[str]:
    """Finds the number where it is not part of a longer one.

    Args:
        customer_id: the number.
        written: by people, who write as they like. Otherwise by this program, whose 1,234 and 5.678 and `row 9` are
            no customers.
    """
    if written:
        return re.compile(rf"(?<![0-9])0*{customer_id}(?![0-9])")
    return re.compile(rf"(?<![0-9])(?<![0-9][.,]){_ELSE}{customer_id}(?![0-9]|[.,][0-9])")


def in_postgres(customer_id: int) -> str:
    """A regular expression for Postgres that finds all that `pattern` does."""
    return rf"(^|[^0-9])0*{customer_id}([^0-9]|$)"


def mask(text: str, customer_id: int, *, written: bool) -> str:
    """The text with the number masked."""
    return pattern(customer_id, written=written).sub(masked(str(customer_id)), text)


def names_customer(value: Any, customer_id: int, under: str = "") -> bool:
    """Whether a JSON value names the customer."""
    if isinstance(value, dict):
        return any(names_customer(each, customer_id, str(name)) for name, each in value.items())
    if isinstance(value, list):
        return any(names_customer(each, customer_id, _of_each(under)) for each in value)
    if isinstance(value, str) and under not in OTHER_CELLS:
        return pattern(customer_id, written=under in _CELLS).search(value) is not None
    return under in NAMES and not isinstance(value, bool) and value == customer_id


def without_customer(value: Any, customer_id: int, *, without_country: bool, under: str = "") -> Any:
    """The JSON value without the customer: their cell goes, in words they are masked."""
    if isinstance(value, dict):
        theirs = InvoiceLines.CUSTOMER_ID in value and names_customer(
            value[InvoiceLines.CUSTOMER_ID], customer_id, InvoiceLines.CUSTOMER_ID
        )
        gone = {InvoiceLines.CUSTOMER_ID, *([InvoiceLines.COUNTRY] if without_country else [])} if theirs else set()
        return {
            name: without_customer(each, customer_id, without_country=without_country, under=str(name))
            for name, each in value.items()
            if name not in gone
        }
    if isinstance(value, list):
        return [
            without_customer(each, customer_id, without_country=without_country, under=_of_each(under))
            for each in value
            if isinstance(each, dict | list | str) or not names_customer(each, customer_id, _of_each(under))
        ]
    if isinstance(value, str) and under not in OTHER_CELLS:
        return mask(value, customer_id, written=under in _CELLS)
    return None if names_customer(value, customer_id, under) else value


def _of_each(under: str) -> str:
    return "customer" if under == "customers" else under
