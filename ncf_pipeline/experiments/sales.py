"""Reads what customers bought and kept from the shop's invoices."""

from datetime import datetime

import pandas as pd
import polars as pl

from ncf_pipeline.experiments.purchases import Lines, bought_and_kept
from ncf_pipeline.settings import Settings
from ncf_pipeline.storage.database import fetch, transaction
from ncf_pipeline.storage.resources import query

_EVENTS = pl.Schema(
    {
        Lines.CUSTOMER_ID: pl.String(),
        Lines.STOCK_CODE: pl.String(),
        Lines.INVOICE_NO: pl.String(),
        Lines.PURCHASED_AT: pl.Datetime("us"),
        Lines.QUANTITY: pl.Float64(),
        Lines.UNIT_PRICE: pl.Float64(),
    }
)


def customers_lines(settings: Settings, until: datetime) -> pd.DataFrame:
    """What customers bought before an instant, without the pieces returned by then.

    Returns:
        Columns of `purchases.Lines`, by time, without lines of guests.

    Raises:
        SettingsError: no database is set and the embedded one does not run.
        DatabaseError: Postgres cannot be reached or refused.
    """
    with transaction(settings) as connection:
        events = fetch(connection, query("kept_and_returned"), _EVENTS, until=until)
    return bought_and_kept(events.to_pandas())
