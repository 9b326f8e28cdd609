"""When customers enter an experiment, and what they buy from its lists."""

from datetime import datetime, timedelta

import pandas as pd
import pytest

from ncf_pipeline.experiments.exposure import LiveLists, bought_from_lists, entries, time_of_others
from ncf_pipeline.experiments.results import Bought

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
        {"customer_id": [1, 1, 2, 3], "stock_code": ["a", "b", "a", "a"], "value": [10.0, 5.0, 2.0, 1.0]}
    )
    rows = [("1", "for_you", ["a", "c"]), ("1", "discover", ["d"]), ("2", "for_you", ["b"])]
    lists = pd.DataFrame(rows, columns=["key", "list_name", "stock_codes"])
    assert bought_from_lists(lines, lists) == Bought(value=18.0, on_list=10.0)
