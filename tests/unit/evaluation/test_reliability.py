import numpy as np
import pytest

from ncf_pipeline.evaluation.reliability import Reliability, reliability, share_interval


def test_brier_score_and_skill_by_hand():
    found = reliability([0.5, 0.5, 1.0, 0.0], [1, 0, 1, 0], [1, 2, 3, 4])
    assert found.brier == pytest.approx((0.25 + 0.25) / 4)
    assert found.climatology == pytest.approx(0.25)  # half was bought
    assert found.skill == pytest.approx(0.5)
    assert (found.predicted, found.observed, found.pairs, found.customers) == (0.5, 0.5, 4, 4)


def test_bins_hold_equal_numbers_of_pairs_in_the_order_of_their_chance():
    chance = np.linspace(0, 1, 100)
    found = reliability(chance[::-1], chance[::-1] > 0.5, np.arange(100))
    assert [each.pairs for each in found.bins] == [10] * 10
    assert [each.predicted for each in found.bins] == sorted(each.predicted for each in found.bins)
    assert [each.observed for each in found.bins] == [0] * 5 + [1] * 5


def test_chances_that_are_true_are_inside_their_intervals_and_others_are_not():
    random = np.random.default_rng(0)
    chance = random.random(20_000)
    happened = random.random(20_000) < chance
    found = reliability(chance, happened, np.arange(20_000))
    assert sum(each.low < each.predicted < each.high for each in found.bins) >= 8  # of ten, each at 95%
    wrong = reliability(chance**2, happened, np.arange(20_000))
    assert sum(each.low < each.predicted < each.high for each in wrong.bins) < 5
    assert wrong.brier > found.brier


def test_nothing_is_known_without_pairs_and_nothing_is_skilled_where_all_is_alike():
    assert reliability([], [], []) is None
    one = reliability([0.1], [0], [7])
    assert (one.skill, one.climatology, len(one.bins)) == (0.0, 0.0, 1)
    assert one.bins[0].high > 0.5  # one customer tells little


def test_ten_outcomes_of_one_customer_tell_less_than_ten_of_ten_customers():
    alike = np.repeat([0, 1], 100)
    of_few = share_interval(alike, np.repeat(np.arange(20), 10))
    of_many = share_interval(alike, np.arange(200))
    assert of_few[1] - of_few[0] > 2.5 * (of_many[1] - of_many[0])
    assert of_few == pytest.approx(share_interval([0, 1] * 10, np.arange(20)), abs=0.02)


def test_no_interval_is_empty_or_leaves_the_possible():
    low, high = share_interval([0] * 50, np.repeat(np.arange(5), 10))
    assert low == 0.0
    assert 0.3 < high < 0.6  # five customers
    assert share_interval([1] * 50, np.arange(50))[1] == 1.0


def test_an_interval_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        often = random.beta(2, 6, 80)  # customers differ
        number = random.integers(1, 11, 80)
        customer = np.repeat(np.arange(80), number)
        low, high = share_interval(random.random(len(customer)) < often[customer], customer)
        held += low <= 0.25 <= high
    assert held / 300 == pytest.approx(0.95, abs=0.04)


def test_it_is_stored_as_json_and_read_again():
    found = reliability([0.2, 0.7], [0, 1], [1, 2])
    assert Reliability.from_dict(found.as_dict()) == found
