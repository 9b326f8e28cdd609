"""A second shop to develop on, whose habits are known: the synthetic one, with replenishment added.

The synthetic shop has tastes (each customer buys from three groups of products), favourites that last for weeks,
seasons, companions in one basket and a growing catalogue: `ncf_pipeline/synthetic/`. It has no product that runs out
after a known time. Here half of the customers also buy two staples again and again, each in the rhythm of the product.
So a feature that should find a rhythm can be seen to find it.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from ncf_pipeline import synthetic
from ncf_pipeline.columns import Interactions

CUSTOMERS, PRODUCTS, DAYS = 800, 600, 280
SHORTEST, LONGEST = 14, 56  # days of a rhythm
JITTER = 0.1  # standard deviation of a gap, as a share of it
STAPLES = 2
SHARE = 0.5  # of customers

CUSTOMER, CODE, RHYTHM = "customer_id", "stock_code", "days"


def with_replenishment(interactions: pd.DataFrame, *, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds orders of staples, each on an invoice of its own.

    Args:
        interactions: columns of `columns.Interactions`.
        seed: the same seed adds the same orders.

    Returns:
        The interactions with those orders, and the truth: `customer_id`, `stock_code` and `days` of each rhythm.
    """
    random = np.random.default_rng(seed)
    columns = Interactions
    of_products = interactions.drop_duplicates(columns.STOCK_CODE).set_index(columns.STOCK_CODE).sort_index()
    rhythm = pd.Series(random.uniform(SHORTEST, LONGEST, len(of_products)), index=of_products.index)
    first_visit = interactions.dropna(subset=[columns.CUSTOMER_ID]).groupby(columns.CUSTOMER_ID)[columns.PURCHASED_AT]
    home = interactions.dropna(subset=[columns.CUSTOMER_ID]).groupby(columns.CUSTOMER_ID)[columns.COUNTRY].first()
    end = interactions[columns.PURCHASED_AT].max()
    orders: list[tuple[object, ...]] = []
    truth: list[tuple[str, str, float]] = []
    for customer, begin in zip(map(str, home.index), first_visit.min().sort_index(), strict=True):
        if random.random() >= SHARE:
            continue
        for code in random.choice(of_products.index.to_numpy(), STAPLES, replace=False):
            days = float(rhythm[code])
            truth.append((customer, code, days))
            at = begin + pd.Timedelta(days=random.uniform(0, days))
            while at <= end:
                orders.append((customer, code, f"S{len(orders):06d}", at.floor("min"), home[customer]))
                at += pd.Timedelta(days=days * max(0.5, random.normal(1, JITTER)))
    added = pd.DataFrame(
        orders,
        columns=[columns.CUSTOMER_ID, columns.STOCK_CODE, columns.INVOICE_NO, columns.PURCHASED_AT, columns.COUNTRY],
    )
    added[columns.QUANTITY] = 1.0
    for name in (columns.UNIT_PRICE, columns.DESCRIPTION):
        added[name] = of_products.loc[added[columns.STOCK_CODE], name].to_numpy()
    added[columns.RETURNED_AT] = pd.NaT
    both = pd.concat(
        [interactions, added[interactions.columns].astype(interactions.dtypes.to_dict())], ignore_index=True
    )
    in_time = both.sort_values([columns.PURCHASED_AT, columns.INVOICE_NO], kind="stable", ignore_index=True)
    return in_time, pd.DataFrame(truth, columns=[CUSTOMER, CODE, RHYTHM])


def write_workbook(folder: Path) -> Path:
    """Writes the synthetic shop, to be ingested."""
    workbook = folder / "shop.xlsx"
    synthetic.write_workbook(workbook, customers=CUSTOMERS, products=PRODUCTS, days=DAYS)
    return workbook


def planted_shop(ingested: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
    """The interactions of the second shop.

    Args:
        ingested: takes a workbook, returns its interactions.
    """
    with tempfile.TemporaryDirectory(prefix="ncf-recipes-") as folder:
        return with_replenishment(ingested(write_workbook(Path(folder))))[0]
