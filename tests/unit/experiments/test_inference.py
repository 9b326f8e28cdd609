"""Estimates and standard errors, against hand-computed numbers, another library, and draws with a known truth."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from buyers import START, orders
from scipy.stats import lognorm, poisson

from ncf_pipeline.experiments.inference import ONE_LOOK, compare, sample_ratio
from ncf_pipeline.experiments.measures import Sample, observe
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.redraws import variances

SHOP = orders()
MIDDLE = START + pd.Timedelta(weeks=12)
ENTERED = entered_at(SHOP.groupby("customer_id")["purchased_at"].min(), MIDDLE)
LOOK = observe(SHOP, ENTERED, START + pd.Timedelta(weeks=24))
VALUES = LOOK.samples["average_order_value"]
NOBODY = np.zeros((len(LOOK.customers), 1))


def groups(seed):
    return np.random.default_rng(seed).random(len(LOOK.customers)) < 0.5


def changed(sample, treated, change):
    value = np.where(treated[sample.customer], change(sample.value), sample.value)
    order = np.argsort(value, kind="stable")
    return Sample(sample.customer[order], value[order])


def test_means_and_difference_by_hand():
    sample = Sample(np.array([0, 2, 1, 0, 3]), np.array([1.0, 2.0, 4.0, 5.0, 8.0]))
    comparison = compare(sample, np.zeros((4, 1)), np.array([True, True, False, False]), 1.0)
    assert comparison.treated == pytest.approx(10 / 3)  # 1, 4, 5
    assert comparison.control == pytest.approx(5.0)  # 2, 8
    assert comparison.difference.value == pytest.approx(10 / 3 - 5)
    assert np.exp(comparison.log_ratio.value) == pytest.approx(2 / 3)
    # Customer 0 has 1 and 5: together -2/3 of two means; customer 1 has 4: +2/3. Over 1.5 values a customer.
    # Customer 2 is 3 below, customer 3 is 3 above. Variances 2 * (4/9)² and 18, over two customers each.
    assert comparison.difference.standard_error == pytest.approx(np.sqrt((2 * (4 / 9) ** 2 + 18) / 2))


def test_the_standard_error_is_that_of_a_regression_clustered_by_customer():
    treated = groups(1)
    comparison = compare(VALUES, NOBODY, treated, 1.0)
    design = sm.add_constant(treated[VALUES.customer].astype(float))
    fit = sm.OLS(VALUES.value, design).fit(cov_type="cluster", cov_kwds={"groups": VALUES.customer})
    assert comparison.plain_difference.value == pytest.approx(fit.params[1])
    assert comparison.plain_difference.standard_error == pytest.approx(fit.bse[1], rel=0.02)
    # Without clustering, as if the orders of one customer were independent, it would be far too small.
    assert sm.OLS(VALUES.value, design).fit().bse[1] < 0.7 * comparison.plain_difference.standard_error


def test_cuped_makes_the_standard_error_smaller():
    comparison = compare(VALUES, LOOK.past, groups(1), 0.95)
    assert comparison.log_ratio.standard_error < 0.8 * comparison.plain_log_ratio.standard_error
    variance = variances(VALUES, LOOK.past, 0.95)
    assert variance.with_cuped < 0.7 * variance.without_cuped


@pytest.mark.parametrize("quantile", [1.0, 0.95, 0.8])
def test_winsorizing_does_not_bias_an_effect_in_percent(quantile):
    treated = groups(2)
    before = compare(VALUES, NOBODY, treated, quantile)
    after = compare(changed(VALUES, treated, lambda value: 1.12 * value), NOBODY, treated, quantile)
    # Not exact: the multiple at which values are capped comes from both groups together.
    assert after.plain_log_ratio.value - before.plain_log_ratio.value == pytest.approx(np.log(1.12), abs=0.004)


def ascending(value):
    order = np.argsort(value, kind="stable")
    return Sample(order, value[order].astype(float))


@pytest.mark.parametrize("buying", [0.012, 0.05, 0.5])
@pytest.mark.parametrize("pieces", [False, True])
def test_a_tenth_more_buyers_is_an_effect_of_a_tenth_however_few_buy_and_however_alike_they_are(buying, pieces):
    customers, spent = 20_000, poisson(0.03, loc=1) if pieces else lognorm(0.8)
    treated = np.arange(customers) % 2 == 0
    value = np.zeros(customers)
    for group, share in ((treated, 1.1 * buying), (~treated, buying)):
        buyers = np.flatnonzero(group)[: round(share * customers / 2)]
        value[buyers] = spent.ppf((np.arange(len(buyers)) + 0.5) / len(buyers))  # alike in both groups
    estimate = compare(ascending(value), np.zeros((customers, 1)), treated, 0.99).log_ratio
    assert estimate.value == pytest.approx(np.log(1.1), abs=0.005)
    # At least the standard error of the ratio of two shares of buyers; the spread of their spending adds to it.
    of_shares = np.sqrt(2 / customers * ((1 - 1.1 * buying) / (1.1 * buying) + (1 - buying) / buying))
    assert of_shares < estimate.standard_error < 1.5 * of_shares + 0.01


def test_values_that_are_nearly_all_alike_are_not_winsorized():
    value = np.ones(1000)
    value[:8] = 2
    treated = np.arange(1000) % 2 == 0
    cut, uncut = (compare(ascending(value), np.zeros((1000, 1)), treated, quantile) for quantile in (0.99, 1.0))
    assert (cut.log_ratio, cut.difference) == (uncut.log_ratio, uncut.difference)
    same = compare(ascending(np.full(100, 0.1)), np.zeros((100, 1)), np.arange(100) % 2 == 0, 0.95).log_ratio
    assert (same.value, same.standard_error) == (pytest.approx(0), pytest.approx(0))


@pytest.mark.parametrize("shares", [[0.02, 0.05, 0.93], [0.8, 0.192, 0.006, 0.002], [0.1, 0.1, 0.1, 0.1, 0.6]])
def test_winsorizing_does_not_exaggerate_an_effect_on_counts(shares):
    """Many counts are the largest, or just where the cap would be, and would follow the cap of their own group."""
    random, treated = np.random.default_rng(0), np.arange(4000) % 2 == 0
    value = random.choice(np.arange(len(shares)) + 1, 4000, p=shares).astype(float)
    value[treated] += random.random(2000) < 0.03  # one more, now and then
    for quantile in (0.95, 0.99):
        cut, uncut = (compare(ascending(value), np.zeros((4000, 1)), treated, q).log_ratio for q in (quantile, 1.0))
        assert cut.value == pytest.approx(uncut.value, abs=0.003)
        assert cut.standard_error == pytest.approx(uncut.standard_error, rel=0.2)


def test_one_huge_order_changes_nothing():
    treated = groups(3)
    grown = changed(VALUES, treated, lambda value: 1.12 * value)
    poor = int(np.flatnonzero(~treated)[0])
    spoilt = Sample(np.append(grown.customer, poor), np.append(grown.value, 168_469.60))
    calm, huge = (compare(sample, LOOK.past, treated, 0.95).log_ratio for sample in (grown, spoilt))
    assert huge.value == pytest.approx(calm.value, abs=0.01)
    assert huge.standard_error == pytest.approx(calm.standard_error, rel=0.1)
    assert compare(spoilt, LOOK.past, treated, 1.0).log_ratio.value < 0


@pytest.mark.parametrize("measure", ["average_order_value", "orders_per_customer", "revenue_per_customer"])
def test_95_of_100_intervals_contain_the_truth(measure):
    quantile = 0.95 if measure == "average_order_value" else 0.99
    sample, inside = LOOK.samples[measure], 0
    for seed in range(300):
        treated = groups(100 + seed)
        estimate = compare(changed(sample, treated, lambda value: 1.2 * value), LOOK.past, treated, quantile).log_ratio
        low, high = estimate.interval(ONE_LOOK)
        inside += low < np.log(1.2) < high
    assert 0.915 < inside / 300 < 0.985  # 2.8 standard errors of that rate to each side


def test_a_group_without_values_above_0_is_not_compared():
    sample = Sample(np.array([0, 1]), np.array([1.0, 2.0]))
    assert compare(sample, np.zeros((4, 1)), np.array([True, True, False, False]), 1.0) is None
    assert compare(Sample(np.arange(4), np.zeros(4)), np.zeros((4, 1)), np.array([True, True, False, False]), 1) is None


def test_the_p_value_of_a_sample_ratio():
    assert sample_ratio(50, 1000, 0.05) > 0.9
    assert sample_ratio(100, 1000, 0.05) < 1e-6
    assert sample_ratio(0, 0, 0.05) == 1
