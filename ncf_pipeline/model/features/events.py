"""Interactions as arrays: an event for each product on each invoice, in order of time, with integer ids."""

from collections.abc import Iterable, Sequence
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

__all__ = ["DAY", "Events", "FloatArray", "Int32Array", "IntArray", "encode", "microseconds", "pair_codes", "rows_of"]

IntArray = npt.NDArray[np.int64]
Int32Array = npt.NDArray[np.int32]
"""For what there is of every event: half the memory. Products of such numbers may need 64 bits: see `pair_codes`."""
FloatArray = npt.NDArray[np.float64]

_NEVER = np.iinfo(np.int64).max  # later than every instant


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
        returned: (R,) row of each event that was returned, ascending.
        returned_at: (R,) microseconds; the instant from which it counts as returned.
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
    customer: Int32Array
    product: Int32Array
    invoice: Int32Array
    time: IntArray
    returned: Int32Array
    returned_at: IntArray
    quantity: FloatArray
    price: FloatArray
    countries: tuple[str, ...]
    resident: Int32Array
    resident_in: Int32Array
    resident_since: IntArray
    described: IntArray
    descriptions: tuple[str, ...]
    described_since: IntArray
    looks: Looks = field(default_factory=no_looks)

    def __len__(self) -> int:
        return len(self.time)

    def alive(self, at: int) -> npt.NDArray[np.bool_]:
        """(E,) which events were bought before an instant, in microseconds, and not returned by then."""
        alive: npt.NDArray[np.bool_] = self.time < at
        alive[self.returned[self.returned_at < at]] = False
        return alive

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


def encode(
    interactions: pd.DataFrame | Iterable[pd.DataFrame], until: datetime, looks: pd.DataFrame | None = None
) -> Events:
    """Makes events of the interactions before an instant. Nothing later reaches the result, not even an id.

    Args:
        interactions: columns of `columns.Interactions`, rows in any order. Of a large shop its parts, one after the
            other, of which memory holds one: all lines of a customer are in one part, and so are all lines of guests
            on an invoice. The events are the same.
        until: first instant excluded, for purchases, for returns and for looks.
        looks: columns of `columns.Looks`, rows in any order; None for a model that reads none.
    """
    parts = [interactions] if isinstance(interactions, pd.DataFrame) else interactions
    encoded = [_encoded(part, until) for part in parts]
    customers = np.array(sorted({each for part in encoded for each in part.customers}, key=rank), np.object_)
    products, product_of = _merged([part.products for part in encoded])
    countries, country_of = _merged([part.countries for part in encoded])
    # Of invoices only the order is needed: their numbers would take more room than all else of an event.
    _, invoice_of = _merged([part.invoices for part in encoded])
    place = {customer: index for index, customer in enumerate(customers)}
    customer_of = [np.array([*(place[each] for each in part.customers), -1], np.int32) for part in encoded]
    described, descriptions, described_since = _descriptions([part.described for part in encoded], products)

    def column(name: str, kind: type, indices: Sequence[Int32Array] | None = None) -> npt.NDArray[Any]:
        """A column of all events, part by part; what the parts hold of it is given up."""
        whole: npt.NDArray[Any] = np.empty(sum(len(part.columns[name]) for part in encoded), kind)
        begin = 0
        for number, part in enumerate(encoded):
            values = part.columns.pop(name)
            whole[begin : begin + len(values)] = values if indices is None else indices[number][values]
            begin += len(values)
        return whole

    customer, product = column("customer", np.int32, customer_of), column("product", np.int32, product_of)
    invoice, time = column("invoice", np.int32, invoice_of), column("time", np.int64)
    order = np.lexsort((customer, product, invoice, time))
    customer, product, invoice, time = customer[order], product[order], invoice[order], time[order]
    country = column("country", np.int32, country_of)[order]
    moves = _moves(customer, country)
    resident_in = country[moves]
    del country
    returned_at = column("returned", np.int64)[order]
    returned = np.flatnonzero(returned_at < _NEVER)
    returned_at = returned_at[returned]
    return Events(
        customers=customers,
        products=products,
        customer=customer,
        product=product,
        invoice=pd.factorize(invoice)[0].astype(np.int32),
        time=time,
        returned=returned.astype(np.int32),
        returned_at=returned_at,
        quantity=column("quantity", np.float64)[order],
        price=column("price", np.float64)[order],
        countries=tuple(str(name) for name in countries),
        resident=customer[moves],
        resident_in=resident_in,
        resident_since=time[moves],
        described=described,
        descriptions=descriptions,
        described_since=described_since,
        looks=encode_looks(looks, until, customers, products),
    )


@dataclass(frozen=True)
class _Part:
    """The E events of a part, in any order.

    Attributes:
        customers: (C,) ids.
        products: (P,) stock codes, ascending.
        invoices: (V,) numbers of invoices in UTF-8, ascending.
        countries: (N,) names, ascending.
        columns: (E,) each: `customer`, an index into `customers`, -1 for a guest; `product`, `invoice` and `country`,
            likewise; `time`, `quantity` and `price`, as in `Events`; `returned`, microseconds, `_NEVER` if it was not.
        described: a row for each product and each of its descriptions, with the first sale under it.
    """

    customers: list[str]
    products: npt.NDArray[np.str_]
    invoices: npt.NDArray[np.bytes_]
    countries: npt.NDArray[np.str_]
    columns: dict[str, npt.NDArray[Any]]
    described: pd.DataFrame


def _encoded(interactions: pd.DataFrame, until: datetime) -> _Part:
    columns = Interactions
    known = interactions[interactions[columns.PURCHASED_AT] < until]
    limit = microseconds(until)
    # From here on numbers instead of texts: the texts of tens of millions of lines would fill the memory.
    customer, distinct = pd.factorize(known[columns.CUSTOMER_ID])
    product, products = _codes(known[columns.STOCK_CODE])
    invoice, invoices = _codes(known[columns.INVOICE_NO])
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

    returned_at = known[columns.RETURNED_AT]
    returned = np.where(returned_at.isna(), _NEVER, _microseconds(returned_at))
    described = known.dropna(subset=[columns.DESCRIPTION]).groupby([columns.STOCK_CODE, columns.DESCRIPTION])
    return _Part(
        customers=distinct.tolist(),
        products=products,
        invoices=np.char.encode(invoices, "utf-8"),  # in the same order
        countries=countries,
        columns={
            "customer": customer[begin].astype(np.int32),
            "product": product[begin].astype(np.int32),
            "invoice": invoice[begin].astype(np.int32),
            "country": of_events(np.maximum, country_of_line).astype(np.int32),
            "time": of_events(np.minimum, _microseconds(known[columns.PURCHASED_AT])),
            "returned": of_events(np.maximum, np.where(returned < limit, returned, _NEVER)),
            "quantity": of_events(np.add, known[columns.QUANTITY].to_numpy(np.float64)),
            "price": of_events(np.add, known[columns.UNIT_PRICE].to_numpy(np.float64))
            / np.diff(begin, append=len(order)),
        },
        described=described[columns.PURCHASED_AT].min().reset_index(),
    )


def _merged(names: Sequence[npt.NDArray[Any]]) -> tuple[npt.NDArray[Any], list[Int32Array]]:
    """The distinct names of all parts, ascending, and for each part the index of each of its names among these."""
    if not names:
        return np.zeros(0, np.str_), []
    distinct, index = np.unique(np.concatenate(names), return_inverse=True)
    return distinct, np.split(index.astype(np.int32), np.cumsum([len(each) for each in names])[:-1])


def _moves(customer: Int32Array, country: Int32Array) -> IntArray:
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


def _descriptions(
    parts: Sequence[pd.DataFrame], products: npt.NDArray[np.str_]
) -> tuple[IntArray, tuple[str, ...], IntArray]:
    """`described`, `descriptions` and `described_since` of `Events`."""
    columns = Interactions
    if not parts:
        return np.zeros(0, np.int64), (), np.zeros(0, np.int64)
    first = (
        pd.concat(parts)
        .groupby([columns.STOCK_CODE, columns.DESCRIPTION], sort=True)[columns.PURCHASED_AT]
        .min()
        .reset_index()
    )
    return (
        np.searchsorted(products, first[columns.STOCK_CODE].to_numpy().astype(str)).astype(np.int64),
        tuple(str(description) for description in first[columns.DESCRIPTION]),
        _microseconds(first[columns.PURCHASED_AT]),
    )


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


def pair_codes(customer: npt.NDArray[Any], product: npt.NDArray[Any], products: int) -> IntArray:
    """(n,) a number for each customer and product, ascending by customer, then by product.

    Args:
        customer: (n,) customer_index, of any type: the numbers have 64 bits.
        product: (n,) product_index.
        products: how many there are.

    >>> pair_codes(np.array([3_000_000], np.int32), np.array([7], np.int32), 1_000_000).tolist()
    [3000000000007]
    """
    codes: IntArray = customer.astype(np.int64) * products + product
    return codes


def rows_of(vocabulary: Sequence[object], values: Sequence[object]) -> IntArray:
    """Each value's row in an embedding: its place in the vocabulary + 1, or 0 if it is not in it.

    >>> rows_of(["A", "C"], ["C", "B", "A"]).tolist()
    [2, 0, 1]
    """
    places = pd.Index([*vocabulary], dtype="object").get_indexer(pd.Index([*values], dtype="object"))
    rows: IntArray = (places + 1).astype(np.int64)
    return rows
