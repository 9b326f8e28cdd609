"""Products that sell together, by H-mine over invoices. Pure.

Pei et al. 2001, "H-Mine: Hyper-Structure Mining of Frequent Patterns in Large Databases"; the implementation is
mlxtend's. Its FP-growth finds the same sets, but takes four times as long for a year of 20,000 invoices.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import scipy.sparse as sp
from mlxtend.frequent_patterns import hmine

from ncf_pipeline.columns import Interactions
from ncf_pipeline.evaluation.splits import interactions_as_of

LARGEST = 4
"""Most products in a bundle."""

MIN_LIFT = 1.5
"""A bundle must be so many times more frequent than by chance; otherwise its products are only popular."""

MIN_CONFIDENCE = 0.3
"""Of the invoices with all products of a bundle but one, at least so many have that one too, for each product. This
leaves out sets with a best seller that sells with everything.
"""

IN_LARGER = 0.8
"""If so large a share of a set's invoices has the same further product, the larger set replaces it."""


@dataclass(frozen=True)
class Bundle:
    """A product set that sells together.

    Attributes:
        stock_codes: ascending.
        invoices: number of invoices with all of them.
        support: share of all invoices, 0 to 1.
        confidence: of the invoices with all products but one, the share that has that one too; the smallest over the
            products.
        lift: support over the support to expect if the products were bought independently.
        revenue: spent on these products on these invoices, in the shop's currency.
    """

    stock_codes: tuple[str, ...]
    invoices: int
    support: float
    confidence: float
    lift: float
    revenue: float


def find_bundles(
    interactions: pd.DataFrame, as_of: datetime, *, min_support: float, count: int, hidden: Iterable[str] = ()
) -> list[Bundle]:
    """Finds sets of 2 to `LARGEST` products that share invoices more often than by chance.

    A set is left out if another one says the same: a larger set that is on nearly all of its invoices (`IN_LARGER`), a
    smaller set with as high a lift, or a set with more revenue that has more than half of its products, such as three
    of four bags of a range.

    Args:
        interactions: columns of `columns.Interactions`, guests included; returned ones do not count.
        as_of: first instant excluded.
        min_support: smallest share of all invoices with the set, 0 to 1.
        count: most bundles.
        hidden: stock codes that are in no bundle.

    Returns:
        Bundles, highest revenue first; ties by stock code.
    """
    known = interactions_as_of(interactions, as_of)
    invoices = known[Interactions.INVOICE_NO].nunique()
    known = known[~known[Interactions.STOCK_CODE].isin(list(hidden))]
    spent = known[Interactions.QUANTITY] * known[Interactions.UNIT_PRICE]
    row, _ = pd.factorize(known[Interactions.INVOICE_NO])
    column, codes = pd.factorize(known[Interactions.STOCK_CODE], sort=True)
    shape = (int(row.max(initial=-1)) + 1, len(codes))
    revenue = sp.csr_array((spent.to_numpy(np.float64), (row, column)), shape=shape)
    least = max(2, int(np.ceil(min_support * invoices)))
    # Every product of a frequent set is frequent itself.
    frequent = np.flatnonzero(np.bincount(revenue.indices, minlength=len(codes)) >= least)
    if len(frequent) < 2:
        return []
    revenue = sp.csr_array(revenue[:, frequent])
    alone = np.bincount(revenue.indices, minlength=len(frequent))
    revenue = sp.csr_array(revenue[np.diff(revenue.indptr) > 1])
    if revenue.shape[0] < least:
        return []
    # Dense, because mlxtend's search is slower on sparse columns, and few products of a catalogue are frequent.
    held = pd.DataFrame(
        sp.csr_array((np.ones(revenue.nnz, np.bool_), revenue.indices, revenue.indptr), shape=revenue.shape).toarray()
    )
    frequent_sets = hmine(held, min_support=least / len(held), max_len=LARGEST)
    counts = {
        frozenset(int(item) for item in items): round(support * len(held))
        for support, items in zip(frequent_sets["support"], frequent_sets["itemsets"], strict=True)
        if len(items) > 1
    }
    counts |= {frozenset({item}): int(count) for item, count in enumerate(alone)}
    lifts = {
        items: lift
        for items in counts
        if len(items) > 1
        and _confidence(items, counts) >= MIN_CONFIDENCE
        and (lift := _lift(items, counts, invoices)) >= MIN_LIFT
    }
    by_product = sp.csc_array(revenue)
    bundles = [
        Bundle(
            stock_codes=tuple(str(codes[frequent[item]]) for item in sorted(items)),
            invoices=counts[items],
            support=counts[items] / invoices,
            confidence=_confidence(items, counts),
            lift=lifts[items],
            revenue=round(_revenue(by_product, sorted(items)), 2),
        )
        for items in sorted(_without_redundant(lifts, counts), key=sorted)
    ]
    return _various(sorted(bundles, key=lambda bundle: -bundle.revenue), count)


def _confidence(items: frozenset[int], counts: dict[frozenset[int], int]) -> float:
    """See `Bundle.confidence`."""
    return min(counts[items] / counts[items - {item}] for item in items)


def _lift(items: frozenset[int], counts: dict[frozenset[int], int], invoices: int) -> float:
    """See `Bundle.lift`."""
    alone = [counts[frozenset({item})] / invoices for item in items]
    return float(counts[items] / invoices / np.prod(alone))


def _without_redundant(lifts: dict[frozenset[int], float], counts: dict[frozenset[int], int]) -> set[frozenset[int]]:
    """Leaves out sets with a smaller set of as high a lift, then sets that a larger one replaces (`IN_LARGER`)."""
    strongest = {
        items
        for items, lift in lifts.items()
        if not any(lifts.get(items - {item}, 0) >= lift * (1 - 1e-9) for item in items)
    }
    replaced = {
        items - {item} for items in strongest for item in items if counts[items] >= IN_LARGER * counts[items - {item}]
    }
    return strongest - replaced


def _various(bundles: list[Bundle], count: int) -> list[Bundle]:
    """The first bundles that share at most half of their products with an earlier one."""
    kept: list[Bundle] = []
    for bundle in bundles:
        if len(kept) == count:
            break
        mine = set(bundle.stock_codes)
        if all(len(mine.intersection(other.stock_codes)) <= len(mine) / 2 for other in kept):
            kept.append(bundle)
    return kept


def _revenue(by_product: sp.csc_array, items: list[int]) -> float:
    """See `Bundle.revenue`; `by_product` is (invoices, products)."""
    chosen = by_product[:, items].tocsr()
    whole = np.diff(chosen.indptr) == len(items)
    return float(chosen.sum(axis=1)[whole].sum())
