"""Results of simulated shops with known effects."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from buyers import DESIGN, END, MIDDLE, orders, results

from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.guardrails import harm_to_share
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.sentences import sentence


def test_each_week_has_what_a_look_then_would_have_found():
    measured = results(0.2)
    assert [effect.week for effect in measured.by_week] == list(range(1, 13))
    last, result = measured.by_week[-1], measured.measures[0]
    assert (last.ratio, last.always_low) == (result.ratio.value, result.always.low)
    earlier = results(0.2, until=MIDDLE + timedelta(weeks=5)).measures[0]
    assert measured.by_week[4].ratio == earlier.ratio.value


def test_a_sample_ratio_mismatch_decides_nothing():
    def without_many(entered):
        return entered[~chosen("salt", 0.3, entered.index)]

    measured = results(0.9, entered=without_many)
    assert measured.sample_ratio.p < 1e-6
    assert measured.verdict == "mismatch"
    # So the share is not surely harmed either.
    assert measured.measures[0].always.low > 0.12
    assert harm_to_share(DESIGN, measured) is None


def test_before_anybody_has_bought_there_is_nothing_to_compare():
    measured = results(until=MIDDLE + timedelta(minutes=1))
    assert measured.measures == ()
    assert measured.by_week == ()
    assert sentence(DESIGN, measured).startswith("It is too early")


def test_customers_who_all_do_the_same_decide_nothing():
    """A shop in which each basket has one product, and each order the same value."""
    shop = orders().assign(items=1, value=10.0)
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), MIDDLE)
    for metric in ("items_per_basket", "average_order_value"):
        design = replace(DESIGN, metric=metric)
        measured = measure(design, shop, entered, END)
        json.dumps(measured.as_dict(), allow_nan=False)
        result = measured.measure(metric)
        assert (result.ratio.low, result.always.high) == (pytest.approx(0), pytest.approx(0))
        assert not result.enough
        assert sentence(design, measured).startswith("It is too early")
        assert harm_to_share(design, measured) is None
