"""Adds the mess of the original to a synthetic shop's lines.

If UCI's Online Retail has the kind of mess, the share of lines is the same: 1.7% cancellations, .25% stock adjustments,
1% duplicates, .3% without a description.
"""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ncf_pipeline.synthetic.catalogue import Catalogue, Objects
from ncf_pipeline.synthetic.sales import Sales

FIRST_INVOICE = 536_365

_CANCELLED = 0.018
_ORPHANED = 0.002  # cancellations of purchases from before the records begin
_ADJUSTED = 0.0025
_FREE = 0.002
_DUPLICATED = 0.01
_UNDESCRIBED = 0.002
_OTHER_SPELLING = 0.02  # of lines whose code has a letter

_ABROAD = (("POST", "POSTAGE", 18.0), ("C2", "CARRIAGE", 50.0))
_NOT_PRODUCTS = (
    ("M", "Manual", 1.25),
    ("DOT", "DOTCOM POSTAGE", 111.5),
    ("BANK CHARGES", "Bank Charges", 15.0),
    ("S", "SAMPLES", 3.3),
    ("PADS", "PADS TO MATCH ALL CUSHIONS", 0.01),
    ("gift_0001_20", "Dotcomgiftshop Gift Voucher £20.00", 17.36),
)
_TAKEN_OFF = (("D", "Discount", 24.7), ("AMAZONFEE", "AMAZON FEE", 5_522.14), ("CRUK", "CRUK Commission", 8.66))
_REMARKS = (None, "damaged", "check", "?", "lost", "wrongly coded 20713")


def make_messy(random: np.random.Generator, catalogue: Catalogue, sales: Sales, start: datetime) -> pd.DataFrame:
    """Makes invoice lines as a real shop has them, in the order of their invoices.

    Args:
        random: for all draws.
        catalogue: the products.
        sales: what customers bought.
        start: the first day of trade.

    Returns:
        The columns of the workbook, and `invoice` and `kind` of `_invoices`.
    """
    lines = _invoices(catalogue, sales)
    free = random.random(len(lines)) < _FREE
    lines.loc[free, "UnitPrice"] = 0.0
    broken = _broken(lines)
    parts = [
        lines,
        _cancellations(random, lines),
        _postage(random, lines),
        _not_products(random, lines),
        _adjustments(random, lines),
        _bad_debt(lines),
        broken,
    ]
    messy = pd.concat(parts, ignore_index=True)
    messy = pd.concat([messy, _some(random, messy, _DUPLICATED)], ignore_index=True)
    messy = messy.sort_values(["InvoiceDate", "invoice", "kind"], kind="stable", ignore_index=True)
    messy["InvoiceNo"] = _numbers(messy)
    # Only now, because invoice numbers follow the true date.
    mistyped = messy["invoice"] == broken["invoice"].iloc[0]
    messy.loc[mistyped, "InvoiceDate"] = start - timedelta(days=365 * 80)
    messy["Description"] = messy["Description"].mask(random.random(len(messy)) < _UNDESCRIBED, None)
    messy["StockCode"] = _other_spellings(random, messy["StockCode"].to_numpy(dtype=object))
    return messy


def _invoices(catalogue: Catalogue, sales: Sales) -> pd.DataFrame:
    """The workbook's columns, and two more: `invoice` identifies an invoice, `kind` is a letter before its number."""
    return pd.DataFrame(
        {
            "invoice": sales.visit,
            "kind": pd.Series("", index=range(len(sales.visit)), dtype=object),
            "StockCode": catalogue.codes[sales.product],
            "Description": pd.Series(catalogue.descriptions[sales.product], dtype=object),
            "Quantity": sales.quantity,
            "InvoiceDate": sales.at,
            "UnitPrice": sales.price,
            "CustomerID": sales.customer,
            "Country": pd.Series(sales.country, dtype=object),
        }
    )


def _some(random: np.random.Generator, lines: pd.DataFrame, share: float) -> pd.DataFrame:
    """A random share of the lines, at least one, in their order."""
    count = max(1, round(share * len(lines)))
    return lines.iloc[np.sort(random.choice(len(lines), size=count, replace=False))].copy()


def _own_invoices(lines: pd.DataFrame, after: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The lines, each on a new invoice of its own: none of `after` has it."""
    first = int(after["invoice"].max()) + 1_000_000 * (1 + len(kind))
    return lines.assign(invoice=first + np.arange(len(lines)), kind=kind)


def _cancellations(random: np.random.Generator, lines: pd.DataFrame) -> pd.DataFrame:
    """Lines returned in part or in whole, hours to weeks later; those of one invoice together."""
    back = _some(random, lines[lines["UnitPrice"] > 0], _CANCELLED)
    visits, visit = np.unique(back["invoice"], return_inverse=True)
    delay = random.exponential(5 * 24 * 60, len(visits)).astype(np.int64) + 10
    back["InvoiceDate"] = back["InvoiceDate"] + pd.to_timedelta(delay[visit], unit="min")
    whole = random.random(len(back)) < 0.7
    back["Quantity"] = -np.where(whole, back["Quantity"], np.maximum(1, back["Quantity"] // 2))
    back["kind"] = "C"
    orphaned = _some(random, lines.head(max(2, len(lines) // 10)), _ORPHANED * 10)
    orphaned = _own_invoices(orphaned.assign(Quantity=-orphaned["Quantity"] - 24), lines, "C")
    taken_off = _some(random, lines[lines["CustomerID"].notna()], 0.0005)
    taken_off = _relabelled(random, _own_invoices(taken_off, orphaned, "C"), _TAKEN_OFF, quantity=-1)
    together = pd.concat([back, orphaned, taken_off], ignore_index=True)
    in_time: pd.DataFrame = together[together["InvoiceDate"] <= lines["InvoiceDate"].max()]
    return in_time


def _relabelled(
    random: np.random.Generator, lines: pd.DataFrame, labels: tuple[tuple[str, str, float], ...], *, quantity: int
) -> pd.DataFrame:
    """The lines with another code, description, price and quantity: of something that is not a product."""
    kind = random.integers(len(labels), size=len(lines))
    # Each label at least once, if there are enough lines.
    kind[: len(labels)] = np.arange(len(labels))[: len(kind)]
    return lines.assign(
        StockCode=np.array([label[0] for label in labels], dtype=object)[kind],
        Description=np.array([label[1] for label in labels], dtype=object)[kind],
        UnitPrice=np.array([label[2] for label in labels])[kind],
        Quantity=quantity,
    )


def _postage(random: np.random.Generator, lines: pd.DataFrame) -> pd.DataFrame:
    """One line on most invoices that go abroad."""
    abroad = lines[lines["Country"] != "United Kingdom"].drop_duplicates("invoice")
    return _relabelled(random, abroad[random.random(len(abroad)) < 0.6], _ABROAD, quantity=1)


def _not_products(random: np.random.Generator, lines: pd.DataFrame) -> pd.DataFrame:
    return _relabelled(random, _some(random, lines, 0.003), _NOT_PRODUCTS, quantity=1)


def _adjustments(random: np.random.Generator, lines: pd.DataFrame) -> pd.DataFrame:
    """Stock found missing or broken: a negative quantity, without a price or a customer."""
    adjusted = _some(random, lines, _ADJUSTED)
    remarks: Objects = np.array(_REMARKS, dtype=object)
    adjusted["Quantity"] = -adjusted["Quantity"].abs() * random.integers(1, 40, len(adjusted))
    adjusted["UnitPrice"] = 0.0
    adjusted["CustomerID"] = np.nan
    adjusted["Country"] = "United Kingdom"
    adjusted["Description"] = remarks[random.integers(len(remarks), size=len(adjusted))]
    return _own_invoices(adjusted, lines, "")


def _bad_debt(lines: pd.DataFrame) -> pd.DataFrame:
    """Lines of money, not goods: a debt, and two lines that write it off."""
    debt = lines.iloc[[len(lines) // 2] * 3].assign(
        StockCode="B",
        Description="Adjust bad debt",
        Quantity=1,
        UnitPrice=[11_062.06, -11_062.06, -11_062.06],
        CustomerID=np.nan,
        Country="United Kingdom",
    )
    return _own_invoices(debt, lines, "A")


def _broken(lines: pd.DataFrame) -> pd.DataFrame:
    """Four invoices of one line: one to get a mistyped date, and without a product, without quantity, with price -1."""
    broken = lines.iloc[[-1] * 4].reset_index(drop=True)
    broken.loc[1, "StockCode"] = None
    broken.loc[2, "Quantity"] = 0
    broken.loc[3, "UnitPrice"] = -1.0
    own = _own_invoices(broken, lines, "")
    return own.assign(invoice=own["invoice"] + 5_000_000)  # beyond those of the adjustments


def _numbers(messy: pd.DataFrame) -> Objects:
    """Invoice numbers in the order of time; text if a letter comes before the number."""
    key = messy["invoice"].to_numpy() * 4 + messy["kind"].map({"": 0, "C": 1, "A": 2}).to_numpy()
    invoice, _ = pd.factorize(key)
    numbers: Objects = np.empty(int(invoice.max()) + 1, dtype=object)
    kinds = messy["kind"].to_numpy()[np.unique(invoice, return_index=True)[1]]
    for place, kind in enumerate(kinds.tolist()):
        numbers[place] = f"{kind}{FIRST_INVOICE + place}" if kind else FIRST_INVOICE + place
    of_lines: Objects = numbers[invoice]
    return of_lines


def _other_spellings(random: np.random.Generator, codes: Objects) -> Objects:
    """The codes, some with a letter in the other case: 85123a for 85123A."""
    lettered = np.array([isinstance(code, str) and code[:1].isdigit() for code in codes])
    other = np.flatnonzero(lettered & (random.random(len(codes)) < _OTHER_SPELLING))
    codes = codes.copy()
    for place in other.tolist():
        codes[place] = codes[place].swapcase()
    return codes
