"""Interactions as a table that a reader can check."""

import pandas as pd

from ncf_pipeline.columns import Interactions


def interactions(*lines: tuple) -> pd.DataFrame:
    """Lines of (customer or None, product, day of January 2011[, day returned[, invoice]])."""
    rows = []
    for number, line in enumerate(lines):
        customer, product, day, returned, invoice = (*line, None, None)[:5]
        rows.append(
            {
                Interactions.CUSTOMER_ID: None if customer is None else str(customer),
                Interactions.STOCK_CODE: product,
                Interactions.INVOICE_NO: invoice or f"i{number}",
                Interactions.PURCHASED_AT: january(day),
                Interactions.QUANTITY: 1.0,
                Interactions.UNIT_PRICE: 1.0,
                Interactions.COUNTRY: "United Kingdom",
                Interactions.RETURNED_AT: january(returned) if returned else pd.NaT,
            }
        )
    frame = pd.DataFrame(rows, columns=list(Interactions.ALL))
    return frame.astype(
        {
            Interactions.CUSTOMER_ID: "str",
            Interactions.PURCHASED_AT: "datetime64[us]",
            Interactions.RETURNED_AT: "datetime64[us]",
        }
    )


def january(day: int) -> pd.Timestamp:
    """The start of that day of January 2011; days after the 31st are in February."""
    return pd.Timestamp(2011, 1, 1) + pd.Timedelta(days=day - 1)
