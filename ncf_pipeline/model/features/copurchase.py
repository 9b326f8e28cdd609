"""Product-to-product weights from who bought what: dense for a small catalogue, sparse for a large one."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from ncf_pipeline.model import kernels
from ncf_pipeline.model.recipe import Recipe

Weights: TypeAlias = "npt.NDArray[np.float32] | sp.csr_array"

MIN_BUYERS = 3
"""A product with fewer buyers has no dense co-purchase weights."""

ENTRIES_AT_ONCE = 4_000_000
"""Entries of a table that are counted at once, about."""

SHRINKAGE = 10.0
"""With so many buyers in common, a similarity counts half; with more of them, closer to whole."""


def copurchase_weights(bought: sp.csr_array, recipe: Recipe) -> Weights:
    """Co-purchase weights: EASE's, or shrunk cosine for a catalogue above `max_dense_products`.

    Args:
        bought: (N, P) customers, or baskets, by products; 1 if one holds the product.
        recipe: `ridge`, `max_dense_products`, `copurchase_neighbours`.

    Returns:
        (P, P). Row q, column p: how much a purchase of q speaks for p. The diagonal is 0.
    """
    if bought.shape[1] <= recipe.max_dense_products:
        return ease(bought, recipe.ridge)
    return sp.csr_array(cosine_neighbours(bought, recipe.copurchase_neighbours).T.tocsr())


def sparse_parts(table: Weights) -> tuple[npt.NDArray[Any], ...]:
    """Start, columns and values of a sparse table, in the types that `kernels` knows; empty for a dense one."""
    if isinstance(table, np.ndarray):
        return np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32)
    return (
        table.indptr.astype(np.int64, copy=False),
        table.indices.astype(np.int32, copy=False),
        table.data.astype(np.float32, copy=False),
    )


def ease(bought: sp.csr_array, ridge: float) -> npt.NDArray[np.float32]:
    """EASE: the ridge regression of each product on all others, in closed form.

    Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data", eq. 8. Takes O(K^3) time and O(P^2) memory, with
    the K products of at least `MIN_BUYERS`. The weights of the others are 0: a ridge of hundreds would leave nothing.

    Args:
        bought: (N, P) customers, or baskets, by products; 1 if one holds the product.
        ridge: lambda; the higher, the smaller the weights.

    Returns:
        (P, P), the diagonal 0.
    """
    buyers = np.asarray(bought.sum(axis=0)).ravel()
    kept = np.flatnonzero(buyers >= MIN_BUYERS)
    table = bought.astype(np.float32)[:, kept]  # (N, K)
    gram = torch.from_numpy((table.T @ table).toarray())  # (K, K)
    gram.diagonal().add_(ridge)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))  # (K, K)
    inverse /= -inverse.diagonal().clone()
    inverse.fill_diagonal_(0.0)
    weights = np.zeros((bought.shape[1], bought.shape[1]), np.float32)  # row-major, for products with sparse rows
    weights[np.ix_(kept, kept)] = inverse.numpy()
    return weights


def cosine_neighbours(
    bought: sp.csr_array,
    count: int,
    *,
    min_common: float = 1.0,
    min_lift: float = 0.0,
    among: npt.NDArray[np.bool_] | None = None,
) -> sp.csr_array:
    """Shrunk cosine between products. Memory grows with P x count.

    Deshpande & Karypis 2004, "Item-Based Top-N Recommendation Algorithms".

    Args:
        bought: (N, P) customers, or baskets, by products; w if one of weight w² holds the product.
        count: most neighbours of each product.
        min_common: fewest rows of `bought` that two products must share.
        min_lift: they must share so many times more rows than by chance.
        among: (P,) which products may be a neighbour; all if None.

    Returns:
        (P, P); row p holds the strongest neighbours of p, the diagonal is 0.
    """
    if bought.shape[1] == 0:  # a shop without any purchase
        return sp.csr_array(np.zeros((0, 0), np.float32))
    table = sp.csr_array(bought.astype(np.float32, copy=False))
    transposed = sp.csr_array(table.T.tocsr())
    norm = np.maximum(_squares_of_rows(transposed), 1e-9).astype(np.float32)
    population = max(float(np.square(_largest_of_rows(table)).sum()), 1.0)
    return nearest_columns(
        table,
        transposed,
        norm,
        count,
        population=population,
        shrinkage=SHRINKAGE,
        min_common=min_common,
        min_lift=min_lift,
        among=among,
    )


def nearest_columns(
    table: sp.csr_array,
    transposed: sp.csr_array,
    norm: npt.NDArray[np.float32],
    count: int,
    *,
    population: float = 1.0,
    shrinkage: float = 0.0,
    min_common: float = 0.0,
    min_lift: float = 0.0,
    among: npt.NDArray[np.bool_] | None = None,
) -> sp.csr_array:
    """The nearest columns of each column of a table, ties by column.

    With b the sum of products of two columns over the rows, the value is b² / (b + shrinkage) / sqrt(norm norm').

    Args:
        table: (N, P) float32.
        transposed: (P, N) the same.
        norm: (P,) of each column.
        count: most neighbours of each column.
        population: b population / (norm norm') is the lift.
        shrinkage: the higher, the less a small b counts.
        min_common: smallest b.
        min_lift: smallest lift.
        among: (P,) which columns may be a neighbour; all if None.

    Returns:
        (P, P); row p holds the nearest columns of p, only positive values, the diagonal is 0.
    """
    products = table.shape[1]
    # A bound on the neighbours of each product: the other entries of its rows, and at most all products.
    size = np.diff(table.indptr)  # (N,)
    entries = np.zeros(products)  # (P,) whole numbers, so their order does not matter
    for rows, of_rows in _rows_at_once(table):
        entries += np.bincount(table.indices[of_rows], np.repeat(size[rows], size[rows]), minlength=products)
    entries = entries.astype(np.int64)
    out_start = np.concatenate([[0], np.cumsum(np.minimum(np.minimum(entries, products), count))]).astype(np.int64)
    columns, values = np.empty(out_start[-1], np.int32), np.empty(out_start[-1], np.float32)
    found = np.zeros(products, np.int64)
    limits = [np.float32(value) for value in (population, shrinkage, min_common, min_lift)]
    shown = np.ones(products, np.bool_) if among is None else among
    sources = [(part.indptr.astype(np.int64), part.indices, part.data) for part in (table, transposed)]

    def search(part: tuple[int, int]) -> None:
        kernels.nearest(*part, *sources[0], *sources[1], norm, *limits, shown, out_start, columns, values, found)

    # Parts of about the same work, each on a core of its own; the result does not depend on them.
    threads = torch.get_num_threads()
    work = np.cumsum(entries)
    bounds = np.searchsorted(work, np.linspace(0, work[-1], 4 * threads + 1)[1:-1]) if len(work) else np.zeros(0, int)
    edges = [0, *bounds.tolist(), products]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, pairwise(edges)))
    start = np.concatenate([[0], np.cumsum(found)])
    near, likeness = np.empty(start[-1], np.int32), np.empty(start[-1], np.float32)
    kernels.packed(out_start, found, columns, values, start, near, likeness)
    return sp.csr_array((likeness, near, start), shape=(products, products))


def _rows_at_once(table: sp.csr_array) -> Iterator[tuple[slice, slice]]:
    """Rows with about `ENTRIES_AT_ONCE` entries, and those entries: to count them takes several copies."""
    bounds = np.searchsorted(table.indptr, np.arange(ENTRIES_AT_ONCE, table.nnz, ENTRIES_AT_ONCE))
    for begin, end in pairwise(np.unique([0, *bounds, table.shape[0]]).tolist()):
        yield slice(begin, end), slice(int(table.indptr[begin]), int(table.indptr[end]))


def _squares_of_rows(table: sp.csr_array) -> npt.NDArray[np.float32]:
    """(N,) the sum of squares of each row."""
    sums = np.zeros(table.shape[0], np.float32)
    for rows, _ in _rows_at_once(table):
        part = table[rows]
        sums[rows] = np.asarray(part.multiply(part).sum(axis=1)).ravel()
    return sums


def _largest_of_rows(table: sp.csr_array) -> npt.NDArray[np.float32]:
    largest: npt.NDArray[np.float32] = table.max(axis=1).toarray().ravel()
    return largest


def strongest(table: sp.csr_array, count: int) -> sp.csr_array:
    """The largest positive entries of each row, at most `count`; ties by column.

    >>> strongest(sp.csr_array([[1.0, 3.0, 1.0, 0.0], [0.0, -1.0, 0.0, 2.0]]), 2).toarray().tolist()
    [[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]]
    """
    # First finds the count-th largest of each long row, in linear time, so that few entries are sorted.
    least = np.zeros(table.shape[0], table.dtype)
    for long in np.flatnonzero(np.diff(table.indptr) > count):
        entries = table.data[table.indptr[long] : table.indptr[long + 1]]
        least[long] = np.partition(entries, len(entries) - count)[len(entries) - count]
    row = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    eligible = (table.data >= least[row]) & (table.data > 0)
    row, column, value = row[eligible], table.indices[eligible], table.data[eligible]
    order = np.lexsort((column, -value, row))
    keep = order[np.arange(len(order)) - np.searchsorted(row, row) < count]  # `row` is ascending already
    kept = sp.csr_array((value[keep], (row[keep], column[keep])), shape=table.shape)
    kept.sort_indices()
    return kept


def low_rank(weights: Weights, rank: int, seed: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """A low-rank approximation of the weights.

    Randomised subspace iteration (Halko et al. 2011, "Finding Structure with Randomness", algorithm 4.4).

    Args:
        weights: (P, P).
        rank: width of the two tables.
        seed: of the random start.

    Returns:
        Two tables (P, rank), left and right: weights ≈ left @ right.T.
    """
    random = np.random.default_rng(seed)
    size = weights.shape[0]
    basis = random.standard_normal((size, min(rank + 8, size))).astype(np.float32)
    for _ in range(4):
        basis, _ = np.linalg.qr(weights @ basis)
        basis, _ = np.linalg.qr(weights.T @ basis)
    left, values, right = np.linalg.svd(weights @ basis, full_matrices=False)
    kept = min(rank, len(values))
    root = np.sqrt(values[:kept])
    factors = np.zeros((2, size, rank), np.float32)
    factors[0, :, :kept] = left[:, :kept] * root
    factors[1, :, :kept] = (basis @ right.T)[:, :kept] * root
    return factors[0], factors[1]


def scores_from(history: sp.csr_array, weights: Weights) -> npt.NDArray[np.float32]:
    """Scores of all products for customers with these histories.

    Args:
        history: (B, P).
        weights: (P, P).

    Returns:
        (B, P).
    """
    if isinstance(weights, np.ndarray):
        dense: npt.NDArray[np.float32] = np.asarray(history @ weights, dtype=np.float32)
        return dense
    sparse: npt.NDArray[np.float32] = (history @ weights).toarray().astype(np.float32)
    return sparse
