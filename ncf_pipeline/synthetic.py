"""A shop that never was: the columns and the mess of UCI's Online Retail workbook, from a seed.

Customers have tastes (one to three groups of products), come back at their own pace, buy again what they
bought, follow seasons, cancel, and some lines are broken. So a model has something to learn, and every
rule of data quality has something to find. The same arguments give the same shop.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
SHEET = "Online Retail"
START = datetime(2020, 12, 1)

_COUNTRIES = ("United Kingdom", "Germany", "France", "EIRE", "Spain", "Netherlands", "Channel Islands")
_COUNTRY_SHARES = (0.88, 0.03, 0.03, 0.02, 0.02, 0.01, 0.01)
_COLOURS = ("RED", "BLUE", "GREEN", "PINK", "WHITE", "IVORY", "BLACK", "SILVER")
_MATERIALS = ("GLASS", "METAL", "WOODEN", "PAPER", "CERAMIC", "ZINC", "WICKER", "FELT")
_THINGS = ("T-LIGHT HOLDER", "LUNCH BAG", "CAKE STAND", "PHOTO FRAME", "HEART", "MUG", "CANDLE", "CLOCK", "BUNTING")
_NOT_PRODUCTS = (("POST", "POSTAGE"), ("M", "Manual"), ("DOT", "DOTCOM POSTAGE"), ("BANK CHARGES", "Bank Charges"))

_GUEST_SHARE = 0.25
_CANCELLED_SHARE = 0.02
_MEAN_BASKET = 11

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Catalogue:
    """Arrays of length `products`, and by group the products with their cumulative weights by month."""

    codes: list[int | str]
    descriptions: list[str]
    price: Floats
    launched: Ints  # day of the first sale
    members: list[Ints]  # of each group
    cumulative: list[Floats]  # of each group: (12, members)


def generate_shop(
    *, customers: int = 400, products: int = 300, days: int = 180, seed: int = 0, start: datetime = START
) -> pd.DataFrame:
    """All invoice lines of a shop, in the order of its invoices.

    Args:
        customers: who come back; guests come on top.
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
    catalogue = _catalogue(random, products, days)
    lines = _sales(random, catalogue, customers, days, start)
    lines = _with_cancellations(random, lines)
    return _with_mess(random, lines, start)


def write_workbook(
    path: Path, *, customers: int = 400, products: int = 300, days: int = 180, seed: int = 0, start: datetime = START
) -> pd.DataFrame:
    """Writes a shop as a workbook with mixed numeric and text cells, as the original has; gives its lines."""
    from openpyxl import Workbook

    shop = generate_shop(customers=customers, products=products, days=days, seed=seed, start=start)
    book = Workbook(write_only=True)
    sheet = book.create_sheet(SHEET)
    sheet.append(COLUMNS)
    plain = shop.astype(object).where(shop.notna(), None)
    for row in plain.itertuples(index=False, name=None):
        sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    book.save(temporary)
    temporary.replace(path)
    return shop


def write_day_files(
    folder: Path, *, customers: int = 400, products: int = 300, days: int = 180, seed: int = 0, start: datetime = START
) -> list[Path]:
    """Writes a shop as one `YYYY-MM-DD.csv.gz` for each day of trade; gives the files, in order."""
    shop = generate_shop(customers=customers, products=products, days=days, seed=seed, start=start)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for day, lines in shop.groupby(pd.to_datetime(shop["InvoiceDate"]).dt.date, sort=True):
        files.append(folder / f"{day}.csv.gz")
        lines.to_csv(files[-1], index=False)
    return files


def _catalogue(random: np.random.Generator, products: int, days: int) -> _Catalogue:
    numbers = random.choice(np.arange(20_000, 90_000), size=products, replace=False)
    codes: list[int | str] = [int(number) for number in numbers]
    for index in np.flatnonzero(random.random(products) < 0.25):
        codes[index] = f"{numbers[index]}{'ABCDEFGLP'[random.integers(9)]}"
    words = [
        f"{_COLOURS[random.integers(len(_COLOURS))]} {_MATERIALS[random.integers(len(_MATERIALS))]} "
        f"{_THINGS[random.integers(len(_THINGS))]} {number % 1000}"
        for number in numbers
    ]
    late = random.random(products) < 0.2
    launched = np.where(late, random.integers(0, max(1, int(days * 0.8)), products), 0)
    groups = max(4, products // 50)
    group = random.integers(groups, size=products)
    group[:groups] = np.arange(groups)  # none is empty
    # Zipf's law: a few products of each group sell most.
    popularity = 1.0 / (1 + random.permutation(products) % max(2, products // groups)) ** 0.8
    months = np.arange(12)[:, None]
    peak = random.integers(12, size=products)[None, :]
    seasonal = (random.random(products) < 0.25)[None, :]
    distance = np.minimum((months - peak) % 12, (peak - months) % 12)
    season = np.where(seasonal, 0.3 + 3.0 * np.exp(-(distance**2) / 2.0), 1.0)  # (12, products)
    members = [np.flatnonzero(group == which) for which in range(groups)]
    return _Catalogue(
        codes=codes,
        descriptions=words,
        price=(np.exp(random.normal(0.8, 0.8, products)).round(2) + 0.05).astype(np.float64),
        launched=launched.astype(np.int64),
        members=members,
        cumulative=[np.cumsum(popularity[which] * season[:, which], axis=1) for which in members],
    )


def _sales(
    random: np.random.Generator, catalogue: _Catalogue, customers: int, days: int, start: datetime
) -> pd.DataFrame:
    """What customers bought, invoice by invoice, before anything went wrong."""
    groups = len(catalogue.members)
    visits: list[tuple[float, int]] = []
    gap = np.exp(random.normal(np.log(32.0), 0.6, customers))
    first = random.uniform(0, days * 0.7, customers)
    for customer in range(customers):
        day = first[customer]
        while day < days:
            visits.append((day, customer))
            day += random.exponential(gap[customer]) + 0.5
    visits.sort()
    tastes = [random.permutation(groups)[: 1 + int(random.integers(3))] for _ in range(customers)]
    loyal = random.uniform(0.3, 0.75, customers)  # the chance that a line is bought again
    bulk = np.where(random.random(customers) < 0.1, 12, 1)
    history: list[list[int]] = [[] for _ in range(customers)]
    invoice, product, quantity, at, buyer = [], [], [], [], []
    for number, (day, customer) in enumerate(visits):
        when = start + timedelta(days=int(day), minutes=int(8 * 60 + random.integers(10 * 60)))
        size = max(1, int(random.gamma(2.0, _MEAN_BASKET / 2)))
        basket: dict[int, None] = {}
        own = history[customer]
        again = random.random(size) < loyal[customer]
        for repeat in again:
            if repeat and own:
                basket[own[random.integers(len(own))]] = None
                continue
            # One line in ten is off the customer's taste.
            taste = random.integers(groups) if random.random() < 0.1 else random.choice(tastes[customer])
            weights = catalogue.cumulative[taste][when.month - 1]
            chosen = catalogue.members[taste][np.searchsorted(weights, random.random() * weights[-1])]
            if catalogue.launched[chosen] <= day:
                basket[int(chosen)] = None
        for index in basket:
            invoice.append(number)
            product.append(index)
            quantity.append(int(random.integers(1, 13)) * int(bulk[customer]))
            at.append(when)
            buyer.append(customer)
        own.extend(basket)
    numbers = 536_365 + np.cumsum(np.diff(np.asarray(invoice), prepend=-1) > 0)
    country = random.choice(_COUNTRIES, size=customers, p=_COUNTRY_SHARES)
    buyers = np.asarray(buyer)
    return pd.DataFrame(
        {
            "InvoiceNo": numbers.astype(object),
            "StockCode": pd.Series([catalogue.codes[index] for index in product], dtype=object),
            "Description": [catalogue.descriptions[index] for index in product],
            "Quantity": quantity,
            "InvoiceDate": at,
            "UnitPrice": catalogue.price[np.asarray(product)],
            "CustomerID": 12_346.0 + buyers,
            "Country": country[buyers],
        }
    )


def _with_cancellations(random: np.random.Generator, lines: pd.DataFrame) -> pd.DataFrame:
    """Some lines are sent back, in part or whole, hours to weeks later, under an invoice number with a C."""
    back = lines[random.random(len(lines)) < _CANCELLED_SHARE].copy()
    later = pd.to_timedelta(random.exponential(5 * 24 * 60, len(back)).round() + 10, unit="min")
    back["InvoiceDate"] = back["InvoiceDate"] + later
    back = back[back["InvoiceDate"] <= lines["InvoiceDate"].max()]
    whole = random.random(len(back)) < 0.7
    back["Quantity"] = -np.where(whole, back["Quantity"], np.maximum(1, back["Quantity"] // 2))
    back["InvoiceNo"] = [f"C{900_000 + number}" for number in range(len(back))]
    both: pd.DataFrame = pd.concat([lines, back], ignore_index=True)
    return both


def _with_mess(random: np.random.Generator, lines: pd.DataFrame, start: datetime) -> pd.DataFrame:
    """Guests, gaps, adjustments, codes that are no products, duplicates, and a few lines that are broken."""
    lines = lines.copy()
    invoices = lines["InvoiceNo"].unique()
    guests = set(invoices[random.random(len(invoices)) < _GUEST_SHARE])
    lines.loc[lines["InvoiceNo"].isin(guests), "CustomerID"] = np.nan
    some = random.random((4, len(lines)))
    lines.loc[some[0] < 0.003, "Description"] = None
    lines.loc[some[1] < 0.004, "UnitPrice"] = 0.0
    # The same product in two spellings.
    lower = (some[2] < 0.01) & lines["StockCode"].map(lambda code: isinstance(code, str)).to_numpy()
    lines.loc[lower, "StockCode"] = lines.loc[lower, "StockCode"].str.lower()
    template = lines[some[3] < 0.01].copy()
    kind = random.integers(len(_NOT_PRODUCTS), size=len(template))
    template["StockCode"] = [_NOT_PRODUCTS[index][0] for index in kind]
    template["Description"] = [_NOT_PRODUCTS[index][1] for index in kind]
    template["Quantity"] = 1
    adjusted = lines.sample(max(2, len(lines) // 500), random_state=int(random.integers(2**31))).copy()
    adjusted["InvoiceNo"] = [700_000 + number for number in range(len(adjusted))]
    adjusted["Quantity"] = -adjusted["Quantity"].abs()
    adjusted["UnitPrice"] = 0.0
    adjusted["CustomerID"] = np.nan
    adjusted["Description"] = "damaged"
    twice = lines.sample(max(2, len(lines) // 100), random_state=int(random.integers(2**31)))
    bad_debt = lines.head(1).assign(
        InvoiceNo="A563185", StockCode="B", Description="Adjust bad debt", Quantity=1, UnitPrice=-11_062.06
    )
    broken = lines.tail(4).copy()
    broken["StockCode"] = [None, *broken["StockCode"].tolist()[1:]]
    broken["Quantity"] = [broken["Quantity"].iloc[0], 0, *broken["Quantity"].tolist()[2:]]
    long_ago = start - timedelta(days=365 * 80)
    broken["InvoiceDate"] = [*broken["InvoiceDate"].tolist()[:2], long_ago, broken["InvoiceDate"].iloc[3]]
    broken["UnitPrice"] = [*broken["UnitPrice"].tolist()[:3], -1.0]
    broken["InvoiceNo"] = [800_000 + number for number in range(len(broken))]
    parts = [lines, template, adjusted, twice, bad_debt.assign(CustomerID=np.nan), broken]
    messy = pd.concat(parts, ignore_index=True)
    messy["Description"] = messy["Description"].astype(object)
    order = messy.assign(text=messy["InvoiceNo"].astype(str)).sort_values(["InvoiceDate", "text"], kind="stable").index
    ordered: pd.DataFrame = messy.loc[order, list(COLUMNS)].reset_index(drop=True)
    return ordered
