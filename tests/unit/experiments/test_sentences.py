"""What is said of results and plans."""

from dataclasses import replace
from datetime import timedelta

import pytest
from buyers import DESIGN, END, MIDDLE, results

from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.plan import Needed, Plan, PlannedMeasure, PlannedShare
from ncf_pipeline.experiments.sentences import plan_in_words, sentence


def said(effect=0.0, design=DESIGN, **options):
    return sentence(design, results(effect, design, **options))


@pytest.mark.parametrize(
    ("effect", "design", "options", "expected"),
    [
        (0.5, {}, {}, "Customers with personal lists spent "),
        (0.0, {}, {}, "No difference can be distinguished from chance yet, over "),
        (0.5, {}, {"until": MIDDLE + timedelta(days=8)}, "It is too early to decide, over "),
        (0.5, {}, {"customers": 40}, "It is too early to decide, over "),
        (0.0, {"decides": "once", "ends_at": END}, {}, "No difference can be distinguished from chance, over "),
        (0.5, {"decides": "once", "ends_at": END}, {}, "Customers with personal lists spent "),
        (
            0.5,
            {"decides": "once", "ends_at": END + timedelta(days=1)},
            {},
            "Nothing is decided before 2011-06-21, when ",
        ),
        (-0.3, {"kind": "challenger", "challenger": 7}, {}, "Customers with v7's lists spent "),
        (
            0.0,
            {"minimum_effect": 0.001},
            {},
            "No difference can be distinguished from chance yet, over 558 customers and 12 weeks; the groups are too "
            "small to find 0.1%, even in 104",
        ),
    ],
)
def test_the_sentence(effect, design, options, expected):
    assert said(effect, replace(DESIGN, **design), **options).startswith(expected)


def test_the_sentence_has_the_numbers_of_the_results():
    measured = results(0.5)
    result, groups = measured.measures[0], measured.groups
    customers = groups.treated.customers + groups.control.customers
    assert result.always.low < result.ratio.low < 0.5 < result.ratio.high < result.always.high
    assert sentence(DESIGN, measured) == (
        f"Customers with personal lists spent {result.ratio.value:.1%} more per order than those with best sellers "
        f"(95% interval {result.always.low:+.1%} to {result.always.high:+.1%}), over "
        f"{customers} customers and 12 weeks."
    )


def test_less_is_called_less():
    assert " less per order than those with best sellers (95% interval -" in said(-0.5)


def test_a_running_experiment_says_how_many_more_weeks_it_needs():
    measured = results(0.0, until=MIDDLE + timedelta(weeks=4), customers=300)
    assert f"needs about {measured.more_weeks} more weeks" in sentence(DESIGN, measured)
    assert measured.more_weeks > 1


def test_no_difference_is_told_with_what_the_interval_leaves_room_for():
    once = replace(DESIGN, decides="once", ends_at=END)
    measured = replace(results(0.0, once), verdict="none")
    interval = measured.measure(once.metric).ratio
    assert interval.low < 0 < interval.high
    for effect, said_of_it in ((interval.high + 0.01, "is excluded"), (interval.high - 0.001, "is not excluded")):
        text = sentence(replace(once, minimum_effect=effect), measured)
        assert f"(95% interval {interval.low:+.1%} to {interval.high:+.1%}), so an effect of " in text
        assert text.endswith(f" {said_of_it}.")
    assert sentence(once, replace(measured, has_ended=True)).startswith("No difference could be distinguished")


def test_an_experiment_that_has_ended_promises_nothing():
    weekly = results(0.0, until=MIDDLE + timedelta(weeks=4), customers=300)
    assert sentence(DESIGN, replace(weekly, has_ended=True)) == (
        "No difference could be distinguished from chance, over "
        f"{weekly.groups.treated.customers + weekly.groups.control.customers} customers and 4 weeks; the experiment "
        f"would have needed about {weekly.more_weeks} more weeks."
    )
    once = replace(DESIGN, decides="once", ends_at=END + timedelta(weeks=2))
    text = sentence(once, replace(results(0.5, once), has_ended=True))
    assert text.startswith("Nothing was decided: the experiment ended before its one look on 2011-07-04 (over ")


def test_a_sample_ratio_mismatch_is_all_that_is_said():
    def without_many(entered):
        return entered[~chosen("salt", 0.3, entered.index)]

    assert said(0.9, entered=without_many).startswith("No result can be trusted: ")


def test_other_asked_measures_have_a_sentence_of_their_own():
    design = replace(DESIGN, also=("orders_per_customer", "revenue_per_customer"))
    measured = results(0.9, design)
    revenue = measured.measure("revenue_per_customer").together
    first, *_ = said(0.9, replace(design, also=())).split(" (95% interval ")
    assert sentence(design, measured).startswith(first)
    assert sentence(design, measured).endswith(
        "Of the other measures asked: no difference in orders per customer can be distinguished from chance; they "
        f"spent {revenue.value:.1%} more ({revenue.low:+.1%} to {revenue.high:+.1%}). With 3 measures asked, the "
        "intervals are wider: all of them together miss the truth in at most 5 of 100 experiments."
    )
    assert "Of the other" not in said(0.9, replace(design, decides="once", ends_at=END + timedelta(days=1)))
    assert "Of the other" not in said(0.9, design, until=MIDDLE + timedelta(days=8))


def test_a_plan_says_plainly_what_is_possible():
    def planned(share, weekly, once):
        return PlannedShare(share, Needed(weekly, None, 0.1, 0.2), Needed(once, None, 0.1, None))

    plan = Plan(
        effect=0.05,
        power=0.8,
        metric="average_order_value",
        until=MIDDLE,
        customers=4319,
        seen_weeks=26.0,
        most_weeks=104,
        shares=(planned(0.05, None, None), planned(0.5, None, 30)),
    )
    assert plan_in_words(plan) == [
        "With weekly looks, the shop is too small to find +5.0% with a power of 80%: 104 weeks are not enough, even "
        "with 50.0% of the customers in the smaller group. Half a year can find +20.0% or more.",
        "With one look at the end, a share of 50.0% needs 30 weeks, longer than the past that this is based on.",
        "Based on 4,319 customers and 26 weeks of the past. Effects are estimated with CUPED.",
    ]
    two = replace(plan, shares=(planned(0.05, None, 40), planned(0.2, None, 22), planned(0.5, None, 12)))
    assert plan_in_words(two)[1] == (
        "With one look at the end, a share of 5.0% needs 40 weeks, longer than the past that this is based on; one of "
        "50.0% needs 12 weeks."
    )
    several = replace(plan, alpha=0.025, also=(PlannedMeasure("repeat_rate", (planned(0.5, 40, 20),)),))
    assert plan_in_words(several)[0] == (
        "2 measures are asked, so each has an interval at 97.5%, and all hold together at 95%."
    )
    assert plan_in_words(several)[1].startswith("Average order value: with weekly looks, the shop is too small to ")
    assert plan_in_words(several)[3] == (
        "Orders followed by another within 28 days: with weekly looks, a share of 50.0% needs 40 weeks, longer than "
        "the past that this is based on."
    )
