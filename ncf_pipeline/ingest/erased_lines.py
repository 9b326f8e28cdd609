"""Lines of erased customers that come in again: they become a guest's."""

import json
from collections.abc import Callable
from typing import Any

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.customer_ids import customers_in_cell, customers_in_line, mask
from ncf_pipeline.ingest.readers.cells import LINE, ORIGINAL
from ncf_pipeline.privacy import Erased, Mark

_NAMES: dict[str, Callable[[str], set[str]]] = {InvoiceLines.CUSTOMER_ID: customers_in_cell, LINE: customers_in_line}
"""The cells of an unreadable line that may name a customer."""


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
    cells = [None if text is None else json.loads(text) for text in typed[ORIGINAL]]
    dates = typed[InvoiceLines.INVOICE_DATE]
    named = [_named(each) if each else set() for each in cells]
    gone = erased.among(set().union(*named))
    if not gone:
        return typed
    originals = [
        text if each is None else _without(text, each, {name: gone[name] for name in names & set(gone)}, dated)
        for text, each, names, dated in zip(typed[ORIGINAL], cells, named, dates, strict=True)
    ]
    return typed.with_columns(pl.Series(ORIGINAL, originals, pl.String()))


def _named(cells: dict[str, Any]) -> set[str]:
    return {each for name, names in _NAMES.items() if cells.get(name) for each in names(str(cells[name]))}


def _without(text: str, cells: dict[str, Any], named: dict[str, Mark], bought_at: Any) -> str:
    gone = {each: mark for each, mark in named.items() if bought_at is None or bought_at < mark.until}
    return json.dumps(without_customers(cells, gone), ensure_ascii=False) if gone else text


def without_customers(cells: dict[str, Any], gone: dict[str, Mark]) -> dict[str, Any]:
    """The cells without erased customers.

    Args:
        cells: column to text; `line` alone if the line could not be divided.
        gone: customer to whether their country goes too.

    Returns:
        A copy without the customer's cells; in an undivided line, the customer is masked.
    """
    kept = dict(cells)
    for customer_id in customers_in_cell(cells.get(InvoiceLines.CUSTOMER_ID) or "") & set(gone):
        kept.pop(InvoiceLines.CUSTOMER_ID, None)
        if gone[customer_id].without_country:
            kept.pop(InvoiceLines.COUNTRY, None)
    if cells.get(LINE):
        for customer_id in sorted(gone, key=len, reverse=True):
            kept[LINE] = mask(kept[LINE], customer_id, written=True)
    return kept
