"""Statistical power, and whether it is reached."""

import numpy as np
import pandas as pd
import pytest
from buyers import START, orders
from statsmodels.stats.power import zt_ind_solve_power

from ncf_pipeline.experiments.inference import compare, margin_of
from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE, MEASURES, Sample, observe
from ncf_pipeline.experiments.power import (
    Curve,
    Draws,
    Looking,
    chance_to_find,
    chance_within,
    chances_by_week,
    curve_through,
    entered_at,
    more_weeks,
    past_curves,
    smallest_effect,
    tau_for,
    weeks_needed,
)

MEASURE = MEASURES[AVERAGE_ORDER_VALUE]
NEVER = Curve(always=0.01, each_week=0.01, customers=100, seen_weeks=8)
SOON = Curve(always=0.0, each_week=0.001, customers=4000, seen_weeks=8)


def test_the_power_of_one_look_is_that_of_a_test_of_two_groups():
    customers = zt_ind_solve_power(effect_size=np.log(1.05), power=0.8, alpha=0.05)
    assert chance_to_find(0.05, 2 / customers) == pytest.approx(0.8, abs=1e-4)


def test_a_curve_goes_through_points_that_lie_on_a_curve():
    curve = curve_through([4, 8, 16], [0.1 + 1 / 4, 0.1 + 1 / 8, 0.1 + 1 / 16], 5)
    assert (curve.always, curve.each_week) == (pytest.approx(0.1), pytest.approx(1.0))
    assert curve.squared_error(4, 0.5) == pytest.approx(4 * 0.35)
    # Neither part is ever below zero, even if the errors grow by chance.
    assert curve_through([4, 8], [0.1, 0.3], 5).each_week == 0


def test_weeks_needed_by_hand():
    # One look finds ln 1.05 = 0.0488 at a standard error of 0.0174; 4 * 0.001 / weeks is that squared after 13.2 weeks
    assert weeks_needed(SOON, 0.05, Looking(share=0.5, power=0.8, every_week=False)) == 14
    # Weekly looks need more weeks, a smaller group needs even more, and some shops are too small.
    every_week = weeks_needed(SOON, 0.05, Looking(share=0.5, power=0.8, every_week=True))
    assert 14 < every_week < 30
    assert weeks_needed(SOON, 0.05, Looking(share=0.05, power=0.8, every_week=False)) == 70
    assert weeks_needed(NEVER, 0.05, Looking(share=0.5, power=0.8, every_week=False)) is None


def test_nothing_is_found_before_a_decision_is_possible():
    """Nothing is decided before two weeks have passed, however large the shop is."""
    huge = Curve(always=0.0, each_week=1e-6, customers=4_000_000, seen_weeks=8)
    for every_week in (True, False):
        how = {"share": 0.5, "power": 0.8, "every_week": every_week}
        assert weeks_needed(huge, 0.5, Looking(**how)) == 2
        assert chance_within(huge, 0.5, 1, Looking(**how)) == 0


def test_the_smallest_effect_is_found_with_exactly_that_power():
    for every_week in (True, False):
        effect = smallest_effect(SOON, 10, Looking(share=0.2, power=0.8, every_week=every_week))
        chance = chance_within(SOON, effect, 10, Looking(share=0.2, power=0.8, every_week=every_week))
        assert chance == pytest.approx(0.8, abs=0.01)
    assert smallest_effect(Curve(1e6, 0, 2, 8), 10, Looking(share=0.5, power=0.8, every_week=False)) == float("inf")


def test_weekly_looks_rarely_find_an_effect_if_there_is_none():
    chances = chances_by_week(0.0, [0.01 / week for week in range(1, 53)], tau_for(0.05, 0.8))
    assert chances[0] == 0  # nothing is decided yet
    assert 0 < chances[-1] <= 0.05


def test_more_weeks_come_from_the_experiments_own_errors():
    errors = {week: 0.004 / week for week in range(2, 8)}
    more = more_weeks(errors, 0.05, power=0.8)
    assert more_weeks({week: 0.004 / week for week in range(2, 11)}, 0.05, power=0.8) == more - 3
    assert more_weeks(dict.fromkeys(range(2, 8), 0.04), 0.05, power=0.8) is None


def test_in_the_first_weeks_more_weeks_come_from_the_shops_past():
    """Two or three errors do not show how they will fall: here, by chance, they have not."""
    errors, past = {2: 0.002, 3: 0.002}, Curve(always=0.0, each_week=0.5, customers=100, seen_weeks=8)
    assert more_weeks(errors, 0.05, power=0.8) is None
    # The curve of the past, scaled to the newest error, is 0.006 / weeks.
    expected = more_weeks({week: 0.006 / week for week in range(2, 8)}, 0.05, power=0.8) + 4
    assert more_weeks(errors, 0.05, power=0.8, past=past) == expected
    # Later the experiment's own errors count.
    assert more_weeks(dict.fromkeys(range(2, 8), 0.04), 0.05, power=0.8, past=past) is None


def test_a_past_that_is_too_short_has_no_curves():
    assert past_curves(orders(weeks=4), START + pd.Timedelta(weeks=4), MEASURE) is None
    assert past_curves(orders().iloc[:0], START, MEASURE) is None


def test_an_effect_is_found_as_often_as_the_past_predicts():
    shop, start = orders(customers=900, weeks=40), START + pd.Timedelta(weeks=28)
    curves = past_curves(shop[shop["purchased_at"] < start], start, MEASURE)
    assert curves.with_cuped.squared_error(12, 0.5) < curves.without_cuped.squared_error(12, 0.5)
    looking = Looking(share=0.5, power=0.8, every_week=False, draws=curves.draws(0.5).with_cuped)
    effect = smallest_effect(curves.with_cuped, 12, looking)
    look = observe(
        shop, entered_at(shop.groupby("customer_id")["purchased_at"].min(), start), START + pd.Timedelta(weeks=40)
    )
    sample, hits = look.samples[MEASURE.name], 0
    for seed in range(200):
        treated = np.random.default_rng(seed).random(len(look.customers)) < 0.5
        value = np.where(treated[sample.customer], (1 + effect) * sample.value, sample.value)
        order = np.argsort(value, kind="stable")
        grown = Sample(sample.customer[order], value[order])
        comparison = compare(grown, look.past, treated, MEASURE.quantile, redraws=99)
        hits += comparison.log_ratio.interval(margin_of(comparison.redrawn.log_ratio))[0] > 0
    assert 0.7 < hits / 200 < 0.9


def test_small_groups_have_less_power_than_the_textbook_says():
    """Heavy tails, by hand: estimates of 0, 0, 0 and 4 expected errors, each with a standard error as expected."""
    draws = Draws(np.array([0.0] * 38 + [4.0, -4.0]), np.ones(40))
    assert draws.margin(0.05) == 4
    assert draws.chance(3.0, 0.05) == 1 / 40
    assert draws.chance(4.5, 0.05) == 39 / 40
    assert chance_to_find(0.05, np.log(1.05) ** 2 / 9, draws=draws) == 1 / 40
    assert chance_to_find(0.05, np.log(1.05) ** 2 / 9) > 0.8


def test_more_asked_measures_take_more_weeks():
    one, five = (Looking(share=0.5, power=0.8, every_week=False, alpha=0.05 / count) for count in (1, 5))
    assert weeks_needed(SOON, 0.05, one) == 14
    assert weeks_needed(SOON, 0.05, five) == 20  # (2.576 + 0.842)² over (1.960 + 0.842)² is 1.49 times
    weekly = (Looking(share=0.5, power=0.8, every_week=True, alpha=0.05 / count) for count in (1, 5))
    assert len({weeks_needed(SOON, 0.05, looking) for looking in weekly}) == 2


def test_a_share_of_too_few_buyers_never_decides():
    curve = Curve(0.0, 1e-6, customers=400, seen_weeks=8, lengths=(4.0, 8.0), buyers=(100, 200))
    few, enough = (Looking(share=share, power=0.8, every_week=False) for share in (0.05, 0.5))
    assert chance_within(curve, 0.5, 8, few) < 1e-4  # 10 buyers, and 30 are needed
    assert chance_within(curve, 0.5, 8, enough) > 0.99
    assert chance_within(curve, 0.5, 2, enough) < 0.2  # 25 buyers
