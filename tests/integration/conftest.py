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
def admitted(settings):
    """Makes a version of a model as it is before `register`: opened, let through by the gate, refitted.

    `make_model` gets the snapshot and the version's number, `reasons` are the gate's, `config` is beside `top_n`.
    """

    def admit(snapshot_id, run_key, make_model, *, requested_by="test", reasons=(), **config):
        frozen = read_snapshot(settings, snapshot_id)
        number = registry.open_version(
            settings,
            run_key=run_key,
            snapshot_id=snapshot_id,
            cutoff=frozen.cutoff,
            holdout_start=frozen.cutoff - timedelta(days=28),
            config={"top_n": 10, **config},
            requested_by=requested_by,
        )
        model = make_model(frozen, number)
        for backtest in (True, False):
            url = artifacts.version_url(settings.artifacts, number, backtest=backtest)
            artifacts.save_model(model, url, lineage={"version": number, "snapshot_id": snapshot_id}, card="# Card")
        decision = GateDecision(True, reasons, thresholds(settings), ())
        registry.record_decision(settings, number, decision, details={"incumbent": None})
        registry.record_artifact(settings, number, url)
        return number

    return admit


@pytest.fixture
def untrained():
    """Makes a model of a snapshot, whose network has learned nothing."""

    def make(frozen, seed):
        customers = sorted(frozen.interactions[Interactions.CUSTOMER_ID].dropna().unique().tolist())
        products = frozen.products["stock_code"].tolist()
        recipe = Recipe(embedding_dim=4, hidden=(8, 4))
        torch.manual_seed(seed)
        network = new_network(len(customers), len(products), recipe).eval()
        return TrainedModel(recipe, frozen.cutoff, customers, products, network, epochs=1)

    return make


@pytest.fixture
def promoted(settings, admitted, untrained):
    """Makes a version of a snapshot the champion; its network has learned nothing, unless a model is made for it."""

    def promote(snapshot_id, run_key, make_model=None, **config):
        number = admitted(snapshot_id, run_key, make_model or (lambda frozen, _: untrained(frozen, 0)), **config)
        registry.promote(settings, number, actor="test", reason="test")
        return number

    return promote
