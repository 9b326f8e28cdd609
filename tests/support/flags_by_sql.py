"""The flags of lists once more, by SQL and row by row: slow, and without anything of `quality.list_flags`."""

from pathlib import Path

from psycopg2.extras import execute_values

from ncf_pipeline.columns import EVERYWHERE, LISTS_OF, Interactions, Lists

SQL = Path(__file__).with_name("sql")


def fill(connection, lists, interactions, as_of, today, control=(), hidden=()):
    """Fills `ml.checked_list` and `ml.checked_product`, as a check does.

    Args:
        connection: in a transaction.
        lists: a frame with the columns of `columns.Lists`.
        interactions: columns of `columns.Interactions`.
        as_of: later purchases are not known.
        today: whose rules apply.
        control: customers who get best sellers.
        hidden: products that are hidden at once.
    """
    bought = interactions[interactions[Interactions.PURCHASED_AT] < as_of]
    kept = bought[~(bought[Interactions.RETURNED_AT] < as_of)]
    mine = bought[bought[Interactions.CUSTOMER_ID].notna()]
    newest = mine.groupby(Interactions.CUSTOMER_ID)[Interactions.PURCHASED_AT].transform("max")
    of_newest = mine[mine[Interactions.PURCHASED_AT] == newest].dropna(subset=[Interactions.COUNTRY])
    sold = kept.groupby(Interactions.STOCK_CODE)[Interactions.PURCHASED_AT].transform("max")
    of_last = kept[kept[Interactions.PURCHASED_AT] == sold]
    both = [Interactions.CUSTOMER_ID, Interactions.STOCK_CODE]
    kept_pairs = set(map(tuple, kept.loc[kept[Interactions.CUSTOMER_ID].notna(), both].to_numpy()))
    rows = {
        "given_list": [
            (row[Lists.AUDIENCE], row[Lists.KEY], row[Lists.LIST_NAME], list(row[Lists.STOCK_CODES]))
            for row in lists.to_dict("records")
        ],
        "given_pair": [(*pair, pair in kept_pairs) for pair in sorted(set(map(tuple, mine[both].to_numpy())))],
        "given_customer_country": sorted(
            set(map(tuple, of_newest[[Interactions.CUSTOMER_ID, Interactions.COUNTRY]].to_numpy()))
        ),
        "given_product": list(of_last.groupby(Interactions.STOCK_CODE)[Interactions.UNIT_PRICE].max().items()),
        "given_control": [(customer,) for customer in control],
        "given_country": [(country,) for country in {EVERYWHERE, *kept[Interactions.COUNTRY].dropna()}],
    }
    with connection.cursor() as cursor:
        cursor.execute((SQL / "create_given_lists.sql").read_text())
        for table, values in rows.items():
            if values:
                execute_values(cursor, f"insert into {table} values %s", values)
        cursor.execute((SQL / "fill_checked_products.sql").read_text(), {"today": today})
        names = {f"{audience}_lists": list(names) for audience, names in LISTS_OF.items()}
        cursor.execute((SQL / "fill_checked_lists.sql").read_text(), {"today": today, "hidden": list(hidden), **names})
