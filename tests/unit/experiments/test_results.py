"""Results as JSON."""

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from buyers import DESIGN, END, orders

from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.design import Groups
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.results import Attribution, Bought, Exposure, Interval, Looked, Results, Slice

STORED = json.loads((Path(__file__).parent / "stored_figures.json").read_text())


def test_results_that_version_0_1_0_stored_are_read_and_written_the_same():
    loaded = Results.from_dict(STORED)
    assert json.dumps(loaded.as_dict()) == json.dumps(STORED)  # also in this order
    assert loaded.until == datetime(2011, 4, 25)
    assert loaded.customers == loaded.sample_ratio.of_all
    assert loaded.measure("average_order_value").ratio == Interval(**STORED["measures"][0]["ratio"])
    assert loaded.attribution.slices[0].treated == Bought(value=100.0, on_list=25.5)


@pytest.mark.parametrize("missing", ["has_ended", "other_lists", "attribution"])
def test_results_from_before_a_key_was_added_are_read(missing):
    loaded = Results.from_dict({name: value for name, value in STORED.items() if name != missing})
    assert getattr(loaded, missing) == {"has_ended": False, "other_lists": 0.0, "attribution": Attribution()}[missing]


def test_results_with_exposure_are_the_same_after_a_round_trip_and_those_without_it_have_no_such_key():
    loaded = Results.from_dict(STORED)
    assert loaded.exposure is None
    exposed = replace(loaded, exposure=Exposure(2, Groups(Looked(10, 9, 1, 0), Looked(5, 4, 0, 1))))
    stored = json.loads(json.dumps(exposed.as_dict()))
    assert stored["exposure"]["groups"]["control"] == {"checked": 5, "right": 4, "wrong": 0, "missing": 1}
    assert Results.from_dict(stored) == exposed


def test_results_are_the_same_after_a_round_trip_through_json():
    shop = orders()
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), DESIGN.starts_at)
    measured = measure(DESIGN, shop, entered, END)
    assert Results.from_dict(json.loads(json.dumps(measured.as_dict(), allow_nan=False))) == measured


def test_results_of_several_asked_measures_are_the_same_after_a_round_trip_through_json():
    shop = orders()
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), DESIGN.starts_at)
    measured = measure(replace(DESIGN, also=("repeat_rate",)), shop, entered, END)
    assert measured.measure("repeat_rate").decision == "open"
    assert Results.from_dict(json.loads(json.dumps(measured.as_dict(), allow_nan=False))) == measured


def test_attribution_sums_over_publications():
    def sold(treated, control):
        return Slice(DESIGN.starts_at, END, 1, treated=treated, control=control)

    nothing = Bought(0.0, 0.0)
    loaded = Attribution.of((sold(Bought(10.0, 5.0), nothing), sold(Bought(30.0, 5.0), nothing)))
    assert (loaded.treated, loaded.control) == (0.25, None)
