"""What the customers of the shop with tastes look at: what they will buy, and this and that."""

import pandas as pd

from ncf_pipeline.columns import Events, Looks
from ncf_pipeline.synthetic import plant_events


def looks_frame(rows):
    """Makes looks of rows (customer, code, kind, instant)."""
    return pd.DataFrame(rows, columns=list(Looks.ALL)).astype({Looks.LOOKED_AT: "datetime64[us]"})


def make_looks(shop, **planted):
    """The looks of a shop's customers; arguments as for `plant_events`."""
    events = plant_events(shop["customer_id"], shop["stock_code"], shop["purchased_at"], **planted)
    columns = [Events.CUSTOMER, Events.PRODUCT, Events.KIND, Events.AT]
    return looks_frame(events[columns].to_numpy().tolist())


def look(settings, *rows):
    """Stores events of rows (customer or None, code, kind, instant in UTC without a zone[, session])."""
    from psycopg2.extras import execute_values

    from ncf_pipeline.storage.database import transaction

    values = [(f"{at}+00", kind, code, who, *(session or [b"s" * 16])) for who, code, kind, at, *session in rows]
    with transaction(settings) as connection, connection.cursor() as cursor:
        statement = "insert into retail.shop_event (happened_at, kind, stock_code, customer_id, session) values %s"
        execute_values(cursor, statement, values)
