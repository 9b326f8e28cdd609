"""Money that stayed with the shop: lines of invoices with returns taken off, and the orders that they make up.

What came back whole is still there, with nothing kept: that it was bought is known before anybody knows that it comes
back, and may say who takes part in an experiment, and how much they bought before. What came back later may not.
"""

from typing import Final

import numpy as np
import pandas as pd

from ncf_pipeline.columns import Interactions


class Lines:
    """Lines of customers' invoices with what came back of them taken off, by time."""

    CUSTOMER_ID: Final = Interactions.CUSTOMER_ID  # int64
    STOCK_CODE: Final = Interactions.STOCK_CODE
    INVOICE_NO: Final = Interactions.INVOICE_NO
    PURCHASED_AT: Final = Interactions.PURCHASED_AT  # datetime64, the shop's own clock
    QUANTITY: Final = Interactions.QUANTITY  # pieces that were kept; of events, negative where they came back
    UNIT_PRICE: Final = Interactions.UNIT_PRICE  # the shop's currency
    VALUE: Final = "value"  # the shop's currency, of the pieces that were kept
    BOUGHT: Final = "bought"  # the same of all pieces, whether they came back or not


class Orders:
    """Invoices of customers, by time."""

    CUSTOMER_ID: Final = Interactions.CUSTOMER_ID
    PURCHASED_AT: Final = Interactions.PURCHASED_AT
    VALUE: Final = "value"  # the shop's currency, of what was kept
    BOUGHT: Final = "bought"  # of all that was bought
    ITEMS: Final = "items"  # different products of which something was kept; 0 where all came back
    BOUGHT_ITEMS: Final = "bought_items"  # different products


def bought_and_kept(events: pd.DataFrame) -> pd.DataFrame:
    """Takes each return off the same customer's earlier purchases of that product, latest first.

    The rule of `sql/queries/interactions.sql`, but for pieces and not for whole lines: of 10 bought and 4 that came
    back, 6 count. More than was bought takes off nothing more.

    Args:
        events: purchases and returns: `customer_id`, `stock_code`, `invoice_no`, `purchased_at`, `quantity` (negative
            on a return), `unit_price`; in the order in which they happened, purchases first at one instant.

    Returns:
        Columns of `Lines`: purchases, in their order.
    """
    quantity = events[Lines.QUANTITY].to_numpy(np.int64)
    left = np.maximum(quantity, 0)
    pairs = events.groupby([Lines.CUSTOMER_ID, Lines.STOCK_CODE], sort=False, observed=True).ngroup().to_numpy()
    touched = np.isin(pairs, pairs[quantity < 0])
    held: dict[int, list[int]] = {}
    for row in np.flatnonzero(touched):
        stack = held.setdefault(int(pairs[row]), [])
        if quantity[row] > 0:
            stack.append(int(row))
            continue
        back = -int(quantity[row])
        while back and stack:
            taken = min(back, int(left[stack[-1]]))
            left[stack[-1]] -= taken
            back -= taken
            if left[stack[-1]] == 0:
                stack.pop()
    price = events[Lines.UNIT_PRICE].to_numpy(np.float64)
    told = {Lines.QUANTITY: left, Lines.VALUE: left * price, Lines.BOUGHT: quantity * price}
    purchases: pd.DataFrame = events.assign(**told)[quantity > 0]
    return purchases.reset_index(drop=True)


def orders_of(lines: pd.DataFrame) -> pd.DataFrame:
    """Columns of `Orders`, by time, then by customer."""
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
    return orders.sort_values([Orders.PURCHASED_AT, *by], ignore_index=True).drop(columns=Lines.INVOICE_NO)
