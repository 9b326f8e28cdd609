"""A shop with a model that may serve, for whatever publishes: nothing is learned, so that it takes no time."""

from datetime import datetime, timedelta

import numpy as np
import pytest
import torch
from psycopg2.extras import execute_values

from ncf_pipeline import artifacts, registry
from ncf_pipeline.columns import Interactions
from ncf_pipeline.database import transaction
from ncf_pipeline.gate import GateDecision
from ncf_pipeline.model.recipe import Recipe
from ncf_pipeline.model.trained import TrainedModel, new_network
from ncf_pipeline.snapshot import read_snapshot, take_snapshot
from ncf_pipeline.stages.gate import thresholds

AS_OF = datetime(2011, 12, 9)


@pytest.fixture
def version(settings, promoted):
    """A version with a network that has learned nothing, and 40 customers' invoices of two products a week."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(1200):
        customer, at = 14600 + number % 40, AS_OF - timedelta(days=200 - number // 6)
        for line, product in enumerate(random.choice(120, 4, replace=False)):
            code = f"{22000 + (product + 3 * (number % 40)) % 150}"
            rows.append((f"{number:06d}", line, code, "A GOOD THING", 1, at, 1.0, customer, "France", 1))
    with transaction(settings) as connection, connection.cursor() as cursor:
        execute_values(cursor, "insert into retail.invoice_line values %s", rows)
        codes = {(row[2], "A GOOD THING", AS_OF) for row in rows}
        execute_values(cursor, "insert into retail.product values %s", sorted(codes))
    return promoted(take_snapshot(settings, AS_OF), "a")


@pytest.fixture
def promoted(settings):
    """Makes a version of a snapshot the champion; its network has learned nothing."""

    def promote(snapshot_id, run_key):
        frozen = read_snapshot(settings, snapshot_id)
        customers = sorted(frozen.interactions[Interactions.CUSTOMER_ID].dropna().unique().tolist())
        products = frozen.products["stock_code"].tolist()
        recipe = Recipe(embedding_dim=4, hidden=(8, 4))
        torch.manual_seed(0)
        network = new_network(len(customers), len(products), recipe).eval()
        number = registry.open_version(
            settings,
            run_key=run_key,
            snapshot_id=snapshot_id,
            cutoff=frozen.cutoff,
            holdout_start=frozen.cutoff - timedelta(days=28),
            config={"top_n": 10},
            requested_by="test",
        )
        url = artifacts.version_url(settings.artifacts, number)
        model = TrainedModel(recipe, frozen.cutoff, customers, products, network, epochs=1)
        artifacts.save_model(model, url, lineage={}, card="# Card")
        registry.record_decision(
            settings, number, GateDecision(True, (), thresholds(settings), ()), details={"incumbent": None}
        )
        registry.record_artifact(settings, number, url)
        registry.promote(settings, number, actor="test", reason="test")
        return number

    return promote
