"""Estimates of many assignments at once, and the margins of small groups that come from them."""

import numpy as np
import pandas as pd
import pytest
from buyers import START, orders
from scipy import stats

from ncf_pipeline.experiments.inference import LARGE, ONE_LOOK, Redrawn, compare, in_errors, margin_of, redraw
from ncf_pipeline.experiments.measures import MEASURES, Sample, observe
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.redraws import estimates, redrawn

MIDDLE, END = START + pd.Timedelta(weeks=12), START + pd.Timedelta(weeks=24)


def look_at(customers, seed=0, wholesale=0.0):
    shop = orders(customers=customers, seed=seed)
    level = np.exp(np.random.default_rng(seed).normal(0, wholesale, customers))[
        shop["customer_id"].astype(int) - 10_000
    ]
    shop[["value", "bought"]] = shop[["value", "bought"]].mul(level, axis=0)
    return observe(shop, entered_at(shop.groupby("customer_id")["purchased_at"].min(), MIDDLE), END)


def half(look, seed, count):
    n = len(look.customers)
    return np.random.default_rng(seed).permuted(np.tile(np.arange(n) < n // 2, (count, 1)), axis=1)


def winsorized_by_hand(value, multiple):
    """The mean of values above 0 that are capped at a multiple of that mean, by repetition."""
    mean = value.mean()
    for _ in range(500):
        mean = np.minimum(value, multiple * mean).mean()
    return mean


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("customers", [20, 400])
def test_each_of_many_assignments_is_estimated_as_it_is_alone(name, customers):
    """In groups of 10, caps differ so much that other values are capped than in most assignments."""
    look, quantile = look_at(customers, wholesale=1.0), MEASURES[name].quantile
    masks = half(look, 1, 60)
    many = estimates(look.samples[name], look.past, quantile, masks)
    for place, mask in enumerate(masks):
        alone = compare(look.samples[name], look.past, mask, quantile)
        if alone is None:
            assert np.isnan(many.log_ratio[place])
            continue
        assert many.log_ratio[place] == pytest.approx(alone.log_ratio.value, rel=1e-9, abs=1e-12)
        assert many.difference_error[place] == pytest.approx(alone.difference.standard_error, rel=1e-9)


def test_the_mean_of_a_group_is_winsorized_at_a_multiple_of_itself():
    look, quantile = look_at(60, wholesale=1.5), MEASURES["average_order_value"].quantile
    sample, mask = look.samples["average_order_value"], half(look, 3, 1)
    n, value = len(sample.value), sample.value
    cap = value[int(np.ceil(quantile * n)) - 1]
    multiple = cap / np.minimum(value, cap).mean()
    once = estimates(sample, look.past, quantile, mask)
    for mean, member in ((once.treated, mask[0]), (once.control, ~mask[0])):
        assert mean[0] == pytest.approx(winsorized_by_hand(value[member[sample.customer]], multiple), rel=1e-9)


def test_a_customer_who_counts_twice_is_as_two_customers():
    """So a bootstrap can be computed with the same sums."""
    look = look_at(40)
    sample, n = look.samples["revenue_per_customer"], len(look.customers)
    treated, control = np.zeros((1, n), int), np.zeros((1, n), int)
    treated[0, :10], control[0, 10:20] = 2, 1
    weighted = estimates(sample, look.past, 1.0, treated, control)
    rows = np.concatenate([np.arange(10), np.arange(10), np.arange(10, 20)])
    value = np.zeros(n)
    value[sample.customer] = sample.value
    order = np.argsort(value[rows], kind="stable")
    doubled = compare(Sample(order, value[rows][order]), look.past[rows], np.arange(30) < 20, 1.0)
    assert weighted.log_ratio[0] == pytest.approx(doubled.log_ratio.value)
    assert weighted.log_ratio_error[0] == pytest.approx(doubled.log_ratio.standard_error)


def test_an_assignment_is_redrawn_the_same_way_each_time_and_another_one_in_another_way():
    mask = np.arange(50) < 20
    first, again, other = (np.concatenate(list(redrawn(each, 30))) for each in (mask, mask, mask[::-1]))
    assert (first == again).all()
    assert (first != other).any()
    assert set(first.sum(axis=1)) == {20}
    assert len({row.tobytes() for row in first}) == 30


def test_a_margin_is_exceeded_by_its_share_of_all_assignments_and_the_real_one():
    """19 redraws and the real assignment: the margin at 5% is the largest, so one of 20 exceeds it."""
    assert margin_of(np.arange(19.0), 0.05) == 18
    assert margin_of(np.arange(999.0), 0.05) == 949
    assert margin_of(np.arange(999.0), 0.01) == 989
    assert margin_of(np.arange(9.0), 0.05) == np.inf  # too few to say
    assert margin_of(np.empty(0), 0.05) == pytest.approx(ONE_LOOK)


def test_nothing_to_compare_and_nobody_who_differs_are_no_effect():
    value, error = np.array([np.nan, 0.1, 0.3]), np.array([np.nan, 1e-12, 0.1])
    assert in_errors(value, error, error).tolist() == [0, 0, pytest.approx(3)]
    alike = Sample(np.arange(40), np.ones(40))
    margins = redraw(alike, np.zeros((40, 1)), np.arange(40) < 20, 1.0, 99)
    assert margin_of(margins.log_ratio) == 0


def test_large_groups_are_not_redrawn():
    n = 2 * LARGE
    sample = Sample(np.arange(n), np.sort(np.random.default_rng(0).lognormal(0, 1, n)))
    drawn = redraw(sample, np.zeros((n, 1)), np.arange(n) % 2 == 0, 0.99, 99)
    assert len(drawn.log_ratio) == 0
    assert drawn.widened() == 1
    assert len(redraw(sample, np.zeros((n, 1)), np.arange(n) < LARGE - 1, 0.99, 19).log_ratio) == 19


@pytest.mark.parametrize("name", ["revenue_per_customer", "repeat_rate"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_in_small_groups_that_change_nothing_an_effect_is_found_in_at_most_5_of_100(name, share):
    """60 customers in the smaller group, some of whom are wholesale buyers; 40 shops, 50 experiments in each."""
    quantile, hits, of_large = MEASURES[name].quantile, [], []
    for seed in range(40):
        look = look_at(round(63 / share), seed, wholesale=1.2)
        n = len(look.customers)
        masks = np.random.default_rng(seed).permuted(np.tile(np.arange(n) >= 60, (50, 1)), axis=1)
        drawn = estimates(look.samples[name], look.past, quantile, masks)
        off = in_errors(drawn.log_ratio, drawn.log_ratio_error, drawn.log_ratio_error)
        # If nothing changes, all assignments to groups of these sizes have the same margin.
        margins = redraw(look.samples[name], look.past, masks[0], quantile, 399)
        hits += (off > margin_of(margins.log_ratio)).tolist()
        of_large += (off > ONE_LOOK).tolist()
    assert stats.binomtest(sum(hits), len(hits)).proportion_ci().low < 0.05
    assert np.mean(hits) > 0.035  # it is not merely careful
    if name == "revenue_per_customer":  # the margin of large groups would find more than 5 of 100
        assert stats.binomtest(sum(of_large), len(of_large)).proportion_ci().low > 0.05


def test_intervals_of_small_groups_contain_the_truth_when_there_is_an_effect():
    inside = []
    for seed in range(60):
        look = look_at(130, seed, wholesale=1.0)
        sample, mask = look.samples["average_order_value"], half(look, seed, 1)[0]
        value = np.where(mask[sample.customer], 1.5 * sample.value, sample.value)
        order = np.argsort(value, kind="stable")
        grown = compare(Sample(sample.customer[order], value[order]), look.past, mask, 0.95, redraws=199)
        low, high = grown.log_ratio.interval(margin_of(grown.redrawn.log_ratio))
        inside.append(low < np.log(1.5) < high)
    assert stats.binomtest(sum(inside), len(inside)).proportion_ci().high > 0.95


def test_margins_are_wider_for_fewer_customers_and_for_more_measures():
    small = look_at(100, wholesale=1.2)
    drawn = redraw(small.samples["revenue_per_customer"], small.past, half(small, 0, 1)[0], 0.99, 999)
    assert drawn.widened() > 1.05
    assert margin_of(drawn.log_ratio, 0.05 / 5) > margin_of(drawn.log_ratio, 0.05) > ONE_LOOK
    assert Redrawn().widened(0.01) == 1
