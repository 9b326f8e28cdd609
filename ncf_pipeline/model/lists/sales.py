"""How each product sold until an instant, by country: what lists for no customer in particular are made of. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from ncf_pipeline.columns import EVERYWHERE, Interactions
from ncf_pipeline.evaluation.baselines import RECENT_DAYS
from ncf_pipeline.evaluation.splits import interactions_as_of

_EVER, _RECENT = "ever", "recent"
_USED = [Interactions.STOCK_CODE, Interactions.INVOICE_NO, Interactions.COUNTRY, Interactions.PURCHASED_AT]


@dataclass(frozen=True)
class Sales:
    """On how many invoices the products are, of what was bought before an instant and not returned.

    Attributes:
        as_of: the instant.
        counts: a row for each country and product, and under `EVERYWHERE` for each product: `ever`, the number of
            invoices, and `recent`, that of the last `RECENT_DAYS`. The index is country and stock code.
        first_sold: by stock code, when it was first sold.
    """

    as_of: datetime
    counts: pd.DataFrame
    first_sold: pd.Series

    def countries(self) -> list[str]:
        """The countries in which something was sold, in alphabetical order."""
        return sorted(set(self.counts.index.get_level_values(0)) - {EVERYWHERE})

    def ranking(self, country: str = EVERYWHERE, *, recent: bool = False) -> list[str]:
        """The stock codes that were sold in a country: those on most invoices first, ties by stock code.

        Args:
            country: its name, or `EVERYWHERE`.
            recent: whether only the last `RECENT_DAYS` count.
        """
        if country not in self.counts.index:
            return []
        sold: pd.Series = self.counts[_RECENT if recent else _EVER].xs(country, level=0)
        sold = sold[sold > 0].sort_index().sort_values(ascending=False, kind="stable")
        return [str(code) for code in sold.index]


def sales_of(interactions: pd.DataFrame, as_of: datetime) -> Sales:
    """The sales among interactions.

    Args:
        interactions: columns of `columns.Interactions`; purchases and returns at or after `as_of` are ignored.
        as_of: first instant excluded.
    """
    return sales_of_parts(lambda: [interactions], as_of)


def sales_of_parts(read: Callable[[], Iterable[pd.DataFrame]], as_of: datetime) -> Sales:
    """The sales among the interactions of a large shop. One part of them is in memory at a time.

    Args:
        read: returns the parts, one after the other. It is called again if an invoice has lines in several parts.
        as_of: first instant excluded.
    """
    counting = SalesCount([as_of])
    for part in read():
        counting.add(part)
    (sales,) = counting.sales(read)
    return sales


class SalesCount:
    """Counts the sales of parts, as of several instants.

    Args:
        instants: first instant excluded, of each.
        by_country: whether countries are counted, too.
    """

    def __init__(self, instants: Sequence[datetime], *, by_country: bool = True) -> None:
        self._instants, self._by_country = list(instants), by_country
        self._invoices = [np.zeros(0, np.uint64)]
        self._first_sold = [[_first_sold(_nothing())] for _ in self._instants]
        self._counts = [self._counted(_nothing(), as_of) for as_of in self._instants]

    def add(self, part: pd.DataFrame) -> None:
        """Counts a part.

        Args:
            part: columns of `columns.Interactions`.
        """
        self._invoices.append(np.unique(_hashes(part[Interactions.INVOICE_NO].drop_duplicates())))
        for place, as_of in enumerate(self._instants):
            known = _known(part, as_of)
            self._add(place, self._counted(known, as_of))
            self._first_sold[place].append(_first_sold(known))

    def sales(self, read: Callable[[], Iterable[pd.DataFrame]]) -> list[Sales]:
        """The sales as of each instant.

        Args:
            read: returns the parts again, one after the other. It is called if an invoice has lines in several parts.
        """
        distinct, parts = np.unique(np.concatenate(self._invoices), return_counts=True)
        divided = distinct[parts > 1]
        if len(divided):  # each of their parts has counted such invoices
            theirs = [part[np.isin(_hashes(part[Interactions.INVOICE_NO]), divided)] for part in read()]
            for place, as_of in enumerate(self._instants):
                known = [_known(lines, as_of) for lines in theirs]
                for lines in known:
                    self._add(place, -self._counted(lines, as_of))
                self._add(place, self._counted(pd.concat(known), as_of))
        return [
            Sales(as_of=as_of, counts=counts, first_sold=pd.concat(first_sold).groupby(level=0).min())
            for as_of, counts, first_sold in zip(self._instants, self._counts, self._first_sold, strict=True)
        ]

    def _add(self, place: int, counts: pd.DataFrame) -> None:
        self._counts[place] = pd.concat([self._counts[place], counts]).groupby(level=[0, 1]).sum()

    def _counted(self, known: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
        """`Sales.counts` of some lines."""
        recent = known[known[Interactions.PURCHASED_AT] >= as_of - timedelta(days=RECENT_DAYS)]
        counts = {name: _invoices(lines, self._by_country) for name, lines in ((_EVER, known), (_RECENT, recent))}
        return pd.DataFrame(counts).fillna(0).astype(np.int64)


def _known(part: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    return interactions_as_of(part[[*_USED, Interactions.RETURNED_AT]], as_of)[_USED]


def _nothing() -> pd.DataFrame:
    texts = pd.Series([], dtype="str")
    return pd.DataFrame(dict.fromkeys(_USED, texts)).astype({Interactions.PURCHASED_AT: "datetime64[us]"})


def _invoices(known: pd.DataFrame, by_country: bool) -> pd.Series:
    country, code = pl.col(Interactions.COUNTRY), pl.col(Interactions.STOCK_CODE)
    used = [Interactions.COUNTRY, Interactions.STOCK_CODE, Interactions.INVOICE_NO]
    lines = pl.from_pandas(known[used]).cast(pl.String)  # also of categories, or of a column in which all is missing
    invoices = pl.col(Interactions.INVOICE_NO).n_unique().alias("invoices")
    everywhere = lines.group_by(pl.lit(EVERYWHERE).alias(Interactions.COUNTRY), code).agg(invoices)
    places = lines.filter(country != EVERYWHERE) if by_country else lines.clear()
    counted = pl.concat([places.group_by(country, code).agg(invoices), everywhere]).to_pandas()
    return counted.set_index([Interactions.COUNTRY, Interactions.STOCK_CODE])["invoices"].sort_index()


def _first_sold(known: pd.DataFrame) -> pd.Series:
    return known.groupby(Interactions.STOCK_CODE, observed=True)[Interactions.PURCHASED_AT].min()


def _hashes(invoices: pd.Series) -> npt.NDArray[np.uint64]:
    hashes: npt.NDArray[np.uint64] = pd.util.hash_pandas_object(invoices, index=False).to_numpy().astype(np.uint64)
    return hashes
