"""Plans as JSON."""

from buyers import START, orders

from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE, MEASURES
from ncf_pipeline.experiments.plan import plan
from ncf_pipeline.experiments.power import chance_within, past_curves, weeks_needed


def test_a_plan_as_json():
    until = (START.to_pydatetime()).replace(month=6)
    curves = past_curves(orders(), until, MEASURES[AVERAGE_ORDER_VALUE])
    made = plan(curves, effect=0.3, power=0.8, metric=AVERAGE_ORDER_VALUE, until=until, shares=(0.05, 0.5)).as_dict()
    of_first, of_second = made.pop("shares")
    assert made == {
        "effect": 0.3,
        "power": 0.8,
        "metric": "average_order_value",
        "until": "2011-06-03T00:00:00",
        "customers": curves.with_cuped.customers,
        "seen_weeks": curves.with_cuped.seen_weeks,
        "most_weeks": 104,
    }
    how = {"share": 0.5, "power": 0.8, "every_week": False}
    assert of_second["once"] == {
        "weeks": weeks_needed(curves.with_cuped, 0.3, **how),
        "weeks_without_cuped": weeks_needed(curves.without_cuped, 0.3, **how),
        "chance_in_half_a_year": chance_within(curves.with_cuped, 0.3, 26, **how),
        "smallest_effect_in_half_a_year": of_second["once"]["smallest_effect_in_half_a_year"],
    }
    assert 0 < of_second["once"]["smallest_effect_in_half_a_year"] < of_first["once"]["smallest_effect_in_half_a_year"]
    assert of_first.keys() == {"share", "weekly", "once"}
