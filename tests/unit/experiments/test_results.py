"""Reports of drawn shops with known effects, and what is said of them."""

import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from buyers import START, orders

from ncf_pipeline.experiments import figures as experiment_figures
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.results import harm_to_share, lists_lose, measure
from ncf_pipeline.experiments.sentences import plan_in_words, sentence

MIDDLE = (START + pd.Timedelta(weeks=12)).to_pydatetime()
END = MIDDLE + timedelta(weeks=12)
DESIGN = Design("spring", "They sell more.", "holdout", 0.5, "salt", MIDDLE, minimum_effect=0.3)


def report(effect=0.0, design=DESIGN, until=END, entered=None, customers=600):
    """Of a shop in which orders of those who are not in the share are larger by the effect."""
    shop = orders(customers=customers)
    everybody = entered_at(shop.groupby("customer_id")["purchased_at"].min(), design.starts_at)
    others = ~chosen(design.salt, design.share, shop["customer_id"]) & (shop["purchased_at"] >= design.starts_at)
    shop["value"] *= np.where(others, 1 + effect, 1)
    figures = measure(design, shop, everybody if entered is None else entered(everybody), until)
    return json.loads(json.dumps(figures))  # as it is kept


def said(effect=0.0, design=DESIGN, **options):
    return sentence(design, report(effect, design, **options))


@pytest.mark.parametrize(
    ("effect", "design", "options", "expected"),
    [
        (0.5, {}, {}, "Customers with personal lists spent "),
        (0.0, {}, {}, "No difference can be told apart from chance yet; "),
        (0.5, {}, {"until": MIDDLE + timedelta(days=8)}, "It is too early to say anything: over "),
        (0.5, {}, {"customers": 40}, "It is too early to say anything: over "),
        (0.0, {"decides": "once", "ends_at": END}, {}, "No difference can be told apart from chance, over "),
        (0.5, {"decides": "once", "ends_at": END}, {}, "Customers with personal lists spent "),
        (0.5, {"decides": "once", "ends_at": END + timedelta(days=1)}, {}, "Nothing is decided before 2011-06-21: "),
        (-0.3, {"kind": "challenger", "challenger": 7}, {}, "Customers with v7's lists spent "),
        (
            0.0,
            {"minimum_effect": 0.001},
            {},
            "No difference can be told apart from chance yet; the groups are too small for 0.1%, even in 104",
        ),
    ],
)
def test_the_sentence(effect, design, options, expected):
    assert said(effect, replace(DESIGN, **design), **options).startswith(expected)


def test_the_sentence_has_the_numbers_of_the_report():
    figures = report(0.5)
    row, groups = figures["measures"][0], figures["groups"].values()
    customers = sum(group["customers"] for group in groups)
    assert row["always"]["low"] < row["ratio"]["low"] < 0.5 < row["ratio"]["high"] < row["always"]["high"]
    assert sentence(DESIGN, figures) == (
        f"Customers with personal lists spent {row['ratio']['value']:.1%} more per order than those with best sellers "
        f"(95% interval {row['always']['low']:+.1%} to {row['always']['high']:+.1%}), over "
        f"{customers} customers and 12 weeks."
    )


def test_less_is_called_less():
    assert " less per order than those with best sellers (95% interval -" in said(-0.5)


def test_a_running_experiment_says_how_many_more_weeks():
    figures = report(0.0, until=MIDDLE + timedelta(weeks=4), customers=300)
    assert f"about {figures['more_weeks']} more weeks needed" in sentence(DESIGN, figures)
    assert figures["more_weeks"] > 1


def test_what_has_ended_promises_no_more():
    weekly = report(0.0, until=MIDDLE + timedelta(weeks=4), customers=300)
    more = weekly["more_weeks"]
    assert sentence(DESIGN, {**weekly, "has_ended": True}) == (
        f"No difference could be told apart from chance; about {more} more weeks would have been needed (over "
        f"{sum(group['customers'] for group in weekly['groups'].values())} customers and 4 weeks)."
    )
    once = replace(DESIGN, decides="once", ends_at=END + timedelta(weeks=2))
    told = sentence(once, {**report(0.5, once), "has_ended": True})
    assert told.startswith("Nothing was decided: this experiment ended before its one look, on 2011-07-04 (over ")


def test_groups_out_of_proportion_say_nothing_else():
    def without_many(everybody):
        return everybody[~chosen("salt", 0.3, everybody.index)]

    figures = report(0.9, entered=without_many)
    assert figures["sample_ratio"]["p"] < 1e-6
    assert sentence(DESIGN, figures).startswith("Nothing can be said: ")
    assert figures["verdict"] == "mismatch"
    # So nobody is surely harmed either.
    assert figures["measures"][0]["always"]["low"] > 0.12
    assert harm_to_share(DESIGN, figures) is None


def test_harm_is_what_the_share_surely_lacks():
    figures = report(0.6)
    measure, worse = harm_to_share(DESIGN, figures)
    assert measure == "average_order_value"
    assert 0.1 < worse < 0.6 / 1.6  # what 1 is less than 1.6
    assert harm_to_share(replace(DESIGN, harm_bound=worse + 0.01), figures) is None
    assert harm_to_share(DESIGN, report(0.0)) is None
    # Of a challenger the share is whom it was tried on.
    challenger = replace(DESIGN, kind="challenger", challenger=7)
    assert harm_to_share(challenger, report(0.6, challenger))[1] > 0.1
    assert harm_to_share(challenger, report(-0.5, challenger)) is None
    assert not lists_lose(challenger, report(0.6, challenger))


def test_whoever_orders_less_often_is_harmed_however_large_the_orders_are():
    shop = orders(customers=2000)
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), MIDDLE)
    since, share = shop["purchased_at"] >= MIDDLE, chosen("salt", 0.5, shop["customer_id"])
    stay_away = since & (np.random.default_rng(0).random(len(shop)) < 0.5)

    def found(group, design):
        figures = measure(design, shop[~(stay_away & group)], entered, END)
        assert figures["verdict"] == "open"  # by the order value, which is what it was
        return figures

    figures = found(share, DESIGN)
    measured, worse = harm_to_share(DESIGN, figures)
    assert measured == "revenue_per_customer"
    assert 0.1 < worse < 0.5
    assert lists_lose(DESIGN, figures) is None
    measured, less = lists_lose(DESIGN, found(~share, DESIGN))
    assert measured == "revenue_per_customer"
    assert 0.1 < less < 0.5
    challenger = replace(DESIGN, kind="challenger", challenger=7)
    assert harm_to_share(challenger, found(share, challenger))[0] == "revenue_per_customer"
    assert harm_to_share(challenger, found(~share, challenger)) is None


def test_lists_that_lose_are_noticed():
    assert lists_lose(DESIGN, report(-0.5))[0] == "average_order_value"
    assert not lists_lose(DESIGN, report(0.5))
    assert not lists_lose(DESIGN, report(-0.5, until=MIDDLE + timedelta(days=7)))


def test_each_week_is_what_a_look_then_would_have_found():
    figures = report(0.2)
    assert [row["week"] for row in figures["by_week"]] == list(range(1, 13))
    last, row = figures["by_week"][-1], figures["measures"][0]
    assert (last["ratio"], last["always_low"]) == (row["ratio"]["value"], row["always"]["low"])
    earlier = report(0.2, until=MIDDLE + timedelta(weeks=5))["measures"][0]
    assert figures["by_week"][4]["ratio"] == earlier["ratio"]["value"]


def test_before_anybody_bought_there_is_nothing_to_compare():
    figures = report(until=MIDDLE + timedelta(minutes=1))
    assert figures["measures"] == []
    assert figures["by_week"] == []
    assert sentence(DESIGN, figures).startswith("It is too early")
    assert experiment_figures.effect_by_week([], 0.1, "average order value").startswith(b"<?xml")
    assert experiment_figures.baskets(figures["baskets"], DESIGN.groups).startswith(b"<?xml")


def test_what_is_alike_for_all_decides_nothing():
    """A shop in which each basket has one product, and each order the same value."""
    shop = orders().assign(items=1, value=10.0)
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), MIDDLE)
    for metric in ("items_per_basket", "average_order_value"):
        design = replace(DESIGN, metric=metric)
        figures = json.loads(json.dumps(measure(design, shop, entered, END), allow_nan=False))
        row = next(row for row in figures["measures"] if row["measure"] == metric)
        assert (row["ratio"]["low"], row["always"]["high"]) == (pytest.approx(0), pytest.approx(0))
        assert not row["enough"]
        assert sentence(design, figures).startswith("It is too early")
        assert harm_to_share(design, figures) is None


def test_the_same_figures_give_the_same_bytes():
    figures = report(0.2)
    drawn = [experiment_figures.baskets(figures["baskets"], DESIGN.groups) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert sum(figures["baskets"]["treated"]) == pytest.approx(1)


def test_a_plan_says_plainly_what_is_possible():
    def row(share, weekly, once):
        how = {"weeks_without_cuped": None, "chance_in_half_a_year": 0.1}
        return {
            "share": share,
            "weekly": {"weeks": weekly, "smallest_effect_in_half_a_year": 0.2, **how},
            "once": {"weeks": once, "smallest_effect_in_half_a_year": None, **how},
        }

    plan = {"effect": 0.05, "power": 0.8, "customers": 4319, "seen_weeks": 26.0, "most_weeks": 104}
    assert plan_in_words({**plan, "shares": [row(0.05, None, None), row(0.5, None, 30)]}) == [
        "The shop is too small to find +5.0% with a chance of 80%, looked at every week: not within 104 weeks, even "
        "with 50.0% of the customers in the smaller group; half a year would find +20.0% or more.",
        "A share of 50.0%, looked at once, at the end: 30 weeks, longer than the past that tells it.",
        "From 4,319 customers and 26 weeks of the past; customers' own past (CUPED) is used.",
    ]


def test_a_design_says_what_its_groups_see():
    assert DESIGN.groups == {"treated": "personal lists", "control": "best sellers"}
    challenger = Design("b", "", "challenger", 0.2, "s", datetime(2011, 1, 1), challenger=7)
    assert challenger.groups == {"treated": "v7's lists", "control": "the champion's lists"}
