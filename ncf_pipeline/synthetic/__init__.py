"""A shop that never was: the columns and the mess of UCI's Online Retail workbook, from a seed.

Customers have tastes and favourites that come and go, products have companions and seasons, the catalogue
grows, orders are cancelled, and some lines are broken. So a model has something to learn, and every rule
of data quality has something to find. The same arguments give the same shop, and the same bytes in a file.

Known until its last 28 days and asked about those, a default shop gives these Precision@5: best sellers .11,
what the customer bought most often .26, the model of this project .32; on products new to the customer, best
sellers .04, neighbours by co-purchase .15, the model .17. The order, and about the distances, are those of the
real workbook. Much smaller shops (120 customers) have too little to learn for a model to stand out.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_pipeline.synthetic.catalogue import make_catalogue
from ncf_pipeline.synthetic.mess import make_messy
from ncf_pipeline.synthetic.sales import sell
from ncf_pipeline.synthetic.workbook import write_sheet

__all__ = ["COLUMNS", "SHEET", "START", "generate_shop", "write_day_files", "write_workbook"]

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
SHEET = "Online Retail"
START = datetime(2020, 12, 1)


def generate_shop(
    *, customers: int = 400, products: int = 300, days: int = 180, seed: int = 0, start: datetime = START
) -> pd.DataFrame:
    """All invoice lines of a shop, in the order of its invoices.

    Args:
        customers: who have an account; guests come on top, with a quarter of the lines.
        products: in the catalogue at the end.
        days: of trade.
        seed: the same seed gives the same shop.
        start: the first day.

    Returns:
        The columns of the workbook. InvoiceNo and StockCode mix numbers and text, CustomerID is a float
        with NaN for guests, as pandas reads the original.

    Raises:
        ValueError: fewer than one customer, 20 products or 2 days.
    """
    if customers < 1 or products < 20 or days < 2:
        raise ValueError("a shop needs at least 1 customer, 20 products and 2 days")
    random = np.random.default_rng(seed)
    catalogue = make_catalogue(random, products, days)
    sales = sell(random, catalogue, customers, days, start)
    return make_messy(random, catalogue, sales, start)[list(COLUMNS)]


def write_workbook(
    path: Path, *, customers: int = 400, products: int = 300, days: int = 180, seed: int = 0, start: datetime = START
) -> pd.DataFrame:
    """Writes a shop as a workbook with mixed numeric and text cells, as the original has; gives its lines.

    Args:
        path: of the .xlsx; its folder is made where it is missing. It is there whole, or not at all.
        customers: see `generate_shop`, as for the rest.
        products: likewise.
        days: likewise.
        seed: likewise.
        start: likewise.

    Raises:
        ValueError: the shop is too small, or has more lines than a sheet can hold.
    """
    shop = generate_shop(customers=customers, products=products, days=days, seed=seed, start=start)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    write_sheet(temporary, SHEET, shop)
    temporary.replace(path)
    return shop


def write_day_files(
    folder: Path, *, customers: int = 400, products: int = 300, days: int = 180, seed: int = 0, start: datetime = START
) -> list[Path]:
    """Writes a shop as one `YYYY-MM-DD.csv.gz` for each day of trade; gives the files, in order."""
    shop = generate_shop(customers=customers, products=products, days=days, seed=seed, start=start)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for day, lines in shop.groupby(shop["InvoiceDate"].dt.date, sort=True):
        files.append(folder / f"{day}.csv.gz")
        # Without a time of writing inside, so that the same shop gives the same bytes.
        lines.to_csv(files[-1], index=False, compression={"method": "gzip", "mtime": 0})
    return files
