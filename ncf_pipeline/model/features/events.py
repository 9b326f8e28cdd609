"""Interactions as arrays: an event for each product on each invoice, in order of time, with integer ids."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ncf_pipeline.columns import Interactions
from ncf_pipeline.id_order import rank
from ncf_pipeline.model.descriptions import numbered_words
from ncf_pipeline.model.features.looks import DAY, Looks, encode_looks, no_looks

__all__ = ["DAY", "NEVER", "Events", "FloatArray", "IntArray", "encode", "microseconds", "rows_of"]

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

NEVER = np.iinfo(np.int64).max  # later than every instant


@dataclass(frozen=True)
class Events:
    """The E events before an instant, in ascending order of time, invoice and product.

    Lines of one invoice with the same product are one event. It counts as returned once the last line is returned.

    Attributes:
        customers: (C,) customer ids, ascending as in `id_order`.
        products: (P,) stock codes, ascending.
        customer: (E,) customer_index into `customers`; -1 for a guest.
        product: (E,) product_index into `products`.
        invoice: (E,) number of the invoice, in order of time, from 0.
        time: (E,) microseconds since 1970 on the shop's clock.
        returned: (E,) microseconds; the instant from which it counts as returned, or `NEVER`.
        quantity: (E,) pieces.
        price: (E,) mean unit price, in the shop's currency.
        countries: names, ascending.
        resident: (M,) customer_index; one entry for each customer's first invoice, and for each to another country than
            the one before. Entries are in order of time.
        resident_in: (M,) index into `countries`.
        resident_since: (M,) microseconds; the time of that invoice.
        described: (N,) index into `products`; one entry for each product and each of its descriptions.
        descriptions: (N,) the descriptions.
        described_since: (N,) microseconds; the first sale under that description.
        looks: what customers viewed, put into a basket or wished; none if nothing is to read them.
    """

    customers: npt.NDArray[np.object_]
    products: npt.NDArray[np.str_]
    customer: IntArray
    product: IntArray
    invoice: IntArray
    time: IntArray
    returned: IntArray
    quantity: FloatArray
    price: FloatArray
    countries: tuple[str, ...]
    resident: IntArray
    resident_in: IntArray
    resident_since: IntArray
    described: IntArray
    descriptions: tuple[str, ...]
    described_since: IntArray
    looks: Looks = field(default_factory=no_looks)

    def __len__(self) -> int:
        return len(self.time)

    def index_of(self, customers: Sequence[str]) -> IntArray:
        """(n,) the customer_index of each id; -1 for an id that is not in `customers`."""
        places: IntArray = self._index.get_indexer(pd.Index(customers, dtype=object)).astype(np.int64)
        return places

    def index_of_products(self, stock_codes: Sequence[str]) -> IntArray:
        """(n,) the product_index of each stock code; -1 for one that is not in `products`."""
        places: IntArray = self._product_index.get_indexer(pd.Index(stock_codes, dtype=object)).astype(np.int64)
        return places

    @cached_property
    def words(self) -> tuple[IntArray, IntArray]:
        """(W,) each: an index into `descriptions`, ascending, and the number of a word in it."""
        return numbered_words(self.descriptions, self.products[self.described].tolist())

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.customers, dtype=object)

    @cached_property
    def _product_index(self) -> pd.Index:
        codes: list[str] = self.products.tolist()
        return pd.Index(codes, dtype=object)


def encode(interactions: pd.DataFrame, until: datetime, looks: pd.DataFrame | None = None) -> Events:
    """Makes events of the interactions before an instant. Nothing later reaches the result, not even an id.

    Args:
        interactions: columns of `columns.Interactions`, rows in any order.
        until: first instant excluded, for purchases, for returns and for looks.
        looks: columns of `columns.Looks`, rows in any order; None for a model that reads none.
    """
    columns = Interactions
    known = interactions[interactions[columns.PURCHASED_AT] < until]
    limit = microseconds(until)
    # From here on numbers instead of texts: the texts of tens of millions of lines would fill the memory.
    customer, ids = _customer_codes(known[columns.CUSTOMER_ID])
    product, products = _codes(known[columns.STOCK_CODE])
    invoice, _ = _codes(known[columns.INVOICE_NO])
    country_of_line, countries = _codes(known[columns.COUNTRY].fillna(""))
    order = np.lexsort((customer, product, invoice))
    customer, product, invoice = customer[order], product[order], invoice[order]
    differs = np.ones(len(order), np.bool_)
    differs[1:] = (np.diff(customer) != 0) | (np.diff(product) != 0) | (np.diff(invoice) != 0)
    begin = np.flatnonzero(differs)  # first line of each event
    del differs

    def of_events(combine: np.ufunc, lines: npt.NDArray[Any]) -> npt.NDArray[Any]:
        combined: npt.NDArray[Any] = combine.reduceat(lines[order], begin) if len(begin) else lines[:0]
        return combined

    time = of_events(np.minimum, _microseconds(known[columns.PURCHASED_AT]))
    returned_at = known[columns.RETURNED_AT]
    returned = np.where(returned_at.isna(), NEVER, _microseconds(returned_at))
    returned = of_events(np.maximum, np.where(returned < limit, returned, NEVER))
    quantity = of_events(np.add, known[columns.QUANTITY].to_numpy(np.float64))
    price = of_events(np.add, known[columns.UNIT_PRICE].to_numpy(np.float64)) / np.diff(begin, append=len(order))
    country_of_event = of_events(np.maximum, country_of_line)
    described, descriptions, described_since = _descriptions(known, products)
    del known, order, country_of_line
    customer, product, invoice = customer[begin], product[begin], invoice[begin]
    order = np.lexsort((product, invoice, time))
    customer = customer[order]
    moves = _moves(customer, country_of_event[order])
    return Events(
        customers=ids,
        products=products,
        customer=customer,
        product=product[order],
        invoice=pd.factorize(invoice[order])[0].astype(np.int64),
        time=time[order],
        returned=returned[order],
        quantity=quantity[order],
        price=price[order],
        countries=tuple(str(name) for name in countries),
        resident=customer[moves],
        resident_in=country_of_event[order[moves]],
        resident_since=time[order[moves]],
        described=described,
        descriptions=descriptions,
        described_since=described_since,
        looks=encode_looks(looks, until, ids, products),
    )


def _moves(customer: IntArray, country: IntArray) -> IntArray:
    """Events at which a customer's country is new: the first one, and each with another country than the one before.

    Args:
        customer: (E,) customer_index in order of time; -1 for a guest.
        country: (E,) index of the country.

    Returns:
        (M,) indices of events, ascending.

    >>> _moves(np.array([0, 1, 0, -1, 0, 1]), np.array([5, 5, 5, 5, 6, 5])).tolist()
    [0, 1, 4]
    """
    order = np.argsort(customer, kind="stable")
    order = order[np.searchsorted(customer[order], 0) :]  # without guests
    differs = np.ones(len(order), np.bool_)
    differs[1:] = (np.diff(customer[order]) != 0) | (np.diff(country[order]) != 0)
    return np.sort(order[differs])


def _descriptions(known: pd.DataFrame, products: npt.NDArray[np.str_]) -> tuple[IntArray, tuple[str, ...], IntArray]:
    """`described`, `descriptions` and `described_since` of `Events`."""
    columns = Interactions
    first = (
        known.dropna(subset=[columns.DESCRIPTION])
        .groupby([columns.STOCK_CODE, columns.DESCRIPTION], sort=True)[columns.PURCHASED_AT]
        .min()
        .reset_index()
    )
    return (
        np.searchsorted(products, first[columns.STOCK_CODE].to_numpy().astype(str)).astype(np.int64),
        tuple(str(description) for description in first[columns.DESCRIPTION]),
        _microseconds(first[columns.PURCHASED_AT]),
    )


def _customer_codes(customer_ids: pd.Series) -> tuple[IntArray, npt.NDArray[np.object_]]:
    """Returns each id's index into the distinct ids, -1 for a guest, and these, ascending."""
    places, distinct = pd.factorize(customer_ids)
    # Not an array of NumPy's own strings: each would take the room of the longest.
    ids: list[str] = distinct.tolist()
    order = sorted(range(len(ids)), key=lambda place: rank(ids[place]))
    index_of = np.full(len(ids) + 1, -1)  # the last is for -1, the place of a guest
    index_of[order] = np.arange(len(ids))
    return index_of[places], np.array([ids[place] for place in order], np.object_)


def _codes(texts: pd.Series) -> tuple[IntArray, npt.NDArray[np.str_]]:
    """Returns each text's index into the distinct texts, and these, ascending."""
    places, distinct = pd.factorize(texts)
    names, rank = np.unique(np.asarray(distinct).astype(str), return_inverse=True)
    return rank.astype(np.int64)[places], names


def _microseconds(times: pd.Series) -> IntArray:
    return times.astype("datetime64[us]").to_numpy().astype(np.int64)


def microseconds(at: datetime) -> int:
    """An instant of the shop's clock as microseconds since 1970.

    >>> microseconds(datetime(1970, 1, 2)) == DAY
    True
    """
    return int(np.datetime64(at, "us").astype(np.int64))


def rows_of(vocabulary: Sequence[object], values: Sequence[object]) -> IntArray:
    """Each value's row in an embedding: its place in the vocabulary + 1, or 0 if it is not in it.

    >>> rows_of(["A", "C"], ["C", "B", "A"]).tolist()
    [2, 0, 1]
    """
    places = pd.Index([*vocabulary], dtype="object").get_indexer(pd.Index([*values], dtype="object"))
    rows: IntArray = (places + 1).astype(np.int64)
    return rows
