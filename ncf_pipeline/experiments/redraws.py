"""A measure's estimates under many assignments of the same customers to two groups, computed at once.

What they mean is in `inference`. Here each is written with sums over a group's customers, so that thousands of
assignments are one product of matrices. A customer's contribution to the logarithm of a Winsorized mean is linear in a
few numbers of the customer, with coefficients that the group's mean determines. So the variance of the contributions,
and their regression on the past, follow from the group's sums of products of these numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from ncf_pipeline.experiments.measures import FloatArray, Sample

Mask = npt.NDArray[np.bool_]
Weights = npt.NDArray[Any]

_NEAR, _MOST_NEAR = 0.8, 0.4
"""A cap is too low if the values above 0.8 of it, each counted as the cap, are more than 0.4 of the sum of all."""

_ROUNDS = 100  # more than a Winsorized mean ever takes to converge
_UNCAPPED = (0.85, 0.5, 0.0)  # values below this part of everybody's cap are not capped in a group, tried in turn
_AT_ONCE = 4_000_000  # numbers in the largest array


@dataclass(frozen=True)
class _Values:
    """A measure's values, and the customers' past, prepared for many assignments. All sums are over n customers.

    Attributes:
        numbers: (n, 4 + covariates) of each customer: the sum of its capped values without as many means, its values
            above 0, these without their share of all values, its values, and the covariates, each with variance 1.
        mean: of the values above 0, Winsorized.
        positive: the share of values above 0.
        multiple: of its mean at which a group's values are capped; None for no cap.
        uncapped: a group whose cap is lower than this needs more values in `large`.
        large: (m,) values that a group may cap, by customer.
        owner: (m,) index of their customers, ascending.
    """

    numbers: FloatArray
    mean: float
    positive: float
    multiple: float | None
    uncapped: float
    large: FloatArray
    owner: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimates:
    """What b assignments estimate: (b,) each; NaN if one of the groups has no value above 0.

    Attributes:
        treated: the measure in the treated group, Winsorized.
        control: the measure in the control group, Winsorized.
        log_ratio: logarithm of treated over control, with CUPED.
        log_ratio_error: its standard error.
        difference: treated minus control, with CUPED.
        difference_error: its standard error.
        plain_log_ratio: logarithm of treated over control, without CUPED.
        plain_log_ratio_error: its standard error.
        plain_difference: treated minus control, without CUPED.
        plain_difference_error: its standard error.
    """

    treated: FloatArray
    control: FloatArray
    log_ratio: FloatArray
    log_ratio_error: FloatArray
    difference: FloatArray
    difference_error: FloatArray
    plain_log_ratio: FloatArray
    plain_log_ratio_error: FloatArray
    plain_difference: FloatArray
    plain_difference_error: FloatArray


def estimates(
    sample: Sample, past: FloatArray, quantile: float, treated: Weights, control: Weights | None = None
) -> Estimates:
    """What each assignment estimates.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        quantile: at which values above 0 are Winsorized; 1 for not at all.
        treated: (b, n) whether, or how often, a customer is in the treated group.
        control: (b, n) the same of the control group; None for all others.
    """
    estimated = _empty(len(treated))
    left = np.arange(len(treated))
    for uncapped in _UNCAPPED:
        values = _prepared(sample, past, quantile, uncapped)
        if values is None or len(left) == 0:
            break
        at_once = max(1, _AT_ONCE // max(1, len(past), len(values.large)))
        again = []
        for begin in range(0, len(left), at_once):
            rows = left[begin : begin + at_once]
            part, lowest = _estimates(values, treated[rows], None if control is None else control[rows])
            for name, numbers in vars(part).items():
                getattr(estimated, name)[rows] = numbers
            again.append(rows[lowest < values.uncapped])
        left = np.concatenate(again)
    return estimated


@dataclass(frozen=True)
class Variances:
    """The variance over customers of their contribution to the logarithm of a measure.

    For n customers, the squared standard error of a log ratio is `variance / n * (1 / share + 1 / (1 - share))`.
    """

    with_cuped: float
    without_cuped: float


def variances(sample: Sample, past: FloatArray, quantile: float) -> Variances | None:
    """How much customers differ, as one group.

    Args:
        sample: values of n customers, ascending, none below 0.
        past: (n, covariates) what customers did before.
        quantile: at which values above 0 are Winsorized; 1 for not at all.

    Returns:
        None if no value is above 0, or if there are fewer than two customers.
    """
    values = _prepared(sample, past, quantile, 0.0)
    if values is None or len(past) < 2:
        return None
    products = _products(values)
    group = _group(values, products.sum(axis=0)[None], np.ones((1, len(values.large))))
    slopes = _slopes(group.of_past, group.with_past)
    squares, left = float(group.squares[0]), float(_left(group, slopes)[0])
    return Variances(with_cuped=left / (len(past) - 1), without_cuped=squares / (len(past) - 1))


def _empty(count: int) -> Estimates:
    return Estimates(*(np.full(count, np.nan) for _ in fields(Estimates)))


def _prepared(sample: Sample, past: FloatArray, quantile: float, uncapped: float) -> _Values | None:
    """Prepares values of all customers, whatever their group; None if no value is above 0."""
    n, value = len(past), sample.value
    zeros = int(np.searchsorted(value, 0, side="right"))
    above, owner = value[zeros:], sample.customer[zeros:]
    if len(above) == 0:
        return None
    multiple = multiple_of(value, quantile)
    mean = float(_means(np.ones((1, len(above))), above, np.zeros(1), np.array([float(len(above))]), multiple)[0])
    if multiple is None:
        capped, large, lowest = above, np.zeros(len(above), np.bool_), 0.0
    else:
        lowest = uncapped * multiple * mean
        capped, large = np.minimum(above, multiple * mean), above > lowest
    count, all_values = np.bincount(owner, minlength=n), np.bincount(sample.customer, minlength=n)
    positive = len(above) / len(value)
    scale = past.std(axis=0)
    numbers = np.column_stack(
        [
            np.bincount(owner, capped - mean, n),
            count,
            count - positive * all_values,
            all_values,
            (past - past.mean(axis=0)) / np.where(scale > 0, scale, 1),
        ]
    )
    by_customer = np.argsort(owner[large], kind="stable")
    return _Values(numbers, mean, positive, multiple, lowest, above[large][by_customer], owner[large][by_customer])


def redrawn(treated: Mask, count: int) -> Iterator[Mask]:
    """Other assignments with as many treated customers, (b, n) at a time; the same for the same assignment."""
    random = np.random.default_rng(crc32(np.packbits(treated).tobytes()))
    at_once = max(1, _AT_ONCE // max(1, len(treated)))
    for begin in range(0, count, at_once):
        yield random.permuted(np.tile(treated, (min(at_once, count - begin), 1)), axis=1)


def multiple_of(value: FloatArray, quantile: float) -> float | None:
    """The multiple of the mean at which ascending values are capped; None for no cap.

    It puts the cap at the quantile of the values above 0, or higher. A group's cap follows the group's mean, and the
    values near the cap follow the cap. If many values are near it, such as counts that are mostly alike, a small
    difference between groups would amplify itself. So the cap is raised until few values are near it, or removed.
    """
    positive = value[np.searchsorted(value, 0, side="right") :]
    n = len(positive)
    if quantile >= 1 or n == 0:
        return None
    caps = np.unique(positive[int(np.ceil(quantile * n)) - 1 :])[:-1]  # the largest value as a cap would cap nothing
    below = np.searchsorted(positive, caps, side="right")
    multiples = caps * n / (np.concatenate([[0.0], np.cumsum(positive)])[below] + caps * (n - below))
    near = n - np.searchsorted(positive, _NEAR * caps)
    stable = np.flatnonzero(multiples * near <= _MOST_NEAR * n)
    return float(multiples[stable[0]]) if len(stable) else None


@dataclass(frozen=True)
class _Group:
    """One group under b assignments; a customer's contribution is that to the logarithm of the group's mean.

    Attributes:
        customers: (b,) in the group.
        mean: (b,) the measure, Winsorized.
        cap: (b,) of values above 0.
        squares: (b,) sum of squared contributions.
        with_past: (b, covariates) sums of contributions times covariates.
        of_past: (b, covariates, covariates) sums of products of covariates, less their means.
        past: (b, covariates) means.
    """

    customers: FloatArray
    mean: FloatArray
    cap: FloatArray
    squares: FloatArray
    with_past: FloatArray
    of_past: FloatArray
    past: FloatArray


def _estimates(values: _Values, treated: Weights, control: Weights | None) -> tuple[Estimates, FloatArray]:
    """What each assignment estimates; and (b,) the lower of both groups' caps."""
    products = _products(values)
    inside = treated.astype(np.float64)
    of_treated, large = inside @ products, inside[:, values.owner]
    if control is None:
        of_control, others = products.sum(axis=0) - of_treated, 1 - large
    else:
        of_control, others = control.astype(np.float64) @ products, control[:, values.owner].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # a group without values above 0
        up, down = _group(values, of_treated, large), _group(values, of_control, others)
        plain = np.log(up.mean / down.mean)
    usable = (up.mean > 0) & (down.mean > 0) & (up.customers > 1) & (down.customers > 1)
    ones = np.ones(len(treated))
    log_ratio, log_error, plain_error = _adjusted(plain, up, down, ones, ones, usable)
    difference, error, plain_difference_error = _adjusted(up.mean - down.mean, up, down, up.mean, down.mean, usable)
    estimated = Estimates(
        *(up.mean, down.mean, log_ratio, log_error, difference, error),
        *(np.where(usable, plain, np.nan), plain_error, up.mean - down.mean, plain_difference_error),
    )
    return estimated, np.where(usable, np.minimum(up.cap, down.cap), np.inf)


def _products(values: _Values) -> FloatArray:
    """(n, ...) products of each customer's numbers, the numbers, and 1: their sums describe a group."""
    rows, columns = np.triu_indices(values.numbers.shape[1])
    ones = np.ones((len(values.numbers), 1))
    return np.hstack([values.numbers[:, rows] * values.numbers[:, columns], values.numbers, ones])


def _group(values: _Values, sums: FloatArray, large: FloatArray) -> _Group:
    q, multiple = values.numbers.shape[1], values.multiple
    rows, columns = np.triu_indices(q)
    moments = np.empty((len(sums), q, q))
    moments[:, rows, columns] = moments[:, columns, rows] = sums[:, : len(rows)]
    of_numbers, customers = sums[:, len(rows) : -1], sums[:, -1]
    positive, all_values = of_numbers[:, 1], of_numbers[:, 3]
    whole = of_numbers[:, 0] + values.mean * positive  # the sum of values, each capped at everybody's cap
    slope = np.ones(len(sums))
    if multiple is None:
        mean = whole / positive
    else:
        cap = multiple * values.mean
        mean = _means(large, values.large, whole - large @ np.minimum(values.large, cap), positive, multiple)
        # The cap rises with the mean: divide by the slope of the equation that the mean solves.
        slope = 1 / (1 - multiple * np.einsum("bm,bm->b", large, values.large > multiple * mean[:, None]) / positive)
        more = np.minimum(values.large, multiple * mean[:, None]) - np.minimum(values.large, cap)
        if len(values.large):
            first = np.flatnonzero(np.diff(values.owner, prepend=-1))
            of_owners = np.add.reduceat(more, first, axis=1)
            weighted = large[:, first] * of_owners
            with_numbers = weighted @ values.numbers[values.owner[first]]
            moments[:, 0, :] += with_numbers
            moments[:, :, 0] += with_numbers
            moments[:, 0, 0] += np.einsum("bm,bm->b", weighted, of_owners)
    share = positive / all_values
    scale = customers / (positive * mean)
    weights = scale[:, None] * np.column_stack(
        [slope, slope * (values.mean - mean), mean, mean * (values.positive - share)]
    )
    past = of_numbers[:, 4:] / customers[:, None]
    return _Group(
        customers=customers,
        mean=np.where(positive > 0, share * mean, 0.0),
        cap=np.full(len(mean), np.inf) if multiple is None else multiple * mean,
        squares=np.einsum("bi,bij,bj->b", weights, moments[:, :4, :4], weights),
        with_past=np.einsum("bi,bij->bj", weights, moments[:, :4, 4:]),
        of_past=moments[:, 4:, 4:] - customers[:, None, None] * past[:, :, None] * past[:, None, :],
        past=past,
    )


def _means(
    inside: FloatArray, large: FloatArray, rest: FloatArray, count: FloatArray, multiple: float | None
) -> FloatArray:
    """(b,) means of values above 0, each capped at a multiple of that mean, by Newton's method.

    The mean of capped values is a concave function of the cap, so each step comes nearer from above, and after a few
    steps the same values are capped as before.

    Args:
        inside: (b, m) 1 for values in the group.
        large: (m,) values that may be capped.
        rest: (b,) sums of all other values above 0 in the group.
        count: (b,) of all values above 0 in the group.
        multiple: of the mean; None for no cap.
    """
    mean = (rest + inside @ large) / count
    if multiple is None:
        return mean
    for _ in range(_ROUNDS):
        above = inside * (large > multiple * mean[:, None])
        before, mean = mean, (rest + (inside - above) @ large) / (count - multiple * above.sum(axis=1))
        if not (np.abs(mean - before) > 1e-12 * before).any():
            break
    return mean


def _adjusted(
    plain: FloatArray, up: _Group, down: _Group, of_up: FloatArray, of_down: FloatArray, usable: Mask
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The estimate with CUPED, its standard error, and the standard error without CUPED.

    Args:
        plain: (b,) the estimate without CUPED.
        up: the treated group.
        down: the control group.
        of_up: (b,) the estimate's derivative by the logarithm of the treated group's mean.
        of_down: (b,) minus its derivative by that of the control group's.
        usable: (b,) whether both groups have a mean.
    """
    sides = ((up, of_up), (down, of_down))
    both = np.where(usable[:, None, None], up.of_past + down.of_past, 0.0)
    with_past = np.where(usable[:, None], sum(factor[:, None] * side.with_past for side, factor in sides), 0.0)
    slopes = _slopes(both, with_past)
    variance, plain_variance = np.zeros(len(plain)), np.zeros(len(plain))
    with np.errstate(divide="ignore", invalid="ignore"):
        for side, factor in sides:
            free = (side.customers - 1) * side.customers
            variance += factor**2 * _left(side, slopes / factor[:, None]) / free
            plain_variance += factor**2 * side.squares / free
        adjusted = plain - np.einsum("bi,bi->b", up.past - down.past, slopes)
    error, plain_error = (np.where(usable, np.sqrt(each), np.nan) for each in (variance, plain_variance))
    return np.where(usable, adjusted, np.nan), error, plain_error


def _slopes(of_past: FloatArray, with_past: FloatArray) -> FloatArray:
    """(b, covariates) of the regression, within groups, of customers' contributions on their past."""
    slopes: FloatArray = np.einsum("bij,bj->bi", np.linalg.pinv(of_past, rcond=1e-10, hermitian=True), with_past)
    return slopes


def _left(group: _Group, slopes: FloatArray) -> FloatArray:
    """(b,) the sum of squared contributions without what the past predicts."""
    predicted = np.einsum("bi,bi->b", slopes, group.with_past)
    squares = np.einsum("bi,bij,bj->b", slopes, group.of_past, slopes)
    left: FloatArray = np.maximum(group.squares - 2 * predicted + squares, 0.0)
    return left
