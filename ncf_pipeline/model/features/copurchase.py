"""Product-to-product weights from who bought what: dense for a small catalogue, sparse for a large one."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from ncf_pipeline.model.recipe import Recipe

Weights: TypeAlias = "npt.NDArray[np.float32] | sp.csr_array"

MIN_BUYERS = 3
"""A product with fewer buyers has no dense co-purchase weights."""

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
    pairs_at_once: int = 8_000_000,
) -> sp.csr_array:
    """Shrunk cosine between products. Memory grows with P x count.

    Deshpande & Karypis 2004, "Item-Based Top-N Recommendation Algorithms".

    Args:
        bought: (N, P) customers, or baskets, by products; w if one of weight w² holds the product.
        count: most neighbours of each product.
        min_common: fewest rows of `bought` that two products must share.
        min_lift: they must share so many times more rows than by chance.
        among: (P,) which products may be a neighbour; all if None.
        pairs_at_once: most pairs of products in memory before each product's strongest neighbours are selected.

    Returns:
        (P, P); row p holds the strongest neighbours of p, the diagonal is 0.
    """
    if bought.shape[1] == 0:  # a shop without any purchase
        return sp.csr_array(np.zeros((0, 0), np.float32))
    table = bought.astype(np.float32)
    transposed = table.T.tocsr()
    buyers = np.maximum(np.asarray(transposed.multiply(transposed).sum(axis=1)).ravel(), 1e-9).astype(np.float32)
    population = max(float(np.square(_largest_of_rows(table)).sum()), 1.0)
    blocks = []
    # A bound on the neighbours of each product: the entries of its rows, and at most all products.
    size = np.diff(table.indptr)  # (N,)
    entries = np.bincount(table.indices, np.repeat(size, size), minlength=table.shape[1]).astype(np.int64)  # (P,)
    partners = np.minimum(entries, table.shape[1])
    partners_before = np.concatenate([[0], np.cumsum(partners)])
    start = 0
    while start < table.shape[1]:
        limit = partners_before[start] + pairs_at_once
        stop = max(start + 1, int(np.searchsorted(partners_before, limit, side="right")) - 1)
        common = sp.csr_array(transposed[start:stop] @ table)  # (stop - start, P)
        row = start + np.repeat(np.arange(common.shape[0]), np.diff(common.indptr))
        column, both = common.indices, common.data
        cosine = both * both / (both + SHRINKAGE) / np.sqrt(buyers[row] * buyers[column])
        lift = both * population / (buyers[row] * buyers[column])
        kept = (row != column) & (both >= min_common) & (lift >= min_lift)
        if among is not None:
            kept &= among[column]
        common.data = np.where(kept, cosine, 0).astype(np.float32)
        blocks.append(strongest(common, count))
        start = stop
    return sp.csr_array(sp.vstack(blocks, format="csr"))


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
