"""Lines of erased customers that come in again: they become a guest's."""

import json
import re
from typing import Any

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.readers.cells import LINE, ORIGINAL
from ncf_pipeline.privacy import Erased, Mark, masked

_NUMBER = re.compile(r"(?<![0-9])[0-9]{1,16}(?![0-9])")


def without_erased(typed: pl.DataFrame, erased: Erased) -> pl.DataFrame:
    """Takes erased customers off lines from before their erasure. A later line is a new customer's.

    Args:
        typed: a chunk, as `cells.as_typed` returns it.
        erased: everybody who was erased.

    Returns:
        The same lines; on those of an erased customer, `customer_id` (and the country, if it was erased) is null.
    """
    if not erased:
        return typed
    customer, bought_at = pl.col(InvoiceLines.CUSTOMER_ID), pl.col(InvoiceLines.INVOICE_DATE)
    for customer_id, mark in erased.among(typed[InvoiceLines.CUSTOMER_ID].drop_nulls().unique().to_list()).items():
        theirs = (customer == customer_id) & (bought_at < mark.until).fill_null(value=True)
        without = [InvoiceLines.CUSTOMER_ID, *([InvoiceLines.COUNTRY] if mark.without_country else [])]
        typed = typed.with_columns(pl.when(theirs).then(None).otherwise(pl.col(name)).alias(name) for name in without)
    if typed[ORIGINAL].null_count() == len(typed):
        return typed
    originals = [
        _cells_without(text, dated, erased)
        for text, dated in zip(typed[ORIGINAL], typed[InvoiceLines.INVOICE_DATE], strict=True)
    ]
    return typed.with_columns(pl.Series(ORIGINAL, originals, pl.String()))


def _cells_without(text: str | None, bought_at: Any, erased: Erased) -> str | None:
    """The cells of an unreadable line, in which a customer may be written as 14646.0 or be anywhere in the line."""
    if text is None:
        return None
    cells: dict[str, Any] = json.loads(text)
    named = {
        int(number)
        for name in (InvoiceLines.CUSTOMER_ID, LINE)
        for number in _NUMBER.findall(str(cells.get(name) or ""))
    }
    gone = {each: mark for each, mark in erased.among(named).items() if bought_at is None or bought_at < mark.until}
    return json.dumps(without_customers(cells, gone), ensure_ascii=False) if gone else text


def without_customers(cells: dict[str, Any], gone: dict[int, Mark]) -> dict[str, Any]:
    """The cells without erased customers.

    Args:
        cells: column to text; `line` alone if the line could not be divided.
        gone: customer to whether their country goes too.

    Returns:
        A copy without the customer's cells; in an undivided line, the customer is masked.
    """
    kept = dict(cells)
    for number in map(int, _NUMBER.findall(str(cells.get(InvoiceLines.CUSTOMER_ID) or ""))):
        if number in gone:
            kept.pop(InvoiceLines.CUSTOMER_ID, None)
            if gone[number].without_country:
                kept.pop(InvoiceLines.COUNTRY, None)
    if cells.get(LINE):
        kept[LINE] = _NUMBER.sub(
            lambda number: masked(str(int(number[0]))) if int(number[0]) in gone else number[0], cells[LINE]
        )
    return kept
