"""Simulated orders, for experiments on them."""

import json
from datetime import timedelta

import numpy as np
import pandas as pd

from ncf_pipeline.experiments.analysis import measure
from ncf_pipeline.experiments.assignment import chosen
from ncf_pipeline.experiments.design import Design
from ncf_pipeline.experiments.power import entered_at
from ncf_pipeline.experiments.results import Results

START = pd.Timestamp(2011, 1, 3)
MIDDLE = (START + pd.Timedelta(weeks=12)).to_pydatetime()
END = MIDDLE + timedelta(weeks=12)
DESIGN = Design("spring", "They sell more.", "holdout", 0.5, "salt", MIDDLE, minimum_effect=0.3)


def orders(customers=600, weeks=24, seed=0, start=START):
    """Orders of customers who differ permanently in how often and how much they buy; columns of `purchases.Orders`."""
    random = np.random.default_rng(seed)
    rate = random.gamma(2, 0.12, customers)  # orders a week
    level = np.exp(random.normal(4, 0.5, customers))
    count = random.poisson(rate * weeks)
    customer = np.repeat(np.arange(customers), count)
    at = start + pd.to_timedelta(random.uniform(0, weeks * 7 * 24 * 60, len(customer)).astype(int), unit="min")
    value = level[customer] * np.exp(random.normal(0, 0.6, len(customer)))
    frame = pd.DataFrame(
        {
            "customer_id": pd.Series(customer + 10_000).astype(str),
            "purchased_at": at,
            "value": value,
            "items": random.poisson(8, len(at)) + 1,
        }
    ).assign(bought=lambda frame: frame["value"], bought_items=lambda frame: frame["items"])
    return frame.sort_values("purchased_at", ignore_index=True)


def results(effect=0.0, design=DESIGN, until=END, entered=None, customers=600):
    """Results, as they are read back from JSON, in a shop where customers outside the share spend more per order.

    Args:
        effect: how much more: 0.5 for half as much again.
        design: of the experiment.
        until: first instant excluded.
        entered: takes when each customer entered, and returns that of those who take part.
        customers: of the shop.
    """
    shop = orders(customers=customers)
    everybody = entered_at(shop.groupby("customer_id")["purchased_at"].min(), design.starts_at)
    others = ~chosen(design.salt, design.share, shop["customer_id"]) & (shop["purchased_at"] >= design.starts_at)
    shop["value"] *= np.where(others, 1 + effect, 1)
    measured = measure(design, shop, everybody if entered is None else entered(everybody), until)
    return Results.from_dict(json.loads(json.dumps(measured.as_dict(), allow_nan=False)))
