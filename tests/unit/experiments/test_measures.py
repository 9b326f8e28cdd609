"""From orders to values of customers, computed by hand."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ncf_pipeline.cli.experiments import Metric
from ncf_pipeline.experiments.measures import MEASURES, observe

START = datetime(2011, 6, 1)
ANNE, BERT, CARL, DORA = "2", "17850", "C 1/carl", "dora@example.com"


def day(number):
    return pd.Timestamp(START) + timedelta(days=number)


ORDERS = pd.DataFrame(
    [
        (ANNE, day(-300), 10.0, 1),
        (ANNE, day(-20), 30.0, 2),
        (BERT, day(-10), 50.0, 3),
        (CARL, day(-5), 7.0, 1),
        (ANNE, day(1), 40.0, 4),
        (ANNE, day(20), 60.0, 6),
        (BERT, day(2), 20.0, 2),
        (DORA, day(3), 99.0, 9),  # her first order, before she had any list
        (DORA, day(30), 5.0, 1),
        (BERT, day(32), 70.0, 7),  # 30 days after
        (ANNE, day(60), 1000.0, 5),  # at the end, so excluded
    ],
    columns=["customer_id", "purchased_at", "value", "items"],
)
ORDERS = ORDERS.assign(bought=ORDERS["value"], bought_items=ORDERS["items"]).sort_values(
    "purchased_at", ignore_index=True
)
ENTERED = pd.Series({ANNE: day(0), BERT: day(0), CARL: day(0), DORA: day(4), "late": day(70)})
UNTIL = ENTERED, START + timedelta(days=60)
LOOK = observe(ORDERS, *UNTIL)


def values(name):
    sample = LOOK.samples[name]
    return sorted(zip(LOOK.customers[sample.customer].tolist(), sample.value.tolist(), strict=True))


def test_customers_who_have_entered_count_whether_they_bought_or_not():
    assert LOOK.customers.tolist() == [ANNE, BERT, CARL, DORA]


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        ("average_order_value", [(ANNE, 40), (ANNE, 60), (BERT, 20), (BERT, 70), (DORA, 5)]),
        ("items_per_basket", [(ANNE, 4), (ANNE, 6), (BERT, 2), (BERT, 7), (DORA, 1)]),
        ("orders_per_customer", [(ANNE, 2), (BERT, 2), (CARL, 0), (DORA, 1)]),
        ("revenue_per_customer", [(ANNE, 100), (BERT, 90), (CARL, 0), (DORA, 5)]),
        # Anne's first order was followed within 28 days, Bert's only after 30. Those of days 30 and 32 are old enough.
        ("repeat_rate", [(ANNE, 0), (ANNE, 1), (BERT, 0), (BERT, 0), (DORA, 0)]),
    ],
)
def test_values_by_hand(measure, expected):
    assert values(measure) == sorted(expected)


def test_the_command_offers_every_measure():
    assert [str(metric) for metric in Metric] == list(MEASURES)


def test_values_are_ascending():
    for sample in LOOK.samples.values():
        assert (np.diff(sample.value) >= 0).all()


def test_the_past_is_what_customers_did_before_they_entered():
    # The orders before are 10, 30, 50, 7 and 99, with 1, 2, 3, 1 and 9 products. The 95% quantiles cap only Dora's.
    cut, items = np.quantile([10, 30, 50, 7, 99], 0.95), np.quantile([1, 2, 3, 1, 9], 0.95)
    dora = [pytest.approx(cut), 1, pytest.approx(cut), pytest.approx(items)]
    assert LOOK.past.tolist() == [[30, 1, 20, 1.5], [50, 1, 50, 3], [7, 1, 7, 1], dora]


def test_a_returned_order_does_not_count_but_changes_neither_the_past_nor_who_counts():
    """Carl later returns his order from before the experiment; Bert returns his first order in it."""
    back = ORDERS["purchased_at"].isin([day(-5), day(2)])
    look = observe(ORDERS.assign(value=ORDERS["value"].where(~back, 0), items=ORDERS["items"].where(~back, 0)), *UNTIL)
    assert look.customers.tolist() == LOOK.customers.tolist()
    assert look.past.tolist() == LOOK.past.tolist()
    assert sorted(look.samples["average_order_value"].value) == [5, 40, 60, 70]
    assert sorted(look.samples["orders_per_customer"].value) == [0, 1, 1, 2]


def test_before_anybody_has_bought_there_are_no_orders():
    look = observe(ORDERS, ENTERED, START + timedelta(hours=1))
    assert look.customers.tolist() == [ANNE, BERT, CARL]
    assert len(look.samples["average_order_value"].value) == 0
    assert look.samples["revenue_per_customer"].value.tolist() == [0, 0, 0]
