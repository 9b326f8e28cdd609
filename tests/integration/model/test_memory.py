"""Training and lists never make a full table of products by products, or of customers by products."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.trains

PROGRAM = """
import json
import resource
import sys
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from ncf_pipeline.model.lists.assemble import ListMaker
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.training import train

PRODUCTS, CUSTOMERS, VISITS, LINES = 30_000, 15_000, 30_000, 60_000
START = datetime(2021, 1, 4)
cutoff = START + timedelta(days=100)
random = np.random.default_rng(0)
visit = np.sort(random.integers(VISITS, size=LINES))
day = np.sort(random.integers(100, size=VISITS))
visitor = random.permutation(np.append(np.arange(CUSTOMERS), random.integers(500, size=VISITS - CUSTOMERS)))
product = random.permutation(np.append(np.arange(PRODUCTS), random.integers(PRODUCTS, size=LINES - PRODUCTS)))
regular = visitor[visit] < 500
product[regular] = random.integers(200, size=regular.sum())
shop = pd.DataFrame({
    "customer_id": np.char.mod("%d", visitor[visit]),
    "stock_code": np.char.mod("P%05d", product),
    "invoice_no": np.char.mod("%06d", visit),
    "purchased_at": (np.datetime64(START, "us") + day.astype("timedelta64[D]"))[visit],
    "quantity": 1,
    "unit_price": 1.0,
    "country": np.char.mod("%d", np.arange(LINES) % 3000),
    "description": np.array(["red cup", "blue cup", "red bag", "steel nail of the north"])[product % 4],
    "returned_at": np.full(LINES, np.datetime64("NaT", "us")),
})
recipe = Recipe(max_dense_products=1000, chunk_mb=4, neighbour_pool=500, follower_pool=500, max_instants=1,
                short_horizon_days=0, embedding_dim=4, hidden=(8,), min_steps=1, popular_candidates=10,
                taste_candidates=5)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model = train(shop, cutoff, recipe, device="cpu", epochs=1)
trained = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
maker = ListMaker(model, shop, cutoff)
customers = sum(len(lists) for lists in maker.customers(5, chosen=[str(number) for number in range(600)]))
products = len(maker.products(5))
listed = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([(trained - before) // 1024, (listed - before) // 1024, customers // 3, products // 2]))
"""


@pytest.mark.timeout(120)
def test_a_large_catalogue_is_trained_and_listed_within_the_configured_memory():
    # 30,000 x 30,000 of single bytes are 860 MB; 3,000 countries x 30,000 of float32 are 340 MB.
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    trained, listed, customers, products = json.loads(done.stdout)
    assert (customers > 300, products > 10_000) == (True, True)
    assert trained < 300
    assert listed < 300
