"""Which sold products are like one that nobody has bought, by what the shop's catalogue says of both. Pure.

Co-purchases and embeddings know nothing of a product before its first sales. Its category, its brand and the words of
its description are known before (content-based filtering: Lops et al. 2011, "Content-based Recommender Systems",
section 3.3).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd
import scipy.sparse as sp

from ncf_pipeline.columns import ALIKE, SAME_BRAND, SAME_CATEGORY, Catalogue, category_levels
from ncf_pipeline.model.families import family_of
from ncf_pipeline.model.features.copurchase import strongest
from ncf_pipeline.model.features.events import IntArray
from ncf_pipeline.model.features.state import Mask, ShopState, unit_rows

MIN_ALIKE = 0.3
"""Smallest cosine of words that counts: below it, two products share no more than a colour or a size."""

CATEGORY_WEIGHT, BRAND_WEIGHT = 0.8, 0.3
"""What the same category, and the same brand, count beside the cosine of words, which is at most 1."""

FEW_BUYERS = 5
"""A product with fewer customers than this, or none, is a newcomer: what sells together says little of it yet."""

LIKE_EACH, LED_TO = 50, 10
"""A newcomer is like so many sold products, and each of these leads to so many newcomers: a customer's newcomers cost
what the customer bought, and not what the catalogue has."""

BEST_OF_EACH = 200
"""Products to which a word, a category or a brand leads: its best sellers. So the work grows with the products of the
catalogue, and not with their pairs."""

MOST_WORDS, MOST_CHARACTERS = 64, 2000
"""Of a description, so many words count, among its first characters."""

ROWS_AT_ONCE = 1000

_WORD = re.compile(r"[^\W\d_]{2,}")

Why = tuple[str, ...]
"""A reason: its code, and its evidence if it has one."""


class Alike:
    """What P sold products are like, and U products of the catalogue that nobody bought before an instant.

    A row is a product: the sold ones by product_index, then the unsold ones by stock code.

    Args:
        state: of the shop at the instant. Descriptions on later invoices do not count.
        catalogue: columns of `columns.Catalogue`; each stock code once.

    Attributes:
        unsold: (U,) the stock codes of the unsold products.
        newcomers: (N,) the stock codes of products that are offered and have fewer than `FEW_BUYERS` customers, the
            last launched first, ties by stock code.
    """

    def __init__(self, state: ShopState, catalogue: pd.DataFrame) -> None:
        products: list[str] = state.events.products.tolist()
        sold = set(state.events.products[state.known_products].tolist())
        self._ranking = state.ranking  # (K,) product_index, the best sellers first
        self._products = len(products)
        is_listed = catalogue[Catalogue.IS_LISTED].to_numpy(np.bool_)
        self.unsold: list[str] = sorted(set(catalogue.loc[is_listed, Catalogue.STOCK_CODE]) - sold)
        codes = [*products, *self.unsold]
        known = catalogue.set_index(Catalogue.STOCK_CODE).reindex(codes)
        texts = [[text] if isinstance(text, str) else [] for text in known[Catalogue.DESCRIPTION]]
        for product, text in _on_invoices(state):
            texts[product].append(text)
        self._words, self._with_word = self._tables(_word_table(codes, texts))
        places = [category_levels(name) if isinstance(name, str) else () for name in known[Catalogue.CATEGORY]]
        brands = [" ".join(name.split()) if isinstance(name, str) else "" for name in known[Catalogue.BRAND]]
        self._facts, self._with_fact = self._tables(_fact_table(places, brands))
        self._with_fact.data[:] = 1  # the weights are those of the product that is compared
        self._newcomers = _newcomers(state, codes, known)  # (N,) rows
        self.newcomers: list[str] = [codes[row] for row in self._newcomers.tolist()]
        self._category, self._categories = _numbered(levels[-1] if levels else "" for levels in places)
        self._brand, self._brands = _numbered(brands)

    def _tables(self, table: sp.csr_array) -> tuple[sp.csr_array, sp.csr_array]:
        """(P + U, V) the table itself, and (V, K) the best sellers that have each of its V columns, best first."""
        having = sp.csr_array(table[self._ranking].T.tocsr())
        having.sort_indices()
        place = np.arange(having.nnz) - np.repeat(having.indptr[:-1], np.diff(having.indptr))
        having.data[place >= BEST_OF_EACH] = 0
        having.eliminate_zeros()
        return table, having

    def row_of_unsold(self, place: int) -> int:
        """The row of the product at a place of `unsold`."""
        return self._products + place

    def nearest(self, rows: Sequence[int], count: int, shown: Mask) -> Iterator[list[int]]:
        """The sold products that are most like some products, best first; ties in the order of best sellers.

        Args:
            rows: of the products.
            count: most products for each.
            shown: (P,) which products may be found.

        Yields:
            Their product_index, for one row after the other; none if nothing is like it.
        """
        for begin in range(0, len(rows), ROWS_AT_ONCE):
            part = np.asarray(rows[begin : begin + ROWS_AT_ONCE], np.int64)
            best = strongest(self._likeness(part, shown), count)
            for row in range(len(part)):
                of_row = slice(best.indptr[row], best.indptr[row + 1])
                columns = best.indices[of_row]
                yield self._ranking[columns[np.lexsort((columns, -best.data[of_row]))]].tolist()

    def _likeness(self, rows: IntArray, shown: Mask) -> sp.csr_array:
        """(n, K) how much products are like each sold product, in the order of `_ranking`; not like themselves."""
        by_words = sp.csr_array(self._words[rows] @ self._with_word)
        by_words.data[by_words.data < MIN_ALIKE] = 0
        found = sp.csr_array(by_words + self._facts[rows] @ self._with_fact)
        product = self._ranking[found.indices]
        found.data[~shown[product] | (product == np.repeat(rows, np.diff(found.indptr)))] = 0
        return found

    @cached_property
    def led_to(self) -> sp.csr_array:
        """(P, N) row p: how much a purchase of p speaks for each newcomer; the `LED_TO` that are most like it."""
        shown = np.ones(self._products, np.bool_)
        parts = [
            strongest(self._likeness(self._newcomers[begin : begin + ROWS_AT_ONCE], shown), LIKE_EACH)
            for begin in range(0, len(self._newcomers), ROWS_AT_ONCE)
        ]
        shape = (len(self._newcomers), self._products)
        if not parts:
            return sp.csr_array(shape[::-1], dtype=np.float32)
        found = sp.csr_array(sp.vstack(parts, format="csr"))
        by_product = sp.csr_array((found.data, self._ranking[found.indices], found.indptr), shape=shape)
        return strongest(sp.csr_array(by_product.T.tocsr()), LED_TO)

    @cached_property
    def led_by(self) -> sp.csr_array:
        """(N, P) the same by newcomer."""
        return sp.csr_array(self.led_to.T.tocsr())

    @cached_property
    def place_of(self) -> dict[str, int]:
        """The place of each newcomer in `newcomers`."""
        return {code: place for place, code in enumerate(self.newcomers)}

    def why(self, row: int, other: int) -> Why:
        """What a product has in common with another one that `nearest` found: the first of these that holds.

        - `same_category`: the lowest level of the category that both are of.
        - `same_brand`: the brand.
        - `alike`: words of their descriptions.

        Args:
            row: of the product.
            other: of the other one.
        """
        mine, theirs = (category_levels(self._categories[self._category[each]]) for each in (row, other))
        common = [level for level, same in zip(mine, theirs, strict=False) if level == same]
        if common:
            return (SAME_CATEGORY, common[-1])
        brand, other_brand = (self._brands[self._brand[each]] for each in (row, other))
        if brand and brand.casefold() == other_brand.casefold():
            return (SAME_BRAND, brand)
        return (ALIKE,)


def _newcomers(state: ShopState, codes: Sequence[str], known: pd.DataFrame) -> IntArray:
    """The rows of `Alike.newcomers`.

    Args:
        state: of the shop.
        codes: (R,) of all rows.
        known: (R,) what the catalogue says of them.
    """
    buyers = np.bincount(state.bought().indices, minlength=len(codes))
    offered = known[Catalogue.IS_OFFERED].eq(other=True).to_numpy(np.bool_)
    rows = np.flatnonzero(offered & (buyers < FEW_BUYERS))
    launched = pd.to_datetime(known[Catalogue.LAUNCHED_ON].iloc[rows]).fillna(pd.Timestamp(0))
    names = np.array([codes[row] for row in rows.tolist()], np.str_)
    order = np.lexsort((names, -launched.to_numpy().astype("datetime64[us]").astype(np.int64)))
    newcomers: IntArray = rows[order]
    return newcomers


def words_in(text: str) -> list[str]:
    """The words of a description, in lower case, each once; of two letters or more, in any script.

    Accents, vowel points, and marks for the direction of writing do not make another word.

    >>> words_in("RED Café-cup 2"), words_in("כּוֹס כחולה")
    (['red', 'cafe', 'cup'], ['כוס', 'כחולה'])
    """
    text = text[:MOST_CHARACTERS]
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in apart if unicodedata.category(each) not in ("Mn", "Mc", "Me", "Cf"))
    return list(dict.fromkeys(word.casefold() for word in _WORD.findall(text)))[:MOST_WORDS]


def _on_invoices(state: ShopState) -> Iterator[tuple[int, str]]:
    """The descriptions of products on invoices before the state's instant, with the product_index of each."""
    events = state.events
    for product, text, since in zip(
        events.described.tolist(), events.descriptions, events.described_since.tolist(), strict=True
    ):
        if since < state.at:
            yield product, text


def _word_table(codes: Sequence[str], texts: Sequence[Iterable[str]]) -> sp.csr_array:
    """(R, V) TF-IDF of words that at least two products have; rows of length 1, or empty. Families count as words."""
    numbers: dict[str, int] = {}
    columns: list[int] = []
    size: list[int] = []
    for code, of_product in zip(codes, texts, strict=True):
        words = dict.fromkeys(word for text in of_product for word in words_in(text))
        words[f"#{family_of(code)}"] = None
        columns += [numbers.setdefault(word, len(numbers)) for word in words]
        size.append(len(words))
    having = np.bincount(columns, minlength=1)
    rarity = np.where(having > 1, np.log((len(codes) + 1) / (having + 1)), 0).astype(np.float32)
    table = _sparse(size, columns, rarity[columns], max(len(numbers), 1))
    table.eliminate_zeros()
    return unit_rows(table)


def _fact_table(places: Sequence[tuple[str, ...]], brands: Sequence[str]) -> sp.csr_array:
    """(R, F) what each level of a product's category counts, which share its weight, and what its brand does."""
    numbers: dict[tuple[str, str], int] = {}
    columns: list[int] = []
    weights: list[float] = []
    size: list[int] = []
    for levels, brand in zip(places, brands, strict=True):
        facts = [((SAME_CATEGORY, level), CATEGORY_WEIGHT / len(levels)) for level in levels]
        if brand:
            facts.append(((SAME_BRAND, brand.casefold()), BRAND_WEIGHT))
        columns += [numbers.setdefault(fact, len(numbers)) for fact, _ in facts]
        weights += [weight for _, weight in facts]
        size.append(len(facts))
    return _sparse(size, columns, np.array(weights, np.float32), max(len(numbers), 1))


def _sparse(size: Sequence[int], columns: Sequence[int], values: npt.NDArray[np.float32], width: int) -> sp.csr_array:
    start = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    table = sp.csr_array((values, np.asarray(columns, np.int64), start), shape=(len(size), width))
    table.sort_indices()
    return table


def _numbered(texts: Iterable[str]) -> tuple[IntArray, list[str]]:
    """The number of each text, and the texts by number."""
    numbers: dict[str, int] = {}
    of_each = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    return of_each, list(numbers)
