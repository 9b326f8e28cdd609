"""Plans as JSON."""

from dataclasses import replace

from buyers import START, orders

from ncf_pipeline.experiments.measures import AVERAGE_ORDER_VALUE, MEASURES
from ncf_pipeline.experiments.plan import plan
from ncf_pipeline.experiments.power import Looking, chance_within, past_curves, weeks_needed


def test_a_plan_as_json():
    until = (START.to_pydatetime()).replace(month=6)
    curves = past_curves(orders(), until, MEASURES[AVERAGE_ORDER_VALUE])
    made = plan(curves, effect=0.3, power=0.8, metric=AVERAGE_ORDER_VALUE, until=until, shares=(0.1, 0.5)).as_dict()
    of_first, of_second = made.pop("shares")
    assert made == {
        "effect": 0.3,
        "power": 0.8,
        "metric": "average_order_value",
        "until": "2011-06-03T00:00:00",
        "customers": curves.with_cuped.customers,
        "seen_weeks": curves.with_cuped.seen_weeks,
        "most_weeks": 104,
        "alpha": 0.05,
        "also": [],
        "weeks": None,
    }
    drawn = curves.draws(0.5)
    how = Looking(share=0.5, power=0.8, every_week=False, draws=drawn.with_cuped)
    assert of_second["once"] == {
        "weeks": weeks_needed(curves.with_cuped, 0.3, how),
        "weeks_without_cuped": weeks_needed(curves.without_cuped, 0.3, replace(how, draws=drawn.without_cuped)),
        "chance_in_half_a_year": chance_within(curves.with_cuped, 0.3, 26, how),
        "smallest_effect_in_half_a_year": of_second["once"]["smallest_effect_in_half_a_year"],
        "chance": None,
        "smallest_effect": None,
    }
    assert 0 < of_second["once"]["smallest_effect_in_half_a_year"] < of_first["once"]["smallest_effect_in_half_a_year"]
    assert of_first.keys() == {"share", "weekly", "once"}


def test_a_plan_says_what_the_weeks_of_an_experiment_find():
    until = (START.to_pydatetime()).replace(month=6)
    curves = past_curves(orders(), until, MEASURES[AVERAGE_ORDER_VALUE])
    asked = {"effect": 0.3, "power": 0.8, "metric": AVERAGE_ORDER_VALUE, "until": until, "shares": (0.5,)}
    half_a_year, short = plan(curves, **asked, weeks=26), plan(curves, **asked, weeks=3)
    for needed in (half_a_year.shares[0].weekly, half_a_year.shares[0].once):
        assert needed.chance == needed.chance_in_half_a_year
        assert needed.smallest_effect == needed.smallest_effect_in_half_a_year
    assert short.shares[0].once.chance < half_a_year.shares[0].once.chance
    assert short.shares[0].once.smallest_effect > half_a_year.shares[0].once.smallest_effect
    assert (
        replace(half_a_year.shares[0].once, chance=None, smallest_effect=None) == plan(curves, **asked).shares[0].once
    )


def test_a_plan_for_several_measures_counts_the_correction_in():
    until = (START.to_pydatetime()).replace(month=6)
    curves, others = (past_curves(orders(), until, MEASURES[name]) for name in (AVERAGE_ORDER_VALUE, "repeat_rate"))
    how = {"effect": 0.12, "power": 0.8, "metric": AVERAGE_ORDER_VALUE, "until": until, "shares": (0.5,)}
    alone, together = plan(curves, **how), plan(curves, **how, also={"repeat_rate": others})
    assert (together.alpha, [each.metric for each in together.also]) == (0.025, ["repeat_rate"])
    (one,), (of_two,) = alone.shares, together.shares
    for kind in ("weekly", "once"):
        assert getattr(of_two, kind).chance_in_half_a_year < getattr(one, kind).chance_in_half_a_year
    (also,) = together.as_dict()["also"]
    assert also.keys() == {"metric", "shares"}
    assert also["shares"][0]["once"].keys() == together.as_dict()["shares"][0]["once"].keys()
