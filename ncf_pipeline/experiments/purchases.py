"""Invoice lines and orders without returned pieces: the money that the shop kept. Pure.

A line that was returned completely remains, with quantity 0. That it was bought decides who takes part in an experiment
and how much they bought before; that it was returned later must not.
"""

from typing import Final

import numpy as np
import pandas as pd

from ncf_pipeline.columns import Interactions

_PARTS = 1_000_000
"""Parts of a piece: quantities have up to six decimals, and in parts they are added without rounding."""


class Lines:
    """Lines of customers' invoices without returned pieces, by time."""

    CUSTOMER_ID: Final = Interactions.CUSTOMER_ID  # string
    STOCK_CODE: Final = Interactions.STOCK_CODE
    INVOICE_NO: Final = Interactions.INVOICE_NO
    PURCHASED_AT: Final = Interactions.PURCHASED_AT  # datetime64, the shop's own clock
    QUANTITY: Final = Interactions.QUANTITY  # pieces kept; in events, negative for a return
    UNIT_PRICE: Final = Interactions.UNIT_PRICE  # the shop's currency
    VALUE: Final = "value"  # of the pieces kept, the shop's currency
    BOUGHT: Final = "bought"  # of all pieces, returned or not


class Orders:
    """Invoices of customers, by time."""

    CUSTOMER_ID: Final = Interactions.CUSTOMER_ID
    PURCHASED_AT: Final = Interactions.PURCHASED_AT
    VALUE: Final = "value"  # of the pieces kept, the shop's currency
    BOUGHT: Final = "bought"  # of all pieces, returned or not
    ITEMS: Final = "items"  # different products with a piece kept; 0 if everything was returned
    BOUGHT_ITEMS: Final = "bought_items"  # different products


def bought_and_kept(events: pd.DataFrame) -> pd.DataFrame:
    """Subtracts each return from the same customer's earlier purchases of that product, latest first.

    The rule is that of `sql/queries/interactions.sql`, but for pieces instead of whole lines: of 10 bought and 4
    returned, 6 count. Returned pieces that were never bought are ignored.

    Args:
        events: purchases and returns with `customer_id`, `stock_code`, `invoice_no`, `purchased_at`, `quantity`
            (negative for a return) and `unit_price`; in time order, purchases first at the same instant.

    Returns:
        Columns of `Lines`: the purchases, in their order.
    """
    pieces = events[Lines.QUANTITY].to_numpy(np.float64)
    quantity = np.rint(pieces * _PARTS).astype(np.int64)
    kept = np.maximum(quantity, 0)
    pairs = events.groupby([Lines.CUSTOMER_ID, Lines.STOCK_CODE], sort=False, observed=True).ngroup().to_numpy()
    touched = np.isin(pairs, pairs[quantity < 0])
    stacks: dict[int, list[int]] = {}  # of each customer and product, rows with pieces that can still be returned
    for row in np.flatnonzero(touched):
        stack = stacks.setdefault(int(pairs[row]), [])
        if quantity[row] > 0:
            stack.append(int(row))
            continue
        returned = -int(quantity[row])
        while returned and stack:
            subtracted = min(returned, int(kept[stack[-1]]))
            kept[stack[-1]] -= subtracted
            returned -= subtracted
            if kept[stack[-1]] == 0:
                stack.pop()
    price = events[Lines.UNIT_PRICE].to_numpy(np.float64)
    left = kept / _PARTS
    columns = {Lines.QUANTITY: left, Lines.VALUE: left * price, Lines.BOUGHT: pieces * price}
    purchases: pd.DataFrame = events.assign(**columns)[quantity > 0]
    return purchases.reset_index(drop=True)


def orders_of(lines: pd.DataFrame) -> pd.DataFrame:
    """Sums lines to orders: one for each customer and invoice.

    Args:
        lines: columns of `Lines`.

    Returns:
        Columns of `Orders`, by time, then by customer.
    """
    by = [Lines.CUSTOMER_ID, Lines.INVOICE_NO]
    kept = lines[Lines.STOCK_CODE].where(lines[Lines.QUANTITY] > 0)
    orders = (
        lines.assign(kept=kept)
        .groupby(by, sort=False, observed=True)
        .agg(
            **{
                Orders.PURCHASED_AT: (Lines.PURCHASED_AT, "min"),
                Orders.VALUE: (Lines.VALUE, "sum"),
                Orders.BOUGHT: (Lines.BOUGHT, "sum"),
                Orders.ITEMS: ("kept", "nunique"),
                Orders.BOUGHT_ITEMS: (Lines.STOCK_CODE, "nunique"),
            }
        )
        .reset_index()
    )
    orders["length"] = orders[Orders.CUSTOMER_ID].str.len()  # the order of `id_order`
    in_order = orders.sort_values([Orders.PURCHASED_AT, "length", *by], ignore_index=True)
    return in_order.drop(columns=[Lines.INVOICE_NO, "length"])
