"""A small shop with tastes: four groups of customers, each with its own products and favourites bought again."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel
from ncf_pipeline.model.training import train

START = datetime(2021, 1, 4)
CUTOFF = START + timedelta(days=150)
WORDS = ("red cup", "blue cup", "red bag", "blue bag")


def frame(rows):
    """Makes interactions of rows (customer or None for a guest, code, invoice, day or datetime[, day of return])."""
    records = []
    for customer, code, invoice, day, *returned in rows:
        who = None if customer is None else str(customer)
        at = day if isinstance(day, datetime) else START + timedelta(days=day)
        back = START + timedelta(days=returned[0]) if returned else None
        records.append(
            (who, code, invoice, at, 2, 1.5, "United Kingdom", f"{WORDS[sum(code.encode()) % 4]} {code}", back)
        )
    columns = [
        "customer_id",
        "stock_code",
        "invoice_no",
        "purchased_at",
        "quantity",
        "unit_price",
        "country",
        "description",
        "returned_at",
    ]
    table = pd.DataFrame(records, columns=columns)
    return table.astype(
        {
            "customer_id": "str",
            "purchased_at": "datetime64[us]",
            "returned_at": "datetime64[us]",
            "quantity": "float64",
            "unit_price": "float64",
        }
    )


def make_shop(customers=60, products=40, days=180, seed=7):
    """Makes the interactions of a shop; about a tenth of the baskets are of guests."""
    random = np.random.default_rng(seed)
    groups = np.array_split(np.arange(products), 4)
    rows = []
    for customer in range(customers):
        group, favourites = groups[customer % 4], random.choice(groups[customer % 4], 3, replace=False)
        day = int(random.integers(0, 20))
        while day < days:
            basket = {*random.choice(favourites, 2), *random.choice(group, 2), int(random.integers(products))}
            invoice = f"{len(rows):06d}"
            guest = random.random() < 0.1
            rows += [(None if guest else 100 + customer, f"P{code:03d}", invoice, day) for code in sorted(basket)]
            day += int(random.integers(5, 25))
    shop = frame(rows)
    group = shop["stock_code"].str[1:].astype(int) * 4 // products
    return shop.assign(
        description=[f"{WORDS[number]} {code}" for number, code in zip(group, shop["stock_code"], strict=True)]
    )


@pytest.fixture(scope="session")
def recipe():
    return Recipe(max_epochs=2, embedding_dim=8, hidden=(16, 8), popular_candidates=15, taste_candidates=5)


@pytest.fixture(scope="session")
def shop():
    return make_shop()


@pytest.fixture(scope="session")
def model(shop, recipe) -> TrainedModel:
    return train(shop, CUTOFF, recipe, device="cpu")


@pytest.fixture(scope="session", params=["model", "version 0"])
def recommender(request, model):
    """What makes lists: a trained model, and None for the baselines of version 0."""
    return model if request.param == "model" else None
