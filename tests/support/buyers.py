"""Orders of shops that are drawn, for experiments on them."""

import numpy as np
import pandas as pd

START = pd.Timestamp(2011, 1, 3)


def orders(customers=600, weeks=24, seed=0, start=START):
    """Customers who differ for good in how often and how much they buy; columns of `purchases.Orders`."""
    random = np.random.default_rng(seed)
    rate = random.gamma(2, 0.12, customers)  # orders a week
    level = np.exp(random.normal(4, 0.5, customers))
    count = random.poisson(rate * weeks)
    customer = np.repeat(np.arange(customers), count)
    at = start + pd.to_timedelta(random.uniform(0, weeks * 7 * 24 * 60, len(customer)).astype(int), unit="min")
    value = level[customer] * np.exp(random.normal(0, 0.6, len(customer)))
    frame = pd.DataFrame(
        {"customer_id": customer + 10_000, "purchased_at": at, "value": value, "items": random.poisson(8, len(at)) + 1}
    ).assign(bought=lambda frame: frame["value"], bought_items=lambda frame: frame["items"])
    return frame.sort_values("purchased_at", ignore_index=True)
