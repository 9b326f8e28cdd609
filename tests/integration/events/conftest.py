"""A shop of three products, and its storefront's stream of events."""

import time
from datetime import UTC, datetime

import pytest
import redis

from ncf_pipeline.storage.database import transaction


@pytest.fixture
def shop(settings):
    """Products A and B are described, and C was sold without a description."""
    with transaction(settings) as connection, connection.cursor() as cursor:
        cursor.execute("insert into retail.product values ('A', 'HOLDER', now()), ('B', 'LIGHT', now())")
        cursor.execute(
            "insert into retail.invoice_line values ('1', 1, 'c', null, 1, '2011-12-01', 2.55, '14646', 'EIRE', 1)"
        )
    return settings


@pytest.fixture
def store(settings):
    with redis.Redis.from_url(settings.list_store(), decode_responses=True) as client:
        yield client


@pytest.fixture
def tell(settings, store):
    """Adds an event to the stream."""

    def add(kind="view", product="A", entry="*", **fields):
        return store.xadd(f"{settings.key_prefix}:events", {"kind": kind, "product": product, **fields}, id=entry)

    return add


@pytest.fixture
def waiting(settings, store):
    """How many events wait in the stream."""
    return lambda: store.xlen(f"{settings.key_prefix}:events")


@pytest.fixture
def rows(settings):
    """The rows of a statement."""

    def read(statement="select kind::text, stock_code, customer_id from retail.shop_event order by happened_at, kind"):
        with transaction(settings) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()

    return read


@pytest.fixture
def hour():
    """The hour in which all of the test runs."""
    now = datetime.now(UTC)
    if now.minute == 59 and now.second > 40:
        time.sleep(60 - now.second)
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
