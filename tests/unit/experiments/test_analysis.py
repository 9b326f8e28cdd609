"""Results of simulated shops with known effects."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from buyers import DESIGN, END, MIDDLE, orders, results

from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.guardrails import harm_to_share
from ncf_pipeline.experiments.measures import MEASURES
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


ALSO = ("orders_per_customer", "revenue_per_customer")


@pytest.mark.parametrize("decides", ["weekly", "once"])
def test_each_asked_measure_is_decided_by_an_interval_that_is_wider_for_several(decides):
    design = replace(DESIGN, decides=decides, ends_at=END, also=ALSO)
    one, several = results(0.6, replace(design, also=())), results(0.6, design)
    asked = {result.measure: result for result in several.measures if result.together is not None}
    assert list(asked) == ["average_order_value", *ALSO]
    for result in several.measures:
        if result.measure not in asked:
            assert result.decision is None
    for name, result in asked.items():
        decisive = result.ratio if decides == "once" else result.always
        assert result.together.value == decisive.value
        assert result.together.low < decisive.low < decisive.high < result.together.high
        low, high = result.together.low, result.together.high
        decided = "more" if low > 0 else "less" if high < 0 else "none" if decides == "once" else "open"
        assert result.decision == decided
        # What each measure shows by itself does not depend on what else is asked.
        assert (result.ratio, result.always) == (one.measure(name).ratio, one.measure(name).always)
    assert several.verdict == asked["average_order_value"].decision == "more"


def test_one_asked_measure_is_stored_as_before():
    assert {"together", "decision"}.isdisjoint(results().as_dict()["measures"][0])


def test_what_the_margin_of_one_measure_decides_may_not_hold_for_five():
    design = replace(DESIGN, decides="once", ends_at=END)
    effects = [effect / 100 for effect in range(8, 40, 4)]
    alone = next(effect for effect in effects if results(effect, design).verdict == "more")
    five = replace(design, also=tuple(name for name in MEASURES if name != design.metric))
    assert results(alone, five).verdict == "none"
