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
from numba import types
from numba.extending import intrinsic

COPURCHASE, COPURCHASE_DECAYED, COPURCHASE_LAST, BASKET_LAST, BASKET_DECAYED = range(5)
NEIGHBOURS, NEIGHBOURS_RECENT, FOLLOWED_NEW, FOLLOWED_ALL, WORDS = range(5, 10)
SOURCES = 10
"""Columns of taste, in the order of `tables.TASTE`."""

OF_BASKETS, OF_WORDS, OF_NEIGHBOURS = 0, 2, 0
"""The first column of these sources in their table of a customer's totals: see `candidates`."""

PRODUCTS_AT_ONCE = 16
"""Products whose scores are turned from rows into columns at once: see `followed_new`."""

COLUMNS_AT_ONCE = 64
"""Columns that are compared with the worst of the best at once: see `nearest_of_rows`."""

BITS_AT_ONCE = 11
BINS = 1 << BITS_AT_ONCE
"""Bits of a number that are asked for at once, three times: see `_kth_largest`."""

ROWS_AT_ONCE, FEATURES_AT_ONCE, PLACES_AT_ONCE = 4, 8, 64
"""Candidates whose leaves are summed side by side, features whose bits are combined at once, and candidates whose rows
of tables are looked up at once: see `leaf_sums`."""


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function. Where no folder for the result can be written, each process compiles it anew."""
    try:
        made: Callable[..., Any] = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return made


def _count_trailing_zeros(typing, bits):  # noqa: ARG001 - numba's form
    def generate(context, builder, signature, arguments):  # noqa: ARG001 - numba's form
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 1))

    return bits(bits), generate


_lowest_bit: Callable[..., Any] = intrinsic(_count_trailing_zeros)
"""The place of the lowest bit of a number that is not 0: one instruction of the processor."""


@compiled
def follower_weights(
    customers, pair_start, product_of, bought, unit, start, follower, value, ready, ready_place, inverse, chosen, out
):  # fmt: skip
    """How much each follower counts for some customers: see `taste.Taste`.

    Args:
        customers: (B,) customer_index.
        pair_start, product_of, bought, unit: as in `candidates`.
        start, follower, value: (P, n) the followers' histories, by product.
        ready: (Q, n) of some products, their followers' weighted rows of `inverse`, summed; and
        ready_place: (P,) the row of each product in it, -1 for others.
        inverse: (n, n).
        chosen: (B,) whose weights are asked for.
        out: (B, n); the rows of others stay as they are.
    """
    for owner in range(len(customers)):
        if not chosen[owner]:
            continue
        total = out[owner]
        total[:] = np.float32(0)
        for pair in range(pair_start[customers[owner]], pair_start[customers[owner] + 1]):
            if not bought[pair]:
                continue
            product, share = product_of[pair], unit[pair]
            if ready_place[product] >= 0:
                of_product = ready[ready_place[product]]
                for place in range(len(total)):
                    total[place] += share * of_product[place]
                continue
            for entry in range(start[product], start[product + 1]):
                of_follower, weight = inverse[follower[entry]], share * value[entry]
                for place in range(len(total)):
                    total[place] += weight * of_follower[place]


@compiled
def followed_new(start, column, value, mean, weights, out):
    """Scores by followers, for a chunk of customers: their purchases, weighted, less the mean follower's.

    Args:
        start, column, value: (U, n) what followers bought.
        mean: (U,) its mean over the followers.
        weights: (n, B) how much each follower counts.
        out: (B, U).
    """
    followers, customers = weights.shape
    totals, zero = np.zeros(customers, np.float32), np.float32(0)
    for follower in range(followers):
        for owner in range(customers):
            totals[owner] += weights[follower, owner]
    sums = np.empty((PRODUCTS_AT_ONCE, customers), np.float32)
    for begin in range(0, len(mean), PRODUCTS_AT_ONCE):
        end = min(begin + PRODUCTS_AT_ONCE, len(mean))
        for place in range(begin, end):
            of_product = sums[place - begin]
            of_product[:] = zero
            for entry in range(start[place], start[place + 1]):
                of_follower, share = weights[column[entry]], value[entry]
                for owner in range(customers):
                    of_product[owner] += share * of_follower[owner]
            for owner in range(customers):
                of_product[owner] -= mean[place] * totals[owner]
        for owner in range(customers):
            for place in range(begin, end):
                out[owner, place] = sums[place - begin, owner]


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
    _sift(values, indices, limit, value, index)
    return size


@compiled
def _sift(values, indices, size, value, index):
    """Puts an entry in the place of the root of a heap with so many entries, and makes it a heap again."""
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _is_worse(values[child + 1], indices[child + 1], values[child], indices[child]):
            child += 1
        if not _is_worse(values[child], indices[child], value, index):
            break
        values[place], indices[place] = values[child], indices[child]
        place = child
    values[place], indices[place] = value, index


@compiled
def _largest_first(values, indices, size):
    """Sorts a heap of so many entries: the worst goes to the end, one after the other."""
    for end in range(size - 1, 0, -1):
        value, index = values[end], indices[end]
        values[end], indices[end] = values[0], indices[0]
        _sift(values, indices, end, value, index)


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
    total, zero = np.zeros(products, np.float32), np.float32(0)
    root = 1 / np.sqrt(norm)
    met = np.zeros((products + 63) // 64, np.uint64)  # a bit for each column, so that they come out in order
    found, near = np.empty(products, np.int32), np.empty(products, np.float32)
    near_bits, histogram = near.view(np.int32), np.zeros(BINS, np.int32)
    for one in range(begin, end):
        for entry in range(column_start[one], column_start[one + 1]):
            row, weight = rows[entry], row_values[entry]
            for other_entry in range(start[row], start[row + 1]):
                other = columns[other_entry]
                total[other] += weight * values[other_entry]
                met[other >> 6] |= np.uint64(1) << np.uint64(other & 63)
        total[one] = zero
        count = 0
        for word in range(len(met)):
            left = met[word]
            met[word] = 0
            while left != 0:
                other = 64 * word + np.int64(_lowest_bit(left))
                left &= left - np.uint64(1)
                both = total[other]
                total[other] = zero
                if both < min_common or not among[other]:
                    continue
                if min_lift > zero and both * population < min_lift * norm[one] * norm[other]:
                    continue
                value = both * both * root[other] * root[one]
                value /= both + shrinkage
                if value > zero:
                    found[count], near[count] = other, value
                    count += 1
        first, most, size = out_start[one], out_start[one + 1] - out_start[one], 0
        least, ties = np.int32(0), 0
        if count > most:
            least, ties = _kth_largest(near_bits, count, most, histogram)
        for place in range(count):
            tied = near_bits[place] == least
            if near_bits[place] > least or (tied and ties > 0):
                out_columns[first + size], out_values[first + size] = found[place], near[place]
                size += 1
                ties -= tied
        out_size[one] = size


@compiled
def _kth_largest(bits, count, k, histogram):
    """The k-th largest of some numbers of at least 0, and how many of those equal to it are among the k largest.

    A radix selection: it asks for the leading bits of each number first, and then for the next ones of those that are
    left. There is no branch that cannot be predicted, unlike in a heap.

    Args:
        bits: int32, at least `count` numbers. The bits of floats above 0 are in the same order as these.
        count, k: how many numbers there are, and which is asked for; k is from 1 to `count`.
        histogram: (BINS,) zeros, and zeros again when it is done.
    """
    known = 0  # the leading bits of the k-th largest
    for shift in (2 * BITS_AT_ONCE, BITS_AT_ONCE, 0):
        highest = 0
        for place in range(count):
            if bits[place] >> (shift + BITS_AT_ONCE) == known:
                number = (bits[place] >> shift) & (BINS - 1)
                histogram[number] += 1
                highest = max(highest, number)
        number = highest
        while histogram[number] < k:
            k -= histogram[number]
            number -= 1
        histogram[: highest + 1] = 0
        known = (known << BITS_AT_ONCE) | number
    return np.int32(known), k


@compiled
def packed(start, size, columns, values, out_start, out_columns, out_values):
    """The filled part of each row, one after the other.

    Args:
        start, size: (P + 1,) where each row begins, and (P,) how many of its places are filled.
        columns, values: of all rows, with gaps.
        out_start, out_columns, out_values: the same without gaps.
    """
    for row in range(len(size)):
        first, begin = start[row], out_start[row]
        for place in range(size[row]):
            out_columns[begin + place], out_values[begin + place] = columns[first + place], values[first + place]


@compiled
def _add_row(start, columns, values, row, weights, first, met, total):
    """Adds a row of a sparse table to a customer's totals, once for each weight.

    There is no branch: whether a column is new cannot be predicted, and to wait for it would take longest.

    Args:
        start, columns, values: the table (N, P).
        row: of the table.
        weights: a tuple, so that the compiler knows how many there are.
        first: the place of the first weight's total.
        met: (P / 64,) a bit for each column, set for those that the customer met.
        total: (P, .) to add to. Few columns, so that the table stays in the processor's cache.
    """
    for entry in range(start[row], start[row + 1]):
        column, value = np.uintp(columns[entry]), values[entry]
        for place in range(len(weights)):
            total[column, first + place] += weights[place] * value
        met[column >> np.uintp(6)] |= np.uint64(1) << np.uint64(column & np.uintp(63))


@compiled
def _take_met(met, out):
    """The columns that a customer met, ascending; none is met afterwards. Returns how many there are."""
    count = 0
    for word in range(len(met)):
        left = met[word]
        met[word] = 0
        while left != 0:
            out[count] = 64 * word + np.int64(_lowest_bit(left))
            left &= left - np.uint64(1)
            count += 1
    return count


@compiled
def _similar(
    customer, pairs, product_of, bought, unit, pool, pool_start, pool_place, pool_value,
    touched, likeness, near_values, near,
):  # fmt: skip
    """Finds the most similar customers, and weights them by squared cosine; returns how many there are."""
    known = 0
    for pair in range(pairs[0], pairs[1]):
        if not bought[pair]:
            continue
        product, weight = product_of[pair], unit[pair]
        for entry in range(pool_start[product], pool_start[product + 1]):
            place = pool_place[entry]
            likeness[place, 0] += weight * pool_value[entry]
            touched[known] = place
            known += likeness[place, 1] == 0
            likeness[place, 1] = 1
    size = 0
    for number in range(known):
        place = touched[number]
        if pool[place] != customer and likeness[place, 0] > 0:
            size = _offer(near_values, near, size, likeness[place, 0], place)
        likeness[place, 0] = likeness[place, 1] = np.float32(0)
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
def _best_of_row(owner, row, products, chosen, best_values, best):
    """Finds the best products that are not chosen yet, in a dense row of ascending ones; returns how many there are."""
    found = 0
    for place in range(len(row)):
        if found == len(best) and row[place] <= best_values[0]:
            continue  # products are ascending, so one that is as good as the worst comes after it
        if row[place] > 0 and chosen[products[place]] != owner:
            found = _offer(best_values, best, found, row[place], products[place])
    return found


@compiled
def candidates(
    customers, pair_start, product_of, bought, rate, unit, last, own, own_start,
    is_dense, copurchase, customers_start, customers_columns, customers_values,
    baskets_start, baskets_columns, baskets_values,
    words_start, words_columns, words_values,
    pool, pool_start, pool_place, pool_value, theirs_start, theirs, theirs_rate, theirs_recent, similar_customers,
    followed, followed_products, followed_place, after_start, after_column, after_value, after_mean, follower_weights,
    popular, known_products, each, looked, looked_start,
    out_product, out_pair, out_taste, out_highest, out_end,
):  # fmt: skip
    """Chooses the candidates of some customers, and scores them by every source of taste.

    Candidates are `popular` products; for two scores by co-purchases, one by similar customers and one by followers,
    the best ones that are not candidates yet; and the customer's own, and those that the customer looked at.

    Args:
        customers: (B,) customer_index.
        pair_start, product_of: (C + 1,) and (N,) the pairs of each customer: see `state.Pairs`.
        bought: (N,) whether the pair is not returned in full; only such pairs count.
        rate, unit: (N,) decayed rate, and the same over the length of the customer's row.
        last: (N,) whether it is on the last invoice.
        own, own_start: whether each of the customers' pairs is a candidate; those of customer b from own_start[b] on.
        is_dense: whether co-purchase weights are dense. Then their scores are in `copurchase`, and the sparse weights
            are empty.
        copurchase: (BASKET_DECAYED + 1, B, P) scores by co-purchases.
        customers_start, customers_columns, customers_values: (P, P) weights by customers.
        baskets_start, baskets_columns, baskets_values: (P, P) weights by baskets.
        words_start, words_columns, words_values: (P, P) likeness of words.
        pool: (n,) customer_index of possible neighbours.
        pool_start, pool_place, pool_value: (P, n) their histories of length 1, product by product.
        theirs_start, theirs, theirs_rate, theirs_recent: (n + 1,) and (M,) the histories, neighbour by neighbour: the
            products that each bought, their rate, and 1 for those that were bought lately.
        similar_customers: most neighbours.
        followed: (B, U) scores by followers, of products new to them: see `followed_new`.
        followed_products: (U,) product_index of each; and
        followed_place: (P,) the place of each product among them, -1 for others.
        after_start, after_column, after_value: (U, n) what followers bought in all,
        after_mean: (U,) its mean; and
        follower_weights: (B, n) how much each follower counts.
        popular: (k,) product_index.
        known_products: (P,) which products may be candidates.
        each: how many of each score.
        looked, looked_start: product_index of what each customer looked at; those of customer b begin at
            looked_start[b].
        out_product, out_pair, out_taste: (at least R,), (R,) and (R, SOURCES): product_index, ascending for a customer;
            the row of the pair, -1 where there is none; and the scores.
        out_highest: (B,) the highest co-purchase score, at least 0.
        out_end: (B,) the end of each customer's candidates.
    """
    products, zero = len(known_products), np.float32(0)
    every, words = np.arange(products), (products + 63) // 64
    # Totals of each product by customers' weights, by baskets' and words', and by neighbours; and who of them was met.
    by_customers = np.zeros((0 if is_dense else products, 4), np.float32)
    by_others, by_neighbours = np.zeros((products, 4), np.float32), np.zeros((products, 2), np.float32)
    met, met_by_others = np.zeros(words, np.uint64), np.zeros(words, np.uint64)
    of_customers, of_neighbours = np.empty(products, np.int32), np.empty(products, np.int32)
    values = np.empty((2, products), np.float32)
    likeness, touched = np.zeros((len(pool), 2), np.float32), np.empty(len(pool) + 1, np.int32)
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
            customer, pairs, product_of, bought, unit, pool, pool_start, pool_place, pool_value,
            touched, likeness, near_values, near,
        )  # fmt: skip
        size = count = 0
        for place in range(len(popular)):
            chosen[popular[place]] = owner
            mine[size] = popular[place]
            size += 1
        # One source after the other: the totals of a source fit into the cache, those of all do not.
        highest = zero
        if is_dense:
            for product in range(products):
                highest = max(highest, copurchase[COPURCHASE, owner, product])
            for source in (COPURCHASE, COPURCHASE_DECAYED):
                found = _best_of_row(owner, copurchase[source, owner], every, chosen, best_values, best)
                size = _choose(owner, best, found, chosen, known_products, mine, size)
        else:
            for pair in range(pairs[0], pairs[1]):
                if bought[pair]:
                    _add_row(
                        customers_start, customers_columns, customers_values, product_of[pair],
                        (np.float32(1), rate[pair], np.float32(last[pair])), COPURCHASE, met, by_customers,
                    )  # fmt: skip
            count = _take_met(met, of_customers)
            for place in range(count):
                total = by_customers[of_customers[place]]
                values[0, place], values[1, place] = total[COPURCHASE], total[COPURCHASE_DECAYED]
                highest = max(highest, total[COPURCHASE])
            for source in (COPURCHASE, COPURCHASE_DECAYED):
                found = _best_of_row(owner, values[source, :count], of_customers, chosen, best_values, best)
                size = _choose(owner, best, found, chosen, known_products, mine, size)
            for pair in range(pairs[0], pairs[1]):
                if bought[pair]:
                    _add_row(
                        baskets_start, baskets_columns, baskets_values, product_of[pair],
                        (np.float32(last[pair]), rate[pair]), OF_BASKETS, met_by_others, by_others,
                    )  # fmt: skip
        out_highest[owner] = highest
        for pair in range(pairs[0], pairs[1]):
            if bought[pair]:
                _add_row(
                    words_start, words_columns, words_values, product_of[pair], (unit[pair],), OF_WORDS,
                    met_by_others, by_others,
                )  # fmt: skip
        for number in range(near_them):
            weight = near_values[number]
            for entry in range(theirs_start[near[number]], theirs_start[near[number] + 1]):
                column = np.uintp(theirs[entry])
                by_neighbours[column, OF_NEIGHBOURS] += weight * theirs_rate[entry]
                by_neighbours[column, OF_NEIGHBOURS + 1] += weight * theirs_recent[entry]
                met[column >> np.uintp(6)] |= np.uint64(1) << np.uint64(column & np.uintp(63))
        count_of_neighbours = _take_met(met, of_neighbours)
        for place in range(count_of_neighbours):
            values[0, place] = by_neighbours[of_neighbours[place], OF_NEIGHBOURS + 1]
        found = _best_of_row(owner, values[0, :count_of_neighbours], of_neighbours, chosen, best_values, best)
        size = _choose(owner, best, found, chosen, known_products, mine, size)
        found = _best_of_row(owner, followed[owner], followed_products, chosen, best_values, best)
        size = _choose(owner, best, found, chosen, known_products, mine, size)
        for pair in range(pairs[0], pairs[1]):
            product = product_of[pair]
            pair_of[product] = pair
            if own[own_start[owner] + pair - pairs[0]] and chosen[product] != owner:
                chosen[product] = owner
                mine[size] = product
                size += 1
        for place in range(looked_start[owner], looked_start[owner + 1]):
            product = looked[place]
            if chosen[product] != owner:
                chosen[product] = owner
                mine[size] = product
                size += 1
        of_followers, all_followers = follower_weights[owner], zero
        for follower in range(len(of_followers)):
            all_followers += of_followers[follower]
        for product in np.sort(mine[:size]):
            out_product[end], out_pair[end] = product, pair_of[product]
            of = out_taste[end]
            of[FOLLOWED_NEW] = of[FOLLOWED_ALL] = zero
            if is_dense:
                for source in range(BASKET_DECAYED + 1):
                    of[source] = copurchase[source, owner, product]
            else:
                of[COPURCHASE:BASKET_LAST] = by_customers[product, :3]
                of[BASKET_LAST], of[BASKET_DECAYED] = by_others[product, OF_BASKETS], by_others[product, OF_BASKETS + 1]
            of[WORDS] = by_others[product, OF_WORDS]
            of[NEIGHBOURS] = by_neighbours[product, OF_NEIGHBOURS]
            of[NEIGHBOURS_RECENT] = by_neighbours[product, OF_NEIGHBOURS + 1]
            place = followed_place[product]
            if place >= 0:
                of[FOLLOWED_NEW], of_all = followed[owner, place], zero
                for entry in range(after_start[place], after_start[place + 1]):
                    of_all += after_value[entry] * of_followers[after_column[entry]]
                of[FOLLOWED_ALL] = of_all - after_mean[place] * all_followers
            end += 1
        out_end[owner] = end
        for pair in range(pairs[0], pairs[1]):
            pair_of[product_of[pair]] = -1
        for place in range(count):
            by_customers[of_customers[place]] = zero
        for place in range(count_of_neighbours):
            by_neighbours[of_neighbours[place]] = zero
        for place in range(_take_met(met_by_others, of_customers)):
            by_others[of_customers[place]] = zero


@compiled
def leaves_left(features, numbers, feature_of, passed, table_start, tables, out):
    """The leaves that some features leave of each tree, as bits: see `ensembles.Ensemble`.

    Args:
        features: (R, W) the bits of float16.
        numbers: (K,) those of the features that the trees ask for.
        feature_of: (K,) the column of each.
        passed: (A, 65536) for each feature that is asked for, how many of its thresholds a value passes, by its bits.
        table_start: (A,) the first row of each feature's table.
        tables: (X, T) for each such number, the leaves that remain of each tree.
        out: (R, T).
    """
    for row in range(len(out)):
        of_row = out[row]
        of_row[:] = ~tables.dtype.type(0)
        for place in range(len(numbers)):
            number = numbers[place]
            of_value = tables[table_start[number] + passed[number, features[row, feature_of[place]]]]
            for tree in range(len(of_row)):
                of_row[tree] &= of_value[tree]


@compiled
def leaf_sums(shared, shared_row, features, numbers, feature_of, passed, table_start, tables, values, out):
    """The sum of the values of the leaves that candidates reach, in the order of the trees.

    Tables are asked for by place, not row by row: a row of a table is an object, which is counted as it comes and goes.
    A place is a number without a sign, as one with a sign would be checked.

    Args:
        shared: a tuple of tables (., T) from `leaves_left`, row after row, and
        shared_row: (len(shared), R) the row of each table that a candidate has.
        features: (R, W) further ones of each candidate, the bits of float16.
        numbers, feature_of: (K,) as in `leaves_left`; K is a multiple of `FEATURES_AT_ONCE`.
        passed, table_start, tables: as in `leaves_left`.
        values: (T, L) of the leaves.
        out: (R,).
    """
    asked, count = len(numbers), len(out)
    trees, leaves = np.uintp(values.shape[0]), np.uintp(values.shape[1])
    of_tables, of_leaves = tables.ravel(), values.ravel()
    second, third, fourth = trees, trees + trees, trees + trees + trees  # where the leaves of other candidates begin
    left = np.empty(ROWS_AT_ONCE * values.shape[0], tables.dtype)
    places = np.empty((PLACES_AT_ONCE, asked), np.uintp)
    for start in range(0, count, PLACES_AT_ONCE):
        stop = min(start + PLACES_AT_ONCE, count)
        for place in range(asked):
            one, column = numbers[place], feature_of[place]
            for row in range(start, stop):
                places[row - start, place] = np.uintp(table_start[one] + passed[one, features[row, column]]) * trees
        for begin in range(start, stop, ROWS_AT_ONCE):
            size = min(ROWS_AT_ONCE, stop - begin)
            for number in range(ROWS_AT_ONCE):
                row, mine = begin + min(number, size - 1), np.uintp(number) * trees
                of_first, first_row = shared[0], np.uintp(shared_row[0, row]) * trees
                for tree in range(trees):
                    left[mine + tree] = of_first[first_row + tree]
                for block in range(1, len(shared)):
                    of_block, block_row = shared[block], np.uintp(shared_row[block, row]) * trees
                    for tree in range(trees):
                        left[mine + tree] &= of_block[block_row + tree]
                at = row - start
                for place in range(0, asked, FEATURES_AT_ONCE):
                    a, b, c, d = places[at, place], places[at, place + 1], places[at, place + 2], places[at, place + 3]
                    e, f = places[at, place + 4], places[at, place + 5]
                    g, h = places[at, place + 6], places[at, place + 7]
                    for tree in range(trees):
                        left[mine + tree] &= (
                            of_tables[a + tree] & of_tables[b + tree] & of_tables[c + tree] & of_tables[d + tree]
                            & of_tables[e + tree] & of_tables[f + tree] & of_tables[g + tree] & of_tables[h + tree]
                        )  # fmt: skip
            # Sums of several candidates side by side: each waits for its last term.
            one_sum = two_sum = three_sum = four_sum = 0.0
            leaf = np.uintp(0)
            for tree in range(trees):
                one_sum += of_leaves[leaf + _lowest_bit(left[tree])]
                two_sum += of_leaves[leaf + _lowest_bit(left[second + tree])]
                three_sum += of_leaves[leaf + _lowest_bit(left[third + tree])]
                four_sum += of_leaves[leaf + _lowest_bit(left[fourth + tree])]
                leaf += leaves
            sums = (one_sum, two_sum, three_sum, four_sum)
            for number in range(size):
                out[begin + number] = sums[number]


@compiled
def gathered(shared, width, shared_row, customer, owner, vectors, product, begin, end, sums, inputs):
    """Adds the rows that candidates share with others, and multiplies their embeddings: see `network_scores`.

    Args:
        shared: a tuple of tables (., W), row after row; see `leaf_sums`.
        width: W.
        shared_row: (len(shared), R) the row of each table that a candidate has.
        customer: (B, D) vectors, and
        owner: (R,) whose candidate each is.
        vectors: (P, D) of products, and
        product: (R,) product_index.
        begin, end: the candidates that are asked for.
        sums: (n, W), for at least so many.
        inputs: (n, at least D) whose first D columns get the products of both vectors.
    """
    across, dim = np.uintp(width), np.uintp(customer.shape[1])
    of_customers, of_products = customer.ravel(), vectors.ravel()
    for row in range(begin, end):
        of_first, first_row = shared[0], np.uintp(shared_row[0, row]) * across
        for place in range(across):
            sums[row - begin, place] = of_first[first_row + place]
        for block in range(1, len(shared)):
            of_block, block_row = shared[block], np.uintp(shared_row[block, row]) * across
            for place in range(across):
                sums[row - begin, place] += of_block[block_row + place]
        one, other = np.uintp(owner[row]) * dim, np.uintp(product[row]) * dim
        for place in range(dim):
            inputs[row - begin, place] = of_customers[one + place] * of_products[other + place]


@compiled
def highest_of_groups(values, start, among, out):
    """The highest value of each group; -inf without any, NaN if one is no number.

    Args:
        values: (R,).
        start: (B + 1,) group b is rows start[b] to start[b + 1].
        among: (R,) which rows count.
        out: (B,).
    """
    for group in range(len(out)):
        highest = -np.inf
        for row in range(start[group], start[group + 1]):
            # What is no number is larger and smaller than nothing, so it has to be asked for.
            if among[row] and not values[row] <= highest:
                highest = values[row]
                if values[row] != values[row]:
                    break
        out[group] = highest


@compiled
def sums_of_groups(values, start, among, out):
    """The sum of each group's values, in their order; the arguments are those of `highest_of_groups`."""
    for group in range(len(out)):
        total = 0.0
        for row in range(start[group], start[group + 1]):
            if among[row]:
                total += values[row]
        out[group] = total


@compiled
def less_of_groups(values, start, less, out):
    """(R,) each value less that of its group, (B,); the other arguments are those of `highest_of_groups`."""
    for group in range(len(less)):
        for row in range(start[group], start[group + 1]):
            out[row] = values[row] - less[group]


@compiled
def last_places(group, value, start, values, out):
    """Where in a group the last value is that is not above another one.

    Args:
        group, value: (n,) the groups, and the values that are asked for.
        start: (G + 1,) the values of group g are rows start[g] to start[g + 1].
        values: (N,) ascending within a group.
        out: (n,) rows; -1 where all values of the group are above.
    """
    for number in range(len(out)):
        first = low = start[group[number]]
        high = start[group[number] + 1]
        while low < high:
            middle = (low + high) // 2
            if values[middle] <= value[number]:
                low = middle + 1
            else:
                high = middle
        out[number] = low - 1 if low > first else -1


@compiled
def _strongest_bought(product, start, columns, values, times_of):
    """The strongest neighbour of a product that was bought, ties by column; -1 without one."""
    strongest, found = np.float32(0), -1
    for entry in range(start[product], start[product + 1]):
        if times_of[columns[entry]] > 0 and values[entry] > strongest:
            strongest, found = values[entry], columns[entry]
    return found


@compiled
def facts_of_pairs(
    customer, product, pair_start, product_of, times,
    baskets_start, baskets_columns, baskets_values, buyers_start, buyers_columns, buyers_values,
    out_times, out_goes_with, out_popular_with,
):  # fmt: skip
    """What customers' purchases say about products: see `reasons.Reasons`.

    Args:
        customer: (R,) customer_index; rows of one customer stand together, or each costs a pass over the history.
        product: (R,) product_index.
        pair_start, product_of: (C + 1,) and (N,) the pairs of each customer: see `state.Pairs`.
        times: (N,) how often each was bought, without returned ones.
        baskets_start, baskets_columns, baskets_values: (P, P) neighbours by baskets, ascending by column; and
        buyers_start, buyers_columns, buyers_values: by customers.
        out_times: (R,) how often the customer bought the product.
        out_goes_with: (R,) the strongest neighbour by baskets that the customer bought, ties by column; -1 without one,
            and where the product itself was bought.
        out_popular_with: (R,) the same by customers; -1 where there is one by baskets, too.
    """
    times_of = np.zeros(len(baskets_start) - 1, times.dtype)
    for row in range(len(customer)):
        begin, end = pair_start[customer[row]], pair_start[customer[row] + 1]
        if row == 0 or customer[row] != customer[row - 1]:
            for pair in range(begin, end):
                times_of[product_of[pair]] = times[pair]
        out_times[row] = times_of[product[row]]
        found = liked = -1
        if out_times[row] == 0:
            found = _strongest_bought(product[row], baskets_start, baskets_columns, baskets_values, times_of)
            if found < 0:
                liked = _strongest_bought(product[row], buyers_start, buyers_columns, buyers_values, times_of)
        out_goes_with[row], out_popular_with[row] = found, liked
        if row + 1 == len(customer) or customer[row] != customer[row + 1]:
            for pair in range(begin, end):
                times_of[product_of[pair]] = 0


@compiled
def best_candidates(start, product, scores, among, out, out_size):
    """The best candidates of each customer, best first, ties by product_index; a score that is no number comes last.

    Args:
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
        product: (R,) product_index.
        scores: (R,) float64.
        among: (R,) which candidates count.
        out: (B, K) product_index; K is the most that are kept.
        out_size: (B,) how many each customer has.
    """
    values = np.empty(out.shape[1], np.float64)
    for owner in range(len(out)):
        of_owner, size = out[owner], 0
        for row in range(start[owner], start[owner + 1]):
            if among[row]:
                value = scores[row] if scores[row] == scores[row] else -np.inf
                size = _offer(values, of_owner, size, value, product[row])
        out_size[owner] = size
        _largest_first(values, of_owner, size)


@compiled
def best_shares(start, scores, top_n, out):
    """The share of the best candidates in each customer's softmax: see `certainty.Certainty`.

    Args:
        start: (B + 1,) the candidates of customer b are rows start[b] to start[b + 1].
        scores: (R,) float64.
        top_n: how many are the best.
        out: (B,) NaN for customers without candidates, or with a score that is not finite.
    """
    best, places = np.empty(top_n, np.float64), np.empty(top_n, np.int64)
    for owner in range(len(out)):
        highest, total, size = -np.inf, 0.0, 0
        out[owner] = np.nan
        for row in range(start[owner], start[owner + 1]):
            highest = max(highest, scores[row])
        for row in range(start[owner], start[owner + 1]):
            chance = np.exp(scores[row] - highest)
            total += chance
            size = _offer(best, places, size, chance, row)
        if total == total and size > 0:
            out[owner] = best[:size].sum() / total


@compiled
def nearest_of_rows(values, first, hidden, best_values, best, out_size):
    """The largest values of each row of a square table, largest first, ties by column.

    Args:
        values: (B, T) some rows of the table.
        first: the number of the first; a row's own column is left out.
        hidden: (T,) columns that are left out.
        best_values, best: (B, K) the values and their columns.
        out_size: (B,) how many each row has.
    """
    rows, columns = values.shape
    for row in range(rows):
        of_row, kept_values, kept, size = values[row], best_values[row], best[row], 0
        for begin in range(0, columns, COLUMNS_AT_ONCE):
            end = min(begin + COLUMNS_AT_ONCE, columns)
            if size == len(kept) and size > 0:
                least, larger = kept_values[0], 0
                for column in range(begin, end):
                    larger += of_row[column] > least
                if larger == 0:  # a later column that is as good as the worst comes after it
                    continue
            for column in range(begin, end):
                if column != first + row and not hidden[column]:
                    size = _offer(kept_values, kept, size, of_row[column], column)
        out_size[row] = size
        _largest_first(kept_values, kept, size)
