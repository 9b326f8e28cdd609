"""Loops over the rows of sparse tables, compiled: what a row costs depends on its entries, not on the catalogue.

numba compiles each function when it is first called, and keeps the result beside this file, or in the user's cache,
for the next process. All of them run without Python's lock. Sums have a fixed order, so the same inputs give the same
values, whatever the number of threads. No function here may call a compiled one of another file: a kept result would
not notice that the other file has changed.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

COPURCHASE, COPURCHASE_DECAYED, COPURCHASE_LAST, BASKET_LAST, BASKET_DECAYED = range(5)
NEIGHBOURS, NEIGHBOURS_RECENT, FOLLOWED_NEW, FOLLOWED_ALL, WORDS = range(5, 10)
SOURCES = 10
"""Columns of taste, in the order of `tables.TASTE`."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function. Where no folder for the result can be written, each process compiles it anew."""
    try:
        made: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return made


@compiled
def _is_worse(value, index, other_value, other_index):
    """Whether an entry comes after another one: it is smaller, or as large with a higher index."""
    return value < other_value or (value == other_value and index > other_index)


@compiled
def _offer(values, indices, size, value, index):
    """Adds an entry to a heap of the best ones, whose worst is at the root; returns the new size.

    Args:
        values, indices: (K,) the heap; its first `size` places are taken.
        size: how many entries it has.
        value, index: of the new one. If the heap is full, it replaces the worst, or is dropped.
    """
    limit = len(values)
    if size < limit:
        place = size
        while place > 0:
            parent = (place - 1) // 2
            if not _is_worse(value, index, values[parent], indices[parent]):
                break
            values[place], indices[place] = values[parent], indices[parent]
            place = parent
        values[place], indices[place] = value, index
        return size + 1
    if limit == 0 or not _is_worse(values[0], indices[0], value, index):
        return size
    place = 0
    while True:
        child = 2 * place + 1
        if child >= limit:
            break
        if child + 1 < limit and _is_worse(values[child + 1], indices[child + 1], values[child], indices[child]):
            child += 1
        if not _is_worse(values[child], indices[child], value, index):
            break
        values[place], indices[place] = values[child], indices[child]
        place = child
    values[place], indices[place] = value, index
    return size


@compiled
def nearest(
    begin, end, start, columns, values, column_start, rows, row_values,
    norm, population, shrinkage, min_common, min_lift, among, out_start, out_columns, out_values, out_size,
):  # fmt: skip
    """The nearest other columns of some columns of a table, by shrunk cosine: see `copurchase.cosine_neighbours`.

    Args:
        begin, end: the columns whose nearest are searched.
        start, columns, values: the table (N, P), row by row.
        column_start, rows, row_values: the same table, column by column.
        norm: (P,) the sum of squares of each column.
        population, shrinkage, min_common, min_lift: float32; see `cosine_neighbours`.
        among: (P,) which columns may be near.
        out_start: (P + 1,) where the results of each column go; the distance is the most that are kept.
        out_columns, out_values: the results of each column, ascending by column.
        out_size: (P,) how many each has.
    """
    products = len(norm)
    total = np.zeros(products, np.float32)
    met = np.full(products, -1, np.int32)
    touched = np.empty(products, np.int32)
    zero = np.float32(0)
    root = 1 / np.sqrt(norm)
    for one in range(begin, end):
        count, least = 0, zero
        for entry in range(column_start[one], column_start[one + 1]):
            row, weight = rows[entry], row_values[entry]
            for other_entry in range(start[row], start[row + 1]):
                other = columns[other_entry]
                if met[other] != one:
                    met[other] = one
                    total[other] = zero
                    touched[count] = other
                    count += 1
                total[other] += weight * values[other_entry]
        first, size = out_start[one], 0
        kept_columns, kept_values = out_columns[first : out_start[one + 1]], out_values[first : out_start[one + 1]]
        for place in range(count):
            other = touched[place]
            both = total[other]
            if other == one or both < min_common or not among[other]:
                continue
            if min_lift > zero and both * population < min_lift * norm[one] * norm[other]:
                continue
            value = both * both * root[other] * root[one]
            if size == len(kept_values) and value < least * (both + shrinkage):
                continue  # far below the worst that is kept: spares the division, which takes longest
            value /= both + shrinkage
            if value > zero:
                size = _offer(kept_values, kept_columns, size, value, other)
                least = np.float32(0.999) * kept_values[0]
        order = np.argsort(kept_columns[:size])
        kept_columns[:size], kept_values[:size] = kept_columns[:size][order], kept_values[:size][order]
        out_size[one] = size


@compiled
def _add_row(owner, start, columns, values, row, weights, met, touched, total, count):
    """Adds a row of a sparse table to a customer's totals, once for each weight; returns how many columns are met.

    Args:
        owner: the customer's number; a column's totals belong to the last one who met it.
        start, columns, values: the table (N, P).
        row: of the table.
        weights: a tuple of W numbers, so that the compiler knows how many there are.
        met, touched: (P,) who met each column last, and the columns that the customer met.
        total: (P, W) to add to.
        count: how many columns the customer met before.
    """
    for entry in range(start[row], start[row + 1]):
        column, value = columns[entry], values[entry]
        if met[column] != owner:
            met[column] = owner
            touched[count] = column
            count += 1
            for place in range(len(weights)):
                total[column, place] = weights[place] * value
        else:
            for place in range(len(weights)):
                total[column, place] += weights[place] * value
    return count


@compiled
def _similar(
    customer, owner, pairs, product_of, bought, unit, pool, pool_start, pool_place, pool_value,
    met, touched, likeness, near_values, near,
):  # fmt: skip
    """Finds the most similar customers, and weights them by squared cosine; returns how many there are."""
    known = 0
    for pair in range(pairs[0], pairs[1]):
        if bought[pair]:
            known = _add_row(
                owner,
                pool_start,
                pool_place,
                pool_value,
                product_of[pair],
                (unit[pair],),
                met,
                touched,
                likeness,
                known,
            )
    size = 0
    for number in range(known):
        place = touched[number]
        if pool[place] != customer and likeness[place, 0] > 0:
            size = _offer(near_values, near, size, likeness[place, 0], place)
    total = np.float32(1e-9)
    for number in range(size):
        near_values[number] *= near_values[number]
        total += near_values[number]
    for number in range(size):
        near_values[number] /= total
    return size


@compiled
def _choose(owner, best, found, chosen, known_products, mine, size):
    """Makes candidates of the best products of a source; returns how many candidates there are."""
    for place in range(found):
        product = best[place]
        chosen[product] = owner
        if known_products[product]:
            mine[size] = product
            size += 1
    return size


@compiled
def _best_met(owner, touched, count, total, column, chosen, best_values, best):
    """Finds the best products that are not chosen yet, among those met; returns how many there are."""
    found = 0
    for place in range(count):
        product = touched[place]
        value = total[product, column]
        if value > 0 and chosen[product] != owner:
            found = _offer(best_values, best, found, value, product)
    return found


@compiled
def _best_of_row(owner, row, products, chosen, best_values, best):
    """Finds the best products that are not chosen yet, in a dense row; returns how many there are."""
    found = 0
    for place in range(len(row)):
        if row[place] > 0 and chosen[products[place]] != owner:
            found = _offer(best_values, best, found, row[place], products[place])
    return found


@compiled
def candidates(
    customers, pair_start, product_of, bought, rate, unit, last, recent, own, own_start,
    is_dense, copurchase, customers_start, customers_columns, customers_values,
    baskets_start, baskets_columns, baskets_values,
    words_start, words_columns, words_values,
    pool, pool_start, pool_place, pool_value, similar_customers,
    followed, followed_products, followed_place,
    popular, known_products, each,
    out_product, out_pair, out_taste, out_highest, out_end,
):  # fmt: skip
    """Chooses the candidates of some customers, and scores them by every source of taste.

    Candidates are `popular` products; for two scores by co-purchases, one by similar customers and one by followers,
    the best ones that are not candidates yet; and the customer's own.

    Args:
        customers: (B,) customer_index.
        pair_start, product_of: (C + 1,) and (N,) the pairs of each customer: see `state.Pairs`.
        bought: (N,) whether the pair is not returned in full; only such pairs count.
        rate, unit: (N,) decayed rate, and the same over the length of the customer's row.
        last, recent: (N,) whether it is on the last invoice, and whether it was bought lately.
        own, own_start: whether each of the customers' pairs is a candidate; those of customer b from own_start[b] on.
        is_dense: whether co-purchase weights are dense. Then their scores are in `copurchase`, and the sparse weights
            are empty.
        copurchase: (BASKET_DECAYED + 1, B, P) scores by co-purchases.
        customers_start, customers_columns, customers_values: (P, P) weights by customers.
        baskets_start, baskets_columns, baskets_values: (P, P) weights by baskets.
        words_start, words_columns, words_values: (P, P) likeness of words.
        pool: (n,) customer_index of possible neighbours.
        pool_start, pool_place, pool_value: (P, n) their histories, product by product.
        similar_customers: most neighbours.
        followed: (2, B, U) scores by followers: of products new to them, and of all.
        followed_products: (U,) product_index of each; and
        followed_place: (P,) the place of each product among them, -1 for others.
        popular: (k,) product_index.
        known_products: (P,) which products may be candidates.
        each: how many of each score.
        out_product, out_pair, out_taste: (at least R,), (R,) and (R, SOURCES): product_index, ascending for a customer;
            the row of the pair, -1 where there is none; and the scores.
        out_highest: (B,) the highest co-purchase score, at least 0.
        out_end: (B,) the end of each customer's candidates.
    """
    products, zero = len(known_products), np.float32(0)
    every = np.arange(products)
    width = 0 if is_dense else products
    by_customers, met_customers = np.empty((width, 3), np.float32), np.full(width, -1, np.int32)
    by_baskets, met_baskets = np.empty((width, 2), np.float32), np.full(width, -1, np.int32)
    by_neighbours, met_neighbours = np.empty((products, 2), np.float32), np.full(products, -1, np.int32)
    by_words, met_words = np.empty((products, 1), np.float32), np.full(products, -1, np.int32)
    touched_customers, touched_baskets = np.empty(width, np.int32), np.empty(width, np.int32)
    touched_neighbours, touched_words = np.empty(products, np.int32), np.empty(products, np.int32)
    likeness, met_likeness = np.empty((len(pool), 1), np.float32), np.full(len(pool), -1, np.int32)
    touched_likeness = np.empty(len(pool), np.int32)
    near_values, near = np.empty(similar_customers, np.float32), np.empty(similar_customers, np.int32)
    best_values, best = np.empty(each, np.float32), np.empty(each, np.int32)
    chosen, mine, pair_of = (
        np.full(products, -1, np.int32),
        np.empty(products, np.int32),
        np.full(products, -1, np.int64),
    )
    end = 0
    for owner in range(len(customers)):
        customer = customers[owner]
        pairs = (pair_start[customer], pair_start[customer + 1])
        near_them = _similar(
            customer, owner, pairs, product_of, bought, unit, pool, pool_start, pool_place, pool_value,
            met_likeness, touched_likeness, likeness, near_values, near,
        )  # fmt: skip
        of_customers = of_baskets = of_neighbours = of_words = 0
        for pair in range(pairs[0], pairs[1]):
            if not bought[pair]:
                continue
            product = product_of[pair]
            if not is_dense:
                share, in_last = rate[pair], np.float32(last[pair])
                of_customers = _add_row(
                    owner, customers_start, customers_columns, customers_values, product,
                    (np.float32(1), share, in_last), met_customers, touched_customers, by_customers, of_customers,
                )  # fmt: skip
                of_baskets = _add_row(
                    owner, baskets_start, baskets_columns, baskets_values, product, (in_last, share),
                    met_baskets, touched_baskets, by_baskets, of_baskets,
                )  # fmt: skip
            of_words = _add_row(
                owner, words_start, words_columns, words_values, product, (unit[pair],),
                met_words, touched_words, by_words, of_words,
            )  # fmt: skip
        for number in range(near_them):
            other, weight = pool[near[number]], near_values[number]
            for pair in range(pair_start[other], pair_start[other + 1]):
                if not bought[pair]:
                    continue
                product = product_of[pair]
                if met_neighbours[product] != owner:
                    met_neighbours[product] = owner
                    by_neighbours[product, 0] = by_neighbours[product, 1] = zero
                    touched_neighbours[of_neighbours] = product
                    of_neighbours += 1
                by_neighbours[product, 0] += weight * rate[pair]
                if recent[pair]:
                    by_neighbours[product, 1] += weight
        highest = zero
        if is_dense:
            for product in range(products):
                highest = max(highest, copurchase[COPURCHASE, owner, product])
        else:
            for place in range(of_customers):
                highest = max(highest, by_customers[touched_customers[place], 0])
        out_highest[owner] = highest
        size = 0
        for place in range(len(popular)):
            chosen[popular[place]] = owner
            mine[size] = popular[place]
            size += 1
        for source in (COPURCHASE, COPURCHASE_DECAYED):
            if is_dense:
                found = _best_of_row(owner, copurchase[source, owner], every, chosen, best_values, best)
            else:
                found = _best_met(
                    owner, touched_customers, of_customers, by_customers, source, chosen, best_values, best
                )
            size = _choose(owner, best, found, chosen, known_products, mine, size)
        found = _best_met(owner, touched_neighbours, of_neighbours, by_neighbours, 1, chosen, best_values, best)
        size = _choose(owner, best, found, chosen, known_products, mine, size)
        found = _best_of_row(owner, followed[0, owner], followed_products, chosen, best_values, best)
        size = _choose(owner, best, found, chosen, known_products, mine, size)
        for pair in range(pairs[0], pairs[1]):
            product = product_of[pair]
            pair_of[product] = pair
            if own[own_start[owner] + pair - pairs[0]] and chosen[product] != owner:
                mine[size] = product
                size += 1
        for product in np.sort(mine[:size]):
            out_product[end], out_pair[end] = product, pair_of[product]
            of = out_taste[end]
            of[:] = zero
            if is_dense:
                for source in range(BASKET_DECAYED + 1):
                    of[source] = copurchase[source, owner, product]
            else:
                if met_customers[product] == owner:
                    of[COPURCHASE], of[COPURCHASE_DECAYED] = by_customers[product, 0], by_customers[product, 1]
                    of[COPURCHASE_LAST] = by_customers[product, 2]
                if met_baskets[product] == owner:
                    of[BASKET_LAST], of[BASKET_DECAYED] = by_baskets[product, 0], by_baskets[product, 1]
            if met_neighbours[product] == owner:
                of[NEIGHBOURS], of[NEIGHBOURS_RECENT] = by_neighbours[product, 0], by_neighbours[product, 1]
            place = followed_place[product]
            if place >= 0:
                of[FOLLOWED_NEW], of[FOLLOWED_ALL] = followed[0, owner, place], followed[1, owner, place]
            if met_words[product] == owner:
                of[WORDS] = by_words[product, 0]
            end += 1
        out_end[owner] = end
        for pair in range(pairs[0], pairs[1]):
            pair_of[product_of[pair]] = -1


@compiled
def leaf_sums(features, feature_of, passed, table_start, tables, values, multiplier, shift, bit_of, rows_at_once, out):
    """The sum of the values of the leaves that candidates reach: see `ensembles.Ensemble`.

    Args:
        features: (R, F) the bits of float16.
        feature_of: (K,) the features that are asked for.
        passed: (K, 65536) for each, how many of its thresholds a value passes, by the value's bits.
        table_start: (K,) the first row of each feature's table.
        tables: (X, T) for each such number, the leaves that remain of each tree, as bits.
        values: (T, L) of the leaves.
        multiplier, shift, bit_of: find the lowest bit of a number of this width (Leiserson et al. 1998, "Using de
            Bruijn Sequences to Index a 1 in a Computer Word").
        rows_at_once: few enough for their bits to stay in the processor's cache.
        out: (R,).
    """
    trees, (count, _), everything = tables.shape[1], features.shape, ~tables.dtype.type(0)
    one, left = tables.dtype.type(1), np.empty((rows_at_once, trees), tables.dtype)
    for begin in range(0, count, rows_at_once):
        size = min(rows_at_once, count - begin)
        left[:size] = everything
        for number in range(len(feature_of)):
            feature, first = feature_of[number], table_start[number]
            for row in range(size):
                of_value = tables[first + passed[number, features[begin + row, feature]]]
                of_row = left[row]
                for tree in range(trees):
                    of_row[tree] &= of_value[tree]
        for row in range(size):
            total = 0.0
            for tree in range(trees):
                bits = left[row, tree]
                lowest = bits & (everything - bits + one)
                # The product of two numbers of 32 bits has 64 here.
                total += values[tree, bit_of[((lowest * multiplier) & everything) >> shift]]
            out[begin + row] = total
