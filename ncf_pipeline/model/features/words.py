"""What descriptions say of products: which are alike in their words, also those that hardly anybody has bought. Pure.

A customer who bought the red one may want the blue one, before anyone has bought both. Co-purchases cannot know
that; the words can (content-based filtering: Lops et al. 2011, "Content-based Recommender Systems", section 3.3).
"""

import re

import numpy as np
import scipy.sparse as sp

from ncf_pipeline.model.features.copurchase import strongest
from ncf_pipeline.model.features.state import ShopState, unit_rows

MIN_ALIKE = 0.3
"""Cosine below which two products have no more in common than a colour or a size."""

MAX_PRODUCTS = 1000
"""Products with a word above which it says too little of any two of them for the time that their pairs take."""

_WORD = re.compile(r"[^\W\d_]{2,}")
_FAMILY = re.compile(r"(.*\d)[^\W\d_]+")


def word_table(state: ShopState) -> sp.csr_array:
    """(P, V) TF-IDF of words that two products or more have, rows of length 1; empty for products without any.

    The words are those of descriptions on invoices before the state's instant. A word's number is arbitrary.
    """
    events, products = state.events, state.shape[1]
    numbers: dict[str, int] = {}
    rows: list[int] = []
    columns: list[int] = []
    for product, description, since in zip(
        events.described.tolist(), events.descriptions, events.described_since.tolist(), strict=True
    ):
        if since < state.at:
            # Sorted, for the order in which numbers are added up: that of a set is another in each process.
            for word in sorted(words_of(description, str(events.products[product]))):
                rows.append(product)
                columns.append(numbers.setdefault(word, len(numbers)))
    table = sp.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(products, max(len(numbers), 1)))
    table.data[:] = 1.0  # a word that two descriptions of a product share counts once
    having = np.bincount(table.indices, minlength=table.shape[1])
    described = int((np.diff(table.indptr) > 0).sum())
    telling = (having >= 2) & (having <= MAX_PRODUCTS)
    rarity = np.where(telling, np.log((described + 1) / (having + 1)), 0).astype(np.float32)
    table.data *= rarity[table.indices]
    table.eliminate_zeros()
    return unit_rows(table)


def words_of(description: str, stock_code: str) -> set[str]:
    """The words of a description, and the family of a stock code that ends in letters.

    >>> sorted(words_of("RED RETROSPOT CUP 2", "21931R"))
    ['#21931', 'cup', 'red', 'retrospot']
    """
    words = {word.casefold() for word in _WORD.findall(description)}
    family = _FAMILY.fullmatch(stock_code)
    return words | {f"#{family[1] if family else stock_code}"}


def alike(table: sp.csr_array, count: int, *, block: int = 1024) -> sp.csr_array:
    """(P, P) cosine of products with the most similar words, at most `count` a row; the diagonal is 0.

    Args:
        table: from `word_table`.
        count: products kept for each product.
        block: products at a time, so that what is not kept is never there all at once.
    """
    transposed = table.T.tocsr()
    blocks = []
    for start in range(0, table.shape[0], block):
        cosine = sp.csr_array(table[start : start + block] @ transposed)  # (block, P)
        row = start + np.repeat(np.arange(cosine.shape[0]), np.diff(cosine.indptr))
        cosine.data = np.where((row != cosine.indices) & (cosine.data >= MIN_ALIKE), cosine.data, 0)
        blocks.append(strongest(cosine, count))
    return sp.csr_array(sp.vstack(blocks, format="csr")) if blocks else sp.csr_array(table.shape[:1] * 2)
