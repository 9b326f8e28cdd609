"""Figures of a report."""

from buyers import DESIGN, results

from ncf_pipeline.experiments.figures import baskets, effect_by_week
from ncf_pipeline.experiments.results import OrderValues


def test_the_same_results_give_the_same_bytes():
    values = results(0.2).baskets
    drawn = [baskets(values, DESIGN.groups) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert abs(sum(values.treated) - 1) < 1e-9


def test_a_shop_without_orders_has_empty_figures():
    assert effect_by_week((), 0.1, "average order value").startswith(b"<?xml")
    assert baskets(OrderValues((), (), ()), DESIGN.groups).startswith(b"<?xml")
