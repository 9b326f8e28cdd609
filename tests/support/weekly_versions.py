"""A shop, and versions of an untrained network: their tests need versions, not good ones."""

from datetime import datetime, timedelta
from functools import cache
from io import StringIO

import numpy as np
import pytest
import redis
from psycopg2.extras import execute_values

from ncf_pipeline.registry import versions as registry
from ncf_pipeline.registry.snapshots import take_snapshot
from ncf_pipeline.storage.database import transaction
from ncf_pipeline.training import retrain

TODAY = datetime(2011, 12, 9)
WEEK = timedelta(days=7)
BATCH = 7


def sell(settings, start, end, *, batch=BATCH):
    """Six invoices a day, of four products each, by 40 customers in turn."""
    lines, products = _sold(start, end, batch)
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.copy_expert("copy retail.invoice_line from stdin with (format csv)", StringIO(lines))
        execute_values(cursor, "insert into retail.product values %s on conflict do nothing", products)


@cache
def _sold(start, end, batch):
    """The lines that are sold, as CSV, and the products; the same for every test that asks for them."""
    random = np.random.default_rng(start.toordinal())
    rows = []
    for number in range(6 * (end - start).days):
        customer, at = 14600 + number % 40, start + timedelta(days=number // 6)
        for line, product in enumerate(random.choice(120, 4, replace=False)):
            code = f"{22000 + (product + 3 * (number % 40)) % 150}"
            rows.append((f"{at:%m%d}{number:06d}", line, code, "A GOOD THING", 1, at, 1.0, customer, "France", batch))
    lines = "".join(",".join(map(str, row)) + "\n" for row in rows)
    return lines, sorted({(row[2], "A GOOD THING", TODAY) for row in rows})


@pytest.fixture
def shop(settings):
    """Settings of a shop that has sold until `TODAY`."""
    sell(settings, TODAY - timedelta(days=200), TODAY)
    return settings


@pytest.fixture
def candidate(shop, admitted, untrained):
    """Makes a version as it is before `register`: opened, passed by the gate, refitted."""

    def make(run_key, cutoff=TODAY):
        snapshot_id = take_snapshot(shop, cutoff)
        return admitted(snapshot_id, run_key, untrained, requested_by=f"test of {run_key}", reasons=("because",))

    return make


@pytest.fixture
def serve(shop, candidate):
    """Makes a version that serves."""

    def make(run_key, cutoff=TODAY):
        version = candidate(run_key, cutoff)
        assert retrain.register(shop, version)
        retrain.publish(shop, version)
        return version

    return make


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


@pytest.fixture
def live(settings, store):
    """What shoppers see: the publication and the version that made it."""

    def look():
        name = store.get(f"{settings.key_prefix}:current")
        return name, store.hget(f"{settings.key_prefix}:{name}:meta", "model_version")

    return look


@pytest.fixture
def states(settings):
    """The state of each version."""
    return lambda: {entry.version: entry.state for entry in registry.model_versions(settings)}
