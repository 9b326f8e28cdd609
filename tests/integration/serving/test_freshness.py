"""Customers and products that came after training are in the lists of the next refresh, without a retrain."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from psycopg2.extras import execute_values

from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train
from ncf_pipeline.registry.snapshots import read_snapshot, take_snapshot
from ncf_pipeline.serving.publish import refresh
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.storefront import Storefront

CUTOFF = datetime(2011, 6, 1)
GROUPS = 4


def buy(settings, rows):
    """Rows (customer, product, day relative to the cutoff); rows of one customer and day are one invoice."""
    lines = [
        (
            f"{customer}{day + 500:04d}",
            number,
            product,
            "A GOOD THING",
            2,
            CUTOFF + timedelta(days=day),
            1.5,
            customer,
            "France",
            1,
        )
        for number, (customer, product, day) in enumerate(rows)
    ]
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", lines)
        products = sorted({(line[2], line[3], CUTOFF) for line in lines})
        execute_values(cursor, "insert into retail.product values %s on conflict do nothing", products)


def product(group, number):
    return f"{22000 + 100 * group + number}"


@pytest.fixture
def champion(settings, promoted):
    """A shop whose customers have four tastes of ten products each, and a model that was trained on it."""
    random = np.random.default_rng(0)
    rows = []
    for customer in range(60):
        favourites = random.choice(10, 4, replace=False)
        for day in range(-140 + int(random.integers(10)), 0, 12):
            chosen = {*random.choice(favourites, 2), *random.choice(10, 2)}
            rows += [(14000 + customer, product(customer % GROUPS, number), day) for number in sorted(chosen)]
    buy(settings, rows)
    snapshot_id = take_snapshot(settings, CUTOFF)
    snapshot = read_snapshot(settings, snapshot_id)
    recipe = Recipe(embedding_dim=8, hidden=(16, 8), popular_candidates=15, taste_candidates=5)
    model = train(snapshot.interactions, CUTOFF, recipe, device="cpu", epochs=2)
    promoted(snapshot_id, "champion", lambda *_: model)
    refresh(settings)
    return model


def test_a_customer_who_came_after_training_gets_personal_lists_from_the_next_refresh(settings, champion):
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as shop:
        before = shop.for_customer(1)
    theirs = [product(2, number) for number in (0, 1, 2)]
    buy(settings, [(1, code, day) for day in (1, 3, 5) for code in theirs])
    refresh(settings)
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as shop:
        for_you, discover, buy_again = (
            list(shop.for_customer(1, list_name=name).stock_codes) for name in ("for_you", "discover", "buy_again")
        )
        fallback = list(shop.for_visitor().stock_codes)
    assert 1 not in champion.customers
    assert before.source == "everywhere"
    assert for_you != fallback
    assert set(buy_again) == set(theirs)
    assert set(for_you[:5]) & set(theirs)
    group = {product(2, number) for number in range(10)}
    assert len(group & set(discover[:5])) >= 3
    assert not set(discover) & set(theirs)


def test_a_product_that_came_after_training_is_recommended_from_the_next_refresh(settings, champion):
    new = "NEW22"
    buyers = [14000 + customer for customer in range(60) if customer % GROUPS == 1]
    buy(settings, [(customer, new, 2) for customer in buyers[:-3]])
    refresh(settings)
    with Storefront(settings.list_store(), prefix=settings.key_prefix) as shop:
        found = [shop.for_customer(customer, list_name="discover").stock_codes for customer in buyers[-3:]]
        assert new in shop.for_visitor(list_name="new_arrivals").stock_codes
    assert new not in champion.products
    assert any(new in codes for codes in found)
