"""Finds and removes a customer in JSON. `ingest.customer_ids` says when a text names one.

Under the name of a customer column, a value always is the customer's id. Elsewhere, context decides.
"""

from typing import Any

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.customer_ids import OTHER_CELLS, is_in_cell, mask, pattern
from ncf_pipeline.ingest.readers.cells import LINE
from ncf_pipeline.privacy import masked

_CUSTOMER = "customer"
CUSTOMER_KEYS = (InvoiceLines.CUSTOMER_ID, _CUSTOMER)
"""JSON keys whose value is a customer's id. Under `customers`, each element of a list is."""


def names_customer(value: Any, customer_id: str, under: str = "") -> bool:
    """Whether a JSON value names the customer.

    Args:
        value: decoded JSON.
        customer_id: to find.
        under: the key that the value has in its object.

    >>> names_customer({"customer_id": 14646}, "14646"), names_customer({"quantity": 14646}, "14646")
    (True, False)
    """
    if isinstance(value, dict):
        return any(names_customer(each, customer_id, str(name)) for name, each in value.items())
    if isinstance(value, list):
        return any(names_customer(each, customer_id, _of_each(under)) for each in value)
    if under in CUSTOMER_KEYS and (value is None or isinstance(value, bool)):
        return False
    if under == _CUSTOMER:  # by this program, so in the spelling in which it is stored
        return str(value) == customer_id
    if under == InvoiceLines.CUSTOMER_ID:
        return is_in_cell(customer_id, value)
    if isinstance(value, str) and under not in OTHER_CELLS:
        return pattern(customer_id, written=under == LINE).search(value) is not None
    return False


def without_customer(value: Any, customer_id: str, *, without_country: bool, under: str = "") -> Any:
    """A copy of a JSON value that no longer names the customer: cells with the id are removed, text is masked.

    Args:
        value: decoded JSON.
        customer_id: of the customer to erase.
        without_country: whether to remove the country from the customer's cells too.
        under: the key that the value has in its object.
    """
    if isinstance(value, dict):
        theirs = names_customer(value.get(InvoiceLines.CUSTOMER_ID), customer_id, InvoiceLines.CUSTOMER_ID)
        gone = {InvoiceLines.CUSTOMER_ID, *([InvoiceLines.COUNTRY] if without_country else [])} if theirs else set()
        return {
            name: without_customer(each, customer_id, without_country=without_country, under=str(name))
            for name, each in value.items()
            if name not in gone
        }
    if isinstance(value, list):
        under = _of_each(under)
        return [
            without_customer(each, customer_id, without_country=without_country, under=under)
            for each in value
            if under not in CUSTOMER_KEYS or not names_customer(each, customer_id, under)
        ]
    if not names_customer(value, customer_id, under):
        return value
    if under in CUSTOMER_KEYS:
        return masked(customer_id) if isinstance(value, str) else None
    return mask(value, customer_id, written=under == LINE)


def _of_each(under: str) -> str:
    return _CUSTOMER if under == "customers" else under
