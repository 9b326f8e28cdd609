"""When a share is harmed, and when lists lose."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
from buyers import DESIGN, END, MIDDLE, orders, results

from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.guardrails import harm_to_share, lists_lose
from ncf_pipeline.experiments.power import entered_at


def test_harm_is_what_the_share_surely_lacks():
    measured = results(0.6)
    harm = harm_to_share(DESIGN, measured)
    assert harm.measure == "average_order_value"
    assert 0.1 < harm.amount < 0.6 / 1.6  # what 1 is less than 1.6
    assert harm_to_share(replace(DESIGN, harm_bound=harm.amount + 0.01), measured) is None
    assert harm_to_share(DESIGN, results(0.0)) is None
    # In a comparison with a challenger, the share is the treated group.
    challenger = replace(DESIGN, kind="challenger", challenger=7)
    assert harm_to_share(challenger, results(0.6, challenger)).amount > 0.1
    assert harm_to_share(challenger, results(-0.5, challenger)) is None
    assert not lists_lose(challenger, results(0.6, challenger))


def test_customers_who_order_less_often_are_harmed_however_large_their_orders_are():
    shop = orders(customers=2000)
    entered = entered_at(shop.groupby("customer_id")["purchased_at"].min(), MIDDLE)
    since, share = shop["purchased_at"] >= MIDDLE, chosen("salt", 0.5, shop["customer_id"])
    stay_away = since & (np.random.default_rng(0).random(len(shop)) < 0.5)

    def without_orders_of(group, design):
        measured = measure(design, shop[~(stay_away & group)], entered, END)
        assert measured.verdict == "open"  # by the order value, which has not changed
        return measured

    measured = without_orders_of(share, DESIGN)
    harm = harm_to_share(DESIGN, measured)
    assert harm.measure == "revenue_per_customer"
    assert 0.1 < harm.amount < 0.5
    assert lists_lose(DESIGN, measured) is None
    loss = lists_lose(DESIGN, without_orders_of(~share, DESIGN))
    assert loss.measure == "revenue_per_customer"
    assert 0.1 < loss.amount < 0.5
    challenger = replace(DESIGN, kind="challenger", challenger=7)
    assert harm_to_share(challenger, without_orders_of(share, challenger)).measure == "revenue_per_customer"
    assert harm_to_share(challenger, without_orders_of(~share, challenger)) is None


def test_lists_that_lose_are_noticed():
    assert lists_lose(DESIGN, results(-0.5)).measure == "average_order_value"
    assert not lists_lose(DESIGN, results(0.5))
    assert not lists_lose(DESIGN, results(-0.5, until=MIDDLE + timedelta(days=7)))
