"""When customers enter an experiment, and what they buy from its lists."""

from datetime import datetime, timedelta

import pandas as pd
import pytest

from ncf_pipeline.experiments.design import Groups
from ncf_pipeline.experiments.exposure import LiveLists, bought_from_lists, entries, sampled, shown, time_of_others
from ncf_pipeline.experiments.report import exposed
from ncf_pipeline.experiments.results import Bought, Exposure, Looked

START = datetime(2011, 6, 1)


def day(number):
    return START + timedelta(days=number)


SHOWN = [
    LiveLists(as_of=day(-7), start=day(-7), end=day(0), is_ours=False),
    LiveLists(as_of=day(0), start=day(0), end=day(3), is_ours=True),
    LiveLists(as_of=day(3), start=day(3), end=day(3), is_ours=True),  # never live
    LiveLists(as_of=day(-7), start=day(3), end=day(5), is_ours=False),  # a rollback
    LiveLists(as_of=day(4), start=day(5), end=day(10), is_ours=True),
]


def test_customers_enter_with_their_first_list_of_the_experiment_and_stay():
    first = pd.Series({1: day(-20), 2: day(-1), 3: day(0), 4: day(2), 5: day(4), 6: day(9)}).astype("datetime64[us]")
    assert entries(first, SHOWN).to_dict() == {1: day(0), 2: day(0), 3: day(5), 4: day(5)}


def test_the_share_of_the_time_in_which_other_lists_were_live():
    assert time_of_others(SHOWN, day(0), day(10)) == pytest.approx(0.2)
    assert time_of_others(SHOWN, day(0), day(4)) == pytest.approx(0.25)
    assert time_of_others(SHOWN, day(0), day(0)) == 0


def test_what_was_bought_from_lists():
    lines = pd.DataFrame(
        {"customer_id": ["1", "1", "2", "3"], "stock_code": ["a", "b", "a", "a"], "value": [10.0, 5.0, 2.0, 1.0]}
    )
    rows = [("1", "for_you", ["a", "c"]), ("1", "discover", ["d"]), ("2", "for_you", ["b"])]
    lists = pd.DataFrame(rows, columns=["key", "list_name", "stock_codes"])
    assert bought_from_lists(lines, lists) == Bought(value=18.0, on_list=10.0)


def test_checks_look_at_everybody_once_before_they_look_at_anybody_twice():
    customers = [str(number) for number in range(100, 125)]
    of_checks = [sampled(customers, number, 10) for number in range(5)]
    assert of_checks == [sampled(customers[::-1], number, 10) for number in range(5)]
    assert all(len(set(looked)) == 10 for looked in of_checks)
    # 25 customers, 10 at a time: in five checks everybody had exactly two turns.
    assert sorted(customer for looked in of_checks for customer in looked) == sorted(customers * 2)
    assert sorted(sampled(customers, 3, 30)) == customers
    assert sampled([], 0, 10) == []


@pytest.mark.parametrize(
    ("served", "of_own_group", "expected"),
    [
        ({"for_you": ("a", "b"), "buy_again": ()}, True, "right"),
        ({"for_you": ("a", "b"), "buy_again": ()}, False, "wrong"),
        ({"for_you": ("b", "a"), "buy_again": ()}, True, "wrong"),
        ({"for_you": ("a", "b"), "buy_again": (), "discover": ("c",)}, True, "wrong"),
        ({"for_you": ("a", "b")}, True, "missing"),
        ({}, True, "missing"),
    ],
)
def test_a_customer_is_shown_the_lists_of_their_group_only_if_all_are_the_same(served, of_own_group, expected):
    made = {"for_you": ("a", "b"), "buy_again": ()}
    assert shown(made, served, of_own_group=of_own_group) == expected


def test_a_customer_for_whom_no_lists_were_made_misses_them():
    assert shown({}, {}, of_own_group=True) == "missing"


@pytest.mark.parametrize(
    ("treated", "control", "contrast", "ending"),
    [
        (100, 100, 1.0, "looked at in the control group"),
        (100, 99, 0.99, "looked at in the control group"),
        (98, 100, 0.98, "The effect is diluted: only about 98.0% of it shows"),
        (95, 95, 0.90, "The effect is diluted: only about 90.0% of it shows"),
        (100, 89, 0.89, "That is too few (less than 90% of the difference): no figure can be trusted"),
        (100, 0, 0.0, "no figure can be trusted"),
        (40, 40, 0.0, "no figure can be trusted"),  # never negative
    ],
)
def test_what_a_report_says_of_what_the_groups_were_shown(treated, control, contrast, ending):
    """If all of a small share saw the others' lists, nothing differed, however many others saw the right ones."""

    def looked(right):
        return Looked(100, right, 100 - right, 0)

    exposure = Exposure(3, Groups(looked(treated), looked(control)))
    assert exposure.contrast == pytest.approx(contrast)
    assert exposed(exposure).endswith(ending)
    assert exposed(exposure).startswith(
        "In 3 checks of what the storefront reads, customers saw their group's lists: "
        f"{treated}.0% of 100 looked at in the treated group, {control}.0% of 100"
    )
