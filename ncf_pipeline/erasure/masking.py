"""Finds and masks a customer's id in text and in JSON.

Ids, stock codes, quantities and prices are all numbers, so context decides whether a number is the customer's id.
Under the name of a customer column it always is. In free text it is, unless the word before it says otherwise.
"""

import re
from typing import Any

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.readers.cells import LINE
from ncf_pipeline.privacy import masked

CUSTOMER_KEYS = (InvoiceLines.CUSTOMER_ID, "customer")
"""JSON keys whose number is a customer's id. Under `customers`, each element of a list is."""

OTHER_CELLS = frozenset(InvoiceLines.ALL) - {InvoiceLines.CUSTOMER_ID}
"""Cells of an invoice line in which the same number means something else."""

_WRITTEN_BY_PEOPLE = (InvoiceLines.CUSTOMER_ID, LINE)
_NOT_AFTER = "".join(rf"(?<!{name} )" for name in sorted((*OTHER_CELLS, "row")))


def pattern(customer_id: int, *, written: bool) -> re.Pattern[str]:
    """A regular expression that finds the id where it is not part of a longer number.

    Args:
        customer_id: to find.
        written: whether people wrote the text, in any format. Text by this program is matched more strictly: in
            `1,234`, `5.678`, `row 9` and `quantity 9` it finds no id.
    """
    if written:
        return re.compile(rf"(?<![0-9])0*{customer_id}(?![0-9])")
    return re.compile(rf"(?<![0-9])(?<![0-9][.,]){_NOT_AFTER}{customer_id}(?![0-9]|[.,][0-9])")


def in_postgres(customer_id: int) -> str:
    """A Postgres regular expression that matches at least whatever `pattern` matches."""
    return rf"(^|[^0-9])0*{customer_id}([^0-9]|$)"


def mask(text: str, customer_id: int, *, written: bool) -> str:
    """The text with the id masked.

    Args:
        text: that may contain the id.
        customer_id: to mask.
        written: whether people wrote the text; see `pattern`.

    >>> mask("customer 14646 called about row 14646", 14646, written=False)
    'customer ***46 called about row 14646'
    """
    return pattern(customer_id, written=written).sub(masked(str(customer_id)), text)


def names_customer(value: Any, customer_id: int, under: str = "") -> bool:
    """Whether a JSON value names the customer.

    Args:
        value: decoded JSON.
        customer_id: to find.
        under: the key that the value has in its object.

    >>> names_customer({"customer_id": 14646}, 14646), names_customer({"quantity": 14646}, 14646)
    (True, False)
    """
    if isinstance(value, dict):
        return any(names_customer(each, customer_id, str(name)) for name, each in value.items())
    if isinstance(value, list):
        return any(names_customer(each, customer_id, _of_each(under)) for each in value)
    if isinstance(value, str) and under not in OTHER_CELLS:
        return pattern(customer_id, written=under in _WRITTEN_BY_PEOPLE).search(value) is not None
    return under in CUSTOMER_KEYS and not isinstance(value, bool) and value == customer_id


def without_customer(value: Any, customer_id: int, *, without_country: bool, under: str = "") -> Any:
    """A copy of a JSON value that no longer names the customer: cells with the id are removed, text is masked.

    Args:
        value: decoded JSON.
        customer_id: of the customer to erase.
        without_country: whether to remove the country from the customer's cells too.
        under: the key that the value has in its object.
    """
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
        return mask(value, customer_id, written=under in _WRITTEN_BY_PEOPLE)
    return None if names_customer(value, customer_id, under) else value


def _of_each(under: str) -> str:
    return "customer" if under == "customers" else under
