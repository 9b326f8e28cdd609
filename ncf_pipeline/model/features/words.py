"""Which products have similar descriptions, also among products that hardly anybody has bought. Pure.

A customer who bought the red one may want the blue one before anyone has bought both. Co-purchases cannot show that,
but words can (content-based filtering: Lops et al. 2011, "Content-based Recommender Systems", section 3.3).
"""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from ncf_pipeline.model.features.copurchase import nearest_columns
from ncf_pipeline.model.features.state import ShopState, unit_rows

MIN_ALIKE = 0.3
"""Smallest cosine that counts: below it, two products share no more than a colour or a size."""

MAX_PRODUCTS = 1000
"""A word that more products have is ignored: it says little about any two of them, and their pairs take long."""


def word_table(state: ShopState) -> sp.csr_array:
    """TF-IDF of the words that at least two products have, from descriptions on invoices before the state's instant.

    Returns:
        (P, V), rows of length 1, or empty for products without such a word. The order of the V words has no meaning.
    """
    events, products = state.events, state.shape[1]
    description, word = events.words
    known = (events.described_since < state.at)[description]
    rows = events.described[description[known]]
    columns, words = pd.factorize(word[known])  # no trace is left of a word that is first used later
    table = sp.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(products, max(len(words), 1)))
    table.data[:] = 1.0  # a word in two descriptions of a product counts once
    having = np.bincount(table.indices, minlength=table.shape[1])
    described = int((np.diff(table.indptr) > 0).sum())
    telling = (having >= 2) & (having <= MAX_PRODUCTS)
    rarity = np.where(telling, np.log((described + 1) / (having + 1)), 0).astype(np.float32)
    table.data *= rarity[table.indices]
    table.eliminate_zeros()
    return unit_rows(table)


def alike(table: sp.csr_array, count: int) -> sp.csr_array:
    """Cosine of the words of products, for the most similar ones.

    Args:
        table: (P, V) from `word_table`.
        count: most neighbours of each product.

    Returns:
        (P, P) with at most `count` values a row, each at least `MIN_ALIKE`; the diagonal is 0.
    """
    one = np.ones(table.shape[0], np.float32)  # rows have length 1 already
    return nearest_columns(sp.csr_array(table.T.tocsr()), table, one, count, min_common=MIN_ALIKE)
