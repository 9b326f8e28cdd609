"""What a mapping makes of typed cells: prices of a piece in the shop's currency, returns, lines that do not count."""

import re
from collections.abc import Callable

import polars as pl

from ncf_pipeline.columns import InvoiceLines
from ncf_pipeline.ingest.mappings.mapping import Mapping, plain_name
from ncf_pipeline.ingest.readers.dialect import Reading
from ncf_pipeline.ingest.readers.header import CANCELLED, CURRENCY, RETURNED, STATUS, shortened
from ncf_pipeline.ingest.readers.table import BROKEN, LEFT_OUT, TAKES_BACK

MAX_PRICE = 1e9
_BRACKETED = r"^\((.*)\)$"
_NO = r"^(?i:no|n|false|0|null|none|nan|n/a|<na>|\\n)$"
"""In a column that is filled where an order was cancelled: it was not."""


def prepared(cells: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Cells without the guests that the mapping names, and prices without its currency sign.

    Args:
        cells: stripped.
        mapping: of their file.
    """
    customer = pl.col(InvoiceLines.CUSTOMER_ID)
    guests = [guest.strip().lower() for guest in mapping.guests]
    if guests:
        cells = cells.with_columns(pl.when(~customer.str.to_lowercase().is_in(guests)).then(customer))
    return without_sign(cells, mapping)


def without_sign(cells: pl.DataFrame, mapping: Mapping) -> pl.DataFrame:
    """Prices without the mapping's currency sign: `-$2.50` and `($2.50)` are -2.50. Another sign stays."""
    sign = mapping.currency.sign if mapping.currency else None
    if sign is None:
        return cells
    text = pl.col(InvoiceLines.UNIT_PRICE).str.strip_chars()
    mark = re.escape(sign)
    plain = (
        text.str.replace(_BRACKETED, "-${1}")
        .str.replace(rf"^([+-]?)\s*{mark}\s*([+-]?)", "${1}${2}")
        .str.replace(rf"\s*{mark}$", "")
        .str.replace("^--", "-")
    )
    return cells.with_columns(plain.alias(InvoiceLines.UNIT_PRICE))


def converted(typed: pl.DataFrame, cells: pl.DataFrame, reading: Reading) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Typed lines as the mapping means them.

    Args:
        typed: typed columns, with `returned_quantity` if the table has it.
        cells: the stripped cells of the same lines.
        reading: what the mapping says of the table.

    Returns:
        The lines, with `left_out` and `takes_back`; and for each line which of its cells cannot be used, by a column of
        that cell's name.
    """
    mapping = reading.mapping
    quantity, price = pl.col(InvoiceLines.QUANTITY), pl.col(InvoiceLines.UNIT_PRICE)
    lost: dict[str, pl.Series] = {}
    whole = cells[BROKEN].is_null()
    had_price = typed.select(price.is_not_null() & (quantity != 0).fill_null(value=False)).to_series()
    if reading.price_is_total:
        typed = typed.with_columns(as_price(pl.when(quantity != 0).then(price / quantity)))
    if CURRENCY in cells.columns or (mapping.currency and mapping.currency.rate):
        typed, unknown = _in_the_shops_currency(typed, cells, mapping)
        lost[CURRENCY] = unknown & whole
    unknown = lost.get(CURRENCY, pl.repeat(value=False, n=len(typed), eager=True))
    lost[InvoiceLines.UNIT_PRICE] = had_price & typed[InvoiceLines.UNIT_PRICE].is_null() & ~unknown
    if mapping.returns.column is not None and RETURNED in typed.columns:
        taken = pl.col(RETURNED).abs().fill_null(0)
        lost[RETURNED] = typed.select((taken > quantity.abs()).fill_null(value=False)).to_series() & whole
        typed = typed.with_columns(pl.when(quantity > 0).then((quantity - taken).round(6)).otherwise(quantity))
    status = cells.get_column(STATUS, default=None)
    said = _each(status, plain_name) if status is not None else None
    taking = pl.Series([False] * len(typed), dtype=pl.Boolean)
    if said is not None and mapping.returns.status:
        taking = said.is_in([plain_name(each) for each in mapping.returns.status]).fill_null(value=False)
    if mapping.cancellation is not None:
        taking = taking | typed[InvoiceLines.INVOICE_NO].str.contains(mapping.cancellation).fill_null(value=False)
    if taking.any():
        typed = typed.with_columns(
            pl.when(taking).then(-quantity.abs()).otherwise(quantity),
            pl.when(taking).then(price.abs()).otherwise(price),
        )
    reason = pl.Series([None] * len(typed), dtype=pl.String)
    back = pl.Series([None] * len(typed), dtype=pl.Boolean)
    if status is not None and said is not None and mapping.status is not None:
        known = {plain_name(each): "counts" for each in mapping.status.counts}
        known |= {plain_name(each): "takes back" for each in mapping.status.takes_back}
        known |= {plain_name(each): "left out" for each in mapping.status.left_out}
        means = said.replace_strict(known, default=None, return_dtype=pl.String)
        cancelled = pl.Series([False] * len(typed), dtype=pl.Boolean)
        if CANCELLED in cells.columns:
            cancelled = cells[CANCELLED].is_not_null() & ~cells[CANCELLED].str.contains(_NO).fill_null(value=False)
            means = means.set(cancelled, "takes back")
        lost[STATUS] = means.is_null() & whole
        off = means.is_in(["takes back", "left out"]).fill_null(value=False)
        shown = _each(status, lambda text: shortened(f"{reading.status_name} is {text}"))
        reason = shown.set(~off, None).set(cancelled, shortened(f"{reading.cancelled_name} is filled"))
        back = pl.select(pl.when(means == "takes back").then(pl.lit(True))).to_series()
    if mapping.returns.column is not None:
        nothing = (typed[InvoiceLines.QUANTITY] == 0).fill_null(value=False) & reason.is_null()
        reason = reason.set(nothing, "all of it was returned")
        if mapping.invoices == "whole":  # a part says nothing of the other lines of its invoice
            back = back.set(nothing, value=True)
    return typed.with_columns(reason.alias(LEFT_OUT), back.alias(TAKES_BACK)), pl.DataFrame(lost)


def _in_the_shops_currency(
    typed: pl.DataFrame, cells: pl.DataFrame, mapping: Mapping
) -> tuple[pl.DataFrame, pl.Series]:
    said = mapping.currency
    assert said is not None
    nothing = pl.Series([False] * len(typed), dtype=pl.Boolean)
    price = pl.col(InvoiceLines.UNIT_PRICE)
    if said.rates and CURRENCY in cells.columns:
        rates = {name.strip().upper(): float(rate) for name, rate in said.rates.items()}
        rate = cells[CURRENCY].str.to_uppercase().replace_strict(rates, default=None, return_dtype=pl.Float64)
        return typed.with_columns(as_price(price * rate)), rate.is_null()
    if said.rate is not None:
        return typed.with_columns(as_price(price * float(said.rate))), nothing
    return typed, nothing


def _each(texts: pl.Series, changed: Callable[[str], str]) -> pl.Series:
    """Each text changed; few different ones occur."""
    different = texts.drop_nulls().unique().to_list()
    return texts.replace_strict({text: changed(text) for text in different}, default=None, return_dtype=pl.String)


def as_price(price: pl.Expr) -> pl.Expr:
    """To 6 decimals; null if nothing would be left of a price, or it is too high. Minus zero becomes zero."""
    number = price.round(6)
    is_price = (number.abs() < MAX_PRICE) & ((number != 0) | (price == 0))
    return pl.when(is_price).then(number + 0.0).alias(InvoiceLines.UNIT_PRICE)
