"""Makes a synthetic shop from a seed, with the columns and the mess of UCI's Online Retail workbook.

Customers have tastes and favourites that come and go, products have companions and seasons, the catalogue grows, orders
are cancelled, and some lines are broken. So a model has something to learn, and every data quality rule finds
something. The same arguments make the same shop, and the same bytes in a file.

With the last 28 days of a default shop as the holdout, Precision@5 is .11 for best sellers, .26 for what the customer
bought most often, and .32 for this project's model. On products new to the customer it is .04 for best sellers, .15 for
neighbours by co-purchase, and .17 for the model. The order and roughly the distances are those of the real workbook.
Much smaller shops (120 customers) have too little to learn for a model to stand out.

Nobody looks at anything, unless `plant_events` is asked for it.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_pipeline.synthetic.catalogue import make_catalogue
from ncf_pipeline.synthetic.events import plant_events, write_events
from ncf_pipeline.synthetic.mess import make_messy
from ncf_pipeline.synthetic.sales import FIRST_CUSTOMER_ID, sell
from ncf_pipeline.synthetic.workbook import write_sheet

__all__ = [
    "COLUMNS",
    "SHEET",
    "START",
    "generate_shop",
    "plant_events",
    "write_day_files",
    "write_events",
    "write_workbook",
]

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
SHEET = "Online Retail"
START = datetime(2020, 12, 1)


def generate_shop(
    *,
    customers: int = 400,
    products: int = 300,
    days: int = 180,
    seed: int = 0,
    start: datetime = START,
    customer_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Makes all invoice lines of a shop, in the order of its invoices.

    Args:
        customers: number of customers with an account; guests make another quarter of the lines.
        products: number of products in the catalogue at the end.
        days: of trade.
        seed: the same seed makes the same shop.
        start: the first day.
        customer_ids: of the first customers, in place of numbers; the others have numbers, as text.

    Returns:
        `COLUMNS`. InvoiceNo and StockCode mix numbers and text, CustomerID is a float with NaN for guests, as pandas
        reads the original, or text if `customer_ids` are given.

    Raises:
        ValueError: fewer than one customer, 20 products or 2 days.
    """
    if customers < 1 or products < 20 or days < 2:
        raise ValueError("a shop needs at least 1 customer, 20 products and 2 days")
    random = np.random.default_rng(seed)
    catalogue = make_catalogue(random, products, days)
    sales = sell(random, catalogue, customers, days, start)
    shop = make_messy(random, catalogue, sales, start)[list(COLUMNS)]
    if customer_ids is not None:
        named = {str(number): each for number, each in enumerate(customer_ids, FIRST_CUSTOMER_ID)}
        numbers = shop["CustomerID"].astype("Int64").astype("str")
        shop["CustomerID"] = numbers.map(lambda number: named.get(number, number), na_action="ignore")
    return shop


def write_workbook(
    path: Path,
    *,
    customers: int = 400,
    products: int = 300,
    days: int = 180,
    seed: int = 0,
    start: datetime = START,
    customer_ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Writes a shop as a workbook with mixed numeric and text cells, like the original.

    Args:
        path: of the .xlsx; its folder is made if missing. If writing fails, no file of this name is left.
        customers: as for `generate_shop`.
        products: as for `generate_shop`.
        days: as for `generate_shop`.
        seed: as for `generate_shop`.
        start: as for `generate_shop`.
        customer_ids: as for `generate_shop`.

    Returns:
        The shop's lines, as `generate_shop` returns them.

    Raises:
        ValueError: the shop is too small, or has more lines than a sheet can hold.
    """
    shop = generate_shop(
        customers=customers, products=products, days=days, seed=seed, start=start, customer_ids=customer_ids
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    write_sheet(temporary, SHEET, shop)
    temporary.replace(path)
    return shop


def write_day_files(
    folder: Path,
    *,
    customers: int = 400,
    products: int = 300,
    days: int = 180,
    seed: int = 0,
    start: datetime = START,
    customer_ids: Sequence[str] | None = None,
) -> list[Path]:
    """Writes a shop as one `YYYY-MM-DD.csv.gz` for each day of trade.

    Args:
        folder: made if missing.
        customers: as for `generate_shop`.
        products: as for `generate_shop`.
        days: as for `generate_shop`.
        seed: as for `generate_shop`.
        start: as for `generate_shop`.
        customer_ids: as for `generate_shop`.

    Returns:
        The files, by day.

    Raises:
        ValueError: the shop is too small.
    """
    shop = generate_shop(
        customers=customers, products=products, days=days, seed=seed, start=start, customer_ids=customer_ids
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for day, lines in shop.groupby(shop["InvoiceDate"].dt.date, sort=True):
        files.append(folder / f"{day}.csv.gz")
        # Without the time of writing, so that the same shop makes the same bytes.
        lines.to_csv(files[-1], index=False, compression={"method": "gzip", "mtime": 0})
    return files
